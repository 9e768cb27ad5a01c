"""Spherical shells and the smeared counting of pair distances: the definition shared by every RDF implementation.

Bins k = 0..K-1 of width D cover r_min..r_max, with centres mu_k = r_min + (k + 1/2) D. A pair at distance r gives

    w_k(r) = exp(-(r - mu_k)² / (2 w²)) / sum over all integers m of exp(-(r - mu_m)² / (2 w²)),

normalised over an infinite grid of centres, so every pair weighs exactly one and a pair beyond the window only loses
the weight that falls outside of it. As w -> 0 this is the ordinary histogram; w = 0 selects that limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

Array = NDArray[np.float64]

SUPPORT = 9.0
"""Half-width of the kernel in units of its width; exp(-9²/2) = 3e-18 is below round-off."""
N_MOMENTS = 16
NARROWEST = 10


def shell_volumes(low: Array, high: Array) -> Array:
    """Volumes 4/3 pi (high³ - low³) of spherical shells, length³."""
    return np.asarray(4.0 / 3.0 * math.pi * (high**3 - low**3), dtype=np.float64)


def per_pair(volume: Any, n_first: Any, n_second: Any, *, like: bool) -> Any:
    """What one unordered pair adds to g(r) times the volume of its shell, length³: 2 V/N², or V/(N_1 N_2) if unlike."""
    return (2.0 if like else 1.0) * volume / (n_first * n_second)


@dataclass(frozen=True)
class ShellGrid:
    """Uniform bins in r with a Gaussian counting kernel.

    Args:
        r_min: lower edge of the first bin, length.
        r_max: upper edge of the last bin, length.
        bins: number of bins K.
        width: standard deviation w of the kernel, length; 0 counts each pair in its bin.
    """

    r_min: float
    r_max: float
    bins: int
    width: float

    def __post_init__(self) -> None:
        if not self.bins >= 1:
            raise ValueError(f"bins={self.bins}: a histogram needs at least one bin; give bins >= 1")
        if not (math.isfinite(self.r_min) and self.r_min >= 0.0):
            raise ValueError(f"r_min={self.r_min}: distances are not negative; give r_min >= 0")
        if not (math.isfinite(self.r_max) and self.r_max > self.r_min):
            raise ValueError(f"r_max={self.r_max}: the window is empty; give r_max > r_min={self.r_min}")
        if not (math.isfinite(self.width) and self.width >= 0.0):
            raise ValueError(f"width={self.width}: a kernel width is not negative; give width > 0, or 0 for plain bins")
        if 0.0 < self.width < self.bin_width / NARROWEST:
            raise ValueError(
                f"width={self.width}: narrower than 1/{NARROWEST} of the bin width {self.bin_width:.4g}, where the "
                "gradient carries no information; give width=0 for plain bins or a larger width"
            )

    @property
    def bin_width(self) -> float:
        """Width D of a bin, length."""
        return (self.r_max - self.r_min) / self.bins

    @property
    def edges(self) -> Array:
        """`(bins + 1,)`, length."""
        return np.linspace(self.r_min, self.r_max, self.bins + 1, dtype=np.float64)

    @property
    def centers(self) -> Array:
        """`(bins,)`, length."""
        return self.r_min + (np.arange(self.bins, dtype=np.float64) + 0.5) * self.bin_width

    @property
    def shell_volumes(self) -> Array:
        """`(bins,)`, exact shell volumes 4/3 pi (r_hi³ - r_lo³), length³."""
        return shell_volumes(self.edges[:-1], self.edges[1:])

    @property
    def volumes(self) -> Array:
        """`(bins,)`, integral of 4 pi r² w_k(r) dr, length³; the shell volumes when the width is 0."""
        return self.shell_volumes if self.width == 0.0 else kernel_volumes(self)

    @property
    def reach(self) -> float:
        """Largest distance that contributes to any bin, length."""
        return self.r_max + SUPPORT * self.width

    def weights(self, r: Array) -> Array:
        """w_k(r) for distances `(n,)`; returns `(n, bins)`."""
        r = np.asarray(r, dtype=np.float64)
        x = (r - self.r_min) / self.bin_width - 0.5
        if self.width == 0.0:
            return (np.floor(x + 0.5)[:, None] == np.arange(self.bins)).astype(np.float64)
        return relative_weight(x[:, None] - np.arange(self.bins), self.width / self.bin_width)


@lru_cache(maxsize=16)
def shell_quadrature(grid: ShellGrid) -> tuple[Array, Array]:
    """Points and weights for integrals of 4 pi r² w_k(r) f(r) dr over r > 0.

    Returns:
        r `(bins, n)`, length, and weights `(bins, n)`, length³, by Gauss-Legendre panels that resolve the kernel to
        round-off and end at r = 0.
    """
    sigma = grid.width / grid.bin_width
    half_range = 0.5 + SUPPORT * sigma
    finest = 0.05 if sigma == 0.0 else 0.5 * min(sigma, 2.0 * sigma**2)
    panels = np.linspace(-half_range, half_range, math.ceil(2.0 * half_range / finest) + 1)
    nodes, factors = np.polynomial.legendre.leggauss(8)
    edges = np.maximum(grid.centers[:, None] + grid.bin_width * panels, 0.0)
    half = 0.5 * np.diff(edges, axis=1)
    r = ((edges[:, :-1] + half)[:, :, None] + half[:, :, None] * nodes).reshape(grid.bins, -1)
    lengths = (half[:, :, None] * factors).reshape(grid.bins, -1)
    offset = (r - grid.centers[:, None]) / grid.bin_width
    weight = np.ones_like(r) if sigma == 0.0 else relative_weight(offset, sigma)
    measure = 4.0 * math.pi * r**2 * weight * lengths
    for array in (r, measure):
        array.setflags(write=False)
    return r, measure


@lru_cache(maxsize=64)
def kernel_volumes(grid: ShellGrid) -> Array:
    """Integral of 4 pi r² w_k(r) dr over r > 0, `(bins,)`, length³."""
    volumes = shell_quadrature(grid)[1].sum(1)
    volumes.setflags(write=False)
    return volumes


def relative_weight(y: Array, sigma: float) -> Array:
    """Kernel weight of a bin whose centre lies y bin widths below the distance; sigma is the width in bin widths."""
    nearest = np.rint(y)
    half = math.ceil(SUPPORT * sigma) + 1
    offset = y - nearest
    # exp(-(offset - m)²/2s²) relative to m = 0, so that nothing underflows for narrow kernels
    terms = np.arange(-half, half + 1)
    normaliser = np.exp((offset[..., None] * terms - 0.5 * terms**2) / sigma**2).sum(-1)
    return np.asarray(np.exp((offset**2 - y**2) / (2.0 * sigma**2)) / normaliser, dtype=np.float64)


@dataclass(frozen=True)
class MomentExpansion:
    """The kernel as a polynomial on sub-bins, which makes the cost per pair independent of the number of bins.

    Each bin is cut into `subdivision` sub-bins no wider than the kernel (narrow kernels: than 1.5 times the square of
    the width, over which the weight passes from one bin to the next). On one sub-bin, w_k is a polynomial of degree 15
    in t in [-1, 1] to round-off, so the sixteen moments sum t^m of the pairs in each sub-bin are all that is needed:
    counts_k = sum over sub-bins n and moments m of table[n - subdivision k, m] moments[n, m].

    Args:
        subdivision: sub-bins per bin.
        padding: sub-bins added on either side of the window.
        table: `(subdivision + 2 padding, N_MOMENTS)`; row j belongs to sub-bin j - padding counted from the
            lower edge of bin k.
    """

    subdivision: int
    padding: int
    table: Array


@lru_cache(maxsize=64)
def moment_expansion(sigma: float) -> MomentExpansion:
    """Expansion for a kernel whose width is `sigma` bin widths (> 0)."""
    subdivision = math.ceil(1.0 / min(sigma, 1.5 * sigma**2))
    padding = math.ceil(SUPPORT * sigma * subdivision)
    rows = np.arange(-padding, subdivision + padding)
    nodes = chebyshev.chebpts1(N_MOMENTS)
    to_series = chebyshev.chebvander(nodes, N_MOMENTS - 1).T * (2.0 / N_MOMENTS)
    to_series[0] *= 0.5
    table = np.empty((rows.size, N_MOMENTS))
    for index, row in enumerate(rows):
        weights = relative_weight((row + 0.5 * (nodes + 1.0)) / subdivision - 0.5, sigma)
        power = chebyshev.cheb2poly(to_series @ weights)
        table[index] = 0.0
        table[index, : power.size] = power
    table.setflags(write=False)
    return MomentExpansion(subdivision, padding, table)
