"""Potentials that are no sums over pairs, as users write them, and a small fluid to fit them to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asediff.lattices import fcc
from asediff.observables import RDF
from asediff.potentials import LennardJones, PairPotential, Potential, Repulsion, TemperatureDependent
from asediff.system import System
from asediff.targets.target import StatePoint, Target

CUTOFF = 1.8


class LocalDensity(Potential):
    """E = Σ_i c · (√ρ_i, ρ_i²) + a wall between pairs, with ρ_i = Σ_j (1 - (r_ij/r_c)²)³; c is trained."""

    wall: Tensor

    def __init__(self, coefficients: tuple[float, float] = (-0.6, 0.05), wall: float = 0.3) -> None:
        super().__init__()
        self.cutoff = CUTOFF
        self.coefficients = nn.Parameter(torch.tensor(coefficients, dtype=torch.float64))
        self.register_buffer("wall", torch.tensor(wall, dtype=torch.float64))

    def energy(self, system, neighbors, kT=None):
        r = neighbors.displacements(system).norm(dim=1)
        bump = torch.where(r < self.cutoff, (1.0 - (r / self.cutoff) ** 2) ** 3, 0.0)
        density = torch.zeros_like(system.positions[:, 0])
        density = density.index_add(0, neighbors.first, bump).index_add(0, neighbors.second, bump)
        powers = torch.stack([(density + 0.01).sqrt(), density**2], dim=1)
        pairs = torch.zeros(system.n_systems, dtype=r.dtype)
        pairs = pairs.index_add(0, system.system_idx[neighbors.first], self.wall * bump * r**-9)
        return system.sum_by_system(powers @ self.coefficients) + pairs


class Halved(PairPotential):
    """A subclass whose energy is not that of its pair functions."""

    def energy(self, system, neighbors, kT=None):
        return 0.5 * super().energy(system, neighbors, kT)

    def energy_forces(self, system, neighbors, kT=None):
        energy, forces = super().energy_forces(system, neighbors, kT)
        return 0.5 * energy, 0.5 * forces


class Argon(PairPotential):
    """A subclass that only builds its functions."""

    def __init__(self) -> None:
        super().__init__(LennardJones(0.8, 0.95), CUTOFF, n_knots=100)


KINDS = {
    "many-body": LocalDensity,
    "sum": lambda: PairPotential(LennardJones(0.5, 0.9), CUTOFF, n_knots=100) + LocalDensity(wall=0.05),
    "changed": lambda: Halved(LennardJones(1.6, 0.95), CUTOFF, n_knots=100),
    "subclass": Argon,
    "temperature": lambda: PairPotential(
        TemperatureDependent(LennardJones(0.8, 0.9) + Repulsion(0.1, 0.9), LennardJones(0.1, 0.9)), CUTOFF, n_knots=100
    ),
}
"""Makers of one potential of each kind that `fit` takes; all but the first are other forms of pair potentials."""


def fluid(
    *, kT: float = 1.0, pressure: float | None = None, target: Target | None = None, density: float = 0.55
) -> StatePoint:
    """32 atoms with a g(r) to aim at, which is no simulation's but has the shape of one."""
    system = System.from_atoms(fcc("Ar", density=density, cells=2, mass=1.0, rattle=0.05))
    rdf = RDF(CUTOFF, 16, width=0.06)
    r = rdf.centers
    wanted = (1.0 - torch.exp(-((r / 0.95) ** 12))) * (1.0 + 0.8 * torch.exp(-(((r - 1.1) / 0.2) ** 2)))
    return StatePoint(system, Target(rdf, wanted) if target is None else target, kT=kT, pressure=pressure)
