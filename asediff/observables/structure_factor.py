"""The static structure factor S(q) on the wave vectors that the box admits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from asediff.checks.described import Doc
from asediff.observables.base import Observable, frames_of
from asediff.system import System
from asediff.trajectory import Trajectory

FINE = 20
"""Points per bin that a curve is averaged over."""
PHASES = 1 << 22
"""Most phases k · r that are held at once."""


@dataclass(frozen=True)
class StructureFactor(Observable):
    """Static structure factor, differentiable with respect to the positions.

        S(k) = | sum over atoms of exp(i k · r) |² / N,

    averaged over the wave vectors k (integer combinations of the reciprocal lattice vectors) whose length lies in the
    bin. There is no truncation error, as there is in the Fourier transform of a g(r) that ends somewhere; the smallest
    q is 2 pi / L. Cost grows with the number of wave vectors, about V q_max³ / (12 pi²), times that of atoms.
    """

    kind: ClassVar[str] = "structure_factor"
    abscissa: ClassVar[str] = "q"
    ordinate: ClassVar[str] = "S"
    abscissa_unit: ClassVar[str] = "1/length"
    uncorrelated: ClassVar[float | None] = 1.0
    peaked: ClassVar[bool] = True

    q_max: Annotated[float, Doc("upper edge of the last bin", unit="1/length")]
    bins: Annotated[int, Doc("number of equal bins; each must hold a wave vector of the box")]
    q_min: Annotated[float, Doc("lower edge of the first bin", unit="1/length")] = 0.0

    def __post_init__(self) -> None:
        if not self.bins >= 1:
            raise ValueError(f"bins={self.bins}: a histogram needs at least one bin; give bins >= 1")
        if not 0.0 <= self.q_min < self.q_max:
            raise ValueError(f"q_max={self.q_max}: the window is empty; give q_max > q_min={self.q_min} >= 0")

    @property
    def centers(self) -> Tensor:
        """Centres of the bins, `(bins,)` float64, 1/length."""
        width = (self.q_max - self.q_min) / self.bins
        return self.q_min + (torch.arange(self.bins, dtype=torch.float64) + 0.5) * width

    def project(self, x: ArrayLike, values: ArrayLike) -> Tensor:
        """What this observable would measure if S(q) were a curve: its mean over each bin, weighted by q².

        That is where the wave vectors of a large box lie. A curve that ends a bin short keeps its last value.

        Args:
            x: `(n,)`, ascending, 1/length.
            values: `(n,)`.
        """
        x, values = self.check_curve(x, values, fewest=4)
        width = (self.q_max - self.q_min) / self.bins
        self.check_range(x, self.q_min, self.q_max, slack=width)
        q = self.q_min + (np.arange(FINE * self.bins) + 0.5) * (width / FINE)
        s = (PchipInterpolator(x, values)(np.clip(q, x[0], x[-1])) * q**2).reshape(self.bins, FINE)
        return torch.from_numpy(s.sum(1) / (q**2).reshape(self.bins, FINE).sum(1))

    def check_reference(self, reference: Tensor) -> None:
        """See `Observable.check_reference`: not negative."""
        self.refuse_negative(reference, "a structure factor")

    def shell_weights(self) -> Tensor:
        """See `Observable.shell_weights`: q², to which the number of wave vectors is proportional."""
        return self.centers**2

    def per_frame(self, trajectory: Trajectory | System) -> Tensor:
        """S(q) of each frame, `(n_frames, n_systems, bins)`.

        Raises:
            ValueError: If a bin holds no wave vector of a box, or a box is not periodic.
        """
        positions, system = frames_of(trajectory)
        if not bool(system.pbc.all()):
            k = int((~system.pbc).any(-1).nonzero()[0])
            raise ValueError(f"pbc: system {k} is not periodic in every direction, so it has no wave vectors")
        offsets = system.offsets.tolist()
        results = []
        for s in range(system.n_systems):
            vectors, owner = self._wave_vectors(system, s)
            amplitude = _squared_amplitudes(positions[:, offsets[s] : offsets[s + 1]], vectors)
            sums = amplitude.new_zeros(len(positions), self.bins).index_add(1, owner, amplitude)
            each = torch.bincount(owner, minlength=self.bins) * (offsets[s + 1] - offsets[s])
            results.append(sums / each)
        return torch.stack(results, dim=1)

    def _wave_vectors(self, system: System, s: int) -> tuple[Tensor, Tensor]:
        """Half of the wave vectors of a box `(n, 3)` (k and -k are alike) and the bin of each."""
        cell = tuple(system.cell[s].detach().to("cpu", torch.float64).flatten().tolist())
        vectors, owner = _reciprocal(cell, self.q_min, self.q_max, self.bins)
        empty = np.flatnonzero(np.bincount(owner, minlength=self.bins) == 0)
        if empty.size:
            raise ValueError(
                f"bins={self.bins}: system {s} has no wave vector near q={float(self.centers[empty[0]]):.4g}; "
                "use fewer bins, a larger q_min or a larger box"
            )
        return torch.tensor(vectors).to(system.positions), torch.tensor(owner, device=system.device)


def _squared_amplitudes(positions: Tensor, vectors: Tensor) -> Tensor:
    """| Σ_j exp(i k · r_j) |² for positions `(n_frames, n_atoms, 3)` and wave vectors `(n, 3)`: `(n_frames, n)`.

    Block by block; a backward pass makes the phases of a block again, so that memory stays that of one.
    """

    def of(block: Tensor, some: Tensor) -> Tensor:
        phase = block @ some.T
        return torch.cos(phase).sum(1).square() + torch.sin(phase).sum(1).square()

    n_atoms = max(1, positions.shape[1])
    some = min(len(vectors), max(1, PHASES // n_atoms))
    rows = []
    for block in positions.split(max(1, PHASES // (n_atoms * some))):
        parts = [checkpoint(of, block, v, use_reentrant=False, preserve_rng_state=False) for v in vectors.split(some)]
        rows.append(torch.cat(parts, dim=1))
    return torch.cat(rows)


@lru_cache(maxsize=16)
def _reciprocal(
    cell: tuple[float, ...], q_min: float, q_max: float, bins: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    lattice = np.array(cell).reshape(3, 3)
    reciprocal = 2.0 * math.pi * np.linalg.inv(lattice).T
    # |n_i| = |k · a_i| / 2 pi <= q_max |a_i| / 2 pi
    reach = np.floor(q_max * np.linalg.norm(lattice, axis=1) / (2.0 * math.pi)).astype(int)
    axes = [np.arange(-n, n + 1) for n in reach]
    n = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    half = (n[:, 0] > 0) | ((n[:, 0] == 0) & ((n[:, 1] > 0) | ((n[:, 1] == 0) & (n[:, 2] > 0))))
    vectors = n[half] @ reciprocal
    q = np.linalg.norm(vectors, axis=1)
    inside = (q >= q_min) & (q < q_max)
    owner = ((q[inside] - q_min) * (bins / (q_max - q_min))).astype(np.int64)
    return vectors[inside], np.minimum(owner, bins - 1)
