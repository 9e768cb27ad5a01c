"""Integrators: what a user chooses and hands in; the step maps that they make are in `steppers.py`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import ase.units
import torch
from torch import Tensor

from asediff.checks.described import Doc
from asediff.dynamics.defaults import relaxation_time
from asediff.dynamics.steppers import ChainStepper, Forces, LangevinStepper, State, Stepper, check_rates
from asediff.system import System

__all__ = [
    "ChainStepper",
    "Forces",
    "Integrator",
    "Langevin",
    "LangevinStepper",
    "NoseHooverChain",
    "State",
    "Stepper",
    "Thermostatted",
    "VelocityVerlet",
    "check_rates",
    "chosen_integrator",
    "default_integrator",
]


def _check(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: {value} is not a positive finite number; give {name} > 0")


def _check_temperature(name: str, value: float | Tensor) -> None:
    numbers = torch.as_tensor(value)
    if not bool((torch.isfinite(numbers) & (numbers > 0)).all()):
        raise ValueError(f"{name}: {numbers.tolist()} is not a temperature; give a finite number above zero")


def _per_system(kT: float | Tensor, system: System) -> Tensor:
    """kT as `(n_systems,)` in the type and on the device of the system."""
    value = torch.as_tensor(kT, dtype=system.dtype, device=system.device)
    if value.ndim > 1 or (value.ndim == 1 and len(value) not in (1, system.n_systems)):
        raise ValueError(
            f"kT: shape {tuple(value.shape)} does not fit {system.n_systems} systems; "
            f"give one number or a tensor of shape ({system.n_systems},)"
        )
    _check_temperature("kT", value)
    return value.expand(system.n_systems).contiguous()


@dataclass(frozen=True)
class Integrator(ABC):
    """A time stepper."""

    timestep: Annotated[float, Doc("length of a step; for ASE systems in ASE's unit: `2 * ase.units.fs`", unit="time")]

    def __post_init__(self) -> None:
        _check("timestep", self.timestep)

    @abstractmethod
    def stepper(self, system: System, kT: Tensor | float | None) -> Stepper:
        """The step maps with the masses, degrees of freedom and temperatures of `system`."""

    def at(self, kT: float | Tensor, *, seed: int = 0) -> Integrator:
        """The same for runs at a temperature: what fits and engines make of the integrator that they are given.

        An integrator that has no use for either is its own answer; `stepper` is handed kT all the same.

        Args:
            kT: energy; a number or `(n_systems,)`.
            seed: of the run; integrators that draw noise draw other noise for another seed.
        """
        return self


@dataclass(frozen=True)
class Thermostatted(Integrator):
    """An integrator at a temperature."""

    kT: Annotated[
        float | Tensor | None,
        Doc("a number or `(n_systems,)`; give this or temperature_K, or neither in a fit", unit="energy"),
    ] = None
    temperature_K: Annotated[float | Tensor | None, Doc("kelvin, for systems in ASE's units")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kT is not None and self.temperature_K is not None:
            raise ValueError("kT, temperature_K: both are given; give exactly one")
        for name in ("kT", "temperature_K"):
            value = getattr(self, name)
            if value is not None:
                _check_temperature(name, value)

    def at(self, kT: float | Tensor, *, seed: int = 0) -> Thermostatted:
        """See `Integrator.at`.

        Raises:
            ValueError: the integrator has a temperature of its own.
        """
        for name in ("kT", "temperature_K"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"integrator: {type(self).__name__} has a {name} of its own ({getattr(self, name)}); leave it out, "
                    "the state points say it"
                )
        return replace(self, kT=kT)

    def thermal_energy(self, system: System, kT: Tensor | float | None) -> Tensor:
        """kT of each system `(n_systems,)`; the integrator's own, or the one handed in."""
        own = self.kT
        if self.temperature_K is not None:
            own = torch.as_tensor(self.temperature_K) * ase.units.kB
        value = own if own is not None else kT
        if value is None:
            raise ValueError(f"kT: missing in {type(self).__name__}; give the integrator kT (energy) or temperature_K")
        return _per_system(value, system)


@dataclass(frozen=True)
class VelocityVerlet(Integrator):
    """Velocity Verlet: constant energy (NVE), second order, time-reversible."""

    kind: ClassVar[str] = "velocity_verlet"

    def stepper(self, system: System, kT: Tensor | float | None = None) -> Stepper:
        """See `Integrator.stepper`; kT is only remembered for temperature-dependent potentials."""
        return Stepper(self.timestep, system, None if kT is None else _per_system(kT, system))


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
            _check("tdamp", self.tdamp)
        if self.tchain < 1:
            raise ValueError(f"tchain: {self.tchain} is too short; give at least 1")

    def stepper(self, system: System, kT: Tensor | float | None = None) -> Stepper:
        """See `Integrator.stepper`."""
        tdamp = relaxation_time(self.timestep, self.tdamp)
        return ChainStepper(self.timestep, system, self.thermal_energy(system, kT), tdamp, self.tchain)


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
        _check("friction", self.friction)
        if not 0 <= self.seed < 2**62:
            raise ValueError(f"seed: {self.seed} is not within 0..2^62; give a non-negative whole number")

    def at(self, kT: float | Tensor, *, seed: int = 0) -> Langevin:
        """See `Thermostatted.at`; seeds of runs are far apart, so that the systems of two batches share no noise."""
        own = super().at(kT)
        assert isinstance(own, Langevin)
        return replace(own, seed=(self.seed + 2_654_435_761 * seed) % 2**62)

    def stepper(self, system: System, kT: Tensor | float | None = None) -> Stepper:
        """See `Integrator.stepper`."""
        return LangevinStepper(self.timestep, system, self.thermal_energy(system, kT), self.friction, self.seed)


def default_integrator(timestep: float, tdamp: float | None = None) -> Integrator:
    """What moves atoms where nothing else is chosen; it has no temperature yet, see `Integrator.at`."""
    return NoseHooverChain(timestep, tdamp=tdamp)


def chosen_integrator(integrator: Integrator | None, timestep: float | None, tdamp: float | None) -> Integrator:
    """The integrator that a method or engine is given, or the default with its `timestep` and `tdamp`.

    Raises:
        ValueError: neither or contradictory ones are given, or the integrator has a temperature of its own.
    """
    if integrator is None:
        if timestep is None:
            raise ValueError("timestep: missing; give it, or an integrator such as Langevin(timestep)")
        return default_integrator(timestep, tdamp)
    if timestep is not None and timestep != integrator.timestep:
        raise ValueError(f"timestep: {timestep} is not that of the integrator, {integrator.timestep}; give it once")
    if tdamp is not None:
        raise ValueError(f"tdamp: {tdamp} is given beside an integrator, which has its own; give it to the integrator")
    integrator.at(1.0)  # refuses one with a temperature of its own
    return integrator
