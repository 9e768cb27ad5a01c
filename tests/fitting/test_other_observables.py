"""Targets that are no g(r): which methods fit them, which refuse them by name, and that no number is made up."""

import json

import pytest
import torch

from asediff import (
    RDF,
    DiffSim,
    LennardJones,
    ModifiedMorse,
    PairPotential,
    Reweighting,
    StatePoint,
    System,
    Target,
    TorchEngine,
    fit,
    lattices,
)
from asediff.app.report import Evidence, deviation_rows, told, write_report
from asediff.fitting.gradients.reweighting import ReweightedGradient
from asediff.fitting.statistics.histograms import FrameStatistics
from asediff.observables import ADF, VACF, StructureFactor

STEP = 0.005
ENGINE = TorchEngine(STEP, equilibration_steps=20, steps=100, save_every=5)
SHORT = DiffSim(STEP, epochs=1, steps=20, save_every=5, equilibration_steps=10)
BRIEF = Reweighting(ENGINE, iterations=1, inner_steps=3, growth=1.0)
RDF_TARGET = RDF(1.9, 20, width=0.1)


@pytest.fixture(scope="module")
def system():
    return System.from_atoms(lattices.fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.05, seed=3))


def point_of(system, *observables):
    """A state point whose targets are flat curves."""
    targets = [Target(o, torch.full((len(o.centers),), 0.5, dtype=torch.float64)) for o in observables]
    return StatePoint(system, targets, kT=1.0, name="liquid")


def lj():
    return PairPotential(LennardJones(), cutoff=1.9)


@pytest.mark.parametrize("observable", [ADF(1.6, 12), StructureFactor(9.0, 10, q_min=4.0)], ids=["ADF", "S(q)"])
@pytest.mark.parametrize("method", [SHORT, BRIEF], ids=["DiffSim", "Reweighting"])
def test_a_target_that_is_no_rdf_is_fitted_and_tells_only_what_exists(system, method, observable):
    result = fit(lj(), point_of(system, observable), method, validation=ENGINE, progress=False)
    assert any("no target is a g(r): Boltzmann pre-training was left out" in note for note in result.notes)
    assert "nan" not in result.summary()
    assert f"mean |d{observable.ordinate}| " in result.summary()
    assert " D " not in result.summary()
    assert not any(key in row for row in result.history for key in ("D", "mean_dg"))
    numbers = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    (row,) = numbers["state_points"][0]["targets"].values()
    assert row["structural"] is None
    assert row["mean"] > 0


def test_the_pre_training_uses_the_g_of_r_among_the_targets(system):
    result = fit(lj(), point_of(system, RDF_TARGET, ADF(1.6, 12)), SHORT, validation=ENGINE, progress=False)
    assert any("Boltzmann pre-training ended" in note for note in result.notes)
    rdf_line, adf_line = result.summary().splitlines()[1:3]
    assert "D " in rdf_line
    assert "first peak" in rdf_line
    assert "D " not in adf_line
    assert "peak" not in adf_line


def test_the_report_shows_no_numbers_for_what_a_target_does_not_have(system, tmp_path):
    result = fit(lj(), point_of(system, RDF_TARGET, ADF(1.6, 12)), SHORT, validation=ENGINE, progress=False)
    evidence = Evidence("Argon", result, units="lj")
    rows = deviation_rows(evidence, 0)
    assert rows[0]["structural"] > 0
    assert rows[1]["structural"] is None
    assert json.dumps(rows, allow_nan=False)
    assert "D " in told(rows[0])
    assert told(rows[1]).startswith("liquid adf in asediff: mean |dp| ")
    assert not any("nan" in told(row) for row in rows)
    page = write_report(tmp_path, evidence).read_text(encoding="utf-8")
    assert ">nan" not in page
    assert "None" not in page


@pytest.mark.parametrize("method", [BRIEF, DiffSim(STEP, epochs=1, gradient=ReweightedGradient())])
def test_reweighting_refuses_time_correlations_by_name(system, method):
    point = point_of(system, VACF(3, spacing=5 * STEP))
    with pytest.raises(
        ValueError, match=r"targets: vacf of liquid is a VACF.* reweighting needs observables of single"
    ):
        fit(lj(), point, method, validation=None, progress=False)


def test_statistics_of_frames_refuse_time_correlations_too(system):
    frames = ENGINE.run(lj(), point_of(system, RDF_TARGET), seed=1)
    with pytest.raises(ValueError, match="single frames"):
        FrameStatistics.of(frames, lj(), point_of(system, VACF(3, spacing=5 * STEP)))


def test_a_time_correlation_is_fitted_through_the_dynamics(system):
    morse = PairPotential(ModifiedMorse(a=5.0, phi=2.0), cutoff=1.9)
    result = fit(morse, point_of(system, VACF(3, spacing=5 * STEP)), SHORT, validation=ENGINE, progress=False)
    assert "mean |dvacf|" in result.summary()
    assert "nan" not in result.summary()
