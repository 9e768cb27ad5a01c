"""How far a measured curve is from its reference: losses for fitting, metrics for reporting."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from asediff.checks.described import Doc
from asediff.observables import Observable
from asediff.observables.deviation import as_tensors
from asediff.observables.deviation import structural_deviation as structural_deviation  # a metric like those below


class Loss(ABC):
    """A differentiable distance between a measured and a reference curve."""

    @abstractmethod
    def __call__(self, values: Tensor, reference: Tensor, observable: Observable) -> Tensor:
        """Loss `()` of values `(n_values,)` against reference `(n_values,)` on observable.centers.

        Raises:
            ValueError: it cannot compare values of such an observable; the message names both.
        """


@dataclass(frozen=True)
class L2(Loss):
    """Mean squared difference, (1/K) sum_k (g_k - g_ref,k)².

    On equal bins this is the integral of (g - g_ref)² dr over the window (eq. 9 of arXiv:2209.07679), divided by the
    window's length: independent of the number of bins, and of the unit of length.
    """

    kind: ClassVar[str] = "l2"

    def __call__(self, values: Tensor, reference: Tensor, observable: Observable) -> Tensor:
        """See `Loss`."""
        return (values - reference).square().mean()


@dataclass(frozen=True)
class ShellL2(Loss):
    """Mean squared difference weighted by the area of the shells, sum_k r_k² (g_k - g_ref,k)² / sum_k r_k².

    Up to a constant this is D (`structural_deviation`). A shell of radius r holds pairs in proportion to r², so each
    pair counts alike, and the noise of a g(r), which falls as 1/r, weighs the same at every distance. So it is with the
    wave vectors of S(q). Other observables have no shells.
    """

    kind: ClassVar[str] = "shell_l2"

    def __call__(self, values: Tensor, reference: Tensor, observable: Observable) -> Tensor:
        """See `Loss`."""
        shell = _needed(observable.shell_weights(), self, observable, "are no averages over spherical shells")
        shell = shell.to(values)
        return (shell * (values - reference).square()).sum() / shell.sum()


@dataclass(frozen=True)
class WeightedL2(Loss):
    """Mean squared difference in units of the expected error, (1/K) sum_k (g_k - g_ref,k)² / (error_k² + floor²)."""

    kind: ClassVar[str] = "weighted_l2"
    error: Annotated[tuple[float, ...], Doc("`(n_values,)` standard error of the reference")]
    floor: Annotated[
        float, Doc("smallest error that is believed, so that bins without noise (the core) do not dominate")
    ] = 1e-2

    def __call__(self, values: Tensor, reference: Tensor, observable: Observable) -> Tensor:
        """See `Loss`."""
        if len(self.error) != len(observable.centers):
            raise ValueError(
                f"loss: error has {len(self.error)} values and {type(observable).__name__} {len(observable.centers)}; "
                "give one for each"
            )
        error = torch.as_tensor(self.error, dtype=values.dtype, device=values.device)
        return ((values - reference).square() / (error.square() + self.floor**2)).mean()


@dataclass(frozen=True)
class JensenShannon(Loss):
    """Jensen-Shannon divergence between the distributions of pair distances or angles, in nats, between 0 and ln 2.

    Both curves g(r) become densities p_k = (r_k² g_k + epsilon r_max²) / sum_k of the same (those of angles are), and

        JS = 1/2 sum p ln(p/m) + 1/2 sum q ln(q/m),  m = (p + q)/2.

    The floor epsilon (in units of g at r_max) keeps empty bins finite; negative values are taken as zero. A common
    factor of g does not change the loss, so it is blind to the coordination number: use it beside `L2`, or where the
    reference's scale is not trusted.
    """

    kind: ClassVar[str] = "jensen_shannon"
    epsilon: Annotated[float, Doc("floor of r² g / r_max², or of a density of angles in units of the uniform one")] = (
        1e-5
    )

    def __post_init__(self) -> None:
        if not self.epsilon > 0.0:
            raise ValueError(f"epsilon={self.epsilon}: empty bins would give infinite logarithms; give epsilon > 0")

    def __call__(self, values: Tensor, reference: Tensor, observable: Observable) -> Tensor:
        """See `Loss`."""
        weight = _needed(observable.density_weights(), self, observable, "are no density of a distribution")
        weight = weight.to(values)
        p, q = (weight * g.clamp_min(0.0) + self.epsilon for g in (values, reference.to(values)))
        p, q = p / p.sum(), q / q.sum()
        m = 0.5 * (p + q)
        return 0.5 * (p * (p / m).log()).sum() + 0.5 * (q * (q / m).log()).sum()


def _needed(weights: Tensor | None, loss: Loss, observable: Observable, reason: str) -> Tensor:
    if weights is None:
        raise ValueError(
            f"loss: {type(loss).__name__} cannot compare {type(observable).__name__}, whose values {reason}; give L2() "
            "or WeightedL2(...)"
        )
    return weights


def mean_abs_deviation(
    r: ArrayLike | Tensor, g: ArrayLike | Tensor, g_ref: ArrayLike | Tensor, r_lo: float, r_hi: float
) -> Tensor:
    """Mean |g - g_ref| over the bins with centres in [r_lo, r_hi]; g `(..., bins)` gives `(...)`.

    Raises:
        ValueError: If no bin lies in the range.
    """
    r, g, g_ref = as_tensors(r, g, g_ref)
    inside = (r >= r_lo) & (r <= r_hi)
    if not bool(inside.any()):
        raise ValueError(
            f"r_lo, r_hi: no bin centre in {r_lo}..{r_hi}; the bins cover {float(r[0]):.4g}..{float(r[-1]):.4g}"
        )
    return (g - g_ref).abs()[..., inside].mean(-1)


def potential_deviation(
    r: ArrayLike | Tensor,
    u: ArrayLike | Tensor,
    u_true: ArrayLike | Tensor,
    r_lo: float = 0.9,
    r_hi: float = 2.5,
) -> Tensor:
    """Delta = integral of |u - u_true| dr from r_lo to r_hi (eq. 15 of arXiv:2209.07679), by the trapezoidal rule.

    Both potentials are shifted to zero at the last point of the range first: a constant has no effect on the dynamics.

    Args:
        r: `(n,)`, ascending distances, length.
        u: `(..., n)`, energy.
        u_true: `(n,)`, energy.
        r_lo: lower limit, length.
        r_hi: upper limit, length.

    Raises:
        ValueError: If fewer than two points lie in the range.
    """
    r, u, u_true = as_tensors(r, u, u_true)
    inside = (r >= r_lo - 1e-12) & (r <= r_hi + 1e-12)
    if int(inside.sum()) < 2:
        raise ValueError(f"r_lo, r_hi: fewer than two points in {r_lo}..{r_hi}; give a finer or wider r")
    difference = (u - u_true)[..., inside]
    return torch.trapezoid((difference - difference[..., -1:]).abs(), r[inside], dim=-1)


def block_average_error(per_frame: Tensor) -> Tensor:
    """Standard error of the mean over correlated frames, by the blocking of Flyvbjerg and Petersen.

    Neighbouring frames are averaged in pairs again and again; the estimate s²/(n-1) grows with the block size until the
    blocks are independent. Its noise grows too, so one block size is chosen for all columns: the first after which
    the mean of the estimates does not grow beyond its own uncertainty. doi:10.1063/1.457480

    Args:
        per_frame: `(n_frames, ...)`, equally spaced in time.

    Returns:
        `(...)`; NaN for a single frame. A lower bound when the frames span less than some ten correlation times.
    """
    blocks = per_frame.detach().to(torch.float64)
    n_columns = max(1, blocks[0].numel())
    if len(blocks) < 2:
        return torch.full_like(per_frame[0], math.nan)
    estimates, sizes = [], []
    while len(blocks) >= 2:
        variance = blocks.var(0, correction=1) / len(blocks)
        estimates.append(variance)
        sizes.append(len(blocks))
        if len(blocks) < 8:
            break
        even = len(blocks) // 2 * 2
        blocks = 0.5 * (blocks[0:even:2] + blocks[1:even:2])
    overall = np.array([float(v.mean()) for v in estimates])
    # relative uncertainty of a variance from n blocks; columns of one observable are far from independent
    spread = np.sqrt(2.0 / (np.array(sizes) - 1.0)) / math.sqrt(min(n_columns, 4))
    chosen = len(overall) - 1
    for level in range(len(overall)):
        later = overall[level + 1 :]
        if (later <= overall[level] * (1.0 + spread[level + 1 :])).all():
            chosen = level
            break
    return estimates[chosen].sqrt().to(per_frame.dtype)
