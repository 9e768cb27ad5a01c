"""Exclusions as the kernels of all devices take them: few weights, of which each makes copies of the pair tables.

The entry of a neighbor row says which table a pair has, so a pair of weight w is an entry of a table that is w times
the usual one: forces, energies and gradients know nothing of weights. Rows are relabelled when they are built; that is
the whole cost. No periodic height is less than twice the cutoff, so whichever image is within it is the nearest.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from asediff.kernels.arrays import Exclusions

EXCLUDED = -1
"""Class of a pair of weight 0."""


def exclusion_rows(
    exclusions: Exclusions | None, begin: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Partners of atoms begin..end-1, numbered from `begin`, without those of weight 1.

    Returns:
        Where each atom's partners begin `(end - begin + 1,)`, `(1,)` when there are none; the partners `(n,)`; the
        class of each `(n,)`, its place among the weights, or `EXCLUDED`; and the different weights but 0, 1 first.
    """
    none = np.zeros(0, dtype=np.int64)
    if exclusions is None:
        return np.zeros(1, dtype=np.int64), none, none, np.ones(1)
    first, partner, weight = (torch.as_tensor(values).cpu().numpy() for values in exclusions)
    inside = slice(int(first[begin]), int(first[end]))
    partner, weight = partner[inside].astype(np.int64), weight[inside].astype(np.float64)
    counted = weight != 1.0
    starts = np.concatenate([[0], np.cumsum(counted)])[first[begin : end + 1] - first[begin]]
    partner, weight = partner[counted] - begin, weight[counted]
    if not len(partner):
        return np.zeros(1, dtype=np.int64), none, none, np.ones(1)
    weights = np.concatenate([[1.0], np.unique(weight[weight != 0.0])])
    classes = np.argmax(weight[:, None] == weights, axis=1)
    return starts, partner, np.where(weight == 0.0, EXCLUDED, classes), weights
