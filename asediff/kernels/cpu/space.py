"""The arrays that a team works on for one system, and how they are made, filled and enlarged.

State is kept row by row (all x, then all y, ...) with the atoms in spatial order; `order` says which atom is in which
slot. Rows are padded to whole vector blocks; the padding has mass 1 and never moves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asediff.kernels.arrays import Array, Batch, SplineTables
from asediff.kernels.cpu.simd import LANES, padded
from asediff.kernels.cpu.team import control_size
from asediff.kernels.exclusions import EXCLUDED, exclusion_rows

X, V, MASS, INVERSE_MASS, FORCE, REFERENCE, GX, GV, KICK, W = 0, 3, 6, 7, 8, 11, 14, 17, 20, 23
"""Rows of `state`: position, velocity, mass, 1/mass, force, position at the last build of the list; in a reverse pass
also the gradients of the first two, the velocity gradient that waits for its half kick, and the field of a sweep."""
FORWARD_ROWS, REVERSE_ROWS = 14, 26

TYPE, SLOT_OF, NEW_SLOT, BIN, SHIFT = range(5)
ORDER, NEW_ORDER, OLD_SLOT, OWN_ENTRY, OWN_BIN, LOWER, LENGTH, NEAR_LOWER, NEAR_LENGTH, ATOM_ROWS = range(7, 17)
"""Rows of `atoms`. By atom: type, slot, new slot, bin, whole cells that wrap it. By slot: atom, new atom and its old
slot, its own entry and that entry's padded bin, how many of its neighbor row's entries come before its own, and how
many there are; the same of the row's entries within the cutoff."""

POSITION, WEIGHT, DISPLACEMENT = 0, 3, 6
"""Rows of `images`: position, field of a sweep, position minus that of the owner."""
OWNER, IMAGE_TYPE = 0, 1
"""Rows of `entries`."""

CELL, INVERSE, HEIGHT, ORIGIN, WIDTH, RADIUS, GEOMETRY_ROWS = 0, 3, 6, 7, 8, 9, 10
"""Rows of `geometry`: lattice vectors, inverse, distances of opposite faces, extent of the bins in units of the lattice
vectors, and three lengths: listing radius, cutoff, skin."""
LISTING, CUTOFF, SKIN = range(3)

BINS, MARGIN, PERIODIC = range(3)
"""Rows of `layout`: bins along each lattice vector, those repeated on each side, whether periodic."""
PADDED, HOME, FIRST_PARTNER, PARTNER, MOVED = range(5)
"""Rows of `first`: first entry of each bin with its repetitions, first slot of each bin. With exclusions also, by atom,
where its partners begin; the partners; and what moves an entry to the table of the pair's weight, -1 for none."""

S_LO, INVERSE_SPACING, INTERVALS = range(3)
"""Entries of `spline`."""

IMAGES, LIST_VALID, ROW_NEEDED, STEP, PHASE, FAILED, BUILDS, STATUS = range(8)
"""Entries of `control`; the barrier's follow."""

TABLE_SHIFT = 25
"""A neighbor entry is an image in its low bits and a table above them."""
MAX_TABLES, MAX_IMAGES = 2 ** (31 - TABLE_SHIFT), 2**TABLE_SHIFT
FAR = 1e10
"""Where entry 0, which fills up rows, is: beyond any cutoff, its square within float32."""

PARTIALS = 16
BLOCK = 32
"""Slots that are worked on together when a team shares out its forces."""


class Space(NamedTuple):
    """Everything about one system that the compiled functions share. For rows by name see above.

    Attributes:
        geometry: `(GEOMETRY_ROWS, 3)` float64; free directions are completed to a basis.
        layout: `(3, 3)` int64.
        table_bits: `(n_types, n_types)` int32, table of a pair of types, shifted into place.
        table: spline of the pair force, flat: for each table and interval the b0, b1, b2 of
            -2 du/ds = b0 + t (b1 + t b2), and c0; one interval of zeros at the end of each table.
        spline: `(3,)`: s_lo, 1/spacing, number of intervals.
        state: `(n_rows, n_padded)`, one column for each slot.
        spare: like state, while rebuilding.
        atoms: `(ATOM_ROWS, n_atoms)` int32.
        first: `(2, n_bins + 1)` int32, with exclusions `(5, ...)`.
        images: `(9, n_images)`.
        entries: `(2, n_images)` int32: slot of the owner, its type.
        rows: `(n_atoms, longest)` int32, neighbor entries of each slot.
        near: `(n_atoms, longest + LANES)` int32, in a reverse pass the entries of each row within the cutoff.
        control: int64.
        partial: `(n_threads, PARTIALS)` float64, sums of each thread.
        by_block: float64, one sum for each `BLOCK` slots.
    """

    geometry: Array
    layout: Array
    table_bits: Array
    table: Array
    spline: Array
    state: Array
    spare: Array
    atoms: Array
    first: Array
    images: Array
    entries: Array
    rows: Array
    near: Array
    control: Array
    partial: Array
    by_block: Array


