"""A thermostat of your own: one class for the step, one for the choice, and gradients come along.

Nothing is registered. The step is no compiled one, so the run is taken step by step in torch, with the pair forces
still from the kernels; the inverse of the step is not needed for an exact gradient. Fits and engines take it, too.
"""

from dataclasses import dataclass

import torch

from asediff import RDF, LennardJones, PairPotential, StatePoint, System, Target, TorchEngine, lattices, simulate
from asediff.dynamics import Stepper, Thermostatted


class WeakCoupling(Stepper):
    """Velocity Verlet, then velocities scaled towards kT (Berendsen et al., doi:10.1063/1.448118)."""

    def __init__(self, timestep, system, kT, tau):
        super().__init__(timestep, system, kT)
        self.share = timestep / tau

    def second(self, state, forces, *, backward=False):
        state = super().second(state, forces, backward=backward)
        if backward:
            return state
        measured = self.twice_kinetic(state.velocities) / self.n_dof
        scale = torch.sqrt(1.0 + self.share * (self.kT / measured - 1.0))
        return state._replace(velocities=state.velocities * scale[self.system_idx][:, None])


@dataclass(frozen=True)
class Berendsen(Thermostatted):
    """The choice: what a user hands to `simulate` with a temperature, and to engines and `DiffSim` without one."""

    tau: float = 0.1

    def stepper(self, system, kT=None):
        return WeakCoupling(self.timestep, system, self.thermal_energy(system, kT), self.tau)


atoms = lattices.fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.02)
hot = System.from_atoms(atoms).thermalized(kT=2.0, seed=1)
lj = LennardJones(epsilon=1.0, sigma=1.0)
trajectory = simulate(hot, PairPotential(lj, cutoff=2.3), Berendsen(0.005, kT=1.0), 150, save_every=30)
g = RDF(r_max=2.3, bins=60)(trajectory)
g.max().backward()
print("kT of the frames:", ", ".join(f"{float(frame.get_kT()):.2f}" for frame in trajectory.detach()))
engine = TorchEngine(equilibration_steps=150, steps=150, save_every=30, integrator=Berendsen(0.005))
point = StatePoint(hot, Target(RDF(r_max=2.3, bins=60), g.detach()[0]), kT=1.0)
print(f"kT of an engine's run: {engine.measure(PairPotential(lj, cutoff=2.3), point, seed=1).kT:.2f}")
print(f"d(first peak)/d(sigma) = {float(lj.sigma.grad):.4f}")
