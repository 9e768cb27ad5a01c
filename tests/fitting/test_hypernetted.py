"""The response of g(r) to u(r) in the hypernetted-chain closure, against solutions of its equations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

import asediff.fitting.tables.hypernetted as module
from asediff.engines import DiluteEngine
from asediff.fitting import IHNC, IMC, GaussNewton, LinearResponse, fit
from asediff.fitting.statistics.averages import potential_curve
from asediff.fitting.statistics.dilute import DiluteStatistics
from asediff.fitting.statistics.samples import sample
from asediff.fitting.tables.hypernetted import (
    closure_response,
    closure_share,
    hypernetted_response,
    untargeted_pairs,
)
from asediff.fitting.tables.newton import NewtonProblem, free_rows
from asediff.fitting.tables.tabulated import pair_targets, table_basis
from asediff.observables import RDF
from asediff.targets.target import StatePoint, Target

from .closed_form import dilute_point, lennard_jones, mixture_potential, shallower

ENGINE = DiluteEngine()
STEP, N, LONG = 0.1, 60, 180
R = (np.arange(LONG) + 0.5) * STEP
Q = (np.arange(LONG) + 0.5) * np.pi / (LONG * STEP)
SINES = np.sin(Q[:, None] * R)
DENSITIES = np.array([0.25, 0.15])


def solve_closure(beta_u):
    """g(r) of two species in the hypernetted-chain closure by iteration; `beta_u` `(2, 2, LONG)`."""
    indirect = np.zeros_like(beta_u)
    for _ in range(400):
        direct = np.exp(indirect - beta_u) - 1.0 - indirect
        c = 4.0 * np.pi * STEP * np.einsum("abr,qr->qab", direct * R, SINES) / Q[:, None, None]
        h = np.linalg.solve(np.eye(2) - c * DENSITIES, c)  # OZ: h = c + c ρ h
        gamma = np.einsum("qab,qr->abr", (h - c) * Q[:, None, None], SINES) * (Q[1] - Q[0]) / (2.0 * np.pi**2 * R)
        change, indirect = np.abs(gamma - indirect).max(), gamma
        if change < 1e-13:
            return np.exp(indirect - beta_u)
    raise AssertionError("the closure did not converge")


def soft(strengths=((2.0, 1.0), (1.0, 3.0)), bump=None):
    u = np.array(strengths)[:, :, None] * np.exp(-(R**2) / 0.8)
    if bump is not None:
        (a, b), k, size = bump
        u[a, b, k] += size
        if a != b:
            u[b, a, k] += size
    return u


def pairs_of(g):
    return np.stack([g[0, 0], g[0, 1], g[1, 1]])[:, :N]


@pytest.mark.parametrize(("which", "pair"), [(0, (0, 0)), (1, (0, 1)), (2, (1, 1))])
def test_response_is_the_derivative_of_the_closures_solution(which, pair):
    response = hypernetted_response(R[:N], pairs_of(solve_closure(soft())), DENSITIES)
    for k in (3, 9):
        high, low = (pairs_of(solve_closure(soft(bump=(pair, k, size)))) for size in (1e-4, -1e-4))
        expected = (high - low) / 2e-4
        # the response leaves out δg beyond the range of g(r)
        np.testing.assert_allclose(response[:, :, which, k], expected, rtol=0, atol=1e-6)


def test_two_names_of_one_species_respond_like_one():
    g = solve_closure(soft(((2.0, 2.0), (2.0, 2.0))))
    np.testing.assert_allclose(g[0, 0], g[0, 1], atol=1e-12)
    mixed = hypernetted_response(R[:N], pairs_of(g), DENSITIES)
    one = hypernetted_response(R[:N], g[0, :1, :N], DENSITIES.sum(keepdims=True))
    np.testing.assert_allclose(mixed[0].sum(1), one[0, :, 0], rtol=0, atol=1e-10)


def test_response_vanishes_with_the_density():
    g = np.exp(-soft()[0, :1, :N])
    response = hypernetted_response(R[:N], g, np.array([1e-9]))[0, :, 0]
    np.testing.assert_allclose(response, -np.diag(g[0]), atol=1e-6)


def response_on(rdf, density):
    """Response of one kind of atom with a smooth g(r) on the bins of an RDF, and that g(r)."""
    system = dilute_point(lennard_jones(), density=density).system
    g = (1.0 + torch.exp(-((rdf.centers - 1.5) ** 2) / 0.1)) * (1.0 - torch.exp(-(rdf.centers**8)))
    point = StatePoint(system, Target(rdf, g), kT=2.0)
    return closure_response(point, [g.numpy()])[0]["all"], g.numpy()


@pytest.mark.parametrize("r_min", [0.3, 0.305, 0.31])
def test_bins_begin_anywhere(r_min):
    plain, _ = response_on(RDF(4.0, 200, width=0), 0.3)
    rows = np.arange(40, 150)
    moved, g = response_on(RDF(r_min + 3.7, 185, r_min=r_min, width=0), 0.3)
    # the part beside -g/kT on the diagonal is smooth: it moves with the bins
    r, r_moved = 0.01 + 0.02 * np.arange(200), r_min + 0.01 + 0.02 * np.arange(185)
    diagonal = plain + np.diag(np.interp(r, r_moved, g) / 2.0)
    expected = RegularGridInterpolator((r_moved, r_moved), moved + np.diag(g) / 2.0)
    at = np.stack(np.meshgrid(r[rows], r[rows], indexing="ij"), -1)
    np.testing.assert_allclose(expected(at), diagonal[np.ix_(rows, rows)], atol=5e-4)


def test_many_bins_share_a_closure_of_wider_ones(monkeypatch):
    rdf = RDF(4.0, 400, width=0)
    exact, g = response_on(rdf, 0.3)
    monkeypatch.setattr(module, "MAX_UNKNOWNS", 110)  # bins of 0.036 in place of 0.01
    found, _ = response_on(rdf, 0.3)
    r = rdf.centers.numpy()
    # the second change reaches the end of g(r), where the window on h(r) moves by a part of a bin
    for change, allowed in ((np.exp(-(((r - 1.3) / 0.3) ** 2)), 0.01), (np.cos(2.0 * r), 0.03)):
        collective = exact @ change + g * change / 2.0
        assert np.abs(collective).max() > 0.02
        np.testing.assert_allclose(found @ change, exact @ change, rtol=0, atol=allowed * np.abs(collective).max())


def test_ihnc_names_the_pair_that_lacks_a_target():
    mixed, half = dilute_point(mixture_potential()), dilute_point(mixture_potential(), kT=1.5)
    half = StatePoint(half.system, half.targets[:1], kT=1.5)
    missing = untargeted_pairs(half)
    assert len(missing) == 2
    with pytest.raises(ValueError, match=missing[0]):
        fit(None, [mixed, half], IHNC(ENGINE, 1), validation=None, progress=False)


def test_without_noise_the_measured_response_is_taken():
    point = dilute_point(lennard_jones())
    found = [
        fit(
            shallower(lennard_jones()),
            point,
            GaussNewton(ENGINE, 1, prior_frames_per_row=n),
            validation=None,
            progress=False,
        )
        for n in (0.0, 4.0)
    ]
    for a, b in zip(*(f.potential.parameters() for f in found), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("truth", [lennard_jones(), mixture_potential()])
def test_closure_is_the_closed_form_at_low_density(truth):
    point = dilute_point(truth, density=1e-6)
    start = shallower(truth)
    one = sample(ENGINE, start, point, seed=0)

    # first-order averages: g - βg Δu
    def at(potential):
        return potential_curve(potential, float(point.kT))

    with torch.no_grad():
        by_closure = LinearResponse(prior_frames_per_row=math.inf).averages(one, at(start))(at(truth))
        exact = one.statistics.averages(at(truth), linear=True)
    for value, expected, before in zip(by_closure.values, exact.values, one.measurement.values, strict=True):
        assert float((expected - before).abs().max()) > 0.1
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)

    # the equations of the Newton-type methods
    pairs = pair_targets([point], 2.0)
    values = [one.measurement.values]
    free = [free_rows(pair, pair.of(values), 0.02) for pair in pairs]
    problem = NewtonProblem(pairs, free, table_basis(pairs, free), [one], [point])
    for method in (IMC, GaussNewton):
        found, expected = (method(ENGINE, prior_frames_per_row=n).equations(problem) for n in (math.inf, 0.0))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())


def test_share_of_the_closure_is_that_of_its_frames():
    point = dilute_point(lennard_jones())
    one = sample(ENGINE, lennard_jones(), point, seed=0)
    hundred = replace(one, statistics=Hundred(point, one.measurement.values))
    assert closure_share(hundred, 4.0, 75) == 0.75
    assert closure_share(hundred, math.inf, 75) == 1.0
    assert closure_share(hundred, 0.0, 75) == closure_share(one, 4.0, 75) == 0.0


class Hundred(DiluteStatistics):
    """As if from a hundred independent frames."""

    independent_frames = 100.0


def test_negative_prior_is_refused():
    with pytest.raises(ValueError, match="prior_frames_per_row"):
        GaussNewton(ENGINE, prior_frames_per_row=-1.0)
