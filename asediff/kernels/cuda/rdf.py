"""Pair-distance histograms on the GPU (Triton): smeared counts with an exact gradient, and plain integer counts.

The definition is `asediff.kernels.reference.rdf`. As on the CPU, each pair adds the powers of its place in a sub-bin to
that sub-bin's moments, and the counts are a small linear map of the moments; the gradient runs the other way, without
atomic additions. All pairs of a system are examined: a GPU looks at 10^10 pairs in well under a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asediff.kernels.arrays import Exclusions
from asediff.kernels.cuda import rdf_loops as cuda_rdf_loops
from asediff.kernels.cuda.math import launch_options
from asediff.kernels.cuda.shells import FINENESS, MOST_SUB_BINS, N_MOMENTS, fine_expansion
from asediff.kernels.exclusions import excluded_rows
from asediff.kernels.reference import torch_rdf
from asediff.kernels.reference.pair import lattice_inverse
from asediff.kernels.shells import ShellGrid

MEMORY = 2**28
"""Bytes of moments that are kept at a time."""
MOST_FRAMES = 2**15
"""Frames in one launch."""


@dataclass(frozen=True, eq=False)
class _Layout:
    """Everything of a pass over all pairs but positions and bins."""

    boxes: Tensor
    blocks: Tensor
    offsets: Tensor
    types: Tensor
    channels: Tensor
    partners: tuple[Tensor, Tensor]
    n_channels: int
    images: int
    triclinic: bool
    block: int
    lanes: int

    def launch(
        self, kernel: Any, positions: Tensor, outputs: tuple[Tensor, ...], limits: Tensor, n_bins: int, **options: Any
    ) -> None:
        """Run a kernel over blocks of atoms and frames."""
        with torch.cuda.device_of(positions):
            kernel[(len(self.blocks), len(positions))](
                positions, self.types, self.channels, *self.partners, *outputs, self.boxes, limits, self.blocks,
                self.offsets, positions.shape[1], len(self.boxes), len(self.channels), self.n_channels, n_bins,
                EXCLUDED=len(self.partners[1]) > 0, IMAGES=self.images, BLOCK=self.block, LANES=self.lanes,
                TRICLINIC=self.triclinic, **launch_options(4), **options,
            )  # fmt: skip


def _layout(
    cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, reach: float, exclusions: Exclusions | None
) -> _Layout | None:
    """None if a pair has more images within reach than the kernels look at."""
    device = cell.device
    vectors = cell.detach().to("cpu", torch.float64)
    inverse = lattice_inverse(vectors, torch.ones(len(cell), 3, dtype=torch.bool))
    lowest = float(1.0 / inverse.norm(dim=1).max())
    if reach > lowest:
        return None
    first, partner = excluded_rows(exclusions, len(types))

    def to_device(values: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(values).to(device, torch.int32)

    block, lanes = (64, 64) if device.type == "cpu" else (32, 32)
    starts = offsets.tolist()
    blocks = [[k, first, starts[k + 1]] for k in range(len(cell)) for first in range(starts[k], starts[k + 1], block)]
    return _Layout(
        boxes=torch.cat([vectors, inverse], 1).reshape(-1, 18).to(device),
        blocks=torch.tensor(blocks, dtype=torch.int32, device=device), offsets=offsets.to(torch.int32),
        types=types.to(torch.int32), channels=channels.to(torch.int32).contiguous(),
        partners=(to_device(first), to_device(partner)), n_channels=int(channels.max()) + 1,
        images=8 if reach > 0.5 * lowest else 1,
        triclinic=bool((vectors != torch.diag_embed(vectors.diagonal(dim1=1, dim2=2))).any()), block=block, lanes=lanes,
    )  # fmt: skip


def _limits(low: float, high: float, origin: float, width: float, device: torch.device) -> Tensor:
    return torch.tensor([low**2, high**2, origin, 1.0 / width], dtype=torch.float64, device=device)


def _frames(positions: Tensor) -> Tensor:
    if not bool(torch.isfinite(positions).all()):
        raise ValueError("positions: not finite, so there are no distances to count; find the step that blew up")
    return positions.detach().contiguous()


@lru_cache(maxsize=16)
def _tables(sigma: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Moments of a bin's sub-bins to counts, and its derivative by t; `(2 padding + 1, subdivision N_MOMENTS)`."""
    table = torch.tensor(fine_expansion(sigma).table, device=device)
    slope = torch.zeros_like(table)
    slope[..., :-1] = table[..., 1:] * torch.arange(1, N_MOMENTS, device=device)
    return table.flatten(1), slope.flatten(1)


