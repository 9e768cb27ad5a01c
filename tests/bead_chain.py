"""Chains of beads, and the bonds of a user's own that hold them together."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from torch import Tensor, nn

from asediff.neighbors import Neighbors, nearest_vectors
from asediff.potentials import LennardJones, PairPotential, Potential
from asediff.system import System
from asediff.topology import Topology


class HarmonicBonds(Potential):
    """k (r - r0)² / 2 for each bond of the topology."""

    cutoff = None

    def __init__(self, stiffness: float = 30.0, length: float = 1.0) -> None:
        super().__init__()
        self.stiffness = nn.Parameter(torch.tensor(stiffness, dtype=torch.float64))
        self.length = nn.Parameter(torch.tensor(length, dtype=torch.float64))

    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        first, second = system.topology.bonds.unbind(1)
        r = nearest_vectors(system, first, second).norm(dim=1)
        energy = 0.5 * self.stiffness * (r - self.length) ** 2
        return energy.new_zeros(system.n_systems).index_add(0, system.system_idx[first], energy)


def chains(
    n_chains: int = 8, n_beads: int = 5, *, box: float = 6.5, seed: int = 0, weight_14: float = 0.5, **exclude: int
) -> System:
    """Zigzag chains of beads of mass 1 that cross the periodic boundary, somewhat off their lattice."""
    rng = np.random.default_rng(seed)
    step = np.array([0.8, 0.6, 0.0])
    chain = np.cumsum([step * (1, (-1) ** k, 1) for k in range(n_beads)], axis=0)
    side = int(np.ceil(n_chains ** (1 / 2)))
    starts = [(box - 1.5, box * (k // side) / side, box * (k % side) / side) for k in range(n_chains)]
    positions = np.concatenate([chain + start for start in starts]) + rng.normal(
        scale=0.05, size=(n_chains * n_beads, 3)
    )
    atoms = Atoms(["Ar"] * len(positions), positions, masses=np.ones(len(positions)), cell=[box] * 3, pbc=True)
    bonds = [(k, k + 1) for k in range(len(positions) - 1) if (k + 1) % n_beads]
    topology = Topology.from_bonds(bonds, n_atoms=len(atoms), weight_14=weight_14, **exclude)
    return System.from_atoms(atoms).replace(topology=topology)


def pairs(cutoff: float = 2.5) -> PairPotential:
    return PairPotential(LennardJones(0.8, 0.95), cutoff)
