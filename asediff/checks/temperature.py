"""Temperatures: thermal energies inside, kelvin where users give them."""

from __future__ import annotations

import torch
from ase import units
from torch import Tensor


def resolve_kT(  # noqa: N802
    *, kT: float | Tensor | None = None, temperature_K: float | Tensor | None = None
) -> float | Tensor:
    """Return the thermal energy from kT or, for systems in eV, from a temperature in kelvin.

    Raises:
        ValueError: Unless exactly one is given and it is finite and not negative.
    """
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
    return temperature_K * units.kB
