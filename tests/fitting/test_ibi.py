"""IBI: VOTCA's rule step by step, tasks, cycles and pressure corrections."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sampling import seed

from asediff import votca
from asediff.engines import DiluteEngine, TorchEngine
from asediff.fitting import (
    IBI,
    SafeUpdate,
    Scale,
    SimplePressure,
    Smooth,
    SplineSmooth,
    VirialPressure,
    VotcaUpdate,
    fit,
)
from asediff.fitting.tables.ibi import Conditions
from asediff.fitting.tables.tabulated import PowerCore, pair_targets
from asediff.observables import RDF
from asediff.targets.target import StatePoint, Target

from .closed_form import dilute_point, grid, lennard_jones, liquid, mixture_potential, shallower

ENGINE = DiluteEngine()


def values(potential, pair=None) -> np.ndarray:
    return potential.radial(pair).values.detach().numpy()


def test_one_iteration_is_the_chain_of_votca_operators():
    point = dilute_point(lennard_jones(), kT=1.2)
    start = shallower(lennard_jones())
    tasks = (Scale(0.7), Smooth(2), SplineSmooth(0.1))
    method = IBI(ENGINE, 1, update=VotcaUpdate(), tasks=tasks)
    result = fit(start, point, method, validation=None, progress=False)
    r = grid().centers.numpy()
    before = votca.Table(r, values(start) - values(start)[-1])
    current = votca.Table(r, ENGINE.measure(start, point, seed=0).values[0].numpy())
    target = votca.Table(r, point.targets[0].reference.numpy())
    change = votca.shift_nonbonded(votca.update_ibi_pot(target, current, before, 1.2))
    change = votca.splinesmooth(votca.smooth(votca.scale(change, 0.7), 2), 0.1)
    after = votca.add(before, votca.shift_nonbonded(change))
    np.testing.assert_allclose(values(result.potential), after.y, rtol=0, atol=1e-12)


def test_start_is_votcas_boltzmann_inversion():
    point = dilute_point(lennard_jones(), kT=1.2)
    start = IBI(ENGINE, update=VotcaUpdate()).prepare(None, [point])
    expected = votca.initial_potential(votca.Table(grid().centers.numpy(), point.targets[0].reference.numpy()), 1.2)
    np.testing.assert_allclose(values(start), expected.y, rtol=1e-12)


def test_do_potential_updates_pairs_in_turn():
    point = dilute_point(mixture_potential())
    start = shallower(mixture_potential())
    cycle = {"Ar-Ar": (1, 0), "Ar-Kr": (0, 1), "Kr-Kr": (0, 0)}
    moved = []
    for n in (1, 2):
        method = IBI(ENGINE, n, do_potential=cycle)
        potential = fit(start, point, method, validation=None, progress=False).potential
        moved.append([not np.allclose(values(potential, p), values(start, p) - values(start, p)[-1]) for p in cycle])
    assert moved == [[True, False, False], [True, True, False]]


def test_do_potential_names_an_unknown_pair():
    point = dilute_point(lennard_jones())
    with pytest.raises(ValueError, match="do_potential: no pair A-B"):
        fit(None, point, IBI(ENGINE, 1, do_potential={"A-B": (1,)}), validation=None)


@pytest.mark.parametrize("task", [SimplePressure(scale=0.1), VirialPressure(scale=1.0)])
def test_pressure_corrections_push_towards_the_target(task):
    r = grid().centers.numpy()
    nothing = votca.Table(r, np.zeros(len(r)))
    conditions = Conditions(0, 1.0, 0.7, pressure=3.0, pressure_target=1.0, g=np.where(r > 0.9, 1.0, 0.0))
    lower = task.apply(nothing, conditions).y
    higher = task.apply(nothing, dataclasses.replace(conditions, pressure=-1.0)).y
    # too much pressure asks for more attraction: a negative ramp that ends at the cutoff
    assert lower[0] < 0 < higher[0]
    assert lower[-1] == higher[-1] == 0.0
    assert abs(lower[0]) <= 0.1


def test_virial_correction_has_the_linear_response_of_the_virial():
    r = np.arange(1, 401) * 0.005
    g = np.where(r > 0.9, 1.0, 0.0)
    conditions = Conditions(0, 1.0, 0.7, pressure=0.001, pressure_target=0.0, g=g)
    ramp = VirialPressure(max_A=10.0).apply(votca.Table(r, np.zeros(len(r))), conditions).y
    # P = ... - (2π/3) ρ² ∫ r³ u' g dr, with u' = -A/r_c
    slope = -ramp[0] / (r[-1] - r[0])
    change = -(2 * np.pi / 3) * 0.7**2 * np.trapezoid(r**3 * slope * g, r)
    assert change == pytest.approx(-0.001, rel=1e-3)


def test_pressure_correction_without_a_target_is_refused():
    point = dilute_point(lennard_jones())
    with pytest.raises(ValueError, match="StatePoint"):
        fit(None, point, IBI(ENGINE, 1, tasks=(SimplePressure(0.1),)), validation=None, progress=False)


def test_power_core_continues_value_and_slope():
    r = np.arange(1, 101) * 0.02
    u = 4 * (r**-12.0 - r**-6.0)
    filled = PowerCore(points=2).fill(r, u, 45, 1.0)
    assert np.array_equal(filled[45:], u[45:])
    assert (np.diff(filled[18:47]) < 0).all()
    assert filled[44] == pytest.approx(u[44], rel=0.1)


def test_power_core_stays_repulsive_when_the_first_rows_are_noise():
    r = np.arange(1, 101) * 0.02
    u = np.where(r > 0.9, 0.3 * r, 0.0)
    filled = PowerCore().fill(r, u, 45, 1.0)
    assert (np.diff(filled[10:46]) <= 0).all()
    assert filled[15] > 5.0


def test_safe_rule_does_not_let_one_bin_lift_the_core():
    """VOTCA's rule copies the innermost row's change to the whole core; the safe one leaves it to the slope."""
    point = dilute_point(lennard_jones())
    start = shallower(lennard_jones(), factor=1.0)
    g = ENGINE.measure(start, point, seed=0).values[0].clone()
    first = int((g > 1e-10).nonzero()[0])
    noisy = g.clone()
    noisy[first] *= 50.0
    (rows,) = pair_targets([point], 2.0)
    table = values(start)
    votcas = VotcaUpdate().raw(rows, noisy[None].numpy(), table)
    safe = SafeUpdate().raw(rows, noisy[None].numpy(), table)
    assert votcas.y[0] == pytest.approx(np.log(50.0), abs=0.1)
    assert abs(safe.y[0]) < 1e-6


@pytest.mark.sampled
def test_md_run_improves_g_and_counts_its_steps():
    blank = liquid(density=0.5)
    engine = TorchEngine(0.005, equilibration_steps=500, steps=4_000, save_every=20)
    reference = engine.measure(lennard_jones(), blank, seed=seed(9)).values[0]
    target = dataclasses.replace(blank.targets[0], reference=reference)
    point = StatePoint(blank.system, target, kT=1.0)
    start = shallower(lennard_jones(), factor=0.3)
    result = fit(start, point, IBI(engine, 3), validation=None, seed=seed(1), progress=False)
    assert result.md_steps == 3 * 4_500
    first, last = result.history[0], result.history[-1]
    # Over 12 seeds mean |Δg| falls from 0.099 to 0.020, with a scatter of 0.007 and 0.002: 11 standard deviations.
    assert last["mean_dg"] < first["mean_dg"]
    assert {"mean_dg", "mean_dg_error", "D", "D_noise", "pressure", "pressure_error"} <= set(first)
    assert torch.isfinite(result.potential.radial().values).all()


@dataclasses.dataclass(frozen=True)
class OffTarget(DiluteEngine):
    """The dilute limit with error bars of 0.01, and every bin off by `size` of them, up and down in turn."""

    size: float

    def measure(self, potential, state_point, *, seed, start=None):
        exact = super().measure(potential, state_point, seed=seed, start=start)
        errors = tuple(torch.full_like(v, 0.01) for v in exact.values)
        turns = [1.0 - 2.0 * (torch.arange(len(v)) % 2) for v in exact.values]
        values = tuple(v + self.size * e * t for v, e, t in zip(exact.values, errors, turns, strict=True))
        return dataclasses.replace(exact, values=values, errors=errors)


@pytest.mark.parametrize(
    ("size", "error_of_target", "stops"),
    [(0.9, None, True), (1.1, None, False), (1.1, 0.01, True), (1.5, 0.01, False)],
)
def test_stops_when_the_difference_is_noise(size, error_of_target, stops):
    point = dilute_point(lennard_jones())
    target = dataclasses.replace(point.targets[0], error=error_of_target)
    point = StatePoint(point.system, target, kT=1.0)
    method = IBI(OffTarget(size), 2, stop_within_noise=True)
    result = fit(shallower(lennard_jones(), factor=1.0), point, method, validation=None, progress=False)
    # errors of both add in quadrature: with one of the target's own, up to 1.41 of the run's
    assert (result.stopped == "all targets met within the noise of the runs after 0 updates") == stops
    assert len(result.history) == (1 if stops else 2)


@pytest.mark.sampled
def test_runs_of_the_right_potential_end_a_fit_and_those_of_a_wrong_one_do_not():
    blank = liquid(density=0.4)
    engine = TorchEngine(0.005, equilibration_steps=500, steps=8_000, save_every=20)
    measured = engine.measure(lennard_jones(), blank, seed=seed(9))
    # Two runs of one potential differ by 1.4 of their error bars, in all bins alike at the worst; a target known to
    # 10 of them is 7 standard deviations away.
    target = dataclasses.replace(blank.targets[0], reference=measured.values[0], error=10.0 * measured.errors[0])
    point = StatePoint(blank.system, target, kT=1.0)
    method = IBI(engine, 2, stop_within_noise=True)
    right, wrong = (
        fit(shallower(lennard_jones(), factor=f), p, method, validation=None, seed=seed(1), progress=False)
        for f, p in ((1.0, point), (0.3, StatePoint(blank.system, dataclasses.replace(target, error=None), kT=1.0)))
    )
    assert right.stopped == "all targets met within the noise of the runs after 0 updates"
    # over 12 seeds this ratio is 8.6 with a scatter of 0.7
    assert wrong.history[0]["mean_dg"] > 2 * wrong.history[0]["mean_dg_error"]
    assert len(wrong.history) == 2


def test_votca_rule_refuses_smeared_bins():
    point = dilute_point(lennard_jones())
    target = Target(RDF(2.01, 100, r_min=0.01), point.targets[0].reference)
    smeared = StatePoint(point.system, target, kT=1.0)
    with pytest.raises(ValueError, match="width=0"):
        fit(None, smeared, IBI(ENGINE, 1, update=VotcaUpdate()), validation=None)
