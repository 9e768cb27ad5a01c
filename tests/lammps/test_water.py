"""SPC/E water: runs that are killed and continued, their files, and what is averaged over them."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import units
from command_in_child import server
from sampling import seed as shifted
from sampling import sigmas

from asediff import RDF, System, Topology
from asediff.lammps.files import read_dump
from asediff.lammps.reference import spce_reference
from asediff.lammps.run import LammpsError, lammps_input, run_lammps
from asediff.lammps.water import WaterRun
from asediff.lammps.water_averages import Average, averages, finite_size_correction, squared_displacements
from asediff.lammps.water_runs import pieces, read_frames, read_rdf, read_thermo, run_water

TINY = WaterRun(
    216, 300.0, 0.997, 300, equilibration_steps=200, save_every=20, block_steps=100, piece_steps=100, bins=90, seed=5
)
RECORDED = ("dump", "rdf", "thermo")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run_water(TINY, folder, resume=False)
    return folder


def restarts(folder):
    """Which restart files have been written so far: a new one replaces the one before in one step."""
    found = [folder / f"spce.{phase}" for phase in ("equilibration", "production")]
    return {(path.name, path.stat().st_ino) for path in found if path.exists()}


def kill_after(folder, written):
    """Start the run, and kill the process that started it when so many restart files have been written."""
    process = server().Process(target=run_water, args=(TINY, folder), kwargs={"resume": True})
    process.start()
    seen = set()
    deadline = time.monotonic() + 120
    while len(seen | restarts(folder)) < written:
        seen |= restarts(folder)
        assert process.is_alive(), "ended early"
        assert time.monotonic() < deadline, "did not get there"
        time.sleep(0.005)
    time.sleep(0.03)  # some way into the next piece
    process.kill()
    process.join()


def test_a_run_killed_in_equilibration_and_in_production_ends_with_the_same_bits(tmp_path, whole):
    kill_after(tmp_path, 2)  # the start and one piece of the equilibration
    assert not (tmp_path / "spce.production").exists()
    kill_after(tmp_path, 2 + 1)  # what is there, and one more: the first of the production
    kill_after(tmp_path, 2 + 1)
    killed = restarts(tmp_path)
    run_water(TINY, tmp_path, resume=True)
    assert restarts(tmp_path) != killed  # there was something left to do
    for what in RECORDED:
        assert [path.name for path in pieces(tmp_path, what)] == [path.name for path in pieces(whole, what)]
        for one, other in zip(pieces(tmp_path, what), pieces(whole, what), strict=True):
            assert one.read_bytes() == other.read_bytes()


def test_frames_have_neither_gaps_nor_doubles(whole):
    assert len(pieces(whole, "dump")) == 3
    steps = np.concatenate([dump.steps for dump in read_frames(whole)])
    np.testing.assert_array_equal(steps, np.arange(20, 301, 20))
    np.testing.assert_array_equal(read_thermo(whole)["Step"], steps)
    assert read_rdf(whole, 216)[1].shape == (3, 3, 90)


def test_a_finished_run_is_not_run_again(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.glob("spce.*.*")}
    run_water(TINY, whole, resume=True)
    assert {path: path.stat().st_mtime_ns for path in whole.glob("spce.*.*")} == before


def test_another_run_is_not_continued(whole):
    with pytest.raises(LammpsError, match=r"begun with 300\.0, not 310\.0; give the values in it or remove spce"):
        run_water(replace(TINY, temperature_K=310.0), whole, resume=True)
    assert len(pieces(whole, "dump")) == 3


def test_a_reference_is_continued_or_begun_anew(tmp_path):
    arguments = {"steps": 40, "save_every": 20, "equilibration_steps": 0, "seed": 3, "workdir": tmp_path}
    first, _ = spce_reference(**arguments)
    again, log = spce_reference(**arguments, resume=True)
    assert torch.equal(first.positions, again.positions)
    assert "Loop time" not in log  # nothing was left to do
    assert torch.equal(first.pressure, again.pressure)
    (tmp_path / "spce.notes").write_text("the user's own")
    other, _ = spce_reference(**(arguments | {"seed": 4}))
    assert not torch.equal(first.positions, other.positions)
    assert (tmp_path / "spce.notes").read_text() == "the user's own"


def test_the_input_runs_by_hand_and_tells_what_it_was_begun_with(tmp_path):
    given = {"equilibration": 0, "steps": 20, "every": 20, "frames": 20}
    run_lammps(lammps_input("spce_nvt.lmp"), given, tmp_path)
    assert len(read_thermo(tmp_path)["Step"]) == 1
    assert (tmp_path / "spce.begun").read_text().split()[:3] == ["216", "0.997", "300.0"]


@pytest.fixture(scope="module")
def all_atoms(tmp_path_factory):
    """Frames of all atoms, and the folder."""
    folder = tmp_path_factory.mktemp("all")
    run_lammps(lammps_input("spce_nvt.lmp"), TINY.variables(0) | {"atoms": "all", "steps": 100}, folder)
    return read_dump(pieces(folder, "dump")[0]), folder


def test_partial_distributions_are_those_of_the_project(all_atoms):
    """V/(N_a N_b), and without pairs of one molecule."""
    dump, folder = all_atoms
    n = dump.columns["id"].shape[1]
    assert n == 648
    oxygen = np.where(dump.columns["type"][0] == 1)[0]
    pairs = [(int(k + a), int(k + b)) for k in oxygen for a, b in ((0, 1), (0, 2), (1, 2))]
    r, g = read_rdf(folder, 216)
    expected = np.zeros_like(g[:, 0])
    for frame in dump.vectors("xu", "yu", "zu"):
        system = System(
            positions=torch.from_numpy(frame),
            velocities=torch.zeros(n, 3, dtype=torch.float64),
            masses=torch.ones(n, dtype=torch.float64),
            numbers=torch.from_numpy(np.where(dump.columns["type"][0] == 1, 8, 1)),
            cell=torch.from_numpy(dump.lattices[:1]),
            pbc=torch.ones(1, 3, dtype=torch.bool),
            system_idx=torch.zeros(n, dtype=torch.int64),
            topology=Topology(exclusions=pairs),
        )
        for k, pair in enumerate((("O", "O"), ("O", "H"), ("H", "H"))):
            expected[k] += RDF(9.0, 90, pair=pair, width=0.0)(system)[0].numpy() / len(dump.steps)
    np.testing.assert_allclose(r, RDF(9.0, 90).centers.numpy(), rtol=1e-9)
    # A pair within 1e-11 of an edge may be counted on its other side: the printed positions are rounded.
    np.testing.assert_allclose(g[:, 0], expected, rtol=1e-9, atol=1e-9)


def test_the_temperature_has_the_degrees_of_freedom_of_rigid_molecules(all_atoms):
    dump, folder = all_atoms
    mass = np.where(dump.columns["type"][0] == 1, 15.9994, 1.008)
    kinetic = 0.5 * np.einsum("a,fai->f", mass, dump.vectors("vx", "vy", "vz") ** 2)
    kinetic *= 1e4 * units.kJ / units.mol  # amu Å²/fs² is 1e4 kJ/mol
    temperature = 2 * kinetic / (6 * 216 - 3) / units.kB
    np.testing.assert_allclose(read_thermo(folder)["Temp"], temperature, rtol=1e-5)


def test_averages_of_replicas(whole):
    found = averages(TINY, [whole, whole], (0.08, 0.16))
    one = averages(TINY, [whole], (0.08, 0.16))
    assert found.n_blocks == 2 * one.n_blocks == 6
    assert found.n_frames == 2 * one.n_frames == 30
    np.testing.assert_allclose(found.g.value, one.g.value)
    np.testing.assert_allclose(found.g.error, one.g.error / np.sqrt(2))
    assert found.temperature_K.error == pytest.approx(float(one.temperature_K.error) / np.sqrt(2))
    rows = read_thermo(whole)
    assert one.pressure_bar.value == pytest.approx(1.01325 * rows["Press"].mean())
    # SPC/E has -46.3 kJ/mol at 300 K; after a quench and half a picosecond it is not there yet.
    assert one.energy_kJ_per_mol.value == pytest.approx(4.184 * rows["PotEng"].mean() / 216)


def test_straight_motion_and_drift():
    """x = v t with a drift in common: the displacement is the variance of v times t²."""
    random = np.random.default_rng(shifted(1))
    velocity = random.standard_normal((50, 3))
    frames = [3.0 * t + velocity * t for t in range(12)]
    found = squared_displacements(frames, 5)
    variance = ((velocity - velocity.mean(0)) ** 2).sum(1).mean()
    np.testing.assert_allclose(found, np.tile(variance * np.arange(1, 6) ** 2.0, (7, 1)))


@pytest.mark.sampled
def test_the_diffusion_coefficient_of_a_random_walk():
    """Steps of variance 2 D dt along each axis; its error is the scatter of independent walks."""
    random = np.random.default_rng(shifted(2))
    n, steps, diffusion = 64, 400, 0.25
    walks = np.cumsum(np.sqrt(2 * diffusion) * random.standard_normal((8, steps, n, 3)), axis=1)
    series = [squared_displacements(walk, 6) for walk in walks]
    lags = np.arange(1.0, 7.0)
    slope = (lags - lags.mean()) / ((lags - lags.mean()) ** 2).sum()
    found = Average.of([one @ slope / 6 for one in series])
    each = [float((one @ slope / 6).mean()) for one in series]
    scatter = np.std(each, ddof=1) / np.sqrt(8)
    # The motion of the centre, 1/n of each, is taken off.
    assert found.value == pytest.approx(diffusion * (1 - 1 / n), abs=sigmas(8) * scatter)
    assert 0.4 * scatter < found.error < 3 * scatter


def test_the_finite_size_correction():
    """2.837297 kB T / (6 pi eta L): 3.34e-10 m²/s for 300 K, 1 mPa s and 18.6 Å."""
    assert finite_size_correction(300.0, 18.64) == pytest.approx(0.03345, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_molecules": 100}, "n_molecules: 100 at .* give at least 195"),
        ({"r_max": 10.0}, "r_max: 10 Å is more than half the cell of 18.64 Å; give 9.32 at most"),
        ({"block_steps": 30}, "block_steps: 30 is no multiple of save_every = 20; give one"),
        ({"steps": 250}, "steps: 250 is no multiple of block_steps = 100; give one"),
        ({"piece_steps": 150}, "piece_steps: 150 is no multiple of block_steps = 100; give one"),
        ({"piece_steps": 30, "block_steps": None}, "piece_steps: 30 is no multiple of save_every = 20; give one"),
        ({"equilibration_steps": -1}, "equilibration_steps: -1 is negative"),
        ({"bins": 0}, "bins: 0 is not positive"),
    ],
)
def test_settings_that_cannot_be_run(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0.01, 0.05), "diffusion_ps: .* fewer than two lags"),
        ((0.1, 0.6), "diffusion_ps: 0.6 ps is no shorter than the recorded 0.6 ps"),
    ],
)
def test_windows_that_hold_no_diffusion(given, message):
    with pytest.raises(ValueError, match=message):
        TINY.lags(given)


def test_several_ranks(tmp_path):
    run = WaterRun(200, 300.0, 0.997, 40, equilibration_steps=20, save_every=20, piece_steps=20, bins=90, seed=5)
    run_water(run, tmp_path, resume=False, ranks=2)
    assert re.search(r"[12] by [12] by [12] MPI processor grid", (tmp_path / "log.lammps").read_text())
    assert len(read_thermo(tmp_path)["Step"]) == 2
    with pytest.raises(ValueError, match="ranks: 0 is below 1"):
        run_water(run, tmp_path, resume=True, ranks=0)
