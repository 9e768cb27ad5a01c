"""The maps of one time step: each step, its exact inverse, and the quantity it conserves.

Every step has one force evaluation and the same shape,

    first (thermostat, half kick) -> move (drift) -> new forces -> second (half kick, thermostat),

so that an adjoint can walk it in either direction. Half a kick is v += (dt/2) F/m.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from asediff.kernels import arrays
from asediff.kernels.noise import philox_normal
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


class LangevinStepper(Stepper):
    """BAOAB; the noise of a step is a function of its number, so the inverse knows it."""

    kT: Tensor

    def __init__(self, timestep: float, system: System, kT: Tensor, friction: float, seed: int) -> None:
        super().__init__(timestep, system, kT)
        self.friction = friction
        self.seeds = seed + torch.arange(self.n_systems, dtype=torch.int64, device=system.device)
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
