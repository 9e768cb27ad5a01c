"""Radial functions u(r): the one-dimensional functions that pair potentials are made of.

Every function takes distances r `(n,)` (length) and returns energies `(n,)`; a temperature-dependent one also needs
kT (energy). They add with `+`. None is cut off: the pair potential that holds them does that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from asediff.checks.described import Doc
from asediff.potentials.splines import clamped_spline


def _positive(name: str, value: float) -> Tensor:
    if not value > 0:
        raise ValueError(f"{name}: {value} is not positive; give {name} > 0")
    return torch.tensor(float(value), dtype=torch.float64)


class Radial(nn.Module, ABC):
    """A radial function u(r), or u(r, kT) when `temperature_dependent` is true."""

    temperature_dependent: bool = False

    @abstractmethod
    def forward(self, r: Tensor, kT: Tensor | None = None) -> Tensor:
        """u(r), energy `(n,)`, at distances r `(n,)`; differentiable in r and in the parameters."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor arguments that rebuild the function; trained values are in the state dict."""

    def __add__(self, other: Radial) -> Radial:
        if not isinstance(other, Radial):
            return NotImplemented
        return Sum(self, other)


class Sum(Radial):
    """u(r) = sum of terms, such as a fixed prior and a learned part."""

    terms: nn.ModuleList

    def __init__(self, *terms: Radial) -> None:
        super().__init__()
        flat: list[Radial] = []
        for term in terms:
            flat.extend(cast(list[Radial], list(term.terms)) if isinstance(term, Sum) else [term])
        self.terms = nn.ModuleList(flat)
        self.temperature_dependent = any(term.temperature_dependent for term in flat)

    def forward(self, r: Tensor, kT: Tensor | None = None) -> Tensor:
        """Sum of the terms."""
        total = self.terms[0](r, kT)
        for term in self.terms[1:]:
            total = total + term(r, kT)
        return total

    def config(self) -> dict[str, Any]:
        """The terms."""
        return {"terms": list(self.terms)}


class LennardJones(Radial):
    """u(r) = 4 ε [(σ/r)¹² - (σ/r)⁶] with trainable ε (energy) and σ (length)."""

    kind: ClassVar[str] = "lennard_jones"

    def __init__(
        self,
        epsilon: Annotated[float, Doc("depth of the minimum", unit="energy")] = 1.0,
        sigma: Annotated[float, Doc("where u is zero", unit="length")] = 1.0,
    ) -> None:
        super().__init__()
        self.epsilon = nn.Parameter(_positive("epsilon", epsilon))
        self.sigma = nn.Parameter(_positive("sigma", sigma))

    def forward(self, r: Tensor, kT: Tensor | None = None) -> Tensor:
        """See the class."""
        x6 = (self.sigma / r) ** 6
        return 4.0 * self.epsilon * (x6 * x6 - x6)

    def config(self) -> dict[str, Any]:
        """Current ε and σ."""
        return {"epsilon": self.epsilon.item(), "sigma": self.sigma.item()}


class ModifiedMorse(Radial):
    """Modified Morse potential MM(a, φ) with its minimum of -ε at r = σ; a and φ are trainable.

    x = a (1 - (r/σ)^φ)/φ, u = ε (e^{2x} - 2 e^{x} - A)/(1 + A), A = 0 for φ >= 0 and e^{2a/φ} - 2 e^{a/φ} for φ < 0.
    A makes u vanish at large r when φ < 0, where x tends to a/φ. This is eq. 14 of arXiv:2209.07679 with the division
    by φ that the printed equation lacks.
    """

    kind: ClassVar[str] = "modified_morse"
    epsilon: Tensor
    sigma: Tensor

    def __init__(
        self,
        a: Annotated[float, Doc("steepness")],
        phi: Annotated[float, Doc("form; not 0")],
        epsilon: Annotated[float, Doc("depth of the minimum", unit="energy")] = 1.0,
        sigma: Annotated[float, Doc("where the minimum is", unit="length")] = 1.0,
    ) -> None:
        super().__init__()
        if phi == 0:
            raise ValueError("phi: 0 makes the modified Morse potential undefined; give a small non-zero value")
        self.a = nn.Parameter(_positive("a", a))
        self.phi = nn.Parameter(torch.tensor(float(phi), dtype=torch.float64))
        self.register_buffer("epsilon", _positive("epsilon", epsilon))
        self.register_buffer("sigma", _positive("sigma", sigma))

    def forward(self, r: Tensor, kT: Tensor | None = None) -> Tensor:
        """See the class."""
        x = self.a * (1.0 - (r / self.sigma) ** self.phi) / self.phi
        offset = torch.exp(2 * self.a / self.phi) - 2 * torch.exp(self.a / self.phi)
        offset = offset if self.phi.item() < 0 else torch.zeros_like(offset)
        return self.epsilon * (torch.exp(2 * x) - 2 * torch.exp(x) - offset) / (1 + offset)

    def config(self) -> dict[str, Any]:
        """Current parameters."""
        names = ("a", "phi", "epsilon", "sigma")
        return {name: getattr(self, name).item() for name in names}


