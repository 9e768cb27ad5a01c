"""ADF: random directions, crystals, gradients, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from sampling import seed as shifted
from sampling import sigmas

from asediff.observables import ADF
from asediff.system import System


def gas(n_atoms=300, length=8.0, seed=0):
    rng = np.random.default_rng(seed)
    return Atoms(f"Ar{n_atoms}", positions=length * rng.random((n_atoms, 3)), cell=[length] * 3, pbc=True)


@pytest.mark.sampled
def test_random_directions_give_a_sine():
    adf, n = ADF(1.8, 18), 40
    p = adf(System.from_atoms([gas(seed=shifted(k)) for k in range(n)]))
    expected = 0.5 * torch.sin(torch.deg2rad(adf.centers)) * torch.pi / 180
    # the kernel, as wide as a bin of 10 degrees, leaves a sine smaller by exp(-σ²/2); beyond the inner bins it meets
    # the ends
    expected *= math.exp(-0.5 * math.radians(10.0) ** 2)
    error = (p.mean(0) - expected)[3:-3].abs()
    limit = sigmas(n, comparisons=len(error)) * p.std(0)[3:-3] / n**0.5
    assert bool((limit < 0.05 * expected[3:-3]).all())
    assert bool((error < limit).all())


@pytest.mark.sampled
def test_density_integrates_to_one():
    adf = ADF(2.0, 60)
    # What is lost is the weight beyond 0 and 180 degrees, which few angles are near: over 25 seeds 0.0004 to 0.0009,
    # with a scatter of 0.0001.
    assert float(adf(System.from_atoms(gas(seed=shifted(0)))).sum() * 3.0) == pytest.approx(1.0, abs=3e-3)


@pytest.mark.parametrize(
    ("atoms", "cutoff", "angles"),
    [
        (bulk("Si", "diamond", a=5.43, cubic=True).repeat(2), 2.8, {109.4712: 1.0}),
        (bulk("Ar", "sc", a=3.0).repeat(3), 3.5, {90.0: 0.8, 180.0: 0.2}),
        (bulk("Ar", "fcc", a=4.0, cubic=True).repeat(2), 3.2, {60: 24 / 66, 90: 12 / 66, 120: 24 / 66, 180: 6 / 66}),
    ],
)
def test_crystals_have_their_angles(atoms, cutoff, angles):
    adf = ADF(cutoff, 180, width=1.0)
    p = adf(System.from_atoms(atoms))[0]
    for angle, share in angles.items():
        near = (adf.centers - angle).abs() < 8.0
        # at 180 degrees half of the kernel lies beyond the window
        assert float(p[near].sum()) == pytest.approx(0.5 * share if angle == 180.0 else share, abs=1e-6)


def test_batch_equals_its_members():
    images = [gas(100, seed=1), bulk("Ar", "fcc", a=2.4, cubic=True).repeat(3)]
    images[1].rattle(0.1, seed=0)
    adf = ADF(2.2, 30)
    both = adf(System.from_atoms(images))
    for k, image in enumerate(images):
        assert torch.allclose(both[k], adf(System.from_atoms(image))[0], rtol=1e-12)


def test_gradient():
    system = System.from_atoms(gas(8, 4.2, seed=3))
    positions = system.positions.clone().requires_grad_()
    adf = ADF(2.0, 6)
    assert torch.autograd.gradcheck(lambda x: adf(system.replace(positions=x)), positions, eps=1e-6, atol=1e-6)


def test_collinear_neighbours_have_a_finite_gradient():
    system = System.from_atoms(bulk("Ar", "sc", a=3.0).repeat(3))
    positions = system.positions.clone().requires_grad_()
    ADF(3.5, 30)(system.replace(positions=positions)).square().sum().backward()
    assert bool(torch.isfinite(positions.grad).all())


def test_bad_settings_are_refused():
    for arguments, message in (
        ({"cutoff": 0.0, "bins": 10}, "cutoff=0.0"),
        ({"cutoff": 2.0, "bins": 0}, "bins=0"),
        ({"cutoff": 2.0, "bins": 10, "onset": 2.5}, "onset=2.5"),
        ({"cutoff": 2.0, "bins": 10, "width": 0.0}, "width=0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            ADF(**arguments)
    lone = Atoms("Ar2", positions=[[0, 0, 0], [1, 0, 0]], cell=[8] * 3, pbc=True)
    with pytest.raises(ValueError, match="no atom of system 0 has two neighbours"):
        ADF(2.0, 10)(System.from_atoms(lone))
