"""How a radial function ends at the cutoff r_c: defined here once, for every potential.

| class          | u_c(r) for r < r_c (0 beyond)                    | energy at r_c | force at r_c |
|----------------|--------------------------------------------------|---------------|--------------|
| `Truncated`    | u(r)                                             | jumps         | jumps        |
| `Shifted`      | u(r) - u(r_c)                                    | continuous    | jumps        |
| `ForceShifted` | u(r) - u(r_c) - (r - r_c) u'(r_c)                | continuous    | continuous   |
| `Switched`     | u(r) S(x), x = (r - onset r_c)/(r_c - onset r_c) | smooth        | smooth (C2)  |

S(x) = 1 for x <= 0 and 1 - 10 x³ + 15 x⁴ - 6 x⁵ for 0 < x < 1 (the quintic switch: S, S', S'' are continuous).
Gradients through dynamics need a continuous force, so `Switched` is the default and the jumps must be asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from asediff.checks.described import Doc

RadialFunction = Callable[[Tensor], Tensor]


def value_and_slope(function: RadialFunction, r: Tensor) -> tuple[Tensor, Tensor]:
    """u(r) and du/dr at the points r `(n,)`; both stay differentiable in the parameters of `function`."""
    r = r.detach()
    keep_graph = torch.is_grad_enabled() and function(r).requires_grad
    with torch.enable_grad():
        r.requires_grad_()
        u = function(r)
        if not u.requires_grad:
            return u, torch.zeros_like(u)
        (slope,) = torch.autograd.grad(u.sum(), r, create_graph=keep_graph, allow_unused=True, materialize_grads=True)
    return (u, slope) if keep_graph else (u.detach(), slope)


class Truncation(ABC):
    """Turns u(r) into a function that is zero at and beyond the cutoff."""

    @abstractmethod
    def apply(self, function: RadialFunction, r: Tensor, cutoff: float) -> Tensor:
        """u_c(r) `(n,)`, energy, for r <= cutoff (the left limit at r = cutoff); see the module's table."""


@dataclass(frozen=True)
class Truncated(Truncation):
    """Plain cut: energy and force jump at the cutoff (LAMMPS `lj/cut` without shift)."""

    kind: ClassVar[str] = "truncated"

    def apply(self, function: RadialFunction, r: Tensor, cutoff: float) -> Tensor:
        """u(r)."""
        return function(r)


@dataclass(frozen=True)
class Shifted(Truncation):
    """Energy shifted to zero at the cutoff, force jumps (LAMMPS `pair_modify shift yes`)."""

    kind: ClassVar[str] = "shifted"

    def apply(self, function: RadialFunction, r: Tensor, cutoff: float) -> Tensor:
        """u(r) - u(r_c)."""
        return function(r) - function(r.new_tensor([cutoff]))


@dataclass(frozen=True)
class ForceShifted(Truncation):
    """Energy and force shifted to zero at the cutoff; the force has a kink there."""

    kind: ClassVar[str] = "force_shifted"

    def apply(self, function: RadialFunction, r: Tensor, cutoff: float) -> Tensor:
        """u(r) - u(r_c) - (r - r_c) u'(r_c)."""
        end, slope = value_and_slope(function, r.new_tensor([cutoff]))
        return function(r) - end - (r - cutoff) * slope


@dataclass(frozen=True)
class Switched(Truncation):
    """Quintic switch from `onset` x cutoff to the cutoff: energy, force and its derivative go to zero smoothly."""

    kind: ClassVar[str] = "switched"
    onset: Annotated[float, Doc("where the switch begins, as a fraction of the cutoff, in [0, 1)")] = 0.9

    def __post_init__(self) -> None:
        if not 0.0 <= self.onset < 1.0:
            raise ValueError(f"onset: {self.onset} is not a fraction of the cutoff; give 0 <= onset < 1")

    def apply(self, function: RadialFunction, r: Tensor, cutoff: float) -> Tensor:
        """u(r) S(x)."""
        x = ((r - self.onset * cutoff) / (cutoff * (1.0 - self.onset))).clamp(0.0, 1.0)
        return function(r) * (1.0 - x * x * x * (10.0 + x * (6.0 * x - 15.0)))
