"""Seeds of the sampled tests, and how far noise may carry them.

The outcome of a sampled test hangs on drawn numbers, through dynamics that is chaotic: another processor rounds
otherwise and so draws another sample. Such a test is marked `sampled`, takes its seeds from `seed`, and sets its limits
by `sigmas`; docs/testing.md tells how to repeat it with other seeds and instruction sets.
"""

from __future__ import annotations

from scipy import stats

FALSE_ALARM = 1e-7
"""Chance that noise alone fails one test."""

STRIDE = 100_000
"""Between one shift and the next; tests use seeds far below it."""

_shift = 0


def shift_seeds(by: int) -> None:
    """Move all seeds that are asked for from now on; `pytest --seed-shift` does it before any test is collected."""
    global _shift
    _shift = by


def seed(n: int) -> int:
    """The n-th seed of a test, shifted by `--seed-shift`."""
    return n + STRIDE * _shift


def sigmas(values: int | None = None, comparisons: int = 1) -> float:
    """Number of standard errors that noise exceeds, on either side, once in ten million tests.

    Args:
        values: number of independent values that the standard error was estimated from, for which Student's t holds;
            None for an error that is known.
        comparisons: number of comparisons in the test.
    """
    tail = FALSE_ALARM / (2 * comparisons)
    return float(stats.norm.isf(tail) if values is None else stats.t.isf(tail, values - 1))
