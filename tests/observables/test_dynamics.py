"""VACF: harmonic motion, white noise, gradients, and what is refused."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from sampling import seed, sigmas

from asediff.observables import VACF
from asediff.system import System
from asediff.trajectory import Trajectory


def trajectory(velocities, timestep=0.1, steps=None, n_systems=1):
    n_frames, n_atoms, _ = velocities.shape
    atoms = Atoms(f"Ar{n_atoms // n_systems}", positions=np.zeros((n_atoms // n_systems, 3)), cell=[9] * 3, pbc=True)
    zero = torch.zeros(n_frames, n_systems, dtype=torch.float64)
    return Trajectory(
        system=System.from_atoms([atoms] * n_systems),
        positions=torch.zeros_like(velocities),
        velocities=velocities,
        steps=torch.arange(1, n_frames + 1) if steps is None else steps,
        timestep=timestep,
        potential_energy=zero,
        pressure=zero,
    )


def oscillators(n_frames=630, omega=1.0, timestep=0.1):
    """Phases evenly spread over the atoms: the average over atoms is exact."""
    t = timestep * torch.arange(1, n_frames + 1, dtype=torch.float64)
    phase = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    speed = torch.cos(omega * t[:, None] + phase)
    return torch.stack([speed, torch.zeros_like(speed), torch.zeros_like(speed)], dim=-1)


def test_harmonic_motion_gives_a_cosine():
    vacf = VACF(40, spacing=0.1)
    c = vacf(trajectory(oscillators()))
    assert c.shape == (1, 40)
    assert torch.allclose(c[0], torch.cos(vacf.centers), rtol=0, atol=1e-12)


def test_without_normalisation_lag_zero_is_the_mean_square_velocity():
    v = oscillators()
    c = VACF(5, spacing=0.1, normalized=False)(trajectory(v))
    assert float(c[0, 0]) == pytest.approx(0.5)


@pytest.mark.sampled
def test_uncorrelated_velocities_give_a_delta():
    v = torch.randn(400, 50, 3, generator=torch.Generator().manual_seed(seed(0)), dtype=torch.float64)
    c = VACF(10, spacing=0.1)(trajectory(v))[0]
    # 391 x 50 x 3 products of unit variance, uncorrelated
    assert float(c[1:].abs().max()) < sigmas(comparisons=9) / math.sqrt(391 * 150)


def test_batch_equals_its_members():
    v = torch.randn(30, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vacf = VACF(4, spacing=0.1)
    both = vacf(trajectory(v, n_systems=2))
    for k in range(2):
        assert torch.allclose(both[k], vacf(trajectory(v[:, 4 * k : 4 * k + 4]))[0])


def test_gradient():
    v = torch.randn(6, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    base = trajectory(v.detach())
    assert torch.autograd.gradcheck(lambda x: VACF(3, spacing=0.1)(dataclasses.replace(base, velocities=x)), v)


def test_bad_spacing_and_short_trajectories_are_refused():
    run = trajectory(oscillators(20))
    with pytest.raises(ValueError, match=r"spacing=0.2: frames 0 and 1 are 0.1 apart"):
        VACF(5, spacing=0.2)(run)
    with pytest.raises(ValueError, match="n_lags=21: more than the 20 frames"):
        VACF(21, spacing=0.1)(run)
    with pytest.raises(ValueError, match="one System has no time"):
        VACF(5, spacing=0.1)(run.frame(0))
    with pytest.raises(ValueError, match="n_lags=0"):
        VACF(0, spacing=0.1)
    with pytest.raises(ValueError, match="spacing=0"):
        VACF(3, spacing=0.0)
