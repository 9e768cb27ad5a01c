"""The exact gradient of an observable through molecular dynamics, and a check by central differences."""

import torch

from asediff import RDF, LennardJones, NoseHooverChain, PairPotential, System, lattices, simulate

start = System.from_atoms(lattices.fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.02)).thermalized(kT=1.0, seed=1)
integrator = NoseHooverChain(timestep=0.005, kT=1.0)
rdf = RDF(r_max=2.3, bins=60)


def height_of_first_peak(epsilon: float) -> tuple[torch.Tensor, LennardJones]:
    radial = LennardJones(epsilon=epsilon, sigma=1.0)
    trajectory = simulate(start, PairPotential(radial, cutoff=2.3), integrator, steps=60, save_every=10)
    return rdf(trajectory).max(), radial


height, radial = height_of_first_peak(1.0)
height.backward()
h = 1e-5
with torch.no_grad():
    difference = (height_of_first_peak(1.0 + h)[0] - height_of_first_peak(1.0 - h)[0]) / (2 * h)
gradient = float(radial.epsilon.grad)
print(f"d(first peak)/d(epsilon) = {gradient:.8f}, by central differences {float(difference):.8f}")
assert abs(gradient - difference) < 1e-5 * abs(gradient)
