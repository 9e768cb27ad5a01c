"""Whether what is left between a run and its target is noise or misfit, by chi-square."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from asediff.observables.deviation import decimal
from asediff.targets.target import Target

CORRELATED = 5
"""Neighbouring values of a curve whose errors are about one independent value."""
CLEARLY = 3.0
"""Standard deviations of chi-square beyond which noise does not explain a difference."""
SMALLEST = 0.1
"""Of the mean standard error: less is not believed, as of a bin into which no pair happened to come."""


@dataclass(frozen=True)
class Verdict:
    """A difference from a target, in units of its noise.

    Attributes:
        chi_square: mean of (difference/σ)² over the values, σ the standard errors of run and reference together.
        limit: what noise stays below, three standard deviations above 1.
        mean: mean |difference|.
        expected: what it would be on average if there were noise alone.
        begin, end: where the largest one-sided difference lies, on the abscissa.
        height: mean difference there.
        sigmas: the same over the mean σ there.
        of_both: whether the reference's error is known and counted; otherwise it is as if there were none.
    """

    chi_square: float
    limit: float
    mean: float
    expected: float
    begin: float
    end: float
    height: float
    sigmas: float
    of_both: bool

    @property
    def noise(self) -> bool:
        """Whether noise explains the difference."""
        return self.chi_square <= self.limit

    def text(self, symbol: str, abscissa: str = "", unit: str = "") -> str:
        """In words: noise or misfit, by which numbers, and where a misfit is largest."""
        whose = "run and reference" if self.of_both else "the run (the reference states no error)"
        numbers = (
            f"mean |d{symbol}| {decimal(self.mean)} where the noise of {whose} alone gives {decimal(self.expected)}, "
            f"chi-square per value {self.chi_square:.2g}"
        )
        if self.noise:
            return f"what is left is noise: {numbers}"
        if not abscissa:
            return f"what is left is misfit: {numbers}"
        place = f"{abscissa} = {self.begin:.3g} ... {self.end:.3g} {unit}".rstrip()
        return f"what is left is misfit: {numbers}; largest at {place}: {self.height:+.3f} ({self.sigmas:+.1f} sigma)"


def judge(target: Target, value: Tensor, error: Tensor) -> Verdict | None:
    """Compare a measured value with its target, by the errors of both.

    Args:
        target: its reference, and the standard error of that where it is known.
        value: `(n_values,)`, of an independent run.
        error: `(n_values,)`, standard errors.

    Returns:
        The verdict on the values that the observable compares (of a g(r) those outside the core); None where no error
        is known.
    """
    rows = target.observable.compared(target.reference)
    difference = (value - target.reference.to(value))[rows].to(torch.float64)
    variance = error[rows].to(torch.float64) ** 2
    if target.error is not None:
        variance = variance + target.error[rows] ** 2
    sigma, x = variance.sqrt(), target.observable.centers[rows]
    if not bool(torch.isfinite(sigma).all()) or not float(sigma.mean()) > 0.0:
        return None
    sigma = sigma.clamp_min(SMALLEST * float(sigma.mean()))
    scaled = difference / sigma
    first, last = _largest(scaled)
    part = slice(first, last + 1)
    return Verdict(
        chi_square=float(scaled.square().mean()),
        limit=1.0 + CLEARLY * math.sqrt(2.0 / max(1.0, len(scaled) / CORRELATED)),
        mean=float(difference.abs().mean()),
        expected=float(sigma.mean()) * math.sqrt(2.0 / math.pi),
        begin=float(x[first]),
        end=float(x[last]),
        height=float(difference[part].mean()),
        sigmas=float(difference[part].mean() / sigma[part].mean()),
        of_both=target.error is not None,
    )


def _largest(scaled: Tensor) -> tuple[int, int]:
    """First and last of the neighbours of one sign whose squares add up to the most."""
    signs = torch.sign(scaled)
    borders = [0, *(int(k) + 1 for k in torch.nonzero(signs[1:] != signs[:-1])[:, 0]), len(scaled)]
    sums = [float(scaled[a:b].square().sum()) for a, b in itertools.pairwise(borders)]
    k = sums.index(max(sums))
    return borders[k], borders[k + 1] - 1
