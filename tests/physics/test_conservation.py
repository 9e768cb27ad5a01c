"""Conserved quantities stay where they are over long runs.

Run with `pytest -m slow tests/physics`.
"""

from __future__ import annotations

import numpy as np
import pytest
from sampling import seed

from asediff.dynamics import Integrator, NoseHooverChain, VelocityVerlet
from asediff.lattices import fcc
from asediff.potentials import ForceShifted, LennardJones, PairPotential, Switched, Truncation
from asediff.simulate import simulate
from asediff.system import System
from asediff.trajectory import Trajectory

pytestmark = pytest.mark.slow

ATOMS = 108


def _run(integrator: Integrator, steps: int, truncation: Truncation | None = None) -> Trajectory:
    start = System.from_atoms(fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.02)).thermalized(kT=2.0, seed=seed(6))
    potential = PairPotential(LennardJones(), 2.5, truncation=truncation).requires_grad_(False)
    warm = simulate(start, potential, NoseHooverChain(0.004, kT=1.0, tdamp=0.3), 20_000)
    return simulate(warm.system, potential, integrator, steps, save_every=100)


def _drift_and_noise(trajectory: Trajectory) -> tuple[float, float]:
    """Slope of a straight line through the conserved quantity and the scatter about it, both per atom."""
    time, energy = trajectory.times.numpy(), trajectory.conserved[:, 0].numpy() / ATOMS
    slope, offset = np.polyfit(time, energy, 1)
    return float(slope), float(np.std(energy - slope * time - offset))


@pytest.mark.parametrize("truncation", [Switched(), ForceShifted()], ids=["switched", "force-shifted"])
def test_energy_does_not_drift(truncation: Truncation):
    trajectory = _run(VelocityVerlet(0.004), 500_000, truncation)
    slope, noise = _drift_and_noise(trajectory)
    duration = 500_000 * 0.004
    print(f"{type(truncation).__name__}: drift {slope:.1e} kT per atom and time unit, scatter {noise:.1e} kT per atom")
    # Over the whole run (2000 time units, about 4 ns of argon) the energy stays within a few parts in ten thousand.
    assert abs(slope) * duration < 2e-3
    assert noise < 1e-3


def test_the_scatter_of_the_energy_falls_with_the_square_of_the_time_step():
    noise = [_drift_and_noise(_run(VelocityVerlet(dt), round(400 / dt)))[1] for dt in (0.002, 0.004, 0.008)]
    slope = np.polyfit(np.log([0.002, 0.004, 0.008]), np.log(noise), 1)[0]
    print(f"scatter {noise}, slope {slope:.3f}")
    assert slope == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("tchain", [1, 3])
def test_the_conserved_quantity_of_a_chain_does_not_drift(tchain: int):
    trajectory = _run(NoseHooverChain(0.004, kT=1.0, tdamp=0.3, tchain=tchain), 500_000)
    slope, noise = _drift_and_noise(trajectory)
    print(f"chain of {tchain}: drift {slope:.1e} kT per atom and time unit, scatter {noise:.1e} kT per atom")
    assert abs(slope) * 500_000 * 0.004 < 5e-3
    assert noise < 2e-3
