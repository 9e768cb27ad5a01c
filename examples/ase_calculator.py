"""A potential as an ASE calculator: relax a crystal, then run ASE's own dynamics with it."""

from ase import units
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from asediff import AsediffCalculator, LennardJones, PairPotential, System

argon = PairPotential(LennardJones(epsilon=0.0104, sigma=3.40), cutoff=8.5)  # eV, Å
atoms = bulk("Ar", a=5.4, cubic=True) * 4
atoms.calc = AsediffCalculator(argon)

BFGS(FrechetCellFilter(atoms, hydrostatic_strain=True), logfile=None).run(fmax=1e-3, steps=30)
print(f"lattice constant {atoms.cell[0, 0] / 4:.3f} Å, energy {atoms.get_potential_energy() / len(atoms):.4f} eV/atom")

warm = System.from_atoms(atoms).thermalized(temperature_K=60.0, seed=1)
atoms.set_velocities(warm.velocities.numpy())
before = atoms.get_total_energy()
VelocityVerlet(atoms, timestep=4 * units.fs).run(50)
print(f"after 0.2 ps: {atoms.get_temperature():.0f} K, total energy off by {atoms.get_total_energy() - before:.1e} eV")
