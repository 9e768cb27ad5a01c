"""Target and StatePoint: what they hold, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms, units

from asediff.observables import RDF
from asediff.system import System
from asediff.targets.target import L2, JensenShannon, StatePoint, Target

OBSERVABLE = RDF(3.0, 30)
ONES = torch.ones(30, dtype=torch.float64)


def system(n_systems=1, **properties):
    rng = np.random.default_rng(0)
    return System.from_atoms(
        [Atoms("Ar100", positions=8 * rng.random((100, 3)), cell=[8] * 3, pbc=True, **properties)] * n_systems
    )


def test_reference_may_be_an_array_or_a_tensor():
    for reference in (ONES, ONES.float(), np.ones(30), [1.0] * 30):
        target = Target(OBSERVABLE, reference)
        assert target.reference.dtype == torch.float64
        assert torch.equal(target.reference, ONES)


def test_reference_keeps_no_history_and_no_alias():
    array = np.ones(30)
    target = Target(OBSERVABLE, array)
    array[:] = 5.0
    assert torch.equal(target.reference, ONES)
    assert not Target(OBSERVABLE, ONES.clone().requires_grad_()).reference.requires_grad


def test_target_from_curve_is_smeared_like_the_observable():
    r = np.linspace(0.0, 5.0, 300)
    g = 1.0 + np.exp(-20 * (r - 1.0) ** 2)
    target = Target.from_curve(OBSERVABLE, r, g, weight=2.0, loss=JensenShannon(), error=0.1, name="g")
    assert torch.equal(target.reference, OBSERVABLE.project(r, g))
    assert float(target.reference.max()) < g.max()
    assert (target.weight, target.loss, target.name) == (2.0, JensenShannon(), "g")
    assert torch.equal(target.error, torch.full((30,), 0.1, dtype=torch.float64))


def test_calling_a_target_gives_its_loss():
    target = Target(OBSERVABLE, ONES, weight=7.0)
    assert float(target(ONES + 0.1)) == pytest.approx(0.01)
    assert target.loss == L2()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": np.ones(29)}, r"reference: shape \(29,\) does not fit the 30 values"),
        ({"reference": np.full(30, np.nan)}, "reference: a value is not finite"),
        ({"reference": -np.ones(30)}, "reference: g=-1 at r=0.05 is negative"),
        ({"reference": np.zeros(30)}, "reference: all values are zero"),
        ({"reference": ONES, "weight": 0.0}, "weight=0.0"),
        ({"reference": ONES, "weight": float("nan")}, "weight=nan"),
        ({"reference": ONES, "error": -0.1}, "error: -0.1 is negative"),
    ],
)
def test_bad_targets_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Target(OBSERVABLE, **arguments)


def test_state_point_takes_kt_or_kelvin():
    target = Target(OBSERVABLE, ONES)
    assert StatePoint(system(), target, kT=1.5).kT == 1.5
    assert StatePoint(system(), [target], temperature_K=300.0).kT == pytest.approx(300.0 * units.kB)
    for both in ({}, {"kT": 1.0, "temperature_K": 300.0}):
        with pytest.raises(ValueError, match="exactly one"):
            StatePoint(system(), target, **both)


def test_state_point_defaults():
    point = StatePoint(system(), Target(OBSERVABLE, ONES), kT=1.0)
    assert point.density == pytest.approx(100 / 512)
    assert point.name == "density 0.1953, kT 1"
    assert (point.weight, point.pressure) == (1.0, None)


def test_names_of_targets_are_unique():
    targets = [Target(OBSERVABLE, ONES), Target(RDF(3.0, 30, pair=("Ar", "Ar")), ONES), Target(OBSERVABLE, ONES)]
    names = [target.name for target in StatePoint(system(), targets, kT=1.0).targets]
    assert names == ["rdf-1", "rdf_Ar-Ar", "rdf-2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kT": 0.0}, "kT=0.0: nothing moves"),
        ({"kT": -1.0}, "kT: -1.0 is not a temperature"),
        ({"temperature_K": -300.0}, "temperature_K: -300.0 is not a temperature"),
        ({"kT": 1.0, "weight": -1.0}, "weight=-1.0"),
    ],
)
def test_bad_state_points_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StatePoint(system(), Target(OBSERVABLE, ONES), **arguments)


def test_a_batch_is_not_a_state_point():
    with pytest.raises(ValueError, match="system: a batch of 2"):
        StatePoint(system(2), Target(OBSERVABLE, ONES), kT=1.0)
