"""Potentials of any kind go through `fit`: gradients, reweighting, checkpoints, results, refusals."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from asediff.dynamics import NoseHooverChain
from asediff.dynamics.adjoints import CheckpointAdjoint, ReversibleAdjoint
from asediff.engines import DiluteEngine, TorchEngine
from asediff.fitting import IBI, DiffSim, ExactWeights, GaussNewton, LinearResponse, RelativeEntropy, Reweighting, fit
from asediff.fitting.gradients.diffsim import Batch
from asediff.fitting.gradients.reweighting import ReweightedGradient, matching_loss, reweighted_gradient
from asediff.fitting.statistics import energies
from asediff.fitting.statistics.energies import EnergyStatistics
from asediff.fitting.statistics.histograms import FrameStatistics
from asediff.fitting.statistics.samples import statistics_of
from asediff.lammps import LammpsEngine
from asediff.neighbors import NeighborList
from asediff.observables import ADF, VACF, StructureFactor
from asediff.potentials import LennardJones, PairPotential, Potential, Shifted, load_potential
from asediff.simulate import simulate
from asediff.targets.target import StatePoint, Target
from asediff.testing import check_gradient

from .many_body import CUTOFF, KINDS, LocalDensity, fluid

ENGINE = TorchEngine(0.005, equilibration_steps=20, steps=60, save_every=10)


def descent(**changes) -> DiffSim:
    settings = {
        "epochs": 4, "steps": 20, "save_every": 10, "equilibration_steps": 20, "checkpoint_every": 2, "decay": 1.0,
    }  # fmt: skip
    return DiffSim(**({"timestep": 0.005} | settings | changes))


def learn(potential, method, point=None, **options):
    options = {"validation": None, "progress": False} | options
    return fit(potential, fluid() if point is None else point, method, **options)


def frames(potential: Potential, point: StatePoint, steps: int = 200):
    with torch.no_grad():
        start = point.system.thermalized(kT=point.kT, seed=3)
        return simulate(start, potential, NoseHooverChain(0.005, kT=point.kT), steps, save_every=10)


# ------------------------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize("adjoint", [CheckpointAdjoint(every=1), ReversibleAdjoint(keep=0)], ids=["kept", "reversed"])
@pytest.mark.parametrize("kind", ["many-body", "sum"])
def test_the_gradient_through_the_dynamics_is_that_of_the_loss(kind, adjoint):
    potential, batch = KINDS[kind](), Batch.of([fluid(pressure=0.3), fluid(kT=1.4)], replicas=2)
    for part in potential.tabulated():
        part.n_knots = 4000  # the second derivative of a table has kinks, which central differences see
    start = batch.system.thermalized(kT=batch.kT, seed=1)
    integrator = NoseHooverChain(0.005, kT=batch.kT)

    def loss():
        run = simulate(start, potential, integrator, 20, save_every=10, adjoint=adjoint)
        return batch.loss(run) + batch.pressure_loss(run, potential)

    check_gradient(loss, list(potential.parameters()), step=1e-5, tolerance=1e-6)


def reweighted_loss(potential: Potential, run, point: StatePoint, before: torch.Tensor) -> torch.Tensor:
    """The definition, frame by frame: averages with weights exp(-β (U_θ - U_0))."""
    weights = torch.softmax(-(energies_of(potential, run, point) - before) / point.kT, 0)
    values = [weights @ t.observable.per_frame(run)[:, 0] for t in point.targets]
    return sum(t.weight * t(value) for t, value in zip(point.targets, values, strict=True))


def energies_of(potential: Potential, run, point: StatePoint) -> torch.Tensor:
    kT = torch.tensor([float(point.kT)], dtype=torch.float64)
    found = [potential.energy(frame, NeighborList(potential.cutoff).update(frame), kT) for frame in run]
    return torch.cat(found)


@pytest.mark.parametrize("kind", ["many-body", "sum", "changed"])
def test_the_reweighted_gradient_is_that_of_the_reweighted_estimator(kind):
    """For a g(r), a structure factor and angles."""
    others = (StructureFactor(8.0, 3, q_min=2.0), ADF(1.5, 8))
    potential, point = KINDS[kind](), fluid()
    targets = [*point.targets, *(Target(seen, 0.1 * torch.ones(len(seen.centers))) for seen in others)]
    point = StatePoint(point.system, targets, kT=1.0)
    run = frames(potential, point)
    before = energies_of(potential, run, point).detach()
    statistics = statistics_of(run, potential, point)
    assert isinstance(statistics, EnergyStatistics)
    loss, gradient = reweighted_gradient(potential, [point], [statistics])
    expected = reweighted_loss(potential, run, point, before)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-12)
    direct = torch.autograd.grad(ReweightedGradient().loss(run, potential, [point], 1, 0.1), [*potential.parameters()])
    size = torch.cat([g.reshape(-1) for g in gradient]).norm()
    for a, b, parameter in zip(gradient, direct, potential.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
        numbers = parameter.data.view(-1)
        for k in range(numbers.numel()):
            values = []
            for h in (2e-4, 1e-4, -1e-4, -2e-4):
                numbers[k] += h
                with torch.no_grad():
                    values.append(float(reweighted_loss(potential, run, point, before)))
                numbers[k] -= h
            numerical = (8.0 * (values[1] - values[2]) - (values[0] - values[3])) / 12e-4
            assert float(a.reshape(-1)[k]) == pytest.approx(numerical, abs=1e-6 * float(size))


@pytest.mark.parametrize("at_once", [2**15, 100])
def test_reweighted_averages_away_from_the_run_have_the_gradient_of_their_values(at_once, monkeypatch):
    """With the pressure, whose virial is a derivative itself, and with frames in several parts that are taken again."""
    monkeypatch.setattr(energies, "ATOMS_AT_ONCE", at_once)
    potential, point = LocalDensity(), fluid(pressure=0.5)
    statistics = EnergyStatistics.of(frames(potential, point), potential, point)
    assert len(statistics.batches) == (1 if at_once > 1000 else 7)
    with torch.no_grad():
        potential.coefficients += torch.tensor([0.02, -0.003])

    def loss():
        return matching_loss([point], [statistics.averages(statistics.view(potential))], 0.7)

    check_gradient(loss, list(potential.parameters()), step=1e-5)
    check_gradient(
        lambda: statistics.log_partition(statistics.view(potential)), list(potential.parameters()), step=1e-5
    )


def test_energies_and_histograms_of_a_pair_potential_say_the_same():
    potential, point = PairPotential(LennardJones(0.9, 0.95), CUTOFF, truncation=Shifted()), fluid(pressure=0.5)
    run = frames(potential, point)
    by_pairs = FrameStatistics.of(run, potential, point, bins=40_000)
    by_energy = EnergyStatistics.of(run, potential, point)
    changed = PairPotential(LennardJones(0.95, 0.96), CUTOFF, truncation=Shifted())
    one, other = by_pairs.averages(by_pairs.view(changed)), by_energy.averages(by_energy.view(changed))
    assert float(one.efficiency) < 0.9
    # bins of 4.5e-5 and tables that are off by less than 1e-4 of the largest force
    torch.testing.assert_close(one.values[0], other.values[0], rtol=0, atol=2e-3)
    torch.testing.assert_close(one.pressure, other.pressure, rtol=2e-3, atol=0)
    assert isinstance(statistics_of(run, potential, point), FrameStatistics)


def test_joined_frames_are_those_of_both_runs():
    potential, point = LocalDensity(), fluid()
    run = frames(potential, point)
    parts = [EnergyStatistics.of(piece, potential, point) for piece in (run[:8], run[8:])]
    changed = LocalDensity((-0.5, 0.04))
    whole, joined = EnergyStatistics.of(run, potential, point), parts[0].joined(parts[1])
    a, b = (statistics.averages(statistics.view(changed)) for statistics in (whole, joined))
    torch.testing.assert_close(a.values[0], b.values[0])


# ------------------------------------------------------------------------------------------------ fits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gradient", [CheckpointAdjoint(every=1), ReweightedGradient()], ids=["adjoint", "reweighted"])
def test_a_resumed_fit_ends_with_the_same_bits(kind, gradient, tmp_path):
    whole = learn(KINDS[kind](), descent(gradient=gradient))
    learn(KINDS[kind](), descent(gradient=gradient, epochs=2), folder=tmp_path)
    resumed = learn(KINDS[kind](), descent(gradient=gradient), folder=tmp_path, resume=True)
    assert len(resumed.history) == 4
    assert [row["loss"] for row in whole.history] == [row["loss"] for row in resumed.history]
    for a, b in zip(whole.potential.parameters(), resumed.potential.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [p.n_knots for p in whole.potential.tabulated()] == [p.n_knots for p in resumed.potential.tabulated()]


@pytest.mark.parametrize("expansion", [LinearResponse(), ExactWeights(0.2)], ids=["linear", "exact"])
@pytest.mark.parametrize("kind", ["many-body", "sum"])
def test_reweighting_lowers_the_reweighted_loss_and_resumes_with_the_same_bits(kind, expansion, tmp_path):
    def method(iterations: int) -> Reweighting:
        return Reweighting(ENGINE, iterations, inner_steps=8, expansion=expansion, growth=1.0, damp_noise=False)

    whole = learn(KINDS[kind](), method(2), fluid(pressure=0.5))
    for row in whole.history:  # on the same frames: no noise
        assert row["loss_reweighted"] < row["loss"]
    learn(KINDS[kind](), method(1), fluid(pressure=0.5), folder=tmp_path)
    resumed = learn(KINDS[kind](), method(2), fluid(pressure=0.5), folder=tmp_path, resume=True)
    for a, b in zip(whole.potential.parameters(), resumed.potential.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_fit_with_defaults_is_validated_saved_and_loaded(tmp_path):
    result = learn(LocalDensity(), descent(), validation=ENGINE)
    assert len(result.measurements) == 1
    assert any("LocalDensity is not pairwise: Boltzmann pre-training was left out" in note for note in result.notes)
    assert not any("tabulation" in note for note in result.notes)
    result.save(tmp_path / "fit")
    assert {path.name for path in (tmp_path / "fit").iterdir()} >= {"potential.pt", "history.csv", "result.json"}
    assert not (tmp_path / "fit/potential.csv").exists()
    loaded = load_potential(tmp_path / "fit/potential.pt", into=LocalDensity())
    assert torch.equal(loaded.coefficients, result.potential.coefficients)


@pytest.mark.parametrize("method", [descent(), Reweighting(ENGINE, 1, inner_steps=3)], ids=["DiffSim", "Reweighting"])
def test_what_does_not_require_a_gradient_stays(method):
    potential = KINDS["sum"]()
    potential.terms[0].radial().sigma.requires_grad_(requires_grad=False)
    result = learn(potential, method)
    pairs, many = result.potential.terms
    assert torch.equal(pairs.radial().sigma, potential.terms[0].radial().sigma)
    assert not torch.equal(pairs.radial().epsilon, potential.terms[0].radial().epsilon)
    assert not torch.equal(many.coefficients, potential.terms[1].coefficients)


def test_the_tables_in_a_sum_are_made_fine_enough():
    potential = PairPotential(LennardJones(0.5, 0.9), CUTOFF, n_knots=20) + LocalDensity(wall=0.05)
    result = learn(potential, descent(epochs=1))
    (table,) = result.potential.tabulated()
    assert table.tabulation_error(1.0).within()
    assert sum("tabulation error" in note for note in result.notes) == 1
    assert potential.tabulated()[0].n_knots == 20


# ------------------------------------------------------------------------------------------------ refusals


class Shapeless(LocalDensity):
    def energy(self, system, neighbors, kT=None):
        return super().energy(system, neighbors, kT).sum()


class Singular(LocalDensity):
    def energy(self, system, neighbors, kT=None):
        return super().energy(system, neighbors, kT) / 0.0


def frozen() -> Potential:
    return LocalDensity().requires_grad_(requires_grad=False)


def correlated() -> StatePoint:
    vacf = VACF(2, spacing=0.05)
    return fluid(target=Target(vacf, torch.ones(len(vacf.centers))))


REFUSED = [
    (
        LocalDensity,
        IBI(DiluteEngine(), 1),
        {},
        "potential: LocalDensity is not pairwise, and IBI would see its",
    ),
    (LocalDensity, GaussNewton(ENGINE, 1), {}, "LocalDensity is not pairwise, and GaussNewton would"),
    (LocalDensity, RelativeEntropy(ENGINE, 1), {}, "LocalDensity is not pairwise, and RelativeEntropy would"),
    (LocalDensity, Reweighting(DiluteEngine(), 1), {}, "LocalDensity is not pairwise, and DiluteEngine would"),
    (LocalDensity, descent(), {"validation": DiluteEngine()}, "LocalDensity is not pairwise, and DiluteEngine would"),
    (KINDS["sum"], IBI(ENGINE, 1), {}, "SumPotential is not pairwise, and IBI would see its pair functions alone"),
    (frozen, descent(), {}, "potential: LocalDensity has no trainable parameter; give one"),
    (frozen, Reweighting(ENGINE, 1), {}, "potential: LocalDensity has no trainable parameter; give one"),
    (nn.Linear, descent(), {}, "potential: type is no Potential; derive it from asediff.Potential"),
    (Shapeless, descent(), {}, r"potential: Shapeless.energy gives a tensor of shape \(\) for one system; give"),
    (Singular, descent(), {}, "potential: Singular.energy is -?inf at the start of density"),
    (
        LocalDensity,
        descent(gradient=ReweightedGradient()),
        {"point": correlated()},
        "a VACF, which is no function of one configuration",
    ),
    (
        LocalDensity,
        Reweighting(ENGINE, 1),
        {"point": correlated()},
        "a VACF, which is no function of one configuration",
    ),
]


@pytest.mark.parametrize(("make", "method", "options", "message"), REFUSED)
def test_what_cannot_be_fitted_is_refused_in_one_line_before_any_work(make, method, options, message, monkeypatch):
    monkeypatch.setattr(type(method), "run", None)
    with pytest.raises(ValueError, match=message) as caught:
        learn(make if make is nn.Linear else make(), method, **options)
    assert "\n" not in str(caught.value)


def test_lammps_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(LammpsEngine, "check", lambda *_: None)
    monkeypatch.setattr(DiffSim, "run", None)
    engine = LammpsEngine(0.005, 100, 10, units="lj")
    with pytest.raises(ValueError, match="LocalDensity is not pairwise, and LammpsEngine would see"):
        learn(LocalDensity(), descent(), validation=engine)
    with pytest.raises(ValueError, match="LocalDensity is not pairwise, and LammpsEngine would see"):
        learn(LocalDensity(), Reweighting(engine, 1))


def test_a_checkpoint_of_another_potential_is_refused(tmp_path):
    learn(LocalDensity(), descent(epochs=2), folder=tmp_path)
    with pytest.raises(ValueError, match="was written by a fit of another potential; start anew"):
        learn(KINDS["sum"](), descent(), folder=tmp_path, resume=True)


def test_the_potential_that_is_handed_in_is_not_changed():
    potential = KINDS["sum"]()
    before = copy.deepcopy(potential.state_dict())
    learn(potential, descent(epochs=1))
    assert all(torch.equal(before[name], value) for name, value in potential.state_dict().items())
