"""Pair-distance histograms on the CPU (numba): smeared counts with an exact gradient, and plain integer counts.

The definition is `asediff.kernels.reference_rdf`; this file gives the same numbers at a cost per pair that does not
depend on the number of bins. Each pair adds the first twelve powers of its place inside a sub-bin to that sub-bin's
moments; the counts are a small linear map of the moments (`asediff.kernels.shells.MomentExpansion`). The gradient runs
the other way: dL/dcounts becomes one polynomial per sub-bin, evaluated once per pair. All sums are in double precision.
Work is shared among threads by (frame, system); each writes its own part, so results repeat bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asediff.kernels.cpu_cells import (
    FAST,
    choose_cells,
    gather_candidates,
    partners,
    sort_into_cells,
)
from asediff.kernels.shells import N_MOMENTS, ShellGrid, moment_expansion

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
SCRATCH = 1024


@dataclass(frozen=True)
class _Box:
    """One system of the batch: its chosen atoms and the grid of cells to sort them into."""

    atoms: IntArray
    cell: Array
    inverse: Array
    n_cells: IntArray
    stencil: IntArray


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _moments(positions, types, channels, atoms, cell, inverse, n_cells, stencil, limits, moments):  # type: ignore[no-untyped-def]
    """Add each pair to `moments` (n_channels, n_sub_bins, N_MOMENTS); limits = low, high, origin, sub-bin width."""
    low2, high2, origin, per_width = limits[0] ** 2, limits[1] ** 2, limits[2], 1.0 / limits[3]
    start, order, xyz = sort_into_cells(positions, atoms, cell, inverse, n_cells)
    kinds = types[order]
    slots, points = np.empty(SCRATCH, np.int64), np.empty((3, SCRATCH))
    squares, place = np.empty(SCRATCH), np.empty(SCRATCH)
    inside, hits = np.empty(SCRATCH, np.int8), np.empty(SCRATCH, np.int64)
    last_bin = moments.shape[1] - 1
    for x in range(n_cells[0]):
        for y in range(n_cells[1]):
            for z in range(n_cells[2]):
                box = (x * n_cells[1] + y) * n_cells[2] + z
                if start[box] == start[box + 1]:
                    continue
                n, slots, points = gather_candidates(x, y, z, start, xyz, cell, n_cells, stencil, slots, points)
                if n > squares.shape[0]:
                    squares, place = np.empty(2 * n), np.empty(2 * n)
                    inside, hits = np.empty(2 * n, np.int8), np.empty(2 * n, np.int64)
                for slot in range(start[box], start[box + 1]):
                    count = partners(
                        slot, slot - start[box] + 1, n, slots, points, xyz, low2, high2, squares, inside, hits
                    )
                    for h in range(count):
                        place[h] = (math.sqrt(squares[hits[h]]) - origin) * per_width
                    row = channels[kinds[slot]]
                    for h in range(count):
                        channel = row[kinds[slots[hits[h]]]]
                        if channel < 0:
                            continue
                        b = min(int(place[h]), last_bin)
                        t = 2.0 * (place[h] - b) - 1.0
                        t2 = t * t
                        t3 = t2 * t
                        t4 = t2 * t2
                        t8 = t4 * t4
                        m = moments[channel, b]
                        m[0] += 1.0
                        m[1] += t
                        m[2] += t2
                        m[3] += t3
                        m[4] += t4
                        m[5] += t4 * t
                        m[6] += t4 * t2
                        m[7] += t4 * t3
                        m[8] += t8
                        m[9] += t8 * t
                        m[10] += t8 * t2
                        m[11] += t8 * t3


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _forces(positions, types, channels, atoms, cell, inverse, n_cells, stencil, limits, slopes, gradient):  # type: ignore[no-untyped-def]
    """Write dL/dpositions to `gradient` (n_atoms, 3), given dL/dr as a polynomial per sub-bin, `slopes`."""
    low2, high2, origin, per_width = limits[0] ** 2, limits[1] ** 2, limits[2], 1.0 / limits[3]
    start, order, xyz = sort_into_cells(positions, atoms, cell, inverse, n_cells)
    kinds = types[order]
    slots, points = np.empty(SCRATCH, np.int64), np.empty((3, SCRATCH))
    squares, radius = np.empty(SCRATCH), np.empty(SCRATCH)
    inside, hits = np.empty(SCRATCH, np.int8), np.empty(SCRATCH, np.int64)
    last_bin = slopes.shape[1] - 1
    pulled = np.zeros_like(xyz)
    for x in range(n_cells[0]):
        for y in range(n_cells[1]):
            for z in range(n_cells[2]):
                box = (x * n_cells[1] + y) * n_cells[2] + z
                if start[box] == start[box + 1]:
                    continue
                n, slots, points = gather_candidates(x, y, z, start, xyz, cell, n_cells, stencil, slots, points)
                if n > squares.shape[0]:
                    squares, radius = np.empty(2 * n), np.empty(2 * n)
                    inside, hits = np.empty(2 * n, np.int8), np.empty(2 * n, np.int64)
                for slot in range(start[box], start[box + 1]):
                    count = partners(
                        slot, slot - start[box] + 1, n, slots, points, xyz, low2, high2, squares, inside, hits
                    )
                    for h in range(count):
                        radius[h] = math.sqrt(squares[hits[h]])
                    row = channels[kinds[slot]]
                    sum_x, sum_y, sum_z = 0.0, 0.0, 0.0
                    for h in range(count):
                        k = hits[h]
                        j = slots[k]
                        channel = row[kinds[j]]
                        r = radius[h]
                        if channel < 0 or r == 0.0:
                            continue
                        place = (r - origin) * per_width
                        b = min(int(place), last_bin)
                        t = 2.0 * (place - b) - 1.0
                        t2 = t * t
                        t4 = t2 * t2
                        p = slopes[channel, b]
                        low = (p[0] + p[1] * t) + (p[2] + p[3] * t) * t2
                        middle = (p[4] + p[5] * t) + (p[6] + p[7] * t) * t2
                        high = (p[8] + p[9] * t) + p[10] * t2
                        f = (low + (middle + high * t4) * t4) / r
                        f_x = f * (points[0, k] - xyz[0, slot])
                        f_y = f * (points[1, k] - xyz[1, slot])
                        f_z = f * (points[2, k] - xyz[2, slot])
                        sum_x += f_x
                        sum_y += f_y
                        sum_z += f_z
                        pulled[0, j] += f_x
                        pulled[1, j] += f_y
                        pulled[2, j] += f_z
                    pulled[0, slot] -= sum_x
                    pulled[1, slot] -= sum_y
                    pulled[2, slot] -= sum_z
    for slot in range(order.shape[0]):
        for d in range(3):
            gradient[order[slot], d] = pulled[d, slot]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _histogram(  # type: ignore[no-untyped-def]
    positions, types, channels, atoms, cell, inverse, n_cells, stencil, limits, squared, counts
):
    """Count every pair in `counts` (n_channels, bins); limits = lower edge, upper edge of r, first edge, bin width."""
    low2, high2, origin, per_width = limits[0] ** 2, limits[1] ** 2, limits[2], 1.0 / limits[3]
    start, order, xyz = sort_into_cells(positions, atoms, cell, inverse, n_cells)
    kinds = types[order]
    slots, points = np.empty(SCRATCH, np.int64), np.empty((3, SCRATCH))
    squares = np.empty(SCRATCH)
    inside, hits = np.empty(SCRATCH, np.int8), np.empty(SCRATCH, np.int64)
    bins = counts.shape[1]
    for x in range(n_cells[0]):
        for y in range(n_cells[1]):
            for z in range(n_cells[2]):
                box = (x * n_cells[1] + y) * n_cells[2] + z
                if start[box] == start[box + 1]:
                    continue
                n, slots, points = gather_candidates(x, y, z, start, xyz, cell, n_cells, stencil, slots, points)
                if n > squares.shape[0]:
                    squares = np.empty(2 * n)
                    inside, hits = np.empty(2 * n, np.int8), np.empty(2 * n, np.int64)
                for slot in range(start[box], start[box + 1]):
                    count = partners(
                        slot, slot - start[box] + 1, n, slots, points, xyz, low2, high2, squares, inside, hits
                    )
                    row = channels[kinds[slot]]
                    for h in range(count):
                        channel = row[kinds[slots[hits[h]]]]
                        value = squares[hits[h]]
                        if not squared:
                            value = math.sqrt(value)
                        b = int((value - origin) * per_width)
                        if channel >= 0 and 0 <= b < bins:
                            counts[channel, b] += 1


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _counts_from_moments(moments, table, subdivision, counts):  # type: ignore[no-untyped-def]
    for channel in range(moments.shape[0]):
        for k in range(counts.shape[1]):
            total = 0.0
            for j in range(table.shape[0]):
                for m in range(table.shape[1]):
                    total += table[j, m] * moments[channel, k * subdivision + j, m]
            counts[channel, k] = total


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _slopes_from_gradient(gradient, table, subdivision, width, slopes):  # type: ignore[no-untyped-def]
    """dL/dr as a polynomial of degree 10 in t on each sub-bin, from dL/dcounts (n_channels, bins)."""
    for channel in range(gradient.shape[0]):
        for k in range(gradient.shape[1]):
            scale = gradient[channel, k] * 2.0 / width
            for j in range(table.shape[0]):
                for m in range(1, table.shape[1]):
                    slopes[channel, k * subdivision + j, m - 1] += scale * m * table[j, m]


def _boxes(cell: Array, offsets: IntArray, types: IntArray, reach: float) -> list[_Box]:
    boxes = []
    for s in range(cell.shape[0]):
        atoms = np.flatnonzero(types[offsets[s] : offsets[s + 1]] >= 0) + offsets[s]
        vectors = np.ascontiguousarray(cell[s])
        inverse = np.linalg.inv(vectors)
        n_cells, stencil = choose_cells(vectors, inverse, reach, atoms.size)
        boxes.append(_Box(atoms, vectors, inverse, n_cells, stencil))
    return boxes


def _each(n_tasks: int, work: Callable[[int], None]) -> None:
    """Run work(0..n_tasks-1) on as many threads as torch uses; the kernels release the interpreter lock."""
    n_threads = min(torch.get_num_threads(), n_tasks)
    if n_threads <= 1:
        for task in range(n_tasks):
            work(task)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(work, range(n_tasks)):
            pass


def _as_frames(positions: Tensor) -> Array:
    frames = np.ascontiguousarray(positions.detach().to(torch.float64).numpy())
    if not np.isfinite(frames).all():
        raise ValueError("positions: not finite, so there are no distances to count; find the step that blew up")
    return frames


def _int_array(values: Tensor) -> IntArray:
    return np.ascontiguousarray(values.detach().numpy(), dtype=np.int64)


class _SmearedCounts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, grid: ShellGrid
    ) -> Tensor:
        ctx.save_for_backward(positions, cell, offsets, types, channels)
        ctx.grid = grid
        frames, kinds, table = _as_frames(positions), _int_array(types), _int_array(channels)
        boxes = _boxes(cell.detach().to(torch.float64).numpy(), _int_array(offsets), kinds, grid.reach)
        expansion = moment_expansion(grid.width / grid.bin_width)
        limits = _limits(grid)
        n_channels = int(channels.max()) + 1
        shape = (n_channels, expansion.n_sub_bins(grid.bins), N_MOMENTS)
        counts = np.empty((len(frames), len(boxes), n_channels, grid.bins))

        def count(task: int) -> None:
            f, s = divmod(task, len(boxes))
            b = boxes[s]
            moments = np.zeros(shape)
            _moments(frames[f], kinds, table, b.atoms, b.cell, b.inverse, b.n_cells, b.stencil, limits, moments)
            _counts_from_moments(moments, expansion.table, expansion.subdivision, counts[f, s])

        _each(len(frames) * len(boxes), count)
        return torch.from_numpy(counts).to(positions.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        positions, cell, offsets, types, channels = ctx.saved_tensors
        grid: ShellGrid = ctx.grid
        frames, kinds, table = _as_frames(positions), _int_array(types), _int_array(channels)
        boxes = _boxes(cell.detach().to(torch.float64).numpy(), _int_array(offsets), kinds, grid.reach)
        expansion = moment_expansion(grid.width / grid.bin_width)
        limits = _limits(grid)
        incoming = np.ascontiguousarray(gradient.to(torch.float64).numpy())
        shape = (incoming.shape[2], expansion.n_sub_bins(grid.bins), N_MOMENTS)
        result = np.zeros_like(frames)

        def pull(task: int) -> None:
            f, s = divmod(task, len(boxes))
            b = boxes[s]
            slopes = np.zeros(shape)
            _slopes_from_gradient(incoming[f, s], expansion.table, expansion.subdivision, limits[3], slopes)
            _forces(
                frames[f], kinds, table, b.atoms, b.cell, b.inverse, b.n_cells, b.stencil, limits, slopes, result[f]
            )

        _each(len(frames) * len(boxes), pull)
        return torch.from_numpy(result).to(positions.dtype), None, None, None, None, None


def _limits(grid: ShellGrid) -> Array:
    """Smallest and largest distance that count, the lower edge of the first sub-bin, and the sub-bin width."""
    expansion = moment_expansion(grid.width / grid.bin_width)
    sub_width = grid.bin_width / expansion.subdivision
    origin = grid.r_min - expansion.padding * sub_width
    return np.array([max(origin, 0.0), grid.r_max + expansion.padding * sub_width, origin, sub_width])


def smeared_counts(
    positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, grid: ShellGrid
) -> Tensor:
    """Sum of w_k(r) over unordered pairs, for every frame, system and channel.

    Args:
        positions: `(n_frames, n_atoms, 3)`, length; need not be wrapped.
        cell: `(n_systems, 3, 3)`, rows are lattice vectors, length.
        offsets: `(n_systems + 1,)`, first atom of each system.
        types: `(n_atoms,)` int64, 0..n_types-1, or -1 for an atom that is left out.
        channels: `(n_types, n_types)` int64, symmetric: which histogram a pair of types goes to, -1 for none.
        grid: bins and kernel width.

    Returns:
        `(n_frames, n_systems, n_channels, bins)`, differentiable with respect to positions when grid.width > 0.
    """
    if grid.width == 0.0:
        counts = pair_histograms(
            positions, cell, offsets, types, channels, lower=grid.r_min, upper=grid.r_max, bins=grid.bins
        )
        return counts.to(positions.dtype)
    result: Tensor = _SmearedCounts.apply(positions, cell, offsets, types, channels, grid)
    return result


def pair_histograms(
    positions: Tensor,
    cell: Tensor,
    offsets: Tensor,
    types: Tensor,
    channels: Tensor,
    *,
    lower: float,
    upper: float,
    bins: int,
    squared: bool = False,
) -> Tensor:
    """Number of unordered pairs in each bin [edge_k, edge_k+1), all channels in one pass.

    Args:
        positions, cell, offsets, types, channels: as in `smeared_counts`.
        lower: first edge in r (length), or in r² (length²) if squared.
        upper: last edge, in the same variable.
        bins: number of equal bins.
        squared: bins are uniform in r² instead of r.

    Returns:
        `(n_frames, n_systems, n_channels, bins)` int64.
    """
    frames, kinds, table = _as_frames(positions), _int_array(types), _int_array(channels)
    low, high = (math.sqrt(lower), math.sqrt(upper)) if squared else (lower, upper)
    boxes = _boxes(cell.detach().to(torch.float64).numpy(), _int_array(offsets), kinds, high)
    limits = np.array([low, high, lower, (upper - lower) / bins])
    counts = np.zeros((len(frames), len(boxes), int(channels.max()) + 1, bins), np.int64)

    def count(task: int) -> None:
        f, s = divmod(task, len(boxes))
        b = boxes[s]
        _histogram(
            frames[f],
            kinds,
            table,
            b.atoms,
            b.cell,
            b.inverse,
            b.n_cells,
            b.stencil,
            limits,
            squared,
            counts[f, s],
        )

    _each(len(frames) * len(boxes), count)
    return torch.from_numpy(counts)
