"""Stage `reference`: what its settings mean, what it leaves, and that a killed one ends with the same numbers."""

import time

import numpy as np
import pytest
from sampling import seed as shifted
from sampling import sigmas
from stage_in_child import start

from asediff.app.config.errors import ConfigError
from asediff.workflow.results import Results
from asediff.workflow.stages import run_stage
from asediff.workflow.stages.base import Record
from asediff.workflow.stages.reference import ReferenceSettings, expected, lags_ps, water_run

TINY = {
    "temperature_K": 300.0,
    "molecules": 216,
    "production_ps": 0.8,
    "equilibration_ps": 0.2,
    "every_ps": 0.04,
    "piece_ps": 0.2,
    "bin_width_A": 0.1,
    "seed": 7,
}
PAPER = {"molecules": 1500, "production_ps": 1000, "equilibration_ps": 10000, "timestep_fs": 1, "frame_ps": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stages") / "reference_300K"


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def found(folder, told):
    return run_stage("reference", TINY, {}, folder, say=told.append)


def test_what_it_leaves(found, folder, told):
    assert found.scalars["md_steps"] == 500
    assert found.scalars["blocks"] == 4
    assert found.scalars["not_converged"] is False
    for name in ("measured_temperature_K", "pressure_bar", "energy_kJ_per_mol", "diffusion_A2_per_ps"):
        assert np.isfinite(found.scalars[name]), name
    for name in (
        *("measured_temperature_error_K", "pressure_error_bar", "energy_error_kJ_per_mol"),
        *("diffusion_error_A2_per_ps", "mean_g_error", "diffusion_finite_size_A2_mPas_per_ps"),
    ):
        assert found.scalars[name] > 0, name
    assert found.units["r"] == "Å"
    assert found.units["lag"] == "ps"
    np.testing.assert_array_equal(found.arrays["g"], found.arrays["g_OO"])
    for pair in ("OO", "OH", "HH"):
        assert found.arrays[f"g_{pair}"].shape == found.arrays[f"g_{pair}_error"].shape == (90,)
        _, g, error = np.loadtxt(folder / f"g_{pair}.csv", delimiter=",", skiprows=1).T
        np.testing.assert_allclose(g, found.arrays[f"g_{pair}"])
        np.testing.assert_allclose(error, found.arrays[f"g_{pair}_error"])
    for name in ("rdf", "displacement"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert told[0].startswith("SPC/E water, 216 molecules at 300 K: about 1 s on one core; g(r) will be known to about")


def test_hydrogen_bonds_are_seen_and_bonds_are_not(found):
    """O-H: nothing at the bond of 1 Å, and a first peak near 1.8 Å."""
    r, g = found.arrays["r"], found.arrays["g_OH"]
    assert g[r < 1.3].max() == 0.0
    assert 1.6 < r[r < 2.4][g[r < 2.4].argmax()] < 2.0
    assert found.arrays["g_HH"][r < 1.3].max() == 0.0


def test_a_killed_stage_ends_with_the_same_numbers(found, folder, tmp_path):
    """SIGKILL in equilibration, then in production."""
    own = tmp_path / "reference_300K"
    own.mkdir()
    Record("reference", Record.load(folder).settings).write(own)
    for restart in ("equilibration", "production"):
        process = start(str(own))
        deadline = time.monotonic() + 120
        while not (own / "lammps" / f"spce.{restart}").exists():
            assert process.is_alive(), (own / "error.txt").read_text()
            assert time.monotonic() < deadline, "did not get there"
            time.sleep(0.005)
        process.kill()
        process.join()
        assert not Results.finished(own)
    again = run_stage("reference", TINY, {}, own, say=lambda _: None)
    assert {**again.scalars, "seconds": 0} == {**found.scalars, "seconds": 0}
    for name, values in found.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values, err_msg=name)


def test_times_become_steps():
    run = water_run(ReferenceSettings(production_ps=130, molecules=500, temperature_K=288))
    assert (run.steps, run.equilibration_steps, run.save_every, run.frame_steps) == (65000, 2500, 50, 100)
    assert (run.block_steps, run.piece_steps, run.bins) == (500, 5000, 180)
    assert lags_ps(ReferenceSettings(production_ps=130)) == (2.0, 10.0)
    paper = water_run(ReferenceSettings(**PAPER))
    assert (paper.steps, paper.equilibration_steps, paper.save_every) == (1_000_000, 10_000_000, 100)
    halves = water_run(ReferenceSettings(production_ps=130, replicas=2))
    assert halves.steps == 32500


def test_what_it_is_expected_to_take():
    """5 ns times molecules for 1 % in bins of 0.05 Å; the paper's protocol is about 57 core hours."""
    cost = expected(ReferenceSettings(production_ps=10, molecules=500), {})
    assert cost.error == pytest.approx(0.01)
    assert expected(ReferenceSettings(production_ps=40, molecules=500), {}).error == pytest.approx(0.005)
    assert expected(ReferenceSettings(production_ps=10, molecules=500, bin_width_A=0.01), {}).error > 0.02
    assert expected(ReferenceSettings(**PAPER), {}).seconds / 3600 == pytest.approx(57, abs=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"molecules": 100}, "molecules: 100 at 1 g/cm³ fill a cell of .* give at least 195"),
        ({"r_max_A": 9.5}, "r_max_A: 9.5 Å is more than half the cell of 18.63 Å"),
        ({"production_ps": 0.2}, "production_ps: 0.2 ps in 1 replicas are 2 samples of each, too few .* at least 0.4"),
        ({"diffusion_ps": [1.0, 50.0]}, "diffusion_ps: 50 ps is no shorter than the recorded 10 ps; give a shorter"),
        ({"diffusion_ps": [1.0]}, "diffusion_ps"),
        ({"temperature_K": -1}, "temperature_K"),
        ({"molecule": 216}, "molecule"),
    ],
)
def test_settings_are_refused_before_anything_runs(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as error:
        run_stage("reference", changes, {}, tmp_path / "x")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.sampled
def test_two_independent_runs_agree_within_their_errors(tmp_path):
    """And their peak is that of SPC/E water at 288 K, 3.13 in bins of 0.05 Å."""
    settings = {"temperature_K": 288.0, "production_ps": 40.0, "equilibration_ps": 10.0}
    one, two = (
        run_stage("reference", {**settings, "seed": shifted(k)}, {}, tmp_path / f"{k}", say=lambda _: None)
        for k in (101, 102)
    )
    inside = (one.arrays["r"] > 2.5) & (one.arrays["r"] < 8.0)
    for pair in ("OO", "OH", "HH"):
        error = np.hypot(one.arrays[f"g_{pair}_error"], two.arrays[f"g_{pair}_error"])[inside]
        z = (one.arrays[f"g_{pair}"] - two.arrays[f"g_{pair}"])[inside] / error
        # errors from 40 blocks, of which neighbours are not quite independent: as if from 15
        assert np.abs(z).max() < sigmas(15, 3 * len(z))
        assert 0.3 < (z**2).mean() < 3.5
    for name in ("pressure{}_bar", "energy{}_kJ_per_mol", "measured_temperature{}_K"):
        difference = one.scalars[name.format("")] - two.scalars[name.format("")]
        error = np.hypot(one.scalars[name.format("_error")], two.scalars[name.format("_error")])
        assert abs(difference) < sigmas(10, 3) * error
    assert one.scalars["measured_temperature_K"] == pytest.approx(288, rel=0.01)
    peak = 0.5 * (one.arrays["g"].max() + two.arrays["g"].max())
    error = 0.5 * np.hypot(*(run.arrays["g_error"][run.arrays["g"].argmax()] for run in (one, two)))
    assert peak == pytest.approx(3.13, abs=sigmas(15) * error + 0.03)  # the largest of noisy bins is a little too large
