"""Verified export: LAMMPS' own energies, forces and pressure against asediff's splines."""

import dataclasses

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk, make_supercell
from sampling import seed as shifted

from asediff.lammps.run import LammpsRun
from asediff.lammps.tables import PairTable, spline_tables, write_tables
from asediff.lammps.verify import Check, verify_export
from asediff.potentials.pair import PairPotential
from asediff.potentials.radial import LennardJones
from asediff.system import System

pytestmark = pytest.mark.sampled


def liquid(potential, system, kT, style, timestep):
    """Ten frames of a short LAMMPS run with the potential's tables."""
    engine = LammpsRun(timestep=timestep, steps=1000, save_every=100, equilibration_steps=500, units=style)
    return engine.record(spline_tables(potential.tabulate(system)), system, kT, seed=shifted(4))


def fcc(density, repeat, *, sheared=False):
    atoms = bulk("Ar", "fcc", a=(4 / density) ** (1 / 3), cubic=not sheared)
    return make_supercell(atoms, repeat * np.eye(3, dtype=int))


@pytest.fixture(scope="module")
def fluid():
    atoms = fcc(0.7, 4)
    atoms.set_masses(np.ones(len(atoms)))
    system = System.from_atoms(atoms)
    potential = PairPotential(LennardJones(1.0, 1.0), 2.5)
    return potential, liquid(potential, system, 1.0, "lj", 0.005)


def export(path, potential, system, style, **options):
    return write_tables(path, spline_tables(potential.tabulate(system), **options), style)


def test_an_exported_table_passes_in_lj_units(fluid, tmp_path):
    potential, frames = fluid
    path = export(tmp_path / "a.table", potential, frames.system, "lj")
    report = verify_export(path, potential, frames, kT=1.0, workdir=tmp_path / "check")
    assert report.passed, str(report)
    values = {check.name.split(",")[0]: check.value for check in report.checks}
    # LAMMPS rebuilds the very same spline for the energy, and a close one for the force. Over 8 seeds 1.2e-14 and
    # 1.7e-6, each with a scatter of a tenth; what a wrong or coarse table gives is ten limits and more.
    assert values["energy of any pair"] < 1e-12
    assert values["force on any atom"] < 1e-5
    assert report.n_frames == 10
    assert report.units == "lj"
    assert str(report).endswith("PASS")
    assert (tmp_path / "check" / "forces.dump").is_file()


@pytest.mark.parametrize("style", ["real", "metal"])
def test_an_exported_table_passes_in_units_of_atoms(tmp_path, style):
    epsilon, sigma, kT = 0.0104, 3.4, 100 * units.kB
    system = System.from_atoms(fcc(0.7 / sigma**3, 4))
    potential = PairPotential(LennardJones(epsilon, sigma), 2.5 * sigma)
    frames = liquid(potential, system, kT, style, 4 * units.fs)
    path = export(tmp_path / "a.table", potential, system, style)
    report = verify_export(path, potential.tabulate(system), frames, kT=kT)
    assert report.passed, str(report)
    assert report.units == style


def test_a_mixture_in_a_triclinic_cell_passes(tmp_path):
    atoms = fcc(0.7, 6, sheared=True)
    atoms.numbers[::2] = 36
    atoms.set_masses(np.where(atoms.numbers == 36, 2.0, 1.0))
    system = System.from_atoms(atoms)
    potential = PairPotential(
        {
            ("Ar", "Ar"): LennardJones(1.0, 1.0),
            ("Ar", "Kr"): LennardJones(1.2, 0.9),
            ("Kr", "Kr"): LennardJones(0.5, 0.95),
        },
        2.2,
    )
    frames = liquid(potential, system, 1.0, "lj", 0.004)
    path = export(tmp_path / "a.table", potential, system, "lj")
    report = verify_export(path, potential, frames, kT=1.0)
    assert report.passed, str(report)


def test_every_member_of_a_batch_is_verified_against_its_own_table(fluid, tmp_path):
    potential, frames = fluid
    spline = potential.tabulate(frames.system)
    double = dataclasses.replace(
        spline,
        coefficients=torch.cat([spline.coefficients, 2 * spline.coefficients]),
        table_index=torch.stack([spline.table_index[0], spline.table_index[0] + 1]),
    )
    path = write_tables(tmp_path / "b.table", spline_tables(double, system=1), "lj")
    batch = [System.concatenate([frame, frame]) for frame in frames]
    assert verify_export(path, double, batch, kT=1.0, system=1).passed
    assert not verify_export(path, double, batch, kT=1.0, system=0).passed


def test_another_potential_fails_with_the_numbers(fluid, tmp_path):
    potential, frames = fluid
    other = PairPotential(LennardJones(1.001, 1.0), 2.5)
    path = export(tmp_path / "a.table", other, frames.system, "lj")
    report = verify_export(path, potential, frames, kT=1.0)
    assert not report.passed
    text = str(report)
    assert text.endswith("FAIL")
    assert "FAIL  energy of any pair" in text
    assert "FAIL  force on any atom" in text


def test_too_coarse_a_table_fails(fluid, tmp_path):
    potential, frames = fluid
    coarse = PairPotential(LennardJones(1.0, 1.0), 2.5, n_knots=60)
    path = export(tmp_path / "a.table", coarse, frames.system, "lj")
    assert not verify_export(path, potential, frames, kT=1.0).passed


def test_a_table_that_starts_above_the_closest_pair_fails_before_lammps_stops(fluid, tmp_path):
    potential, frames = fluid
    path = export(tmp_path / "a.table", potential, frames.system, "lj")
    high = PairTable.from_function(lambda r: 4 * (r**-12 - r**-6) - 4 * (2.5**-12 - 2.5**-6), 2.5, r_core=1.0, r_lo=1.0)
    rows = zip(high.r, high.u, high.f, strict=True)
    lines = [f"{k} {r:.17g} {u:.17g} {f:.17g}" for k, (r, u, f) in enumerate(rows, 1)]
    path.write_text("\n".join(["# UNITS: lj", "Ar_Ar", f"N {high.n_points} RSQ 1.0 2.5", "", *lines, ""]))
    report = verify_export(path, potential, frames, kT=1.0)
    assert not report.passed
    assert "FAIL  table start / distance of the closest pair" in str(report)


def test_a_verdict_needs_ten_frames_of_one_system_and_a_table_of_its_pairs(fluid, tmp_path):
    potential, frames = fluid
    path = export(tmp_path / "a.table", potential, frames.system, "lj")
    with pytest.raises(ValueError, match="frames: 9 given; a verdict needs at least 10"):
        verify_export(path, potential, frames[:9], kT=1.0)
    longer = [frame.replace(cell=frame.cell * (1.0 + 0.01 * k)) for k, frame in enumerate(frames)]
    with pytest.raises(ValueError, match="frames: of different cell"):
        verify_export(path, potential, longer, kT=1.0)
    text = path.read_text()
    path.write_text(text.replace("Ar_Ar", "Kr_Kr"))
    with pytest.raises(ValueError, match="has no section Ar_Ar"):
        verify_export(path, potential, frames, kT=1.0)
    path.write_text(text.replace("# UNITS: lj", "# no units"))
    with pytest.raises(ValueError, match="does not state its units"):
        verify_export(path, potential, frames, kT=1.0)
    assert verify_export(path, potential, frames, kT=1.0, units="lj").passed


def test_nan_never_passes():
    assert not Check("x", float("nan"), 1.0).passed
    assert Check("x", 0.5, 1.0).passed
