"""The maps of one time step: each step, its exact inverse, and the quantity it conserves.

Every step has one force evaluation and the same shape,

    first (thermostat, half kick) -> move (drift) -> new forces -> second (half kick, thermostat),

so that an adjoint can walk it in either direction. Half a kick is v += (dt/2) F/m.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from asediff.kernels import arrays
from asediff.system import System

Forces = Callable[[Tensor], Tensor]


class State(NamedTuple):
    """What a step maps: positions, velocities `(n_atoms, 3)`, thermostat `(n_systems, 2, tchain)` (ξ and its rate)."""

    positions: Tensor
    velocities: Tensor
    thermostat: Tensor


class Stepper:
    """The maps of one velocity-Verlet step for one batch, and the base of the thermostatted ones.

    Of a subclass, `first`, `move` and `second` are enough; their inverse is asked for with `backward=True`, or
    `step_back` is overridden. Where the inverse is not one, `ReversibleAdjoint` sees it and takes steps again instead.

    Attributes:
        kT: `(n_systems,)`, energy, or None in the microcanonical ensemble.
        n_dof: `(n_systems,)`, degrees of freedom that the temperature is defined over.
        tchain: length of the thermostat's chain; 0 without one.
    """

    tchain = 0

    def __init__(self, timestep: float, system: System, kT: Tensor | None) -> None:
        self.timestep = timestep
        self.kT = kT
        self.masses = system.masses[:, None]
        self.system_idx = system.system_idx
        self.n_systems = system.n_systems
        self.n_dof = (3.0 * system.counts - 3.0).clamp(min=1.0).to(system.dtype)

    def compiled(self, first_step: int) -> arrays.Stepper | None:
        """What the fused kernels take to do exactly what this stepper does; None: they cannot.

        A form holds for its own class alone: a subclass changes the step in a way that no kernel knows, and says what
        it is by overriding this.

        Args:
            first_step: number of the first step, which noise depends on.
        """
        return self._form(arrays.NVE, first_step) if type(self) is Stepper else None

    def _form(
        self, kind: int, first_step: int, *, chain_masses: Tensor | None = None, seeds: Tensor | None = None,
        friction: float = 0.0,
    ) -> arrays.Stepper:  # fmt: skip
        zero = torch.zeros(self.n_systems, dtype=torch.float64, device=self.masses.device)
        return arrays.Stepper(
            kind=kind,
            timestep=self.timestep,
            kT=zero if self.kT is None else self.kT,
            n_dof=self.n_dof,
            chain_masses=zero[:, None][:, :0] if chain_masses is None else chain_masses,
            friction=zero + friction,
            seeds=zero.to(torch.int64) if seeds is None else seeds,
            first_step=first_step,
        )

    def twice_kinetic(self, velocities: Tensor) -> Tensor:
        """Σ m v² of each system `(n_systems,)`."""
        twice = self.masses * velocities * velocities
        if self.n_systems == 1:
            return twice.sum().reshape(1)
        zeros = torch.zeros(self.n_systems, dtype=velocities.dtype, device=velocities.device)
        return zeros.index_add(0, self.system_idx, twice.sum(-1))

    def start(self, system: System) -> State:
        """State at rest of the thermostat."""
        return State(system.positions, system.velocities, system.positions.new_zeros(self.n_systems, 2, self.tchain))

    def first(self, state: State, forces: Tensor, *, backward: bool = False) -> State:
        """Half kick with the old forces (`backward`: with a negative time step)."""
        dt = -self.timestep if backward else self.timestep
        return state._replace(velocities=torch.addcdiv(state.velocities, forces, self.masses, value=0.5 * dt))

    def move(self, state: State, step: int, *, backward: bool = False) -> State:
        """Drift; `backward` undoes it."""
        dt = -self.timestep if backward else self.timestep
        return state._replace(positions=torch.add(state.positions, state.velocities, alpha=dt))

    def second(self, state: State, forces: Tensor, *, backward: bool = False) -> State:
        """Half kick with the new forces."""
        return Stepper.first(self, state, forces, backward=backward)

    def step(self, state: State, forces: Tensor, force: Forces, step: int) -> tuple[State, Tensor]:
        """One step; returns the new state and the forces there."""
        state = self.move(self.first(state, forces), step)
        forces = force(state.positions)
        return self.second(state, forces), forces

    def step_back(self, state: State, forces: Tensor, force: Forces, step: int) -> tuple[State, Tensor]:
        """The exact inverse of `step`: from the state after step `step` to the one before it."""
        state = self.move(self.undo_second(state, forces), step, backward=True)
        forces = force(state.positions)
        return self.undo_first(state, forces), forces

    def undo_second(self, state: State, forces: Tensor) -> State:
        """Inverse of `second`."""
        return self.first(state, forces, backward=True)

    def undo_first(self, state: State, forces: Tensor) -> State:
        """Inverse of `first`."""
        return self.second(state, forces, backward=True)

    def rates(self, state: State, forces: Tensor) -> State:
        """Time derivative of the state: the equations of motion that the step discretises."""
        return State(state.velocities, forces / self.masses, torch.zeros_like(state.thermostat))

    def conserved(self, state: State, potential_energy: Tensor) -> Tensor:
        """Conserved quantity `(n_systems,)`, energy: here kinetic plus potential energy.

        Langevin dynamics conserves nothing; the same sum then shows its fluctuations.
        """
        return 0.5 * self.twice_kinetic(state.velocities) + potential_energy


def check_rates(stepper: Stepper) -> None:
    """Refuse a stepper whose equations of motion are inherited while its step is not.

    Raises:
        ValueError: naming the class and the remedy.
    """
    lineage = type(stepper).__mro__

    def level(name: str) -> int:
        return next(k for k, cls in enumerate(lineage) if name in cls.__dict__)

    if min(level(name) for name in ("step", "first", "move", "second")) < level("rates"):
        raise ValueError(
            f"integrator: {type(stepper).__name__} changes the step of {lineage[level('rates')].__name__} but not its "
            "equations of motion; define its `rates`, or use CheckpointAdjoint, which needs none"
        )
