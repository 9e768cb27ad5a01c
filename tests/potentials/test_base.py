"""The interface of potentials: forces by differentiation, sums."""

import pytest
import torch

from asediff.lattices import fcc
from asediff.neighbors import NeighborList, Neighbors
from asediff.potentials import LennardJones, PairPotential, Potential, Repulsion, TemperatureDependent
from asediff.potentials.base import SumPotential
from asediff.system import System


class _Trap(Potential):
    cutoff = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.tensor(0.6, dtype=torch.float64))

    def energy(self, system: System, neighbors: Neighbors, kT: torch.Tensor | None = None) -> torch.Tensor:
        return system.sum_by_system(0.5 * self.stiffness * system.positions.square().sum(1))


class _Constant(Potential):
    cutoff = 1.0

    def energy(self, system: System, neighbors: Neighbors, kT: torch.Tensor | None = None) -> torch.Tensor:
        return torch.full((system.n_systems,), 3.0, dtype=system.dtype)


@pytest.fixture
def argon() -> System:
    return System.from_atoms(fcc("Ar", density=0.7, cells=3, rattle=0.05))


@pytest.fixture
def neighbors(argon: System) -> Neighbors:
    return NeighborList(2.5).update(argon)


def test_forces_follow_from_the_energy(argon: System, neighbors: Neighbors):
    energy, forces = _Trap().energy_forces(argon, neighbors)
    torch.testing.assert_close(forces.detach(), -0.6 * argon.positions)
    assert energy.shape == (1,)


def test_forces_are_differentiable_in_parameters_and_positions(argon: System, neighbors: Neighbors):
    trap = _Trap()
    positions = argon.positions.clone().requires_grad_()
    _, forces = trap.energy_forces(argon.replace(positions=positions), neighbors)
    by_parameter, by_position = torch.autograd.grad(forces.sum(), [trap.stiffness, positions])
    torch.testing.assert_close(by_parameter, -argon.positions.sum())
    torch.testing.assert_close(by_position, torch.full_like(positions, -0.6))


def test_nothing_is_kept_without_grad_mode(argon: System, neighbors: Neighbors):
    with torch.no_grad():
        energy, forces = _Trap().energy_forces(argon, neighbors)
    assert not energy.requires_grad
    assert not forces.requires_grad
    torch.testing.assert_close(forces, -0.6 * argon.positions)


def test_an_energy_that_ignores_the_positions_gives_no_force(argon: System, neighbors: Neighbors):
    energy, forces = _Constant().energy_forces(argon, neighbors)
    assert energy.tolist() == [3.0]
    assert not forces.any()


def test_sums_add_energies_and_take_the_larger_cutoff(argon: System, neighbors: Neighbors):
    a, b = PairPotential(LennardJones(), 2.5), PairPotential(Repulsion(), 1.4)
    total = a + b
    assert isinstance(total, SumPotential)
    assert total.cutoff == 2.5
    for whole, one, other in zip(*(p.energy_forces(argon, neighbors) for p in (total, a, b)), strict=True):
        torch.testing.assert_close(whole, one + other, rtol=1e-12, atol=1e-10)
    assert {id(p) for p in total.parameters()} == {id(p) for p in a.parameters()}


def test_sums_pass_the_temperature_on(argon: System, neighbors: Neighbors):
    entropic = PairPotential(TemperatureDependent(LennardJones(), Repulsion()), 2.5)
    kT = torch.tensor([0.7], dtype=torch.float64)
    total = (entropic + _Constant()).energy(argon, neighbors, kT)
    torch.testing.assert_close(total, entropic.energy(argon, neighbors, kT) + 3.0)


def test_adding_a_number_is_refused():
    with pytest.raises(TypeError):
        _Trap() + 1.0  # type: ignore[operator]
