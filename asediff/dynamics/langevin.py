"""Langevin dynamics: what a user hands in, and its step map."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from asediff.checks.described import Doc
from asediff.dynamics.integrators import Thermostatted, check_positive
from asediff.dynamics.steppers import State, Stepper
from asediff.kernels import arrays
from asediff.kernels.noise import philox_normal
from asediff.system import System


@dataclass(frozen=True)
class Langevin(Thermostatted):
    """Langevin dynamics by BAOAB (Leimkuhler and Matthews, Appl. Math. Res. eXpress 2013, 34).

    The noise is a function of (seed, atom, step), so a run can be replayed and reversed exactly.
    """

    kind: ClassVar[str] = "langevin"
    friction: Annotated[float, Doc("rate at which velocities are forgotten", unit="1/time")] = 1.0
    seed: Annotated[
        int, Doc("of the noise, below 2^62; system k uses seed + k: batches need seeds farther apart than that")
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("friction", self.friction)
        if not 0 <= self.seed < 2**62:
            raise ValueError(f"seed: {self.seed} is not within 0..2^62; give a non-negative whole number")

    def at(self, kT: float | Tensor, *, seed: int = 0) -> Langevin:
        """See `Thermostatted.at`; seeds of runs are far apart, so that the systems of two batches share no noise."""
        own = super().at(kT)
        assert isinstance(own, Langevin)
        return replace(own, seed=(self.seed + 2_654_435_761 * seed) % 2**62)

    def of_part(self, first: int) -> Langevin:
        """See `Integrator.of_part`."""
        return replace(self, seed=(self.seed + first) % 2**62)

    def stepper(self, system: System, kT: Tensor | float | None = None) -> Stepper:
        """See `Integrator.stepper`."""
        return LangevinStepper(self.timestep, system, self.thermal_energy(system, kT), self.friction, self.seed)


class LangevinStepper(Stepper):
    """BAOAB; the noise of a step is a function of its number, so the inverse knows it."""

    kT: Tensor

    def __init__(self, timestep: float, system: System, kT: Tensor, friction: float, seed: int) -> None:
        super().__init__(timestep, system, kT)
        self.friction = friction
        self.seeds = (seed + torch.arange(self.n_systems, dtype=torch.int64, device=system.device)) % 2**62
        self.n_dof = (3.0 * system.counts).to(system.dtype)
        self.atom_in_system = torch.arange(system.n_atoms, device=system.device) - system.offsets[system.system_idx]
        self.decay = math.exp(-friction * timestep)
        self.spread = torch.sqrt(kT[system.system_idx][:, None] * (1.0 - self.decay**2) / self.masses)

    def compiled(self, first_step: int) -> arrays.Stepper | None:
        """See `Stepper.compiled`."""
        if type(self) is not LangevinStepper:
            return None
        return self._form(arrays.LANGEVIN, first_step, seeds=self.seeds, friction=self.friction)

    def rates(self, state: State, forces: Tensor) -> State:
        """A stochastic equation has no time derivative.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "integrator: Langevin dynamics has no continuous adjoint; use ReversibleAdjoint or CheckpointAdjoint"
        )

    def _kick(self, step: int) -> Tensor:
        noise = philox_normal(self.seeds, self.system_idx, self.atom_in_system, step)
        return self.spread * noise.to(self.spread)

    def move(self, state: State, step: int, *, backward: bool = False) -> State:
        """Half drift, Ornstein-Uhlenbeck step, half drift."""
        half = 0.5 * (-self.timestep if backward else self.timestep)
        positions = state.positions + half * state.velocities
        if backward:
            velocities = (state.velocities - self._kick(step)) / self.decay
        else:
            velocities = self.decay * state.velocities + self._kick(step)
        return State(positions + half * velocities, velocities, state.thermostat)
