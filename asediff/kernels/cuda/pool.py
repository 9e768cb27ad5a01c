"""Which memory a run on the device needs, and spaces that wait for the next run of the same shape."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asediff.kernels.arrays import Batch, SplineTables, Stepper
from asediff.kernels.cuda.math import ATOM_BITS, MAX_TYPES
from asediff.kernels.cuda.space import CELLS_FROM, Inputs, Shape, Space
from asediff.kernels.exclusions import exclusion_rows
from asediff.kernels.reference.pair import lattice_inverse

ROW_MULTIPLE = 32
SPARE = 1.3
"""Rows are this much longer than a uniform density needs; a run that needs more is taken again with longer ones."""
KEPT_SPACES = 8
LARGEST_KEPT = 2**30

_idle: dict[Shape, list[Space]] = {}
_known: dict[Shape, tuple[int, int]] = {}


def release_memory() -> None:
    """Forget all memory kept for later runs of the same shape."""
    _idle.clear()


def choose_shape(
    positions: Tensor, batch: Batch, tables: SplineTables, stepper: Stepper, skin: float, tape_length: int
) -> tuple[Shape, float]:
    """The shape of a run, and its skin, which is at most what the smallest box allows."""
    counts = tuple(int(n) for n in (batch.offsets[1:] - batch.offsets[:-1]).tolist())
    _, partner, _, weights = _partners(batch)
    n_types = tables.table_index.shape[-1] * len(weights)
    if sum(counts) >= 1 << ATOM_BITS:
        raise ValueError(f"positions: {sum(counts)} atoms are too many for one run on a GPU; split the batch")
    if n_types > MAX_TYPES:
        raise ValueError(
            f"tables: {n_types} types are too many for a GPU, counted once for each weight of exclusions; use at most "
            f"{MAX_TYPES}"
        )
    cell = batch.cell.detach().to("cpu", torch.float64)
    pbc = batch.pbc.to("cpu")
    heights = torch.where(pbc, 1.0 / lattice_inverse(cell, pbc).norm(dim=1), torch.inf)
    lowest = float(heights.min())
    skin = min(skin, lowest - tables.cutoff)
    reach = tables.cutoff + skin
    grids = None
    if max(counts) >= CELLS_FROM:
        sizes = torch.where(pbc, heights / reach, 1.0).floor().to(torch.int64).clamp(min=1)
        if bool(((sizes > 2) | ~pbc).all()):
            grids = tuple((int(a), int(b), int(c)) for a, b, c in sizes.tolist())
    volumes = torch.linalg.det(cell).abs()
    densities = torch.where(pbc.all(-1), torch.tensor(counts) / volumes, torch.zeros(()))
    density = float(densities.max())
    shape = Shape(
        device=positions.device, dtype=positions.dtype, counts=counts, n_types=n_types,
        tables=(tables.coefficients.shape[0] * len(weights), tables.coefficients.shape[1]), kind=stepper.kind,
        tchain=stepper.chain_masses.shape[-1],
        triclinic=bool((cell != torch.diag_embed(cell.diagonal(dim1=1, dim2=2))).any()),
        all_images=reach > 0.5 * lowest, grids=grids, capacity=0, cell_capacity=0, tape_length=tape_length,
        weights=tuple(weights.tolist()), n_partners=len(partner),
    )  # fmt: skip
    row = min(SPARE * 4.0 / 3.0 * torch.pi * reach**3 * density + ROW_MULTIPLE, max(counts) - 1)
    in_cell = 0.0
    if grids is not None:
        n_cells = torch.tensor([x * y * z for x, y, z in grids])
        in_cell = 2.0 * float((torch.tensor(counts) / n_cells).max()) + 8.0
    known = _known.get(shape, (0, 0))
    capacity = max(_round_up(row), known[0])
    return shape._replace(capacity=capacity, cell_capacity=max(_round_up(in_cell), known[1])), skin


def _partners(batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """See `exclusion_rows`: owners, partners and classes of pairs, excluded ones last of all weights: they weigh 0."""
    n = len(batch.masses)
    starts, partner, classes, weights = exclusion_rows(batch.exclusions, 0, n)
    if not len(partner):
        return partner, partner, classes, weights
    owner = np.repeat(np.arange(n), np.diff(starts))
    weights = np.append(weights, 0.0)
    return owner, partner, classes % len(weights), weights


def _round_up(entries: float) -> int:
    return ROW_MULTIPLE * max(1, -(-int(entries) // ROW_MULTIPLE))


def larger_shape(space: Space) -> Shape | None:
    """The shape to repeat a run with if its rows or cells were too short, else None. Waits for the device."""
    row, in_cell = (int(n) for n in space.needed.tolist())
    shape = space.shape
    if row <= shape.capacity and in_cell <= shape.cell_capacity:
        return None
    capacity = max(_round_up(1.1 * row), shape.capacity)
    cell_capacity = max(_round_up(1.2 * in_cell), shape.cell_capacity)
    _known[shape._replace(capacity=0, cell_capacity=0)] = (capacity, cell_capacity)
    return shape._replace(capacity=capacity, cell_capacity=cell_capacity)


def acquire(shape: Shape) -> Space:
    """A space of a shape that nobody uses."""
    spaces = _idle.get(shape)
    if not spaces:
        return Space(shape)
    space = spaces.pop()
    if not spaces:
        del _idle[shape]
    return space


def release(space: Space) -> None:
    """Keep the memory, and the graphs recorded in it, for the next run of this shape."""
    if 2 * space.tape_positions.nbytes > LARGEST_KEPT:
        return
    _idle.setdefault(space.shape, []).append(space)
    while sum(len(spaces) for spaces in _idle.values()) > KEPT_SPACES:
        oldest = next(iter(_idle))
        _idle[oldest].pop()
        if not _idle[oldest]:
            del _idle[oldest]


def in_order(values: Tensor, order: Tensor | None, dim: int = 0) -> Tensor:
    """Values of atoms in the order in which the device keeps them; None is the caller's own."""
    return values if order is None else values.index_select(dim, order)


def make_inputs(batch: Batch, tables: SplineTables, stepper: Stepper, skin: float, order: Tensor | None) -> Inputs:
    """The fixed part of a run, its atoms in the given order."""
    n = len(batch.masses)
    atoms = torch.arange(n, device=batch.masses.device)
    start = torch.repeat_interleave(batch.offsets[:-1], batch.offsets[1:] - batch.offsets[:-1])
    atom_in_system = in_order((atoms - start).to(torch.int32), order)
    batch = batch._replace(masses=in_order(batch.masses, order), types=in_order(batch.types, order))
    owner, partner, classes, weights = _partners(batch)
    n_types = tables.table_index.shape[-1]
    if order is not None:
        place = np.argsort(order.cpu().numpy())
        owner, partner = place[owner], place[partner]
    sorting = np.argsort(owner, kind="stable")
    first = np.searchsorted(owner[sorting], np.arange(n + 1))
    entries = np.stack([partner, (classes * n_types) << ATOM_BITS], axis=1)[sorting]
    # the caller may change its tables while the run waits for its reverse pass
    coefficients, copies = tables.coefficients.detach(), range(len(weights))
    index = torch.cat([tables.table_index + k * len(coefficients) for k in copies], dim=-1)
    tables = tables._replace(
        coefficients=torch.cat([weight * coefficients for weight in weights.tolist()]),
        table_index=index.repeat(1, len(weights), 1),
    )
    rows = (torch.from_numpy(a.astype(np.int32)).to(atoms.device) for a in (first, entries))
    return Inputs(batch, tables, stepper, atom_in_system, skin, *rows)
