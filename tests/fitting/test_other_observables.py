"""Targets that are no g(r): which methods fit them, which refuse them by name, and that no number is made up."""

import csv
import json
from dataclasses import dataclass, replace
from html.parser import HTMLParser

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
from asediff.dynamics import NoseHooverChain
from asediff.engines import DiluteEngine
from asediff.fitting import IBI, IHNC, IMC, GaussNewton, RelativeEntropy
from asediff.fitting.gradients.diffsim import Batch
from asediff.fitting.gradients.reweighting import ReweightedGradient, reweighted_gradient
from asediff.fitting.statistics.histograms import FrameStatistics
from asediff.observables import ADF, VACF, Observable, Pressure, StructureFactor
from asediff.simulate import simulate
from asediff.testing import check_gradient

STEP = 0.005
ENGINE = TorchEngine(STEP, equilibration_steps=20, steps=100, save_every=5)
SHORT = DiffSim(STEP, epochs=1, steps=20, save_every=5, equilibration_steps=10)
BRIEF = Reweighting(ENGINE, iterations=1, inner_steps=3, growth=1.0)
RDF_TARGET = RDF(1.9, 20, width=0.1)


@dataclass  # not frozen, so without a hash, as a user may write it
class Spread(Observable):
    """Mean square distance from the centre of the box, and its square root: no more than has to be defined."""

    scale: float = 1.0

    @property
    def centers(self):
        return torch.tensor([1.0, 2.0], dtype=torch.float64)

    def per_frame(self, trajectory):
        x, system = (
            (trajectory.positions[None], trajectory)
            if isinstance(trajectory, System)
            else (trajectory.positions, trajectory.system)
        )
        square = (x - x.mean(1, keepdim=True)).square().sum(-1)
        mean = torch.stack([square[:, system.system_idx == k].mean(1) for k in range(system.n_systems)], dim=1)
        return self.scale * torch.stack([mean, mean.sqrt()], dim=-1)


OTHERS = {
    "ADF": ADF(1.6, 12),
    "S(q)": StructureFactor(9.0, 10, q_min=4.0),
    "VACF": VACF(3, spacing=5 * STEP),
    "P": Pressure(),
    "own": Spread(),
}


@pytest.fixture(scope="module")
def system():
    return System.from_atoms(lattices.fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.05, seed=3))


def point_of(system, *observables):
    """A state point whose targets are flat curves."""
    targets = [Target(o, torch.full((len(o.centers),), 0.5, dtype=torch.float64)) for o in observables]
    return StatePoint(system, targets, kT=1.0, name="liquid")


def lj():
    return PairPotential(LennardJones(), cutoff=1.9)


@pytest.mark.parametrize("observable", [OTHERS["ADF"], OTHERS["S(q)"], OTHERS["own"]], ids=["ADF", "S(q)", "own"])
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


def every_kind(system):
    return point_of(system, *OTHERS.values())


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not the last one open."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def without_rdf(system):
    """A fit to every kind of target but a g(r), and its report's evidence."""
    result = fit(lj(), every_kind(system), SHORT, validation=ENGINE, progress=False)
    return Evidence("Argon", result, units="lj")


def test_a_fit_without_a_g_of_r_has_a_report_with_every_kind_of_target(without_rdf, tmp_path):
    page = write_report(tmp_path, without_rdf).read_text(encoding="utf-8")
    reader = Balanced()
    reader.feed(page)
    assert reader.open == []
    assert page.count("data:image/png") == 7  # five targets, the potential, the loss
    assert not any(word in page for word in (">nan", "None", "outside the core, asediff", "first peak, asediff"))
    for kind, rows, abscissa in (
        ("adf", 12, "theta"), ("structure_factor", 10, "q"), ("vacf", 3, "time"), ("pressure", 1, "index"),
        ("spread", 2, "x"),
    ):  # fmt: skip
        name = f"{kind}_0_{kind}"
        assert (tmp_path / f"{name}.png").is_file()
        with (tmp_path / f"{name}.csv").open() as file:
            table = list(csv.DictReader(file))
        assert len(table) == rows
        assert list(table[0]) == [abscissa, "target", "asediff", "asediff_error"]
    assert "ε/σ³" in page


def test_every_kind_has_its_row_in_the_table(without_rdf):
    rows = {row["target"]: row for row in deviation_rows(without_rdf, 0)}
    assert [row["symbol"] for row in rows.values()] == ["p", "S", "vacf", "P", "value"]
    assert json.dumps(list(rows.values()), allow_nan=False)
    assert " ± " in rows["pressure"]["peak"]
    assert rows["pressure"]["peak_target"] == "0.5 ε/σ³"
    assert " 1/σ" in rows["structure_factor"]["peak"]
    assert rows["vacf"]["peak"] == rows["spread"]["peak"] == ""


def test_what_has_no_error_bar_is_reported_without(system, tmp_path):
    """A run of 20 frames has one time origin for 20 lags, and a single value no scatter."""
    observable = VACF(20, spacing=5 * STEP)
    result = fit(lj(), point_of(system, observable), replace(SHORT, steps=100), validation=ENGINE, progress=False)
    evidence = Evidence("Argon", result, units="lj")
    page = write_report(tmp_path, evidence).read_text(encoding="utf-8")
    assert ">nan" not in page
    assert "(noise unknown)" in told(deviation_rows(evidence, 0)[0])
    assert "nan" not in result.summary()


