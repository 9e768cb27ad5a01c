"""The arrays that a team works on for one system, and how they are made, filled and enlarged.

State is kept row by row (all x, then all y, ...) with the atoms in spatial order; `order` says which atom is in which
slot. Rows are padded to whole vector blocks; the padding has mass 1 and never moves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from asediff.kernels.arrays import Array, Batch, SplineTables
from asediff.kernels.cpu_simd import LANES, padded
from asediff.kernels.cpu_team import new_barrier

X, V, MASS, INVERSE_MASS, GX, GV, KICK = 0, 3, 6, 7, 8, 11, 14
"""Rows of `state`: position, velocity, mass, 1/mass; in a reverse pass also the gradients of the two and the velocity
gradient that the pending half kick acts on."""
FORWARD_ROWS, REVERSE_ROWS = 8, 17

IMAGES, LIST_VALID, ROW_NEEDED, STEP, PHASE, FAILED, BUILDS, STATUS = range(8)
"""Entries of `control`."""

S_LO, INVERSE_SPACING, INTERVALS = range(3)
"""Entries of `grid`, the constants of the spline."""

LISTING, CUTOFF, SKIN = range(3)
"""Entries of `lengths`."""

TABLE_SHIFT = 25
"""A neighbor entry is an image in its low bits and a table above them."""
MAX_TABLES, MAX_IMAGES = 2 ** (31 - TABLE_SHIFT), 2**TABLE_SHIFT
FAR = 1e10
"""Where entry 0, which fills up rows, is: beyond any cutoff, its square within float32."""

PARTIALS = 16


class Space(NamedTuple):
    """Everything about one system that the compiled functions share.

    Attributes:
        cell: `(3, 3)` float64, rows are lattice vectors; free directions completed to a basis.
        inverse: `(3, 3)` float64.
        heights: `(3,)` float64, distance of opposite faces.
        periodic: `(3,)` bool.
        lengths: `(3,)` float64: listing radius, cutoff, skin.
        types: `(n_atoms,)` int32.
        table_bits: `(n_types, n_types)` int32, table of a pair of types, shifted into place.
        table: spline of the pair force, flat: for each table and interval the b0, b1, b2 of
            -2 du/ds = b0 + t (b1 + t b2), and c0; one interval of zeros at the end of each table.
        grid: `(3,)`: s_lo, 1/spacing, number of intervals.
        state: `(n_rows, n_padded)`.
        spare: like state.
        force: `(3, n_padded)`.
        reference: `(3, n_padded)`, positions at the last build.
        order: `(n_atoms,)` int32, the atom in each slot.
        slot_of: `(n_atoms,)` int32, its inverse.
        new_order: `(n_atoms,)` int32, new_slot likewise: while rebuilding.
        atom_bin: `(n_atoms,)` int32.
        atom_shift: `(3, n_atoms)` float64, whole cells that wrap an atom.
        own_entry: `(n_atoms,)` int32, entry of the atom in a slot itself; own_bin its padded bin.
        bins: `(3,)` int64, margin likewise; origin and width `(3,)` float64: the grid of bins.
        bin_first: `(n_bins + 1,)` int32, first entry of each padded bin; home_first the first slot of each bin.
        image: `(3, n_images)` positions of entries; weight `(3, n_images)` a vector field on them.
        shift: `(3, n_images)`, entry position - owner position.
        owner: `(n_images,)` int32 slot; image_type `(n_images,)` int32.
        rows: `(n_atoms, longest)` int32 entries; row_lower, row_count `(n_atoms,)` int32.
        control: int64, see above.
        partial: `(n_threads, PARTIALS)` float64, sums of each thread.
        barrier: int64.
    """

    cell: Array
    inverse: Array
    heights: Array
    periodic: Array
    lengths: Array
    types: Array
    table_bits: Array
    table: Array
    grid: Array
    state: Array
    spare: Array
    force: Array
    reference: Array
    order: Array
    slot_of: Array
    new_order: Array
    new_slot: Array
    atom_bin: Array
    atom_shift: Array
    own_entry: Array
    own_bin: Array
    bins: Array
    margin: Array
    origin: Array
    width: Array
    bin_first: Array
    home_first: Array
    image: Array
    weight: Array
    shift: Array
    owner: Array
    image_type: Array
    rows: Array
    row_lower: Array
    row_count: Array
    control: Array
    partial: Array
    barrier: Array


def complete_cell(cell: Array, pbc: Array) -> Array:
    """Lattice vectors with those of free directions replaced by unit vectors normal to the rest.

    Args:
        cell: `(3, 3)`, rows are lattice vectors, length.
        pbc: `(3,)` bool.
    """
    full = np.where(pbc[:, None], np.asarray(cell, dtype=np.float64), 0.0)
    _, singular, basis = np.linalg.svd(full)
    spare = list(basis[int((singular > 0.0).sum()) :])
    for a in range(3):
        if not pbc[a]:
            full[a] = spare.pop()
    return full


def cell_heights(cell: Array) -> Array:
    """Distances of opposite faces `(3,)` of a cell `(3, 3)`, length."""
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def force_table(coefficients: Array, spacing: float) -> Array:
    """The flat table of `Space` from spline coefficients `(n_tables, n_intervals, 4)`."""
    n_tables, n_intervals, _ = coefficients.shape
    table = np.zeros((n_tables, n_intervals + 1, 4), dtype=coefficients.dtype)
    table[:, :-1, 0] = coefficients[..., 1] * (-2.0 / spacing)
    table[:, :-1, 1] = coefficients[..., 2] * (-4.0 / spacing)
    table[:, :-1, 2] = coefficients[..., 3] * (-6.0 / spacing)
    table[:, :-1, 3] = coefficients[..., 0]
    return table.reshape(-1)


def make_space(
    batch: Batch,
    system: int,
    tables: SplineTables,
    *,
    skin: float,
    n_rows: int,
    n_threads: int,
) -> tuple[Space, Array]:
    """Arrays for one system of a batch, positions not yet filled in.

    Args:
        batch: the systems.
        system: which.
        tables: the pair potentials.
        skin: length that the list reaches beyond the cutoff.
        n_rows: `FORWARD_ROWS` or `REVERSE_ROWS`.
        n_threads: members of the team.

    Returns:
        The space, and the numbers of the tables that this system uses `(n_used,)`.
    """
    begin, end = int(batch.offsets[system]), int(batch.offsets[system + 1])
    n_atoms = end - begin
    dtype = batch.masses.dtype
    index = np.asarray(tables.table_index[system])
    used, local = np.unique(index, return_inverse=True)
    if len(used) > MAX_TABLES:
        raise ValueError(
            f"table_index: system {system} uses {len(used)} tables; at most {MAX_TABLES} in one system are supported"
        )
    table = force_table(np.ascontiguousarray(tables.coefficients[used], dtype=dtype), tables.spacing)
    pbc = np.asarray(batch.pbc[system], dtype=np.bool_)
    cell = complete_cell(np.asarray(batch.cell[system]), pbc)
    heights = cell_heights(cell)
    narrow = pbc & (heights < 2.0 * tables.cutoff * (1.0 - 1e-12))
    if narrow.any():
        raise ValueError(
            f"cell: system {system} is {heights[narrow].min():.6g} wide, less than twice the cutoff "
            f"{tables.cutoff:.6g}; use a larger cell (repeat it) or a smaller cutoff"
        )
    listing = tables.cutoff + skin
    n_padded = padded(n_atoms)
    extent = np.where(pbc, heights, np.inf)
    reach = np.prod(np.where(pbc, 1.0 + 2.2 * listing / extent, 1.0))
    n_images = min(int(n_atoms * reach * 1.1) + 256, 125 * n_atoms + 64)
    volume = abs(np.linalg.det(cell)) if pbc.all() else np.inf
    neighbors = 4.0 / 3.0 * np.pi * listing**3 * n_atoms / volume
    longest = padded(int(min(1.25 * neighbors + 32, n_atoms + 16)))
    n_bins = 16 * n_atoms + 4096
    state = np.zeros((n_rows, n_padded), dtype=dtype)
    state[MASS : INVERSE_MASS + 1] = 1.0
    state[MASS, :n_atoms] = batch.masses[begin:end]
    state[INVERSE_MASS, :n_atoms] = 1.0 / batch.masses[begin:end]
    integers = np.zeros((8, n_atoms), dtype=np.int32)
    order = np.arange(n_atoms, dtype=np.int32)
    space = Space(
        cell=cell,
        inverse=np.ascontiguousarray(np.linalg.inv(cell)),
        heights=heights,
        periodic=pbc,
        lengths=np.array([listing, tables.cutoff, skin]),
        types=np.ascontiguousarray(batch.types[begin:end], dtype=np.int32),
        table_bits=np.ascontiguousarray(local.reshape(index.shape).astype(np.int32) << TABLE_SHIFT, dtype=np.int32),
        table=table,
        grid=np.array([tables.s_lo, 1.0 / tables.spacing, tables.coefficients.shape[1]], dtype=dtype),
        state=state,
        spare=np.zeros_like(state),
        force=np.zeros((3, n_padded), dtype=dtype),
        reference=np.zeros((3, n_padded), dtype=dtype),
        order=order,
        slot_of=order.copy(),
        new_order=integers[0],
        new_slot=integers[1],
        atom_bin=integers[2],
        atom_shift=np.zeros((3, n_atoms)),
        own_entry=integers[3],
        own_bin=integers[4],
        bins=np.ones(3, dtype=np.int64),
        margin=np.zeros(3, dtype=np.int64),
        origin=np.zeros(3),
        width=np.ones(3),
        bin_first=np.zeros(n_bins, dtype=np.int32),
        home_first=np.zeros(n_bins, dtype=np.int32),
        image=np.zeros((3, 0), dtype=dtype),
        weight=np.zeros((3, 0), dtype=dtype),
        shift=np.zeros((3, 0), dtype=dtype),
        owner=integers[7][:0],
        image_type=integers[7][:0],
        rows=np.zeros((n_atoms, longest), dtype=np.int32),
        row_lower=integers[5],
        row_count=integers[6],
        control=np.zeros(16, dtype=np.int64),
        partial=np.zeros((n_threads, PARTIALS)),
        barrier=new_barrier(),
    )
    return enlarge_images(space, n_images), used


def enlarge_images(space: Space, n_images: int) -> Space:
    """The space with room for that many images."""
    length = padded(n_images) + 2 * LANES
    if length > MAX_IMAGES:
        raise ValueError(
            f"positions: {n_images} periodic images; at most {MAX_IMAGES} are supported; use a smaller system"
        )
    dtype = space.state.dtype

    def empty(*shape: int) -> Any:
        return np.zeros(shape, dtype=dtype)

    shift = empty(3, length)
    shift[:, 0] = FAR
    return space._replace(
        image=empty(3, length),
        weight=empty(3, length),
        shift=shift,
        owner=np.zeros(length, dtype=np.int32),
        image_type=np.zeros(length, dtype=np.int32),
    )


def enlarge(space: Space) -> Space:
    """The space with room for what the last build of the list found missing."""
    needed = int(space.control[IMAGES])
    if needed + 2 * LANES > space.image.shape[1]:
        space = enlarge_images(space, int(1.1 * needed) + 64)
    longest = int(space.control[ROW_NEEDED])
    if longest > space.rows.shape[1]:
        space = space._replace(rows=np.zeros((len(space.rows), padded(longest + longest // 8)), dtype=np.int32))
    return space