class TableCopies(NamedTuple):
    """What the tables of a space are: the tables that a system uses, and copies of them for pairs of other weights.

    numbers: `(n,)` int64, which of the batch's. factors: `(n,)`, their weight.
    """

    numbers: Array
    factors: Array

    def add(self, gradient: Array, part: Array) -> None:
        """Add the gradient of these, `(n, n_intervals, 4)`, to that of the batch's coefficients."""
        np.add.at(gradient, self.numbers, self.factors[:, None, None] * part)


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
) -> tuple[Space, TableCopies]:
    """Arrays for one system of a batch, positions not yet filled in.

    Args:
        batch: the systems.
        system: which.
        tables: the pair potentials.
        skin: length that the list reaches beyond the cutoff.
        n_rows: `FORWARD_ROWS` or `REVERSE_ROWS`.
        n_threads: members of the team.

    Returns:
        The space, and what its tables are.
    """
    begin, end = int(batch.offsets[system]), int(batch.offsets[system + 1])
    n_atoms = end - begin
    dtype = batch.masses.dtype
    index = np.asarray(tables.table_index[system])
    used, local = np.unique(index, return_inverse=True)
    first_partner, partners, classes, weights = exclusion_rows(batch.exclusions, begin, end)
    if len(used) * len(weights) > MAX_TABLES:
        raise ValueError(
            f"table_index: system {system} uses {len(used)} tables with {len(weights)} weights of exclusions; at most "
            f"{MAX_TABLES} in one system are supported; use fewer types or weights"
        )
    copies = TableCopies(np.tile(used, len(weights)), np.repeat(weights, len(used)))
    coefficients = tables.coefficients[copies.numbers] * copies.factors[:, None, None]
    table = force_table(np.ascontiguousarray(coefficients, dtype=dtype), tables.spacing)
    moved = np.where(classes == EXCLUDED, -1, (classes * len(used)) << TABLE_SHIFT)
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
    first = np.zeros((5 if len(partners) else 2, max(n_bins, len(partners))), dtype=np.int32)
    if len(partners):
        first[FIRST_PARTNER, : n_atoms + 1] = first_partner
        first[PARTNER, : len(partners)], first[MOVED, : len(partners)] = partners, moved
    state = np.zeros((n_rows, n_padded), dtype=dtype)
    state[MASS : INVERSE_MASS + 1] = 1.0
    state[MASS, :n_atoms] = batch.masses[begin:end]
    state[INVERSE_MASS, :n_atoms] = 1.0 / batch.masses[begin:end]
    geometry = np.zeros((GEOMETRY_ROWS, 3))
    geometry[CELL:INVERSE] = cell
    geometry[INVERSE:HEIGHT] = np.linalg.inv(cell)
    geometry[HEIGHT] = heights
    geometry[RADIUS] = listing, tables.cutoff, skin
    layout = np.zeros((3, 3), dtype=np.int64)
    layout[PERIODIC] = pbc
    atoms = np.zeros((ATOM_ROWS, n_atoms), dtype=np.int32)
    atoms[TYPE] = batch.types[begin:end]
    atoms[ORDER] = atoms[SLOT_OF] = np.arange(n_atoms)
    space = Space(
        geometry=geometry, layout=layout,
        table_bits=np.ascontiguousarray(local.reshape(index.shape).astype(np.int32) << TABLE_SHIFT, dtype=np.int32),
        table=table, spline=np.array([tables.s_lo, 1.0 / tables.spacing, tables.coefficients.shape[1]], dtype=dtype),
        state=state, spare=np.zeros_like(state), atoms=atoms, first=first,
        images=np.zeros((9, 0), dtype=dtype), entries=np.zeros((2, 0), dtype=np.int32),
        rows=np.zeros((n_atoms, longest), dtype=np.int32),
        near=np.zeros((n_atoms if n_rows == REVERSE_ROWS else 0, longest + LANES), dtype=np.int32),
        control=np.zeros(control_size(n_threads), dtype=np.int64), partial=np.zeros((n_threads, PARTIALS)),
        by_block=np.zeros(-(-n_atoms // BLOCK)),
    )  # fmt: skip
    return enlarge_images(space, n_images), copies


def enlarge_images(space: Space, n_images: int) -> Space:
    """The space with room for that many images."""
    length = padded(n_images) + 2 * LANES
    if length > MAX_IMAGES:
        raise ValueError(
            f"positions: {n_images} periodic images; at most {MAX_IMAGES} are supported; use a smaller system"
        )
    images = np.zeros((9, length), dtype=space.state.dtype)
    images[DISPLACEMENT:, 0] = FAR
    return space._replace(images=images, entries=np.zeros((2, length), dtype=np.int32))


def enlarge(space: Space) -> Space:
    """The space with room for what the last build of the list found missing."""
    needed = int(space.control[IMAGES])
    if needed + 2 * LANES > space.images.shape[1]:
        space = enlarge_images(space, int(1.1 * needed) + 64)
    longest = int(space.control[ROW_NEEDED])
    if longest > space.rows.shape[1]:
        longest = padded(longest + longest // 8)
        space = space._replace(
            rows=np.zeros((len(space.rows), longest), dtype=np.int32),
            near=np.zeros((len(space.near), longest + LANES), dtype=np.int32),
        )
    return space
