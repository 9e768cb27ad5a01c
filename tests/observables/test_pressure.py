"""Pressure: volume derivative of the energy, ideal gas, agreement of the fast and the general path, gradients."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from ase.build import bulk

from asediff.neighbors import NeighborList
from asediff.observables import Pressure
from asediff.observables.pressure import virial
from asediff.potentials import LennardJones, PairPotential
from asediff.potentials.base import Potential, SumPotential
from asediff.system import System
from asediff.trajectory import Trajectory

CUTOFF = 2.5


def potential():
    return PairPotential(LennardJones(epsilon=1.0, sigma=1.0), CUTOFF, n_knots=300)


def systems(n_systems=2):
    images = []
    for seed in range(n_systems):
        atoms = bulk("Ar", "fcc", a=1.75 + 0.05 * seed, cubic=True).repeat(3)
        atoms.rattle(0.08, seed=seed)
        images.append(atoms)
    return System.from_atoms(images).thermalized(kT=1.1, seed=3)


def trajectory(system, n_frames=3):
    generator = torch.Generator().manual_seed(0)
    shifts = 0.05 * torch.randn(n_frames, system.n_atoms, 3, generator=generator, dtype=torch.float64)
    zero = torch.zeros(n_frames, system.n_systems, dtype=torch.float64)
    return Trajectory(
        system=system,
        positions=system.positions + shifts,
        velocities=system.velocities.expand(n_frames, -1, -1),
        steps=torch.arange(1, n_frames + 1),
        timestep=1.0,
        potential_energy=zero,
        pressure=zero,
    )


def test_virial_is_the_derivative_with_respect_to_volume():
    system, lj = systems(1), potential()
    spline = lj.tabulate(system)

    def energy(scale):
        scaled = system.replace(positions=system.positions * scale, cell=system.cell * scale)
        return spline.energy(scaled, NeighborList(CUTOFF).update(scaled)).item()

    step = 1e-6
    # W = -dU/d(ln scale); the truncation is smooth enough for central differences
    numeric = -(energy(1 + step) - energy(1 - step)) / (2 * step)
    assert virial(system.positions[None], system, lj).item() == pytest.approx(numeric, rel=1e-6)


def test_fast_and_general_paths_agree():
    system, lj = systems(), potential()
    frames = trajectory(system).positions
    general = virial(frames, system, SumPotential(lj))
    assert torch.allclose(virial(frames, system, lj), general, rtol=1e-10)


def test_ideal_gas_with_kt_and_with_velocities():
    system = systems()
    nothing = PairPotential(LennardJones(epsilon=1e-300, sigma=1.0), CUTOFF)
    counts = system.counts.double()
    density = counts / system.get_volume()
    with_kT = Pressure(nothing, kT=1.1)(system)[:, 0]
    assert torch.allclose(with_kT, 1.1 * density, rtol=1e-12)
    # thermalized: 3 N - 3 degrees of freedom at exactly kT
    with_velocities = Pressure(nothing)(system)[:, 0]
    assert torch.allclose(with_velocities, 1.1 * density * (counts - 1) / counts, rtol=1e-12)


def test_per_frame_shape_and_mean():
    run = trajectory(systems())
    pressure = Pressure(potential())
    assert pressure.per_frame(run).shape == (3, 2, 1)
    assert torch.allclose(pressure(run), pressure.per_frame(run).mean(0))
    assert len(pressure.centers) == 1


def test_gradient_of_positions_and_parameters():
    system, lj = systems(1), potential()
    run = trajectory(system, 2)
    positions = run.positions.clone().requires_grad_()
    general = SumPotential(lj)
    results = []
    for model in (lj, general):
        value = Pressure(model).per_frame(dataclasses.replace(run, positions=positions)).square().sum()
        parameters = [p for p in lj.parameters() if p.requires_grad]
        results.append(torch.autograd.grad(value, [positions, *parameters]))
    for fast, slow in zip(*results, strict=True):
        assert torch.allclose(fast, slow, rtol=1e-8, atol=1e-10)


def test_gradient_equals_central_differences():
    system, lj = systems(1), potential()
    positions = system.positions[None].clone().requires_grad_()
    direction = torch.from_numpy(np.random.default_rng(0).normal(size=positions.shape))
    (gradient,) = torch.autograd.grad(virial(positions, system, lj).sum(), positions)
    step = 1e-6
    with torch.no_grad():
        up, down = (float(virial(positions + s * direction, system, lj)) for s in (step, -step))
    assert float((gradient * direction).sum()) == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_a_box_without_volume_is_refused():
    system = systems(1)
    open_box = system.replace(pbc=torch.tensor([[True, True, False]]))
    with pytest.raises(ValueError, match="pbc: system 0 is not periodic"):
        Pressure(potential())(open_box)


def test_a_potential_that_nothing_in_a_frame_calls_on_adds_nothing():
    """Energies without a graph, such as zeros where no pair is in reach, have no virial; no error either."""

    class Rare(Potential):
        cutoff = 0.5  # nearer than any atoms are

        def energy(self, system, neighbors, kT=None):
            if not len(neighbors.first):
                return system.positions.new_zeros(system.n_systems)
            raise AssertionError("there is a pair after all")

    frames = trajectory(systems())
    assert torch.equal(virial(frames.positions, frames.system, Rare()), torch.zeros(3, 2, dtype=torch.float64))
    density = frames.system.counts / frames.system.get_volume()
    torch.testing.assert_close(Pressure(Rare(), kT=1.1)(frames)[:, 0], 1.1 * density)
