"""A bead-spring polymer: a pair potential that bonded beads do not feel, and a bond term of your own.

A term that needs no list of pairs says `cutoff = None`; it reads the topology of the system. Forces, dynamics,
gradients and the calculator for ASE follow from its energy.
"""

import numpy as np
import torch
from ase import Atoms

from asediff import LennardJones, PairPotential, Potential, System, Topology, VelocityVerlet, simulate
from asediff.neighbors import nearest_vectors


class HarmonicBonds(Potential):
    """k (r - r0)² / 2 for each bond."""

    cutoff = None

    def __init__(self, stiffness, length):
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.tensor(stiffness).double())
        self.length = length

    def energy(self, system, neighbors, kT=None):
        first, second = system.topology.bonds.T
        r = nearest_vectors(system, first, second).norm(dim=1)
        energies = 0.5 * self.stiffness * (r - self.length) ** 2
        return energies.new_zeros(system.n_systems).index_add(0, system.system_idx[first], energies)


# 16 chains of 10 beads, straight and side by side
places = [(k, 2.6 * (chain // 4), 2.6 * (chain % 4)) for chain in range(16) for k in range(10)]
atoms = Atoms("Ar160", places, masses=np.ones(160), cell=[10.4] * 3, pbc=True)
bonds = [(10 * chain + k, 10 * chain + k + 1) for chain in range(16) for k in range(9)]
topology = Topology.from_bonds(bonds, n_atoms=160, exclude=2, weight_14=0.5)
system = System.from_atoms(atoms).replace(topology=topology).thermalized(kT=1.0, seed=1)

springs = HarmonicBonds(stiffness=100.0, length=1.0)
beads = PairPotential(LennardJones(epsilon=1.0, sigma=1.0), cutoff=2.5)
run = simulate(system, beads + springs, VelocityVerlet(0.004), 150, save_every=30)
ends = run.positions[:, 9::10] - run.positions[:, 0::10]
mean_square = ends.square().sum(-1).mean(1)
mean_square[-1].backward()
energy = run.conserved[:, 0]
print(topology)
print("mean square end-to-end distance:", ", ".join(f"{float(value):.1f}" for value in mean_square.detach()))
print(f"total energy {float(energy[0]):.2f}, off by at most {float((energy - energy[0]).abs().max()):.3f}")
print(f"d(the last one)/d(stiffness of the bonds) = {float(springs.stiffness.grad):.5f}")
