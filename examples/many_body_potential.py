"""A many-body potential of your own: fitted in two ways, saved, loaded, and attached to ASE.

What you learn: a potential is a `torch.nn.Module` with a `cutoff` and an `energy`; nothing is registered, forces and
gradients follow. Here atoms are bound by a learned function of the density around them, as in embedded-atom models.
`DiffSim` differentiates its g(r) through the dynamics; `Reweighting` takes many steps on the frames of each run,
by their energies. The reweighted loss is a function of stored frames: that it falls is no accident of noise.
"""

import tempfile
from pathlib import Path

import torch
from ase.build import bulk

from asediff import (
    RDF,
    AsediffCalculator,
    DiffSim,
    Potential,
    Reweighting,
    StatePoint,
    System,
    Target,
    TorchEngine,
    fit,
    lattices,
    load_potential,
    save_potential,
)


class LocalDensity(Potential):
    """E = Σ_i F(ρ_i) + a wall between pairs; ρ_i = Σ_j w(r_ij) with w = (1 - (r/r_c)²)³, and F a small network."""

    def __init__(self, cutoff=1.8, seed=0):
        super().__init__()
        self.cutoff = cutoff
        torch.manual_seed(seed)
        self.embedding = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()

    def energy(self, system, neighbors, kT=None):
        r = neighbors.displacements(system).norm(dim=1)
        weight = torch.where(r < self.cutoff, (1.0 - (r / self.cutoff) ** 2) ** 3, 0.0)
        density = system.positions.new_zeros(system.n_atoms)
        density = density.index_add(0, neighbors.first, weight).index_add(0, neighbors.second, weight)
        wall = density.new_zeros(system.n_atoms).index_add(0, neighbors.first, 0.3 * weight / r**9)
        return system.sum_by_system(self.embedding(density[:, None])[:, 0] + wall)


system = System.from_atoms(lattices.fcc("Ar", density=0.55, cells=2, mass=1.0, rattle=0.05))
rdf = RDF(r_max=1.8, bins=18)
engine = TorchEngine(timestep=0.005, equilibration_steps=200, steps=800, save_every=20)

# the g(r) to aim at is that of another potential of the same kind
blank = StatePoint(system, Target(rdf, rdf(system)[0]), kT=1.0)
wanted = engine.measure(LocalDensity(seed=1), blank, seed=1).values[0]
point = StatePoint(system, Target(rdf, wanted), kT=1.0)

start = LocalDensity(seed=0)
method = DiffSim(timestep=0.005, epochs=8, steps=60, save_every=10, replicas=2, equilibration_steps=200)
through_dynamics = fit(start, point, method, validation=None, progress=False)
losses = [row["loss"] for row in through_dynamics.history]
print(f"DiffSim:     loss of the first epochs {sum(losses[:3]) / 3:.4f}, of the last {sum(losses[-3:]) / 3:.4f}")

method = Reweighting(engine, iterations=2, inner_steps=20, learning_rate=0.02)
result = fit(start, point, method, validation=None, progress=False)
for row in result.history:
    print(f"Reweighting: loss of a run {row['loss']:.4f}, after steps on its frames {row['loss_reweighted']:.4f}")
    assert row["loss_reweighted"] < row["loss"]

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "potential.pt"
    save_potential(result.potential, file)  # the values; the class stays yours
    loaded = load_potential(file, into=LocalDensity())

atoms = bulk("Ar", a=1.9, cubic=True) * 2
atoms.calc = AsediffCalculator(loaded)
print(f"ASE:         {atoms.get_potential_energy() / len(atoms):.4f} per atom, loaded from the file")