class Repulsion(Radial):
    """Fixed prior u(r) = ε (σ/r)^power: a wall that keeps atoms apart where there are no data. Not trained."""

    kind: ClassVar[str] = "repulsion"
    epsilon: Tensor
    sigma: Tensor

    def __init__(
        self,
        epsilon: Annotated[float, Doc("u at sigma", unit="energy")] = 1.0,
        sigma: Annotated[float, Doc("where u is epsilon", unit="length")] = 1.0,
        power: Annotated[float, Doc("of σ/r")] = 12.0,
    ) -> None:
        super().__init__()
        self.register_buffer("epsilon", _positive("epsilon", epsilon))
        self.register_buffer("sigma", _positive("sigma", sigma))
        self.power = float(_positive("power", power))

    def forward(self, r: Tensor, kT: Tensor | None = None) -> Tensor:
        """See the class."""
        return self.epsilon * (self.sigma / r) ** self.power

    def config(self) -> dict[str, Any]:
        """ε, σ and the power."""
        return {"epsilon": self.epsilon.item(), "sigma": self.sigma.item(), "power": self.power}


class TabulatedRadial(Radial):
    """C2 cubic spline through trainable values on a uniform grid in r.

    End slopes are the second-order one-sided differences of the three outermost knots. Outside the grid the function
    continues linearly.

    Args:
        r: `(n,)`, length, uniform and increasing, n >= 4.
        u: `(n,)`, energy.
    """

    kind: ClassVar[str] = "tabulated"
    r: Tensor

    def __init__(self, r: np.ndarray | Tensor, u: np.ndarray | Tensor) -> None:
        super().__init__()
        grid = torch.as_tensor(np.asarray(r, dtype=np.float64))
        values = torch.as_tensor(np.asarray(u, dtype=np.float64))
        if grid.ndim != 1 or grid.shape != values.shape or len(grid) < 4:
            raise ValueError(
                f"r, u: shapes {tuple(grid.shape)} and {tuple(values.shape)}; give two (n,) arrays with n >= 4"
            )
        steps = grid.diff()
        if not bool((steps > 0).all()) or float(steps.max() - steps.min()) > 1e-6 * float(steps.mean()):
            raise ValueError("r: the grid is not uniform and increasing; resample it to equal steps")
        if not bool(torch.isfinite(values).all()):
            raise ValueError("u: a value is not finite; cap or extrapolate the core first")
        self.register_buffer("r", grid)
        self.spacing = float(grid[-1] - grid[0]) / (len(grid) - 1)
        self.values = nn.Parameter(values.clone())

    def forward(self, r: Tensor, kT: Tensor | None = None) -> Tensor:
        """See the class."""
        y, h = self.values, self.spacing
        first = (-3 * y[0] + 4 * y[1] - y[2]) / (2 * h)
        last = (3 * y[-1] - 4 * y[-2] + y[-3]) / (2 * h)
        coefficients = clamped_spline(y, first, last, h)
        x = (r - self.r[0]) / h
        interval = x.detach().floor().clamp(0, len(y) - 2).to(torch.int64)
        c0, c1, c2, c3 = coefficients[interval].unbind(-1)
        t = x - interval
        inside = c0 + t * (c1 + t * (c2 + t * c3))
        left = y[0] + x * h * first
        right = y[-1] + (x - (len(y) - 1)) * h * last
        return torch.where(x < 0, left, torch.where(x > len(y) - 1, right, inside))

    def config(self) -> dict[str, Any]:
        """Grid and current values."""
        return {"r": self.r.tolist(), "u": self.values.detach().tolist()}


class TemperatureDependent(Radial):
    """u(r, T) = u1(r) - kT u2(r): energy and entropy parts (eq. 17 of arXiv:2209.07679)."""

    kind: ClassVar[str] = "temperature_dependent"
    temperature_dependent = True

    def __init__(
        self, u1: Annotated[Radial, Doc("energy", unit="energy")], u2: Annotated[Radial, Doc("entropy, in units of k")]
    ) -> None:
        super().__init__()
        self.u1 = u1
        self.u2 = u2

    def forward(self, r: Tensor, kT: Tensor | None = None) -> Tensor:
        """See the class; u2 is dimensionless."""
        if kT is None:
            raise ValueError("kT: missing for a temperature-dependent potential; give kT or temperature_K")
        return self.u1(r, kT) - kT * self.u2(r, kT)

    def config(self) -> dict[str, Any]:
        """Both parts."""
        return {"u1": self.u1, "u2": self.u2}
