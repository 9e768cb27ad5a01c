"""Smeared pair counts on accelerators: the moments of `asediff.kernels.cpu.rdf` in vectorised torch.

All pairs of a system are examined, many systems and frames at a time, in blocks that fit into memory. Systems of equal
size share a block, whatever their cells.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asediff.kernels.arrays import Exclusions
from asediff.kernels.reference import rdf as reference_rdf
from asediff.kernels.shells import N_MOMENTS, ShellGrid, moment_expansion

PAIRS_AT_ONCE = 1 << 22


class _Close(NamedTuple):
    """Pairs within reach: their copy (frame and system), atoms, connecting vector, distance and channel."""

    copy: Tensor
    first: Tensor
    second: Tensor
    d: Tensor
    r: Tensor
    channel: Tensor


def _close_pairs(
    x: Tensor,
    cell: Tensor,
    types: Tensor,
    channels: Tensor,
    reach: float,
    left_out: tuple[Tensor, Tensor, Tensor] | None,
) -> Iterator[_Close]:
    """Unordered pairs of different atoms closer than reach.

    Args:
        x: `(n_copies, n, 3)`, length.
        cell: `(n_copies, 3, 3)`, length.
        types: `(n_copies, n)` int64, -1 for an atom that is left out.
        channels: `(n_types, n_types)` int64.
        reach: largest distance, length.
        left_out: numbers of copies and of two atoms each, `(n,)`, whose nearest images do not count.
    """
    n_copies, n, _ = x.shape
    inverse = torch.linalg.inv(cell)
    padded = torch.nn.functional.pad(channels, (0, 1, 0, 1), value=-1)
    images = [math.floor(reach * float(inverse[:, :, d].norm(dim=1).max()) + 0.5) for d in range(3)]
    index = torch.arange(n, device=x.device)
    rows = max(1, PAIRS_AT_ONCE // (n_copies * n))
    for begin in range(0, n, rows):
        end = min(n, begin + rows)
        difference = x[:, None] - x[:, begin:end, None]
        shape = difference.shape
        flat = difference.reshape(n_copies, -1, 3)
        flat = flat - torch.round(flat @ inverse) @ cell
        channel = padded[types[:, begin:end, None], types[:, None]]
        wanted = (channel >= 0) & (index > index[begin:end, None])
        for shift in itertools.product(*(range(-m, m + 1) for m in images)):
            d = (flat + torch.tensor(shift, dtype=x.dtype, device=x.device) @ cell[:, None]).reshape(shape)
            close = wanted & (d.square().sum(-1) < reach**2)
            if left_out is not None and not any(shift):
                copy, i, j = left_out
                here = (i >= begin) & (i < end)
                close[copy[here], i[here] - begin, j[here]] = False
            copy, i, j = close.nonzero(as_tuple=True)
            near = d[copy, i, j]
            yield _Close(copy, i + begin, j, near, near.norm(dim=-1), channel[copy, i, j])


def _places(r: Tensor, grid: ShellGrid) -> tuple[Tensor, Tensor]:
    """Sub-bin of each distance, and the powers 1, t, ... t^15 of the place within it."""
    expansion = moment_expansion(grid.width / grid.bin_width)
    width = grid.bin_width / expansion.subdivision
    place = (r - (grid.r_min - expansion.padding * width)) / width
    n_sub_bins = grid.bins * expansion.subdivision + 2 * expansion.padding
    sub_bin = place.floor().clamp(0, n_sub_bins - 1)
    t = 2.0 * (place - sub_bin) - 1.0
    return sub_bin.to(torch.int64), t[:, None] ** torch.arange(N_MOMENTS, device=r.device)


def _groups(
    positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor
) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor, Tensor]]:
    """Systems of equal size: their numbers, atoms `(n_systems, n)`, and copies of positions, cells and types."""
    starts = offsets.tolist()
    sizes: dict[int, list[int]] = {}
    for s in range(len(cell)):
        sizes.setdefault(starts[s + 1] - starts[s], []).append(s)
    n_frames = len(positions)
    for n, members in sizes.items():
        first = torch.tensor([starts[s] for s in members], device=positions.device)
        atoms = first[:, None] + torch.arange(n, device=positions.device)
        x = positions.detach()[:, atoms].to(torch.float64).reshape(-1, n, 3)
        cells = cell[members].to(torch.float64).repeat(n_frames, 1, 1)
        yield members, atoms, x, cells, types[atoms].repeat(n_frames, 1)


def _left_out(exclusions: Exclusions | None, atoms: Tensor, n_frames: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """What `_close_pairs` leaves out of the copies of some systems, whose atoms are `(n_systems, n)`."""
    if exclusions is None:
        return None
    owner = torch.repeat_interleave(
        torch.arange(len(exclusions.first) - 1, device=atoms.device), exclusions.first.diff()
    )
    number = torch.full_like(exclusions.first, -1)
    number[atoms.flatten()] = torch.arange(atoms.numel(), device=atoms.device)
    ours = (exclusions.weight == 0.0) & (number[owner] >= 0)
    first, second = number[owner[ours]], number[exclusions.partner[ours]]
    (n_systems, n), frames = atoms.shape, torch.arange(n_frames, device=atoms.device)
    copy = (frames[:, None] * n_systems + first // n).flatten()
    return copy, (first % n).repeat(n_frames), (second % n).repeat(n_frames)


class _SmearedCounts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, grid: ShellGrid,
        exclusions: Exclusions | None,
    ) -> Tensor:  # fmt: skip
        if not bool(torch.isfinite(positions).all()):
            raise ValueError("positions: not finite, so there are no distances to count; find the step that blew up")
        ctx.save_for_backward(positions, cell, offsets, types, channels)
        ctx.grid, ctx.exclusions = grid, exclusions
        expansion = moment_expansion(grid.width / grid.bin_width)
        n_sub_bins = grid.bins * expansion.subdivision + 2 * expansion.padding
        n_channels, n_frames = int(channels.max()) + 1, len(positions)
        table = torch.tensor(expansion.table, device=positions.device)
        counts = torch.zeros(n_frames, len(cell), n_channels, grid.bins, dtype=torch.float64, device=positions.device)
        for members, atoms, x, cells, kinds in _groups(positions, cell, offsets, types):
            left_out = _left_out(exclusions, atoms, n_frames)
            moments = table.new_zeros(len(x) * n_channels * n_sub_bins, N_MOMENTS)
            for pairs in _close_pairs(x, cells, kinds, channels, grid.reach, left_out):
                sub_bin, powers = _places(pairs.r, grid)
                moments.index_add_(0, (pairs.copy * n_channels + pairs.channel) * n_sub_bins + sub_bin, powers)
            windows = moments.reshape(-1, n_sub_bins, N_MOMENTS).unfold(1, len(table), expansion.subdivision)
            summed = torch.einsum("ckmj,jm->ck", windows, table)
            counts[:, members] = summed.reshape(n_frames, len(members), n_channels, grid.bins)
        return counts.to(positions.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        positions, cell, offsets, types, channels = ctx.saved_tensors
        grid: ShellGrid = ctx.grid
        expansion = moment_expansion(grid.width / grid.bin_width)
        n_sub_bins = grid.bins * expansion.subdivision + 2 * expansion.padding
        per_t = 2.0 * expansion.subdivision / grid.bin_width
        table = torch.tensor(expansion.table, device=positions.device)
        slope = torch.zeros_like(table)
        slope[:, :-1] = per_t * table[:, 1:] * torch.arange(1, N_MOMENTS, device=table.device)
        n_channels = gradient.shape[2]
        first_row = torch.arange(grid.bins, device=table.device) * expansion.subdivision
        row = (first_row[:, None] + torch.arange(len(table), device=table.device)).flatten()
        result = torch.zeros(positions.shape, dtype=torch.float64, device=positions.device)
        for members, atoms, x, cells, kinds in _groups(positions, cell, offsets, types):
            incoming = gradient[:, members].to(torch.float64).reshape(-1, grid.bins)
            spread = torch.einsum("ck,jm->ckjm", incoming, slope).reshape(len(incoming), -1, N_MOMENTS)
            slopes = table.new_zeros(len(incoming), n_sub_bins, N_MOMENTS).index_add_(1, row, spread)
            slopes = slopes.reshape(-1, N_MOMENTS)
            pull = torch.zeros_like(x)
            left_out = _left_out(ctx.exclusions, atoms, len(positions))
            for pairs in _close_pairs(x, cells, kinds, channels, grid.reach, left_out):
                sub_bin, powers = _places(pairs.r, grid)
                at = (pairs.copy * n_channels + pairs.channel) * n_sub_bins + sub_bin
                size = (slopes[at] * powers).sum(-1) / pairs.r.clamp_min(1e-300)
                force = size[:, None] * pairs.d
                pull.index_put_((pairs.copy, pairs.second), force, accumulate=True)
                pull.index_put_((pairs.copy, pairs.first), -force, accumulate=True)
            result[:, atoms] = pull.reshape(len(positions), *atoms.shape, 3)
        return result.to(positions.dtype), None, None, None, None, None, None


def smeared_counts(
    positions: Tensor,
    cell: Tensor,
    offsets: Tensor,
    types: Tensor,
    channels: Tensor,
    grid: ShellGrid,
    exclusions: Exclusions | None = None,
) -> Tensor:
    """As `asediff.kernels.cpu.rdf.smeared_counts`, on the device of the positions."""
    if grid.width == 0.0:
        return reference_rdf.smeared_counts(positions, cell, offsets, types, channels, grid, exclusions)
    result: Tensor = _SmearedCounts.apply(positions, cell, offsets, types, channels, grid, exclusions)
    return result
