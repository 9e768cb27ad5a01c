"""simulate(): the one verb that moves atoms."""

from __future__ import annotations

import torch
from torch import Tensor

from asediff.dynamics.adjoints import Adjoint, ReversibleAdjoint
from asediff.dynamics.fused import FusedFailure, fused_form, fused_run
from asediff.dynamics.general import InstabilityError, general_run
from asediff.dynamics.integrators import Integrator
from asediff.dynamics.steppers import State, Stepper
from asediff.potentials.base import Potential
from asediff.system import System
from asediff.trajectory import Trajectory


def simulate(
    start: System | Trajectory,
    potential: Potential,
    integrator: Integrator,
    steps: int,
    *,
    save_every: int | None = None,
    adjoint: Adjoint | None = None,
    kT: Tensor | float | None = None,
    skin: float | None = None,
) -> Trajectory:
    """Run molecular dynamics; the trajectory is differentiable in the potential's parameters and in the start.

    A pair potential is tabulated once per call and runs in fused kernels, whatever its radial functions cost, as far as
    potential, integrator and adjoint are asediff's own. A subclass that changes the energy or the step, and any other
    potential, is moved step by step in torch; of a sum, the pair potentials are still evaluated in kernels. A box
    shorter than twice the cutoff, where pairs meet in several images, is left to torch as well.

    Args:
        start: systems to start from, or a trajectory to continue (its last state, thermostat and step count).
        potential: energy of the systems.
        integrator: time stepper, such as `NoseHooverChain(timestep=0.005, kT=1.0)`.
        steps: number of time steps.
        save_every: a frame is kept after every so many steps, a divisor of `steps`; default: one frame, at the end.
        adjoint: how the gradient is computed; default `ReversibleAdjoint()`. Without any tensor that requires a
            gradient (or under `torch.no_grad()`) nothing is kept for one.
        kT: energy, number or `(n_systems,)`; for an integrator without a temperature of its own, and for
            temperature-dependent potentials in the microcanonical ensemble.
        skin: margin of the neighbor list, length; it changes the speed, not the result.

    Returns:
        The frames, with potential energy and pressure of each and the state after the last step.

    Raises:
        ValueError: steps or save_every below 1, an unknown species.
        InstabilityError: the atoms blew up.
    """
    if steps < 1:
        raise ValueError(f"steps: {steps} is not a number of steps; give at least 1")
    save_every = steps if save_every is None else save_every
    if not 1 <= save_every <= steps or steps % save_every:
        raise ValueError(
            f"save_every: {save_every} does not divide steps ({steps}); choose a divisor, so that the last frame is "
            "the last state"
        )
    adjoint = ReversibleAdjoint() if adjoint is None else adjoint
    system = start.system if isinstance(start, Trajectory) else start
    stepper = integrator.stepper(system, kT)
    state, first_step = _start_state(start, stepper)

    form = fused_form(system, potential, stepper, state, steps, first_step, adjoint)
    if form is not None:
        try:
            frames, final, energy, pressure, conserved = fused_run(
                system, form, stepper, state, steps, save_every, skin
            )
        except FusedFailure as failure:
            raise InstabilityError(integrator.timestep) from failure
    else:
        frames, final, energy, pressure, conserved = general_run(
            system, potential, stepper, state, steps, save_every, first_step, adjoint, skin
        )
    n_frames = len(frames.positions)
    return Trajectory(
        system=system.replace(positions=final.positions, velocities=final.velocities),
        positions=frames.positions,
        velocities=frames.velocities,
        steps=first_step + save_every * torch.arange(1, n_frames + 1, device=system.device),
        timestep=integrator.timestep,
        potential_energy=energy,
        pressure=pressure,
        conserved=conserved,
        thermostat=final.thermostat,
    )


def _start_state(start: System | Trajectory, stepper: Stepper) -> tuple[State, int]:
    if isinstance(start, System):
        return stepper.start(start), 0
    state = stepper.start(start.system)
    if start.thermostat is not None and start.thermostat.shape == state.thermostat.shape:
        state = state._replace(thermostat=start.thermostat)
    return state, int(start.steps[-1]) if len(start) else 0


__all__ = ["InstabilityError", "simulate"]
