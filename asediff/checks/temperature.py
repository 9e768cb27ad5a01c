"""Temperatures: thermal energies inside, kelvin where users give them; the only place where one becomes the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ase import units

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", "float", "Tensor", "float | Tensor")


def energy_of(temperature_K: T) -> T:
    """Thermal energy, eV, of a temperature in kelvin."""
    return temperature_K * units.kB


def kelvin_of(kT: T) -> T:
    """Temperature in kelvin of a thermal energy in eV."""
    return kT / units.kB


def resolve_kT(  # noqa: N802
    *, kT: float | Tensor | None = None, temperature_K: float | Tensor | None = None
) -> float | Tensor:
    """Return the thermal energy from kT or, for systems in eV, from a temperature in kelvin.

    Raises:
        ValueError: Unless exactly one is given and it is finite and not negative.
    """
    import torch  # a command converts a temperature before anything heavy is loaded

    if (kT is None) == (temperature_K is None):
        state = "neither is" if kT is None else "both are"
        raise ValueError(f"kT, temperature_K: {state} given; give exactly one of the two")
    name, value = ("kT", kT) if kT is not None else ("temperature_K", temperature_K)
    numbers = torch.as_tensor(value)
    if not bool((torch.isfinite(numbers) & (numbers >= 0)).all()):
        raise ValueError(f"{name}: {numbers.tolist()} is not a temperature; give a finite number of at least 0")
    if kT is not None:
        return kT
    assert temperature_K is not None
    return energy_of(temperature_K)
