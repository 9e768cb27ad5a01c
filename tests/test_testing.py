"""The public checks pass what is right and name what is wrong."""

import pytest
import torch

from asediff.dynamics import VelocityVerlet
from asediff.lattices import fcc, mixture
from asediff.neighbors import Neighbors
from asediff.potentials import LennardJones, PairPotential, Potential, Repulsion, TemperatureDependent
from asediff.simulate import simulate
from asediff.system import System
from asediff.testing import (
    HarmonicDimer,
    HarmonicTrap,
    check_gradient,
    check_potential,
    verlet_oscillator,
)


@pytest.fixture
def liquid() -> System:
    return System.from_atoms(fcc("Ar", density=0.8, cells=3, mass=1.0, rattle=0.08, seed=1))


def test_a_pair_potential_passes_to_far_better_than_the_tolerance(liquid: System):
    errors = check_potential(PairPotential(LennardJones(), 2.5), liquid)
    assert max(vars(errors).values()) < 1e-7


def test_a_mixture_in_a_triclinic_batch_passes():
    atoms = mixture(fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.08), {"Ar": 0.5, "Kr": 0.5}, seed=3)
    sheared = atoms.copy()
    cell = sheared.cell.array.copy()
    cell[1, 0] = 0.9
    cell[2, 1] = -0.7
    sheared.set_cell(cell, scale_atoms=True)
    potential = PairPotential(
        {("Ar", "Ar"): LennardJones(), ("Ar", "Kr"): LennardJones(1.1, 1.03), ("Kr", "Kr"): LennardJones(1.3, 1.06)},
        2.3,
    )
    check_potential(potential, System.from_atoms([atoms, sheared]))


def test_a_temperature_dependent_sum_of_potentials_passes(liquid: System):
    entropic = PairPotential(TemperatureDependent(LennardJones(), Repulsion(0.3, 1.0, 6)), 2.2)
    check_potential(entropic + PairPotential(Repulsion(0.1), 1.5), liquid, kT=0.8)


class _Wrong(Potential):
    """A pair potential with one defect, chosen by name."""

    def __init__(self, defect: str) -> None:
        super().__init__()
        self.defect = defect
        self.cutoff = 2.5
        self.right = PairPotential(LennardJones(), 2.5)

    def energy(self, system: System, neighbors: Neighbors, kT: torch.Tensor | None = None) -> torch.Tensor:
        total = self.right.energy(system, neighbors)
        if self.defect == "translation":
            total = total + (1e-3 * system.positions[:, 0]).sum()
        if self.defect == "rotation":
            total = total + neighbors.displacements(system)[:, 2].square().clamp(max=1.0).sum()
        if self.defect == "permutation":
            total = total + (0.01 * neighbors.displacements(system).norm(dim=1) * (neighbors.first == 0)).sum()
        if self.defect == "beyond_cutoff":
            distance = neighbors.displacements(system).norm(dim=1)
            total = total + torch.where(distance < 2.6, distance.clamp(max=2.6) - 2.6, 0.0).sum()
        return total

    def energy_forces(self, system, neighbors, kT=None):
        energy, forces = super().energy_forces(system, neighbors, kT)
        return energy, 1.001 * forces if self.defect == "force" else forces


@pytest.mark.parametrize("defect", ["force", "translation", "rotation", "permutation", "beyond_cutoff"])
def test_each_defect_is_found(liquid: System, defect: str):
    with pytest.raises(AssertionError, match="relative error"):
        check_potential(_Wrong(defect), liquid)


def test_float32_is_refused(liquid: System):
    with pytest.raises(ValueError, match="system: finite differences need"):
        check_potential(PairPotential(LennardJones(), 2.5), liquid.to(dtype=torch.float32))


def test_the_gradient_check_accepts_the_right_gradient_and_restores_the_parameters():
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    check = check_gradient(lambda: (x**3).sum() * x[0].sin(), [x])
    assert check.error < 1e-9
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_the_gradient_check_rejects_a_wrong_gradient():
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    with pytest.raises(AssertionError, match="differs from central differences"):
        check_gradient(lambda: x[0] ** 2 + x[1].detach() * x[1], [x])


def test_the_gradient_check_accepts_a_parameter_that_the_loss_does_not_know():
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    unused = torch.tensor([5.0], dtype=torch.float64, requires_grad=True)
    check_gradient(lambda: x.exp().sum(), [x, unused])


def test_the_closed_form_oscillator_is_the_power_of_the_step_matrix():
    position, velocity, squared, dt = 0.7, -0.3, 2.1, 0.31
    x, v = position, velocity
    for _ in range(17):
        v -= 0.5 * dt * squared * x
        x += dt * v
        v -= 0.5 * dt * squared * x
    tensors = (torch.tensor(value, dtype=torch.float64) for value in (position, velocity, squared))
    closed_x, closed_v = verlet_oscillator(*tensors, timestep=dt, steps=17)
    assert float(closed_x) == pytest.approx(x, rel=1e-12)
    assert float(closed_v) == pytest.approx(v, rel=1e-12)


def test_the_harmonic_dimer_follows_its_closed_form():
    dimer = HarmonicDimer()
    end = simulate(dimer.system(), dimer.potential(), VelocityVerlet(0.05), 200).system
    separation, rate = dimer.after(0.05, 200)
    # 200 rotations of a 2x2 matrix: a few hundred round-offs.
    torch.testing.assert_close(end.positions[1] - end.positions[0], separation, rtol=0, atol=1e-12)
    torch.testing.assert_close(end.velocities[1] - end.velocities[0], rate, rtol=0, atol=1e-12)


def test_the_harmonic_trap_pulls_each_atom_to_the_origin():
    system = HarmonicDimer().system()
    neighbors = Neighbors(*(torch.zeros(0, dtype=torch.int64),) * 2, torch.zeros(0, 3), 1.0, 0.1, system.positions)
    energy, forces = HarmonicTrap(0.6).energy_forces(system, neighbors)
    torch.testing.assert_close(forces.detach(), -0.6 * system.positions)
    torch.testing.assert_close(energy.detach(), 0.3 * system.positions.square().sum()[None])
