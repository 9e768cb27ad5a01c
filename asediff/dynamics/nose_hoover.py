"""The Nosé-Hoover chain: what a user hands in, and its step map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from asediff.checks.described import Doc
from asediff.dynamics.defaults import relaxation_time
from asediff.dynamics.integrators import Thermostatted, check_positive
from asediff.dynamics.steppers import State, Stepper
from asediff.kernels import arrays
from asediff.system import System


@dataclass(frozen=True)
class NoseHooverChain(Thermostatted):
    """Nosé-Hoover chain thermostat: constant temperature, deterministic, time-reversible.

    Martyna, Tuckerman, Tobias, Klein, Mol. Phys. 87, 1117 (1996), one half chain update before and one after a
    velocity-Verlet step. Q_1 = N_f kT tdamp², Q_j = kT tdamp², N_f = 3 n - 3 for each system of n atoms: the centre of
    mass must be at rest, as `System.thermalized` leaves it, and stays so.
    """

    kind: ClassVar[str] = "nose_hoover"
    tdamp: Annotated[float | None, Doc("relaxation time of the thermostat; default 100 timesteps", unit="time")] = None
    tchain: Annotated[int, Doc("number of thermostats in the chain, at least 1")] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tdamp is not None:
            check_positive("tdamp", self.tdamp)
        if self.tchain < 1:
            raise ValueError(f"tchain: {self.tchain} is too short; give at least 1")

    def stepper(self, system: System, kT: Tensor | float | None = None) -> Stepper:
        """See `Integrator.stepper`."""
        tdamp = relaxation_time(self.timestep, self.tdamp)
        return ChainStepper(self.timestep, system, self.thermal_energy(system, kT), tdamp, self.tchain)


class ChainStepper(Stepper):
    """Nosé-Hoover chain around velocity Verlet; `first` and `second` mirror each other, so -dt is the inverse."""

    kT: Tensor

    def __init__(self, timestep: float, system: System, kT: Tensor, tdamp: float, tchain: int) -> None:
        super().__init__(timestep, system, kT)
        self.tchain = tchain
        masses = (kT * tdamp**2)[:, None].repeat(1, tchain)
        masses[:, 0] = masses[:, 0] * self.n_dof
        self.chain_masses = masses

    def compiled(self, first_step: int) -> arrays.Stepper | None:
        """See `Stepper.compiled`."""
        if type(self) is not ChainStepper:
            return None
        return self._form(arrays.NOSE_HOOVER, first_step, chain_masses=self.chain_masses)

    def _pull(self, j: int, rates: list[Tensor], twice_kinetic: Tensor) -> Tensor:
        if j == 0:
            return (twice_kinetic - self.n_dof * self.kT) / self.chain_masses[:, 0]
        return (self.chain_masses[:, j - 1] * rates[j - 1] ** 2 - self.kT) / self.chain_masses[:, j]

    def _half_chain(self, state: State, delta: float) -> State:
        last = self.tchain - 1
        twice_kinetic = self.twice_kinetic(state.velocities)
        rates = list(state.thermostat[:, 1].unbind(-1))

        def push(j: int) -> None:
            if j == last:
                rates[j] = rates[j] + 0.5 * delta * self._pull(j, rates, twice_kinetic)
            else:
                friction = torch.exp(-0.25 * delta * rates[j + 1])
                rates[j] = (rates[j] * friction + 0.5 * delta * self._pull(j, rates, twice_kinetic)) * friction

        for j in range(last, -1, -1):
            push(j)
        scale = torch.exp(-delta * rates[0])
        twice_kinetic = twice_kinetic * scale * scale
        positions = state.thermostat[:, 0] + delta * torch.stack(rates, dim=-1)
        for j in range(self.tchain):
            push(j)
        return State(
            state.positions,
            state.velocities * (scale if self.n_systems == 1 else scale[self.system_idx][:, None]),
            torch.stack([positions, torch.stack(rates, dim=-1)], dim=1),
        )

    def first(self, state: State, forces: Tensor, *, backward: bool = False) -> State:
        """Half chain update, half kick."""
        delta = 0.5 * (-self.timestep if backward else self.timestep)
        return Stepper.first(self, self._half_chain(state, delta), forces, backward=backward)

    def second(self, state: State, forces: Tensor, *, backward: bool = False) -> State:
        """Half kick, half chain update."""
        delta = 0.5 * (-self.timestep if backward else self.timestep)
        return self._half_chain(Stepper.first(self, state, forces, backward=backward), delta)

    def rates(self, state: State, forces: Tensor) -> State:
        """Nosé-Hoover chain equations of motion."""
        chain = list(state.thermostat[:, 1].unbind(-1))
        twice_kinetic = self.twice_kinetic(state.velocities)
        pulls = [self._pull(j, chain, twice_kinetic) for j in range(self.tchain)]
        pulls = [p - chain[j] * chain[j + 1] if j + 1 < self.tchain else p for j, p in enumerate(pulls)]
        acceleration = forces / self.masses - chain[0][self.system_idx][:, None] * state.velocities
        return State(state.velocities, acceleration, torch.stack([state.thermostat[:, 1], torch.stack(pulls, -1)], 1))

    def conserved(self, state: State, potential_energy: Tensor) -> Tensor:
        """Kinetic + potential energy + Σ Q_j v_j²/2 + N_f kT ξ_1 + kT Σ_{j>1} ξ_j."""
        xi, rates = state.thermostat.unbind(1)
        bath = 0.5 * (self.chain_masses * rates**2).sum(-1)
        bath = bath + self.kT * (self.n_dof * xi[:, 0] + xi[:, 1:].sum(-1))
        return super().conserved(state, potential_energy) + bath
