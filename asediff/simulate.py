"""simulate(): the one verb that moves atoms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from asediff.adjoints import Adjoint, ReversibleAdjoint
from asediff.chain import Chain, StrayedError, Tensors
from asediff.fused import FusedFailure, fused_form, fused_run
from asediff.integrators import Integrator, State, Stepper, check_rates
from asediff.neighbors import NeighborList, Neighbors, check_box
from asediff.potentials.base import Potential
from asediff.splines import PairSpline
from asediff.system import System
from asediff.trajectory import Trajectory

ParameterForces = Callable[[Tensor, Tensors], Tensor]


class InstabilityError(ValueError):
    """The atoms blew up: a state is not finite, or an atom moves farther than the cutoff in one step."""

    def __init__(self, timestep: float) -> None:
        super().__init__(
            f"timestep: with {timestep:g} the atoms blew up; use a shorter time step, a start without overlaps or a "
            "repulsive prior"
        )


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
    potential, integrator and adjoint are asediff's own; a subclass that changes the energy or the step, and any other
    potential, is evaluated in torch at every step.

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
        ValueError: steps or save_every below 1, a box shorter than twice the cutoff, an unknown species.
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
    check_box(system.cell, system.pbc, potential.cutoff)

    spline = potential.compiled(system, stepper.kT)
    form = fused_form(system, spline, stepper, state, steps, first_step, adjoint)
    if form is not None:
        try:
            frames, final, energy, pressure, conserved = fused_run(
                system, form, stepper, state, steps, save_every, skin
            )
        except FusedFailure as failure:
            raise InstabilityError(integrator.timestep) from failure
    else:
        frames, final, energy, pressure, conserved = _general_run(
            system, potential, spline, stepper, state, steps, save_every, first_step, adjoint, skin
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


class _Dynamics(Chain):
    """Molecular dynamics in plain torch, any potential, any device.

    The state is that of the stepper and the forces there, which every step needs and hands on.
    """

    def __init__(
        self, stepper: Stepper, forces: ParameterForces, parameters: Tensors, reach: float, n_steps: int,
        save_every: int, first_step: int,
    ) -> None:  # fmt: skip
        self.stepper, self.forces, self.parameters, self.reach = stepper, forces, parameters, reach
        self.n_steps, self.save_every, self.first_step = n_steps, save_every, first_step

    @property
    def timestep(self) -> float:
        return self.stepper.timestep

    def start(self, state: State) -> Tensors:
        return *state, self.forces(state.positions, self.parameters)

    def step(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        after, forces = self.stepper.step(
            State(*state[:3]), state[3], lambda x: self.forces(x, parameters), self.first_step + k
        )
        return *after, forces

    def step_back(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        def forces(positions: Tensor) -> Tensor:
            if not float((positions - state[0]).abs().max()) <= self.reach:
                raise StrayedError
            return self.forces(positions, parameters)

        before, there = self.stepper.step_back(State(*state[:3]), state[3], forces, self.first_step + k)
        return *before, there

    def outputs(self, state: Tensors) -> Tensors:
        return state[:3]

    def rates(self, state: Tensors, parameters: Tensors) -> Tensors:
        check_rates(self.stepper)
        rates = self.stepper.rates(State(*state[:3]), self.forces(state[0], parameters))
        return *rates, torch.zeros_like(state[3])


def _general_run(
    system: System,
    potential: Potential,
    spline: PairSpline | None,
    stepper: Stepper,
    state: State,
    steps: int,
    save_every: int,
    first_step: int,
    adjoint: Adjoint,
    skin: float | None,
) -> tuple[State, State, Tensor, Tensor, Tensor]:
    """Any potential, any device, in plain torch."""
    neighbor_list = NeighborList(potential.cutoff, skin)
    if spline is not None:
        parameters: Tensors = (spline.coefficients,)
        forces = _spline_forces(system, spline, neighbor_list, stepper.timestep)
    else:
        parameters = tuple(p for p in potential.parameters() if p.requires_grad)
        forces = _module_forces(system, potential, stepper.kT, neighbor_list, stepper.timestep)
    chain = _Dynamics(stepper, forces, parameters, potential.cutoff, steps, save_every, first_step)
    recording = adjoint.run(chain, chain.start(state))
    frames, final = State(*recording.frames), State(*recording.final[:3])
    with torch.no_grad():
        # A softened core keeps an exploded run finite: atoms that cross the whole cutoff in a step show it.
        fastest = torch.stack([frames.velocities.abs().max(), final.velocities.abs().max()]).max()
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in final)
        if not finite or not float(fastest) * stepper.timestep <= potential.cutoff:
            raise InstabilityError(stepper.timestep)
        thermodynamics = [
            _frame_thermodynamics(system, potential, spline, stepper, neighbor_list, State(*frame))
            for frame in zip(*frames, strict=True)
        ]
    energy, pressure, conserved = (torch.stack(column) for column in zip(*thermodynamics, strict=True))
    return frames, final, energy, pressure, conserved


def _spline_forces(
    system: System, spline: PairSpline, neighbor_list: NeighborList, timestep: float
) -> Callable[[Tensor, Tensors], Tensor]:
    def forces(positions: Tensor, parameters: Tensors) -> Tensor:
        moved = system.replace(positions=positions)
        local = PairSpline(
            parameters[0], spline.table_index, spline.species, spline.s_lo, spline.spacing, spline.cutoff
        )
        return local.energy_forces(moved, _current_list(neighbor_list, moved, timestep))[1]

    return forces


def _module_forces(
    system: System, potential: Potential, kT: Tensor | None, neighbor_list: NeighborList, timestep: float
) -> Callable[[Tensor, Tensors], Tensor]:
    trainable = [name for name, p in potential.named_parameters() if p.requires_grad]

    def forces(positions: Tensor, parameters: Tensors) -> Tensor:
        moved = system.replace(positions=positions)
        neighbors = _current_list(neighbor_list, moved, timestep)
        return torch.func.functional_call(
            _ForceModule(potential),
            {f"potential.{n}": p for n, p in zip(trainable, parameters, strict=True)},
            (moved, neighbors, kT),
        )

    return forces


class _ForceModule(torch.nn.Module):
    """A potential whose forward pass gives forces, so that its parameters can be swapped in one call."""

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, system: System, neighbors: Neighbors, kT: Tensor | None) -> Tensor:
        return self.potential.energy_forces(system, neighbors, kT)[1]


def _current_list(neighbor_list: NeighborList, system: System, timestep: float) -> Neighbors:
    if not bool(torch.isfinite(system.positions.detach()).all()):
        raise InstabilityError(timestep)
    return neighbor_list.update(system)


def _frame_thermodynamics(
    system: System,
    potential: Potential,
    spline: PairSpline | None,
    stepper: Stepper,
    neighbor_list: NeighborList,
    state: State,
) -> tuple[Tensor, Tensor, Tensor]:
    """Potential energy, pressure (2 K + Σ r·F)/(3 V) and conserved quantity of one frame, `(n_systems,)` each."""
    frame = system.replace(positions=state.positions)
    neighbors = neighbor_list.update(frame)
    if spline is not None:
        energy, _, virial = spline.energy_forces(frame, neighbors)
    else:
        with torch.enable_grad():
            scale = torch.ones(system.n_systems, dtype=system.dtype, device=system.device, requires_grad=True)
            scaled = frame.replace(
                positions=state.positions * scale[system.system_idx][:, None],
                cell=system.cell * scale[:, None, None],
            )
            energy = potential.energy(scaled, neighbors, stepper.kT)
            (slope,) = torch.autograd.grad(energy.sum(), scale)
        energy, virial = energy.detach(), -slope
    pressure = (stepper.twice_kinetic(state.velocities) + virial) / (3.0 * system.get_volume())
    return energy, pressure, stepper.conserved(state, energy)
