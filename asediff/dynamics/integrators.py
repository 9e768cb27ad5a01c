"""What an integrator is, and the plainest one; each thermostat has a file of its own beside this one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from asediff.checks.described import Doc
from asediff.checks.temperature import energy_of
from asediff.dynamics.steppers import Stepper
from asediff.system import System


def check_positive(name: str, value: float) -> None:
    """Refuse what is not above zero and finite.

    Raises:
        ValueError: naming it.
    """
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
        check_positive("timestep", self.timestep)

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

    def of_part(self, first: int) -> Integrator:
        """The same for a batch that is the systems `first`, `first + 1`, ... of a larger one.

        Integrators that draw noise draw for each system what they would draw for it in the larger batch, and override
        this; one that does not would give the systems of two parts the same noise.
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
            own = energy_of(torch.as_tensor(self.temperature_K))
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
