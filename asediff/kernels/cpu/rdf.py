"""Pair-distance histograms on the CPU (numba): smeared counts with an exact gradient, and plain integer counts.

The definition is `asediff.kernels.reference.rdf`; this file gives the same numbers at a cost per pair that does not
depend on the number of bins. Each pair adds the first sixteen powers of its place inside a sub-bin to that sub-bin's
moments; the counts are a small linear map of the moments (`asediff.kernels.shells.MomentExpansion`). The gradient runs
the other way: dL/dcounts becomes one polynomial per sub-bin, evaluated once per pair. All sums are in double precision.
Work is shared among threads by (frame, system); each writes its own part, so results repeat bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from asediff.kernels.arrays import Exclusions
from asediff.kernels.cpu.cells import choose_cells
from asediff.kernels.cpu.rdf_loops import (
    Array,
    Box,
    IntArray,
    add_moments,
    count_pairs,
    counts_from_moments,
    pull_on_atoms,
    slopes_from_gradient,
)
from asediff.kernels.cpu.team import get_num_threads, run_team
from asediff.kernels.cpu.teamwork import build_name
from asediff.kernels.exclusions import excluded_rows
from asediff.kernels.shells import N_MOMENTS, ShellGrid, moment_expansion

ATOMS_PER_THREAD = 500
"""With fewer atoms per thread (all frames together) starting it costs more than it gains."""


def _compile(build: str):  # type: ignore[no-untyped-def]
    """The compiled entry points. `build` names the sources, so that the cache on disk never serves an older build."""

    @numba.njit(cache=True, nogil=True)
    def cells(cell, inverse, reach, n_atoms):  # type: ignore[no-untyped-def]
        _ = build
        return choose_cells(cell, inverse, reach, n_atoms)

    @numba.njit(cache=True, nogil=True)
    def smear(frame, kinds, channels, box, limits, table, subdivision, counts):  # type: ignore[no-untyped-def]
        _ = build
        moments = np.zeros((counts.shape[0], (counts.shape[1] - 1) * subdivision + table.shape[0], N_MOMENTS))
        add_moments(frame, kinds, channels, box, limits, moments)
        counts_from_moments(moments, table, subdivision, counts)

    @numba.njit(cache=True, nogil=True)
    def pull(frame, kinds, channels, box, limits, table, subdivision, incoming, gradient):  # type: ignore[no-untyped-def]
        _ = build
        slopes = np.zeros((incoming.shape[0], (incoming.shape[1] - 1) * subdivision + table.shape[0], N_MOMENTS))
        slopes_from_gradient(incoming, table, subdivision, limits[3], slopes)
        pull_on_atoms(frame, kinds, channels, box, limits, slopes, gradient)

    @numba.njit(cache=True, nogil=True)
    def histogram(frame, kinds, channels, box, limits, counts):  # type: ignore[no-untyped-def]
        _ = build
        count_pairs(frame, kinds, channels, box, limits, counts)

    return cells, smear, pull, histogram


_choose_cells, _smear, _pull, _count = _compile(build_name())


def _boxes(cell: Array, offsets: IntArray, types: IntArray, reach: float, exclusions: Exclusions | None) -> list[Box]:
    boxes = []
    left_out = excluded_rows(exclusions, len(types))
    for s in range(cell.shape[0]):
        atoms = np.flatnonzero(types[offsets[s] : offsets[s + 1]] >= 0) + offsets[s]
        vectors = np.ascontiguousarray(cell[s])
        inverse = np.linalg.inv(vectors)
        height = float(1.0 / np.linalg.norm(inverse, axis=0).max())
        if reach > height:
            raise ValueError(
                f"width: pairs up to {reach:.6g} count, beyond the height {height:.6g} of system {s}, where an atom "
                "meets its own image; narrow the kernel, lower r_max or repeat the cell"
            )
        n_cells, stencil = _choose_cells(vectors, inverse, reach, atoms.size)
        boxes.append(Box(atoms, vectors, inverse, n_cells, stencil, *left_out))
    return boxes


def _each(n_tasks: int, n_atoms: int, work: Callable[[int], None]) -> None:
    """Run work(0..n_tasks-1) on a team of threads; each task writes its own part, so their number changes nothing."""
    n_threads = max(1, min(get_num_threads(), n_tasks, n_tasks * n_atoms // ATOMS_PER_THREAD))

    def member(rank: int) -> None:
        for task in range(rank, n_tasks, n_threads):
            work(task)

    run_team(n_threads, member)


def _as_frames(positions: Tensor) -> Array:
    frames = np.ascontiguousarray(positions.detach().to(torch.float64).numpy())
    if not np.isfinite(frames).all():
        raise ValueError("positions: not finite, so there are no distances to count; find the step that blew up")
    return frames


def _real_array(values: Tensor) -> Array:
    return values.detach().to(torch.float64).numpy()


def _int_array(values: Tensor) -> IntArray:
    return np.ascontiguousarray(values.detach().numpy(), dtype=np.int64)


class _SmearedCounts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, grid: ShellGrid,
        exclusions: Exclusions | None,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(positions, cell, offsets, types, channels)
        ctx.grid, ctx.exclusions = grid, exclusions
        frames, kinds, table = _as_frames(positions), _int_array(types), _int_array(channels)
        boxes = _boxes(_real_array(cell), _int_array(offsets), kinds, grid.reach, exclusions)
        expansion = moment_expansion(grid.width / grid.bin_width)
        limits = _limits(grid)
        counts = np.empty((len(frames), len(boxes), int(channels.max()) + 1, grid.bins))

        def count(task: int) -> None:
            f, s = divmod(task, len(boxes))
            _smear(frames[f], kinds, table, boxes[s], limits, expansion.table, expansion.subdivision, counts[f, s])

        _each(len(frames) * len(boxes), frames.shape[1] // len(boxes), count)
        return torch.from_numpy(counts).to(positions.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        positions, cell, offsets, types, channels = ctx.saved_tensors
        grid: ShellGrid = ctx.grid
        frames, kinds, table = _as_frames(positions), _int_array(types), _int_array(channels)
        boxes = _boxes(_real_array(cell), _int_array(offsets), kinds, grid.reach, ctx.exclusions)
        expansion = moment_expansion(grid.width / grid.bin_width)
        limits = _limits(grid)
        incoming = np.ascontiguousarray(gradient.to(torch.float64).numpy())
        result = np.zeros_like(frames)

        def pull(task: int) -> None:
            f, s = divmod(task, len(boxes))
            _pull(
                frames[f], kinds, table, boxes[s], limits, expansion.table, expansion.subdivision, incoming[f, s],
                result[f],
            )  # fmt: skip

        _each(len(frames) * len(boxes), frames.shape[1] // len(boxes), pull)
        return torch.from_numpy(result).to(positions.dtype), *[None] * 6


def _limits(grid: ShellGrid) -> Array:
    """Bounds of the squared distances that count (both excluded), lower edge of the first sub-bin, its width."""
    expansion = moment_expansion(grid.width / grid.bin_width)
    width = grid.bin_width / expansion.subdivision
    origin = grid.r_min - expansion.padding * width
    low, high = max(origin, 0.0), grid.r_max + expansion.padding * width
    return np.array([np.nextafter(low**2, -np.inf), high**2, origin, width])


def smeared_counts(
    positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, grid: ShellGrid,
    exclusions: Exclusions | None = None,
) -> Tensor:  # fmt: skip
    """Sum of w_k(r) over unordered pairs, for every frame, system and channel.

    Args:
        positions: `(n_frames, n_atoms, 3)`, length; need not be wrapped.
        cell: `(n_systems, 3, 3)`, rows are lattice vectors, length.
        offsets: `(n_systems + 1,)`, first atom of each system.
        types: `(n_atoms,)` int64, 0..n_types-1, or -1 for an atom that is left out.
        channels: `(n_types, n_types)` int64, symmetric: which histogram a pair of types goes to, -1 for none.
        grid: bins and kernel width.
        exclusions: pairs of weight 0 are left out in their nearest image, all others count in full.

    Returns:
        `(n_frames, n_systems, n_channels, bins)`, differentiable with respect to positions when grid.width > 0.
    """
    if grid.width == 0.0:
        counts = pair_histograms(
            positions, cell, offsets, types, channels, lower=grid.r_min, upper=grid.r_max, bins=grid.bins,
            exclusions=exclusions,
        )  # fmt: skip
        return counts.to(positions.dtype)
    result: Tensor = _SmearedCounts.apply(positions, cell, offsets, types, channels, grid, exclusions)
    return result


def pair_histograms(
    positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, *, lower: float, upper: float,
    bins: int, exclusions: Exclusions | None = None,
) -> Tensor:  # fmt: skip
    """Number of unordered pairs in each bin [edge_k, edge_k+1), all channels in one pass.

    Args:
        positions, cell, offsets, types, channels: as in `smeared_counts`.
        lower, upper: first and last edge, length.
        bins: number of equal bins.
        exclusions: as in `smeared_counts`.

    Returns:
        `(n_frames, n_systems, n_channels, bins)` int64.
    """
    frames, kinds, table = _as_frames(positions), _int_array(types), _int_array(channels)
    boxes = _boxes(_real_array(cell), _int_array(offsets), kinds, upper, exclusions)
    limits = np.array([np.nextafter(lower**2, -np.inf), upper**2, lower, (upper - lower) / bins])
    counts = np.zeros((len(frames), len(boxes), int(channels.max()) + 1, bins), np.int64)

    def count(task: int) -> None:
        f, s = divmod(task, len(boxes))
        _count(frames[f], kinds, table, boxes[s], limits, counts[f, s])

    _each(len(frames) * len(boxes), frames.shape[1] // len(boxes), count)
    return torch.from_numpy(counts)
