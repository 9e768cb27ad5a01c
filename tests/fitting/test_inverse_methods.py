"""Every inverse method recovers the potential where g(r) = exp(-u/kT) exactly."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from asediff.engines import DiluteEngine
from asediff.fitting import (
    IBI,
    IHNC,
    IMC,
    ExactWeights,
    GaussNewton,
    LinearResponse,
    RelativeEntropy,
    Reweighting,
    SafeUpdate,
    Tikhonov,
    TruncatedSVD,
    VotcaUpdate,
    fit,
)
from asediff.fitting.iterations import undersampled
from asediff.fitting.statistics.samples import sample
from asediff.fitting.tables.newton import NewtonProblem
from asediff.fitting.tables.tabulated import pair_targets, table_basis
from asediff.observables import RDF
from asediff.potentials import LennardJones, PairPotential, Shifted
from asediff.targets.target import StatePoint, Target

from .closed_form import dilute_point, inside, lennard_jones, mixture_potential, shallower

ENGINE = DiluteEngine()


def run(start, points, method):
    return fit(start, points, method, validation=ENGINE, progress=False)


@pytest.mark.parametrize("update", [SafeUpdate(smoothing=0, max_change=50.0), VotcaUpdate()])
def test_ibi_needs_one_step_from_any_start(update):
    point = dilute_point(lennard_jones())
    result = run(shallower(lennard_jones()), point, IBI(ENGINE, 1, update=update))
    assert result.history[0]["mean_dg"] > 0.05
    # at zero density the update is exact; the rows of the core are not compared
    assert inside(result.potential, point) < 1e-9


def test_ibi_starts_from_boltzmann_inversion():
    point = dilute_point(lennard_jones(), kT=1.3)
    result = run(None, point, IBI(ENGINE, 1, update=VotcaUpdate()))
    assert result.history[0]["mean_dg"] < 1e-8


@pytest.mark.parametrize("regularization", [Tikhonov(1e-9), TruncatedSVD(1e-9)])
@pytest.mark.parametrize("method", [IMC, GaussNewton])
def test_newton_methods_converge_quadratically(method, regularization):
    point = dilute_point(lennard_jones())
    result = run(shallower(lennard_jones()), point, method(ENGINE, 5, regularization=regularization, trust_radius=1.0))
    differences = [row["mean_dg"] for row in result.history]
    assert differences[1] < 0.1 * differences[0]
    assert differences[2] < 0.1 * differences[1]
    assert inside(result.potential, point, low=0.95) < 1e-4


def test_imc_and_gauss_newton_agree_with_the_closed_form_matrix():
    truth = lennard_jones()
    point = dilute_point(truth)
    start = shallower(truth)
    one = sample(ENGINE, start, point, seed=0)
    pairs = pair_targets([point], 2.0)
    rows = [torch.arange(45, 99).numpy()]
    problem = NewtonProblem(pairs, rows, table_basis(pairs, rows), [one], [point])
    jacobian = one.statistics.response(problem.basis).values[0]
    g = one.measurement.values[0]
    # J = -β g δ: the knots are the bin centres, where each cardinal function is 1 or 0
    expected = -torch.diag(g)[:, 45:99]
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-9)


def test_mixture_of_three_pairs():
    truth = mixture_potential()
    point = dilute_point(truth)
    for method in (
        IBI(ENGINE, 1, update=SafeUpdate(smoothing=0, max_change=50.0)),
        IMC(ENGINE, 6, regularization=Tikhonov(1e-9)),
        GaussNewton(ENGINE, 6, regularization=Tikhonov(1e-9)),
    ):
        result = run(shallower(truth), point, method)
        # the rows with g < 0.02, which belong to the core, are off by up to half of that
        assert max(d.mean for d in result.deviations()[0]) < 1e-3, type(method).__name__


def test_multistate_uses_every_state_point():
    truth = lennard_jones()
    points = [dilute_point(truth, kT=kT) for kT in (0.8, 1.0, 1.5)]
    for method in (
        IBI(ENGINE, 1, update=SafeUpdate(smoothing=0, max_change=50.0)),
        GaussNewton(ENGINE, 6, regularization=Tikhonov(1e-9)),
        IMC(ENGINE, 6, regularization=Tikhonov(1e-9)),
    ):
        result = run(shallower(truth), points, method)
        assert max(rows[0].mean for rows in result.deviations()) < 1e-3, type(method).__name__


def test_votca_rule_refuses_several_state_points():
    points = [dilute_point(lennard_jones(), kT=kT) for kT in (0.8, 1.0)]
    with pytest.raises(ValueError, match="SafeUpdate"):
        run(None, points, IBI(ENGINE, 1, update=VotcaUpdate()))


def test_taper_leaves_the_cutoff_alone():
    point = dilute_point(lennard_jones())
    update = SafeUpdate(smoothing=0, max_change=50.0, taper=True)
    plain = run(shallower(lennard_jones()), point, IBI(ENGINE, 1, update=dataclasses.replace(update, taper=False)))
    tapered = run(shallower(lennard_jones()), point, IBI(ENGINE, 1, update=update))
    start = shallower(lennard_jones())
    r = torch.tensor([1.0, 1.9])
    changes = [(p.potential.function(r) - start.function(r)).detach() for p in (plain, tapered)]
    torch.testing.assert_close(changes[1], changes[0] * (1 - r / 2.0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("truth", [lennard_jones(), mixture_potential()])
def test_hypernetted_chain_is_exact_at_low_density(truth):
    point = dilute_point(truth, density=1e-6)
    method = IHNC(ENGINE, 5, regularization=Tikhonov(1e-9), trust_radius=1.0, cutoff=2.0)
    differences = [row["mean_dg"] for row in run(shallower(truth), point, method).history]
    assert differences[1] < 0.1 * differences[0]
    assert differences[2] < 0.1 * differences[1]


@pytest.mark.parametrize(
    "method",
    [
        Reweighting(ENGINE, 2, inner_steps=200, learning_rate=0.01, pretraining=None),
        Reweighting(ENGINE, 2, inner_steps=200, learning_rate=0.01, pretraining=None, expansion=ExactWeights(0.5)),
        RelativeEntropy(ENGINE, 2, inner_steps=200, learning_rate=0.01, pretraining=None, expansion=ExactWeights(0.5)),
        RelativeEntropy(ENGINE, 3, inner_steps=200, learning_rate=0.01, pretraining=None),
    ],
)
def test_two_parameters_are_found_by_reweighting_and_relative_entropy(method):
    point = dilute_point(lennard_jones())
    start = PairPotential(LennardJones(0.8, 1.02), 2.0, truncation=Shifted())
    found = run(start, point, method).potential.radial()
    assert abs(found.epsilon.item() - 1.0) < 0.01
    assert abs(found.sigma.item() - 1.0) < 0.002


def test_relative_entropy_says_that_it_does_not_fit_the_pressure():
    point = dataclasses.replace(dilute_point(lennard_jones()), pressure=0.1)
    result = run(shallower(lennard_jones()), point, RelativeEntropy(ENGINE, 1, inner_steps=1, pretraining=None))
    assert any("does not fit the pressure" in note for note in result.notes)


def test_relative_entropy_has_no_use_for_the_closure():
    with pytest.raises(ValueError, match="prior_frames_per_row=4 concerns g"):
        RelativeEntropy(ENGINE, expansion=LinearResponse())


def test_stops_within_noise_and_keeps_what_it_found():
    point = dilute_point(lennard_jones())
    exact = shallower(lennard_jones(), factor=1.0)
    result = run(exact, point, IBI(ENGINE, 5, stop_within_noise=True))
    assert "within the noise" not in result.stopped  # no noise here: a difference of 1e-9 counts
    assert len(result.history) == 5


def test_checkpoint_continues_bit_for_bit(tmp_path):
    point = dilute_point(lennard_jones())
    whole = run(shallower(lennard_jones()), point, IMC(ENGINE, 4))
    fit(shallower(lennard_jones()), point, IMC(ENGINE, 2), validation=None, folder=tmp_path, progress=False)
    rest = fit(
        shallower(lennard_jones()), point, IMC(ENGINE, 4), validation=None, folder=tmp_path, resume=True, progress=False
    )
    assert len(rest.history) == 4
    for a, b in zip(whole.potential.parameters(), rest.potential.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_missing_pair_is_named():
    point = dilute_point(mixture_potential())
    fewer = StatePoint(point.system, point.targets[:2], kT=1.0)
    with pytest.raises(ValueError, match="Kr-Kr"):
        run(None, fewer, IBI(ENGINE, 1))


def test_an_empty_histogram_is_named():
    point = dilute_point(lennard_jones())
    measured = ENGINE.measure(lennard_jones(), point, seed=0)
    empty = dataclasses.replace(measured, values=(torch.zeros_like(measured.values[0]),))
    with pytest.raises(ValueError, match="all zero"):
        undersampled([point], [empty])


def test_empty_bins_are_named_once():
    point = dilute_point(lennard_jones())
    measured = ENGINE.measure(lennard_jones(), point, seed=0)
    values = measured.values[0].clone()
    values[50:53] = 0.0
    (note,) = undersampled([point], [dataclasses.replace(measured, values=(values,))])
    assert "3 bins between 1.02 and 1.06 are empty" in note


def test_other_bins_at_another_state_point_are_refused():
    first = dilute_point(lennard_jones())
    second = StatePoint(first.system, [_coarser()], kT=1.0)
    with pytest.raises(ValueError, match="bins"):
        run(None, [first, second], IBI(ENGINE, 1))


def _coarser():
    return Target(RDF(2.02, 50, r_min=0.02, width=0), torch.ones(50))
