"""How far measured values are from their reference, in numbers and in words."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

NAN = float("nan")


@dataclass(frozen=True)
class Deviation:
    """How far measured values are from their target; NaN is what an observable does not have.

    Attributes:
        mean: mean |value - reference|.
        mean_error: standard error that the run's noise alone puts on `mean`: mean of the error bars.
        largest: max |value - reference|.
        structural: of a g(r), D of eq. 18 of arXiv:2209.07679, 4πρ ∫ r² (g - g_ref)² dr.
        structural_noise: D that noise alone would give, from the error bars.
        peak: of a g(r), height of the measured first peak divided by the target's, minus 1.
        outside_core: of a g(r), `mean` over the bins from the first in which the target exceeds a hundredth of its
            maximum.
    """

    mean: float
    mean_error: float
    largest: float
    structural: float = NAN
    structural_noise: float = NAN
    peak: float = NAN
    outside_core: float = NAN

    @property
    def within_noise(self) -> bool:
        """Whether the difference is no larger than the error bars explain."""
        return self.mean <= self.mean_error

    def text(self, symbol: str = "g") -> str:
        """The numbers that exist, in words; `symbol` is what was measured."""
        parts = [
            f"mean |d{symbol}| {decimal(self.mean)} (noise {decimal(self.mean_error)})",
            f"max {decimal(self.largest)}",
        ]
        if not math.isnan(self.structural):
            parts.append(f"D {self.structural:.4g} (noise {self.structural_noise:.2g})")
        if not math.isnan(self.peak):
            parts.append(f"first peak {100 * self.peak:+.1f} %")
        return ", ".join(parts)

    def numbers(self) -> dict[str, float | None]:
        """As plain data; None for what does not exist."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}


def decimal(value: float | None) -> str:
    """A number with four decimals, or three digits where those would say little (a pressure in eV/Å³)."""
    if value is None or math.isnan(value):
        return "unknown"
    return f"{value:.4f}" if abs(value) >= 1e-2 or value == 0.0 else f"{value:.3g}"


def structural_deviation(
    r: ArrayLike | Tensor,
    g: ArrayLike | Tensor,
    g_ref: ArrayLike | Tensor,
    density: float,
    r_max: float | None = None,
) -> Tensor:
    """D = 4 pi rho times the integral of r² (g - g_ref)² dr (eq. 18 of arXiv:2209.07679), by the midpoint rule.

    Args:
        r: `(bins,)`, equally spaced bin centres, length.
        g: `(..., bins)`, measured.
        g_ref: `(bins,)`, reference.
        density: number density, 1/length³.
        r_max: bins with centres beyond it are left out.
    """
    r, g, g_ref = as_tensors(r, g, g_ref)
    inside = r <= (math.inf if r_max is None else r_max)
    integrand = r**2 * (g - g_ref) ** 2
    return 4.0 * math.pi * density * _spacing(r) * (integrand * inside).sum(-1)


def as_tensors(*values: ArrayLike | Tensor) -> tuple[Tensor, ...]:
    """Arrays as float64 tensors; tensors as they are."""
    return tuple(v if isinstance(v, Tensor) else torch.from_numpy(np.asarray(v, dtype=np.float64)) for v in values)


def _spacing(r: Tensor) -> float:
    steps = torch.diff(r)
    if len(steps) == 0 or float((steps - steps.mean()).abs().max()) > 1e-4 * float(steps.mean()):
        raise ValueError("r: bins are not equally spaced; give the centres of a uniform histogram")
    return float(steps.mean())
