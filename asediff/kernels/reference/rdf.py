"""Pair-distance histograms in plain torch, on any device: the definition that the fast kernels are tested against.

Every pair of atoms and every periodic image within reach is examined, so the cost is quadratic in the number of atoms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from asediff.kernels.arrays import Exclusions
from asediff.kernels.reference.pair import pair_weights
from asediff.kernels.shells import SUPPORT, ShellGrid

PAIRS_AT_ONCE = 1 << 16


def pair_distances(
    positions: Tensor, cell: Tensor, reach: float, atoms: Tensor | None = None, exclusions: Exclusions | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Unordered pairs of different atoms closer than reach, one periodic image after the other.

    Args:
        positions: `(n_atoms, 3)`, length.
        cell: `(3, 3)`, rows are lattice vectors, length.
        reach: largest distance, length.
        atoms: `(n_atoms,)` int64, their numbers in the exclusions.
        exclusions: pairs of weight 0 are left out in their nearest image.

    Yields:
        first `(n,)`, second `(n,)` and distance `(n,)`, differentiable with respect to positions.
    """
    inverse = torch.linalg.inv(cell)
    images = [math.floor(reach * float(inverse[:, d].norm()) + 0.5) for d in range(3)]
    pairs = torch.triu_indices(len(positions), len(positions), 1, device=positions.device)
    for first, second in pairs.split(PAIRS_AT_ONCE, dim=1):
        d = positions[second] - positions[first]
        nearest = d - torch.round(d.detach() @ inverse) @ cell
        kept = torch.ones_like(first, dtype=torch.bool)
        if exclusions is not None and atoms is not None:
            kept = pair_weights(atoms[first], atoms[second], exclusions) > 0.0
        for shift in itertools.product(*(range(-n, n + 1) for n in images)):
            moved = nearest + torch.tensor(shift, dtype=cell.dtype, device=cell.device) @ cell
            within = (moved.detach() ** 2).sum(-1) < reach**2
            close = torch.nonzero(within if any(shift) else within & kept).squeeze(-1)
            if len(close):
                yield first[close], second[close], torch.linalg.vector_norm(moved[close], dim=-1)


def kernel_weights(r: Tensor, grid: ShellGrid) -> Tensor:
    """w_k(r) as defined in `asediff.kernels.shells`, for distances `(n,)`; returns `(n, bins)`."""
    x = (r - grid.r_min) / grid.bin_width - 0.5
    k = torch.arange(grid.bins, dtype=r.dtype, device=r.device)
    if grid.width == 0.0:
        return (torch.floor(x.detach() + 0.5)[:, None] == k).to(r.dtype)
    sigma = grid.width / grid.bin_width
    nearest = torch.round(x.detach())
    offset = x - nearest
    half = math.ceil(SUPPORT * sigma) + 1
    m = torch.arange(-half, half + 1, dtype=r.dtype, device=r.device)
    normaliser = torch.exp((offset[:, None] * m - 0.5 * m**2) / sigma**2).sum(-1)
    j = k - nearest[:, None]
    return torch.exp((offset[:, None] * j - 0.5 * j**2) / sigma**2) / normaliser[:, None]


def smeared_counts(
    positions: Tensor,
    cell: Tensor,
    offsets: Tensor,
    types: Tensor,
    channels: Tensor,
    grid: ShellGrid,
    exclusions: Exclusions | None = None,
) -> Tensor:
    """As `asediff.kernels.cpu.rdf.smeared_counts`; any device, differentiable any number of times."""
    n_channels = int(channels.max()) + 1
    frames = []
    for frame in positions:
        systems = []
        for s in range(len(cell)):
            atoms = torch.arange(int(offsets[s]), int(offsets[s + 1]), device=frame.device)
            atoms = atoms[types[atoms] >= 0]
            counts = frame.new_zeros(n_channels, grid.bins)
            for first, second, r in pair_distances(frame[atoms], cell[s], grid.reach, atoms, exclusions):
                channel = channels[types[atoms[first]], types[atoms[second]]]
                kept = channel >= 0
                counts = counts.index_add(0, channel[kept], kernel_weights(r[kept], grid))
            systems.append(counts)
        frames.append(torch.stack(systems))
    return torch.stack(frames)