def test_the_result_of_every_kind_is_drawn_and_written(without_rdf, tmp_path):
    result = without_rdf.result
    for j in range(len(OTHERS)):
        assert result.plot(target=j).get_legend() is not None
    result.save(tmp_path / "result")
    names = {path.name for path in (tmp_path / "result").iterdir()}
    assert {f"curve_0_{kind}.csv" for kind in ("adf", "structure_factor", "vacf", "pressure", "spread")} <= names


def test_the_history_names_what_was_compared(system):
    point = point_of(system, RDF_TARGET, ADF(1.6, 12))
    result = fit(lj(), point, BRIEF, validation=None, progress=False)
    row = result.history[0]
    assert {"mean_dg", "mean_dg_error", "mean_dp", "mean_dp_error", "D", "mean_dp:0:adf"} <= set(row)
    assert "P" not in row


@pytest.mark.parametrize("targets", [[name] for name in OTHERS] + [[name, "g"] for name in OTHERS], ids="+".join)
def test_the_gradient_through_the_dynamics_is_that_of_central_differences(system, targets):
    potential = lj()
    point = point_of(system, *(RDF_TARGET if name == "g" else OTHERS[name] for name in targets)).bound(potential)
    batch = Batch.of([point], 2)
    start = batch.system.thermalized(kT=batch.kT, seed=1)
    integrator = NoseHooverChain(STEP, kT=batch.kT)
    parameters = [p for p in potential.parameters() if p.requires_grad]

    def loss():
        return batch.loss(simulate(start, potential, integrator, 20, save_every=5, adjoint=SHORT.gradient))

    # tables have a continuous second derivative and no more: differences converge with the first power of the step
    check = check_gradient(loss, parameters, step=1e-5, tolerance=1e-6)
    assert abs(check.analytic[0]) > 1e-6


@pytest.mark.parametrize("targets", [["ADF"], ["S(q)"], ["own"], ["S(q)", "g"]], ids="+".join)
def test_the_reweighted_gradient_is_that_of_central_differences(system, targets):
    point = point_of(system, *(RDF_TARGET if name == "g" else OTHERS[name] for name in targets))
    potential = lj()
    statistics = FrameStatistics.of(ENGINE.run(potential, point, seed=1), potential, point)
    parameters = [p for p in potential.parameters() if p.requires_grad]
    _, gradients = reweighted_gradient(potential, [point], [statistics])
    for parameter, gradient in zip(parameters, gradients, strict=True):
        values = []
        for step in (-2e-4, -1e-4, 1e-4, 2e-4):
            with torch.no_grad():
                parameter += step
            values.append(reweighted_gradient(potential, [point], [statistics])[0])
            with torch.no_grad():
                parameter -= step
        numeric = (8.0 * (values[2] - values[1]) - (values[3] - values[0])) / 1.2e-3
        assert float(gradient) == pytest.approx(numeric, rel=1e-6)


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "own"])
@pytest.mark.parametrize("method", [IBI, IMC, GaussNewton, IHNC, RelativeEntropy], ids=lambda m: m.__name__)
def test_methods_that_work_with_g_of_r_refuse_others_by_name(system, method, name):
    observable = OTHERS[name]
    with pytest.raises(ValueError, match=f"targets: {observable.kind} of liquid is a {type(observable).__name__}, and"):
        fit(lj(), point_of(system, RDF_TARGET, observable), method(ENGINE), validation=None, progress=False)


def test_the_dilute_engine_refuses_others_before_the_fit(system):
    message = "targets: adf of liquid is a ADF, and DiluteEngine works with g"
    point = point_of(system, ADF(1.6, 12))
    for method, validation in ((SHORT, DiluteEngine()), (Reweighting(DiluteEngine(), pretraining=None), None)):
        with pytest.raises(ValueError, match=message):
            fit(lj(), point, method, validation=validation, progress=False)


def test_a_pressure_among_the_targets_is_that_of_the_fitted_potential(system):
    """DiffSim changes its potential, whose pressure is the one that the independent run has recorded."""
    result = fit(lj(), point_of(system, Pressure()), SHORT, validation=ENGINE, progress=False)
    measurement = result.measurements[0]
    assert float(measurement.values[0]) == pytest.approx(measurement.pressure, rel=1e-9)
    assert result.state_points[0].targets[0].observable.potential is result.potential


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


@pytest.mark.parametrize("observable", [OTHERS["VACF"], OTHERS["P"]], ids=["VACF", "P"])
@pytest.mark.parametrize("method", [BRIEF, DiffSim(STEP, epochs=1, gradient=ReweightedGradient())])
def test_reweighting_refuses_what_is_no_function_of_one_configuration(system, method, observable):
    point = point_of(system, observable)
    message = f"targets: {observable.kind} of liquid is a {type(observable).__name__}"
    with pytest.raises(ValueError, match=f"{message}, .* reweighting needs observables of single"):
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
