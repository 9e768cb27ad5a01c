"""The counting kernel of `asediff.kernels.shells` on finer sub-bins, where polynomials of low degree suffice.

On a GPU each moment of a pair is an atomic addition, so few moments in many sub-bins are better than the opposite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from asediff.kernels.shells import SUPPORT, relative_weight

N_MOMENTS = 6
FINENESS = 32
"""Sub-bins per width of the kernel; the polynomials of degree 5 then miss w_k by less than 1e-13."""
MOST_SUB_BINS = 1024


@dataclass(frozen=True)
class FineExpansion:
    """w_k as a polynomial of degree 5 on each sub-bin, for a kernel of a given width.

    Args:
        subdivision: sub-bins per bin.
        padding: bins added on either side of the window.
        table: `(2 padding + 1, subdivision, N_MOMENTS)`; entry q belongs to the bin q - padding places above bin k.
    """

    subdivision: int
    padding: int
    table: NDArray[np.float64]

    def n_sub_bins(self, bins: int) -> int:
        """Sub-bins that cover the window and the padding."""
        return (bins + 2 * self.padding) * self.subdivision


@lru_cache(maxsize=16)
def fine_expansion(sigma: float) -> FineExpansion:
    """Expansion for a kernel whose width is `sigma` bin widths (> 0)."""
    subdivision = math.ceil(FINENESS / min(sigma, 1.5 * sigma**2))
    padding = math.ceil(SUPPORT * sigma)
    nodes = chebyshev.chebpts1(N_MOMENTS)
    to_series = chebyshev.chebvander(nodes, N_MOMENTS - 1).T * (2.0 / N_MOMENTS)
    to_series[0] *= 0.5
    to_powers = np.zeros((N_MOMENTS, N_MOMENTS))
    for degree in range(N_MOMENTS):
        power = chebyshev.cheb2poly(np.eye(N_MOMENTS)[degree])
        to_powers[: power.size, degree] = power
    rows = np.arange(-padding * subdivision, (padding + 1) * subdivision)
    places = (rows[:, None] + 0.5 * (nodes + 1.0)) / subdivision - 0.5
    table = relative_weight(places, sigma) @ (to_powers @ to_series).T
    table = table.reshape(2 * padding + 1, subdivision, N_MOMENTS)
    table.setflags(write=False)
    return FineExpansion(subdivision, padding, table)
