"""Recover epsilon and sigma of a Lennard-Jones fluid from its g(r)."""

from asediff import (
    RDF,
    DiffSim,
    LennardJones,
    PairPotential,
    StatePoint,
    System,
    Target,
    TorchEngine,
    fit,
    lattices,
)

system = System.from_atoms(lattices.fcc("Ar", density=0.6, cells=4, mass=1.0, rattle=0.05))
rdf = RDF(r_max=2.5, bins=100)
truth = PairPotential(LennardJones(epsilon=1.0, sigma=1.0), cutoff=2.5)
engine = TorchEngine(timestep=0.005, equilibration_steps=1000, steps=5000, save_every=50)

measured = engine.measure(truth, StatePoint(system, Target(rdf, rdf(system)[0]), kT=1.0), seed=1)
target = StatePoint(system, Target(rdf, measured.values[0]), kT=1.0, name="liquid")

guess = PairPotential(LennardJones(epsilon=0.7, sigma=1.05), cutoff=2.5)
method = DiffSim(timestep=0.005, epochs=100, learning_rate=4e-2, pretraining=None)
result = fit(guess, target, method, validation=engine, progress=False)

learned = result.potential.radial().config()
print(f"epsilon {learned['epsilon']:.3f} (1), sigma {learned['sigma']:.3f} (1)")
print(result.summary())
assert abs(learned["epsilon"] - 1.0) < 0.1
assert abs(learned["sigma"] - 1.0) < 0.01
