"""Write a potential as a LAMMPS table, and let LAMMPS prove that it computes the same energies, forces and pressure."""

from ase import units

from asediff import (
    LennardJones,
    NoseHooverChain,
    PairPotential,
    System,
    lattices,
    simulate,
    spline_tables,
    verify_export,
    write_tables,
)

potential = PairPotential(LennardJones(epsilon=0.0104, sigma=3.40), cutoff=8.5)  # eV, Å
atoms = lattices.fcc("Ar", mass_density=1.37, cells=4)
start = System.from_atoms(atoms).thermalized(temperature_K=90.0, seed=1)
liquid = simulate(start, potential, NoseHooverChain(timestep=0.2, temperature_K=90.0), steps=500, save_every=50)

kT = 90.0 * units.kB  # eV
tables = spline_tables(potential.tabulate(liquid.system, kT), refine=2)
write_tables("argon.table", tables, "real")
report = verify_export("argon.table", potential, liquid, kT=kT)
print(report)
assert report.passed
