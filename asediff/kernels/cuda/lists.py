"""Neighbor rows on the device (Triton): who is within cutoff + skin of each atom, remade where atoms have moved.

Every kernel here starts with a look at the flag of its system and returns at once when the rows still serve, so a step
needs no word from the host. Small systems look at all pairs; large ones sort atoms into cells first.
"""

from __future__ import annotations

import triton
import triton.language as tl

from asediff.kernels.cuda.math import (
    ATOM_BITS,
    REACH_2,
    components,
    lattice_sum,
    load_box,
    load_vector,
    nearest_image,
    own_atoms,
    store_vector,
)

_ATOM_BITS, _REACH_2 = tl.constexpr(ATOM_BITS), tl.constexpr(REACH_2)
_ATOM_MASK = tl.constexpr((1 << ATOM_BITS) - 1)


@triton.jit
def _sign(x):  # type: ignore[no-untyped-def]
    return tl.where(x < 0, -1.0, 1.0).to(x.dtype)


@triton.jit
def _nearest_square(x, y, z, box, TRICLINIC: tl.constexpr, ALL_IMAGES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Squared distance of the nearest image; with ALL_IMAGES up to a full height, else up to half of one."""
    x, y, z = nearest_image(x, y, z, box, TRICLINIC)
    s = x * x + y * y + z * z
    if ALL_IMAGES:
        a, b, c = components(x, y, z, box, TRICLINIC)
        a, b, c = _sign(a), _sign(b), _sign(c)
        for corner in tl.static_range(1, 8):
            i, j, k = lattice_sum(a * (corner & 1), b * (corner >> 1 & 1), c * (corner >> 2), box, TRICLINIC)
            i, j, k = x - i, y - j, z - k
            s = tl.minimum(s, i * i + j * j + k * k)
    return s


@triton.jit
def _append(rows, count, close, entry, atom, capacity):  # type: ignore[no-untyped-def]
    """Write the entries of a tile that are close behind those already in the rows; returns the new counts."""
    place = count[:, None] + tl.cumsum(close.to(tl.int32), 1) - 1
    target = rows + atom[:, None].to(tl.int64) * capacity + place
    tl.store(target, entry + tl.zeros_like(place), mask=close & (place < capacity))
    return count + tl.sum(close.to(tl.int32), 1)


@triton.jit
def _finish(reference, row_count, needed, atom, real, x, y, z, count, capacity):  # type: ignore[no-untyped-def]
    tl.store(row_count + atom, tl.minimum(count, capacity), mask=real)
    tl.atomic_max(needed, tl.max(count, 0))
    store_vector(reference, atom, x, y, z, real)


@triton.jit
def rows_of_all_pairs(  # type: ignore[no-untyped-def]
    positions, reference, types, rows, row_count, needed, boxes, numbers, blocks, offsets, moved, capacity, BLOCK:
    tl.constexpr, LANES: tl.constexpr, TRICLINIC: tl.constexpr, ALL_IMAGES: tl.constexpr,
):  # fmt: skip
    """Rows of a block of atoms from all atoms of their system."""
    system, atom, real = own_atoms(blocks, BLOCK)
    if tl.load(moved + system) != 0:
        box = load_box(boxes, system)
        x, y, z = load_vector(positions, atom, real)
        reach = tl.load(numbers + _REACH_2).to(x.dtype)
        count = tl.zeros([BLOCK], dtype=tl.int32)
        last = tl.load(offsets + system + 1)
        for start in range(tl.load(offsets + system), last, LANES):
            other = start + tl.arange(0, LANES)
            exists = other < last
            a, b, c = load_vector(positions, other, exists)
            s = _nearest_square(
                x[:, None] - a[None, :], y[:, None] - b[None, :], z[:, None] - c[None, :], box, TRICLINIC, ALL_IMAGES,
            )  # fmt: skip
            close = (s < reach) & real[:, None] & exists[None, :] & (atom[:, None] != other[None, :])
            entry = other | (tl.load(types + other, mask=exists, other=0) << _ATOM_BITS)
            count = _append(rows, count, close, entry[None, :], atom, capacity)
        _finish(reference, row_count, needed, atom, real, x, y, z, count, capacity)


@triton.jit
def weigh_rows(  # type: ignore[no-untyped-def]
    rows, row_count, first_partner, partners, blocks, moved, capacity, BLOCK: tl.constexpr, LANES: tl.constexpr
):
    """Move the entries of partners, in rows that were remade, to the types of their weight: `partners` `(n, 2)`."""
    system, atom, real = own_atoms(blocks, BLOCK)
    if tl.load(moved + system) != 0:
        count = tl.load(row_count + atom, mask=real, other=0)
        first = tl.load(first_partner + atom, mask=real, other=0)
        n_partners = tl.load(first_partner + atom + 1, mask=real, other=0) - first
        for start in range(0, tl.max(count, 0), LANES):
            lane = start + tl.arange(0, LANES)
            listed = lane[None, :] < count[:, None]
            place = rows + atom[:, None].to(tl.int64) * capacity + lane[None, :]
            entry = tl.load(place, mask=listed, other=0)
            added = tl.zeros_like(entry)
            for k in range(tl.max(n_partners, 0)):
                known = k < n_partners
                partner = tl.load(partners + 2 * (first + k), mask=known, other=-1)
                moved_by = tl.load(partners + 2 * (first + k) + 1, mask=known, other=0)
                added = tl.where((entry & _ATOM_MASK) == partner[:, None], moved_by[:, None], added)
            tl.store(place, entry + added, mask=listed & (added != 0))


@triton.jit
def clear_cells(cell_count, cell_system, moved, n_cells, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Empty the cells of systems whose rows are to be remade."""
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = cell < n_cells
    system = tl.load(cell_system + cell, mask=real, other=0)
    stale = tl.load(moved + system, mask=real, other=0) != 0
    tl.store(cell_count + cell, tl.zeros([BLOCK], dtype=tl.int32), mask=real & stale)


@triton.jit
def _cell_along(a, n):  # type: ignore[no-untyped-def]
    """Cell of a component along one lattice vector, cut into n cells."""
    return tl.minimum(tl.maximum(((a - tl.floor(a)) * n).to(tl.int32), 0), n - 1)


@triton.jit
def _own_cell(x, y, z, box, grid, TRICLINIC: tl.constexpr):  # type: ignore[no-untyped-def]
    a, b, c = components(x, y, z, box, TRICLINIC)
    return _cell_along(a, tl.load(grid)), _cell_along(b, tl.load(grid + 1)), _cell_along(c, tl.load(grid + 2))


@triton.jit
def fill_cells(  # type: ignore[no-untyped-def]
    positions, cell_count, cell_atoms, cell_needed, boxes, grids, blocks, moved, cell_capacity, BLOCK: tl.constexpr,
    TRICLINIC: tl.constexpr,
):  # fmt: skip
    """Sort atoms into cells. `grids` holds the numbers of cells along each vector and the first cell of a system."""
    system, atom, real = own_atoms(blocks, BLOCK)
    if tl.load(moved + system) != 0:
        x, y, z = load_vector(positions, atom, real)
        grid = grids + 4 * system
        i, j, k = _own_cell(x, y, z, load_box(boxes, system), grid, TRICLINIC)
        cell = tl.load(grid + 3) + (i * tl.load(grid + 1) + j) * tl.load(grid + 2) + k
        slot = tl.atomic_add(cell_count + cell, tl.full([BLOCK], 1, dtype=tl.int32), mask=real)
        fits = real & (slot < cell_capacity)
        tl.store(cell_atoms + cell.to(tl.int64) * cell_capacity + slot, atom, mask=fits)
        tl.atomic_max(cell_needed, tl.max(tl.where(real, slot + 1, 0), 0))


@triton.jit
def _neighbor_cell(i, n, offset):  # type: ignore[no-untyped-def]
    """Cell next to i with periodic images, and whether it exists: directions of one cell have no others."""
    j = i + offset
    j = tl.where(j < 0, j + n, tl.where(j >= n, j - n, j))
    return j, (n > 1) | (offset == 0)


@triton.jit
def rows_of_cells(  # type: ignore[no-untyped-def]
    positions, reference, types, rows, row_count, needed, cell_count, cell_atoms, boxes, grids, numbers, blocks, moved,
    capacity, cell_capacity, BLOCK: tl.constexpr, LANES: tl.constexpr, TRICLINIC: tl.constexpr,
):  # fmt: skip
    """Rows of a block of atoms from the 27 cells around each; cells are at least cutoff + skin high."""
    system, atom, real = own_atoms(blocks, BLOCK)
    if tl.load(moved + system) != 0:
        box = load_box(boxes, system)
        grid = grids + 4 * system
        n_x, n_y, n_z, begin = tl.load(grid), tl.load(grid + 1), tl.load(grid + 2), tl.load(grid + 3)
        x, y, z = load_vector(positions, atom, real)
        i, j, k = _own_cell(x, y, z, box, grid, TRICLINIC)
        reach = tl.load(numbers + _REACH_2).to(x.dtype)
        count = tl.zeros([BLOCK], dtype=tl.int32)
        for neighbor in range(27):
            other_i, exists_i = _neighbor_cell(i, n_x, neighbor // 9 - 1)
            other_j, exists_j = _neighbor_cell(j, n_y, neighbor // 3 % 3 - 1)
            other_k, exists_k = _neighbor_cell(k, n_z, neighbor % 3 - 1)
            cell = begin + (other_i * n_y + other_j) * n_z + other_k
            size = tl.load(cell_count + cell, mask=real, other=0)
            size = tl.where(exists_i & exists_j & exists_k, tl.minimum(size, cell_capacity), 0)
            for start in range(0, tl.max(size, 0), LANES):
                lane = start + tl.arange(0, LANES)
                listed = lane[None, :] < size[:, None]
                place = cell[:, None].to(tl.int64) * cell_capacity + lane[None, :]
                other = tl.load(cell_atoms + place, mask=listed, other=0)
                a, b, c = load_vector(positions, other, listed)
                s = _nearest_square(x[:, None] - a, y[:, None] - b, z[:, None] - c, box, TRICLINIC, ALL_IMAGES=False)
                close = listed & (s < reach) & (atom[:, None] != other)
                entry = other | (tl.load(types + other, mask=listed, other=0) << _ATOM_BITS)
                count = _append(rows, count, close, entry, atom, capacity)
        _finish(reference, row_count, needed, atom, real, x, y, z, count, capacity)
