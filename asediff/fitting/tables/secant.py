"""Correction of a response by what the earlier steps of a fit have shown.

A step dx from a potential with the response J₀ to one with J₁ changed g by dg; the trapezoidal rule expects
(J₀ + J₁) dx/2, which is exact to second order. What it missed is added to later responses by Broyden's update
(doi:10.1090/S0025-5718-1965-0198670-6), J + missed pᵀ / pᵀdx, here with p = JᵀW J dx, so that directions count by their
effect on g(r).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

Nested = list[list[Tensor]]
"""One tensor for each target of each state point."""


@dataclass(frozen=True, eq=False)
class Visit:
    """The tables of one iteration, what the runs gave, and the response there; float64.

    Attributes:
        tables: `(n_rows,)`, u at the rows of all pairs.
        columns: `(n,)`, the rows that are free.
        values: of each target.
        errors: their standard errors.
        jacobians: dg/dx in the free rows, `(values, n)`.
    """

    tables: Tensor
    columns: Tensor
    values: Nested
    errors: Nested
    jacobians: Nested


@dataclass(frozen=True, eq=False)
class Lesson:
    """A step between two visits and what their responses had not foreseen.

    Attributes:
        step: `(n_rows,)`, change of the tables.
        missed: change of each target less the expected one.
        variances: of the changes.
    """

    step: Tensor
    missed: Nested
    variances: Nested


class Experience:
    """Lessons of a fit.

    Args:
        saved: what `state` gave; None for none so far.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self.last = None if saved is None or saved["last"] is None else Visit(**saved["last"])
        self.lessons = [] if saved is None else [Lesson(**one) for one in saved["lessons"]]

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {
            "last": None if self.last is None else _contents(self.last),
            "lessons": [_contents(one) for one in self.lessons],
        }

    def learn(self, now: Visit) -> None:
        """Compare the step from the last visit to this one with what was expected of it."""
        if self.last is not None:
            self.lessons.append(_compare(self.last, now))
        self.last = now

    def corrected(self, jacobians: Sequence[Tensor], columns: Tensor, s: int, floor: float) -> list[Tensor]:
        """The response at state point s after Broyden's update with each lesson in turn.

        Each update is multiplied by the share of what had been missed, in the square, that is no noise. Lessons that
        missed more than the effect of their step are left out: either it lies within the noise, or the response here
        says nothing of that step, as of a large first one.

        Args:
            jacobians: dg/dx of each target, `(values, n)`.
            columns: `(n,)`, the rows of the tables that are free.
            s: number of the state point.
            floor: W = 1/(variance + floor²).
        """
        result = [j.clone() for j in jacobians]
        for lesson in self.lessons:
            dx, variances = lesson.step[columns], lesson.variances[s]
            weights = [1.0 / (v + floor**2) for v in variances]
            effect = [j @ dx for j in result]
            missed = [m + j @ dx - e for m, j, e in zip(lesson.missed[s], jacobians, effect, strict=True)]
            noise = sum(float(w @ v) for w, v in zip(weights, variances, strict=True))
            unforeseen, signal = _square(weights, missed), _square(weights, effect)
            if not noise < unforeseen < signal:
                continue
            along = torch.stack([j.T @ (w * e) for j, w, e in zip(result, weights, effect, strict=True)]).sum(0)
            along *= (1.0 - noise / unforeseen) / signal
            for j, m in zip(result, missed, strict=True):
                j += torch.outer(m, along)
        return result


def _compare(old: Visit, now: Visit) -> Lesson:
    dx = now.tables - old.tables
    missed: Nested = []
    variances: Nested = []
    for s in range(len(now.values)):
        expected = [
            0.5 * (j @ dx[old.columns] + k @ dx[now.columns])
            for j, k in zip(old.jacobians[s], now.jacobians[s], strict=True)
        ]
        missed.append([y - x - e for x, y, e in zip(old.values[s], now.values[s], expected, strict=True)])
        variances.append([x**2 + y**2 for x, y in zip(old.errors[s], now.errors[s], strict=True)])
    return Lesson(dx, missed, variances)


def _square(weights: Sequence[Tensor], values: Sequence[Tensor]) -> float:
    return sum(float(w @ v**2) for w, v in zip(weights, values, strict=True))


def _contents(of: Visit | Lesson) -> dict[str, Any]:
    return {one.name: getattr(of, one.name) for one in fields(of)}
