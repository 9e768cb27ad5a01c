"""Molecules in LAMMPS: data files there and back, and the same energies and forces with exclusions and 1-4 weights."""

import numpy as np
import pytest
import torch
from bead_chain import chains, pairs

from asediff import RDF, NoseHooverChain, StatePoint, Target
from asediff.lammps import LammpsEngine, LammpsRun, lammps_input, run_lammps, spline_tables, verify_export, write_tables
from asediff.lammps.data import read_data
from asediff.lammps.export import export_lammps
from asediff.lammps.files import parse_log, read_dump, write_data, write_frames
from asediff.lammps.molecules import input_for, special_bonds
from asediff.neighbors import NeighborList
from asediff.simulate import simulate
from asediff.system import System
from asediff.topology import Topology

BONDS = [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_a_data_file_comes_back_as_it_was(tmp_path):
    system = chains(3, 5, weight_14=1.0 / 3.0).thermalized(kT=1.0, seed=2)
    types = torch.arange(len(system.topology.bonds)) % 2
    system = system.replace(topology=Topology(**{**system.topology.tensors(), "bond_types": types}))
    write_data(tmp_path / "chains.data", system, "metal")
    back = read_data(tmp_path / "chains.data", "metal", special=(0.0, 0.0, 1.0 / 3.0))
    assert back.topology.same_as(system.topology)
    torch.testing.assert_close(back.positions, system.positions, rtol=0.0, atol=1e-13)
    torch.testing.assert_close(back.velocities, system.velocities, rtol=1e-15, atol=0.0)
    for name in ("masses", "numbers", "cell"):
        assert torch.equal(getattr(back, name), getattr(system, name))
    head = (tmp_path / "chains.data").read_text().split("Masses")[0]
    assert "12 bonds\n2 bond types\n9 angles\n1 angle types\n6 dihedrals\n1 dihedral types\n" in head


def test_a_skewed_box_without_molecules_comes_back(tmp_path):
    cell = torch.tensor([[[7.0, 0.0, 0.0], [1.5, 6.5, 0.0], [-1.0, 2.0, 6.0]]], dtype=torch.float64)
    system = chains(2, 4).replace(topology=None, cell=cell)
    write_data(tmp_path / "plain.data", system, "lj")
    assert "Atoms # atomic" in (tmp_path / "plain.data").read_text()
    back = read_data(tmp_path / "plain.data", "lj", symbols=["Ne"])
    assert back.topology is None
    assert back.get_chemical_symbols() == ["Ne"] * 8
    torch.testing.assert_close(back.positions, system.positions, rtol=0.0, atol=1e-13)
    torch.testing.assert_close(back.cell, cell, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("Atoms # molecular", "Atoms # full"),
            "'Atoms # full' is of no style that is read; write one of atomic, bond",
        ),
        (("# Ar", ""), "symbols: type 1 of .* has no chemical symbol"),
        (("8 atoms", "9 atoms"), "are not complete"),
        (("Masses", "Other"), "are not complete"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path, change, message):
    write_data(tmp_path / "chains.data", chains(2, 4), "lj")
    text = (tmp_path / "chains.data").read_text()
    (tmp_path / "chains.data").write_text(text.replace(*change))
    with pytest.raises(ValueError, match=message) as caught:
        read_data(tmp_path / "chains.data", "lj")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("topology", "weights"),
    [
        (Topology.from_bonds(BONDS), "0 0 1"),
        (Topology.from_bonds(BONDS, exclude=1, weight_14=0.5), "0 1 0.5"),
        (Topology.from_bonds(BONDS, exclude=0), "1 1 1"),
        (Topology.from_bonds(BONDS, exclude=3), "0 0 0"),
        (Topology.from_bonds([(0, 1)]), "0 1 1"),
    ],
)
def test_exclusions_by_bonds_are_special_bonds(topology, weights):
    assert special_bonds(topology).split(maxsplit=2)[2] == weights


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        (Topology(BONDS, exclusions=[(0, 1)]), "weights: pairs 1 bonds apart have 0 to 1, and LAMMPS has one weight"),
        (Topology(BONDS, exclusions=[(0, 4)]), r"exclusions: \[0, 4\] are not within three bonds of each other"),
        (Topology(exclusions=[(0, 1)]), r"exclusions: \[0, 1\] are not within three bonds"),
    ],
)
def test_other_exclusions_are_refused_before_anything_is_written(tmp_path, topology, message):
    system = chains(1, 5).replace(topology=topology)
    point = StatePoint(system, kT=1.0)
    run = LammpsRun(0.005, 10, 10, units="lj", workdir=str(tmp_path / "run"))
    for attempt in (
        lambda: write_data(tmp_path / "run" / "x.data", system, "lj"),
        lambda: export_lammps(pairs(), point, tmp_path / "run", run),
        lambda: LammpsEngine(0.005, 10, 10).check([point]),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_input_that_cannot_take_exclusions_is_refused(tmp_path):
    (tmp_path / "own.lmp").write_text("units lj\natom_style full\n")
    engine = LammpsEngine(0.005, 10, 10, input=str(tmp_path / "own.lmp"))
    with pytest.raises(ValueError, match=r"input: own\.lmp has 0 lines 'atom_style atomic'"):
        engine.check([StatePoint(chains(1, 5), kT=1.0)])


@pytest.mark.parametrize(("exclude", "weight_14"), [(2, 0.5), (1, 0.25), (3, 0.0), (0, 1.0)])
def test_energies_and_forces_are_those_of_lammps(tmp_path, exclude, weight_14):
    """A table in r² of the spline itself: LAMMPS evaluates the same function."""
    system = chains(8, 5, exclude=exclude, weight_14=weight_14)
    potential = pairs(2.5).requires_grad_(False)
    energy, forces = potential.energy_forces(system, NeighborList(2.5).update(system))
    tables = spline_tables(potential.tabulate(system), refine=16)
    write_tables(tmp_path / "cg.table", tables, "lj")
    box = write_data(tmp_path / "cg.data", system, "lj")
    write_frames(tmp_path / "frames.dump", box, [system])
    points = next(iter(tables.values())).n_points
    variables = {"data": "cg.data", "frames": "frames.dump", "table": "cg.table", "section": next(iter(tables))}
    input_file = input_for(lammps_input("table_check.lmp"), system.topology, tmp_path)
    log = run_lammps(input_file, variables | {"points": points, "units": "lj"}, tmp_path)
    assert float(parse_log(log)[-1]["PotEng"][0]) == pytest.approx(float(energy[0]), rel=1e-6)
    found = read_dump(tmp_path / "forces.dump").vectors("fx", "fy", "fz")[0]
    np.testing.assert_allclose(found, forces, atol=1e-6 * float(forces.abs().max()))


def test_an_export_of_chains_is_proved_and_runs(tmp_path):
    """The bonds do not pull in either program: what is run is a fluid whose neighbors along chains do not interact."""
    system = chains(8, 5).thermalized(kT=1.0, seed=4)
    potential = pairs(2.5).requires_grad_(False)
    run = LammpsRun(0.002, 100, 10, equilibration_steps=10, units="lj")
    point = StatePoint(system, Target(RDF(2.5, 20), torch.ones(20)), kT=1.0)
    files = export_lammps(potential, point, tmp_path, run)
    assert "special_bonds   lj/coul 0 0 0.5\n" in files.input.read_text()
    frames = simulate(system, potential, NoseHooverChain(0.002, kT=1.0), 100, save_every=10)
    report = verify_export(files.table, potential, frames, kT=1.0)
    assert report.passed, str(report)
    recorded = LammpsEngine(0.002, 100, 10, equilibration_steps=10, units="lj").run(potential, point, seed=1)
    for k in (0, -1):
        frame = recorded.frame(k)
        energy, _ = potential.energy_forces(frame, NeighborList(2.5).update(frame))
        assert float(recorded.potential_energy[k, 0]) == pytest.approx(float(energy[0]), rel=1e-4)
    assert isinstance(recorded.system, System)
    assert recorded.system.topology is not None
