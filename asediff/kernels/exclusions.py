"""Exclusions as the kernels of all devices take them: few weights, of which each makes copies of the pair tables.

The entry of a neighbor row says which table a pair has, so a pair of weight w is an entry of a table that is w times
the usual one: forces, energies and gradients know nothing of weights. Rows are relabelled when they are built; that is
the whole cost. No periodic height is less than twice the cutoff, so whichever image is within it is the nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from asediff.kernels.arrays import Exclusions

EXCLUDED = -1
"""Class of a pair of weight 0."""


Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


def _rows_where(
    exclusions: Exclusions | None, begin: int, end: int, chosen: Callable[[Floats], Any]
) -> tuple[Integers, Integers, Floats]:
    """The part of some rows whose weight is chosen: where each begins, `(1,)` when all are empty, partners, weights."""
    empty = np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    if exclusions is None:
        return empty
    first, partner, weight = (torch.as_tensor(values).cpu().numpy() for values in exclusions)
    inside = slice(int(first[begin]), int(first[end]))
    kept = chosen(weight[inside])
    if not kept.any():
        return empty
    starts = np.concatenate([[0], np.cumsum(kept)])[first[begin : end + 1] - first[begin]]
    return starts, partner[inside][kept].astype(np.int64), weight[inside][kept].astype(np.float64)


def excluded_rows(exclusions: Exclusions | None, n_atoms: int) -> tuple[Integers, Integers]:
    """Partners that pairs are left out of histograms with, those of weight 0, and where each atom's begin."""
    return _rows_where(exclusions, 0, n_atoms, lambda weight: weight == 0.0)[:2]


def exclusion_rows(exclusions: Exclusions | None, begin: int, end: int) -> tuple[Integers, Integers, Integers, Floats]:
    """Partners of atoms begin..end-1, numbered from `begin`, of other weights than 1.

    Returns:
        Where each atom's partners begin `(end - begin + 1,)`, `(1,)` when there are none; the partners `(n,)`; the
        class of each `(n,)`, its place among the weights, or `EXCLUDED`; and the different weights but 0, 1 first.
    """
    starts, partner, weight = _rows_where(exclusions, begin, end, lambda weight: weight != 1.0)
    partner = partner - begin
    weights = np.concatenate([[1.0], np.unique(weight[weight != 0.0])])
    classes = np.argmax(weight[:, None] == weights, axis=1)
    return starts, partner, np.where(weight == 0.0, EXCLUDED, classes), weights