class _SmearedCounts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, layout: _Layout, grid: ShellGrid) -> Tensor:
        ctx.layout, ctx.grid = layout, grid
        ctx.save_for_backward(positions)
        sigma, device = grid.width / grid.bin_width, positions.device
        expansion, (table, _) = fine_expansion(sigma), _tables(sigma, device)
        n_sub_bins, limits = expansion.n_sub_bins(grid.bins), _sub_bin_limits(grid, device)
        counts = []
        for frames in _frames(positions).split(_frames_at_once(layout, n_sub_bins)):
            shape = (len(frames), len(layout.boxes), layout.n_channels)
            moments = torch.zeros(*shape, n_sub_bins, N_MOMENTS, dtype=torch.float64, device=device)
            layout.launch(cuda_rdf_loops.add_moments, frames, (moments,), limits, n_sub_bins, SMEARED=True)
            # what bin b, padding included, gives to bin b - q; then the sum over q
            parts = moments.reshape(*shape, -1, table.shape[1]) @ table.T
            windows = parts.unfold(-2, 2 * expansion.padding + 1, 1)
            counts.append(windows.diagonal(dim1=-2, dim2=-1).sum(-1))
        return torch.cat(counts).to(positions.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (positions,) = ctx.saved_tensors
        layout, grid = ctx.layout, ctx.grid
        sigma, device = grid.width / grid.bin_width, positions.device
        expansion, (_, slope) = fine_expansion(sigma), _tables(sigma, device)
        n_sub_bins, limits = expansion.n_sub_bins(grid.bins), _sub_bin_limits(grid, device)
        per_t, margin = 2.0 * expansion.subdivision / grid.bin_width, 2 * expansion.padding
        at_once, result = _frames_at_once(layout, n_sub_bins), []
        frames = positions.detach().contiguous().split(at_once)
        for x, incoming in zip(frames, gradient.to(torch.float64).split(at_once), strict=True):
            # bin b gets from place q of the table what bin b - q wants
            padded = torch.nn.functional.pad(per_t * incoming, (margin, margin))
            slopes = (padded.unfold(-1, margin + 1, 1).flip(-1) @ slope).contiguous()
            pull = torch.zeros(x.shape, dtype=torch.float64, device=device)
            layout.launch(cuda_rdf_loops.sum_slopes, x, (slopes, pull), limits, n_sub_bins)
            result.append(pull)
        return torch.cat(result).to(positions.dtype), None, None


def _frames_at_once(layout: _Layout, n_sub_bins: int) -> int:
    per_frame = len(layout.boxes) * layout.n_channels * n_sub_bins * N_MOMENTS * 8
    return min(max(1, MEMORY // per_frame), MOST_FRAMES)


def _sub_bin_limits(grid: ShellGrid, device: torch.device) -> Tensor:
    expansion = fine_expansion(grid.width / grid.bin_width)
    margin = expansion.padding * grid.bin_width
    low, high = max(grid.r_min - margin, 0.0), grid.r_max + margin
    return _limits(low, high, grid.r_min - margin, grid.bin_width / expansion.subdivision, device)


def smeared_counts(
    positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, grid: ShellGrid,
    exclusions: Exclusions | None = None,
) -> Tensor:  # fmt: skip
    """As `asediff.kernels.cpu.rdf.smeared_counts`, on the device of the positions."""
    if grid.width == 0.0:
        counts = pair_histograms(
            positions, cell, offsets, types, channels, lower=grid.r_min, upper=grid.r_max, bins=grid.bins,
            exclusions=exclusions,
        )  # fmt: skip
        return counts.to(positions.dtype)
    expansion = fine_expansion(grid.width / grid.bin_width)
    layout = _layout(cell, offsets, types, channels, grid.r_max + expansion.padding * grid.bin_width, exclusions)
    if layout is None or expansion.subdivision > MOST_SUB_BINS:
        if exclusions is not None:
            raise ValueError(
                f"width={grid.width}: with exclusions a GPU counts kernels no wider than the box and no narrower than "
                f"1/{MOST_SUB_BINS // FINENESS} of a bin; change the width, or count on the CPU"
            )
        return torch_rdf.smeared_counts(positions, cell, offsets, types, channels, grid)
    result: Tensor = _SmearedCounts.apply(positions, layout, grid)
    return result


def pair_histograms(
    positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, *, lower: float, upper: float,
    bins: int, exclusions: Exclusions | None = None,
) -> Tensor:  # fmt: skip
    """As `asediff.kernels.cpu.rdf.pair_histograms`, on the device of the positions.

    Raises:
        ValueError: the window is wider than a box is high.
    """
    layout = _layout(cell, offsets, types, channels, upper, exclusions)
    if layout is None:
        raise ValueError(f"upper={upper}: farther than a box is high; repeat the cell or lower it")
    counts = torch.zeros(len(positions), len(cell), layout.n_channels, bins, dtype=torch.int64, device=positions.device)
    limits = _limits(lower, upper, lower, (upper - lower) / bins, positions.device)
    for frames, part in zip(_frames(positions).split(MOST_FRAMES), counts.split(MOST_FRAMES), strict=True):
        layout.launch(cuda_rdf_loops.add_moments, frames, (part,), limits, bins, SMEARED=False)
    return counts
