"""Neighbor rows of one system, built by a team of threads from the images of `asediff.kernels.cpu.bins`.

The order of bins (and of atoms within a bin, by index) is the same for all images, so "entry after my own" holds for
exactly one of the two directions of each pair: rows are ascending, and their upper part lists every pair once.
"""

from __future__ import annotations

import numpy as np

from asediff.kernels.cpu.bins import REACH, bin_atoms, fill_images, lay_images, layout_bins, reorder, sort_atoms
from asediff.kernels.cpu.simd import (
    BLOCK_BYTES,
    LANES,
    compress,
    count_up,
    gather,
    load,
    load_index,
    narrow,
    splat,
    splat_index,
    store,
)
from asediff.kernels.cpu.space import (
    BINS,
    BUILDS,
    CELL,
    FAR,
    FIRST_PARTNER,
    FORCE,
    GX,
    IMAGE_TYPE,
    IMAGES,
    LENGTH,
    LIST_VALID,
    LISTING,
    LOWER,
    MARGIN,
    MAX_IMAGES,
    MOVED,
    NEW_ORDER,
    OLD_SLOT,
    ORDER,
    OWN_BIN,
    OWN_ENTRY,
    OWNER,
    PADDED,
    PARTNER,
    POSITION,
    RADIUS,
    REFERENCE,
    ROW_NEEDED,
    SLOT_OF,
    WIDTH,
    W,
    X,
)
from asediff.kernels.cpu.team import inner, meet, refill, share, take_block

GROUP = 4
"""Consecutive bins whose atoms look through the same candidates."""
ROWS = 256
"""Rows that are built together when a team shares them out."""


@inner()
def _slack(space):  # type: ignore[no-untyped-def]
    """More than what single precision gets a distance wrong by among the entries that are collected together."""
    extent = 0.0
    for a in range(3):
        length = 0.0
        for c in range(3):
            length += space.geometry[CELL + a, c] ** 2
        bins = GROUP + 2 * REACH
        extent += bins * np.sqrt(length) * space.geometry[WIDTH, a] / space.layout[BINS, a]
    return 1e-6 * extent


@inner()
def _collect(image, types, first, layout, own_bin, x, y, z, numbers, kinds):  # type: ignore[no-untyped-def]
    """Copy positions, numbers and types of all entries within reach of a group of bins, ascending, side by side.

    Args:
        image: the images.
        types: their types.
        first: first entry of each padded bin.
        layout: of the bins.
        own_bin: the first bin of the group, which goes on along its line.
        x: set to positions relative to one of these entries, like y and z; numbers and kinds: set to numbers and types.

    Returns:
        How many there are, and the place of an entry of the group itself minus its number. Nothing is copied from where
        the room ends, and the entries that there are are counted on.
    """
    nx = layout[BINS, 0] + 2 * layout[MARGIN, 0]
    ny = layout[BINS, 1] + 2 * layout[MARGIN, 1]
    nz = layout[BINS, 2] + 2 * layout[MARGIN, 2]
    from_x, from_y, from_z = image[0], image[1], image[2]
    bx, line = own_bin % nx, own_bin // nx
    by, bz = line % ny, line // ny
    x0, x1 = max(bx - REACH, 0), min(bx + GROUP - 1 + REACH, nx - 1)
    count, offset, room = 0, 0, x.shape[0] - 2 * LANES
    center = first[own_bin]
    center_x, center_y, center_z = splat(from_x[center]), splat(from_y[center]), splat(from_z[center])
    ascending = count_up(center_x)
    for rz in range(max(bz - REACH, 0), min(bz + REACH, nz - 1) + 1):
        for ry in range(max(by - REACH, 0), min(by + REACH, ny - 1) + 1):
            base = (rz * ny + ry) * nx
            start, end = first[base + x0], first[base + x1 + 1]
            if rz == bz and ry == by:
                offset = count - start
            if count + end - start <= room:
                for k in range(start, end, BLOCK_BYTES // from_x.itemsize):
                    to = count + k - start
                    store(x, to, narrow(load(from_x, k) - center_x))
                    store(y, to, narrow(load(from_y, k) - center_y))
                    store(z, to, narrow(load(from_z, k) - center_z))
                    store(numbers, to, splat_index(k, center_x) + ascending)
                    store(kinds, to, load_index(types, k, center_x))
            count += end - start
    if count <= room:
        store(x, count, splat(np.float32(FAR)))
    return count, offset


@inner(forceinline=True)
def _append(row, count, x, y, z, numbers, kinds, bits, first, last, before, own, radius2):  # type: ignore[no-untyped-def]
    """Append the collected entries first..last-1 with numbers less than `before` that are close to the one at `own`.

    A row that is too long is counted on to its end, but not written any further.
    """
    own_x, own_y, own_z = splat(x[own]), splat(y[own]), splat(z[own])
    limit = splat_index(before, own_x)
    table = splat_index(bits[0], own_x)
    room = row.shape[0] - LANES
    for k in range(first, last, LANES):
        entry = load_index(numbers, k, own_x)
        dx, dy, dz = load(x, k) - own_x, load(y, k) - own_y, load(z, k) - own_z
        close = (dx * dx + dy * dy + dz * dz < radius2) & (entry < limit)
        if bits.shape[0] > 1:
            table = gather(bits, load_index(kinds, k, own_x))
        count += compress(row, min(count, room), entry + table, close)
    return count


@inner()
def _weigh_rows(space, first_slot, last_slot):  # type: ignore[no-untyped-def]
    """Take excluded partners out of the rows of these slots and move weighted ones to their tables."""
    owners, slot_of, first, partners = space.entries[OWNER], space.atoms[SLOT_OF], space.first, space.first[PARTNER]
    for slot in range(first_slot, last_slot):
        atom, row, total = space.atoms[ORDER, slot], space.rows[slot], space.atoms[LENGTH, slot]
        kept, kept_lower = 0, 0
        for e in range(total):
            owner, moved = owners[row[e] & (MAX_IMAGES - 1)], 0
            for k in range(first[FIRST_PARTNER, atom], first[FIRST_PARTNER, atom + 1]):
                if slot_of[partners[k]] == owner:
                    moved = first[MOVED, k]
            if moved >= 0:
                row[kept] = row[e] + moved
                kept += 1
                kept_lower += e < space.atoms[LOWER, slot]
        row[kept:total] = 0
        space.atoms[LOWER, slot], space.atoms[LENGTH, slot] = kept_lower, kept


@inner()
def _fill_rows(space, first_slot, last_slot, room):  # type: ignore[no-untyped-def]
    """Rows of these slots; returns the longest row and the most candidates that a group had, done or too many.

    Distances are compared in single precision, relative to the group, so a row may reach beyond the listing radius by
    `_slack` and never falls short of it.
    """
    image, types, first, layout = space.images, space.entries[IMAGE_TYPE], space.first[PADDED], space.layout
    rows, atoms, table_bits = space.rows, space.atoms, space.table_bits
    longest = rows.shape[1]
    radius = np.float32(space.geometry[RADIUS, LISTING] + _slack(space))
    radius2 = splat(radius * radius)
    row = np.zeros(longest + 2 * LANES, dtype=np.int32)
    places, integers = np.zeros((3, room), dtype=np.float32), np.zeros((2, room), dtype=np.int32)
    x, y, z, numbers, kinds = places[0], places[1], places[2], integers[0], integers[1]
    needed, group, line_end, count, offset = 0, 0, -1, 0, 0
    nx = layout[BINS, 0] + 2 * layout[MARGIN, 0]
    for slot in range(first_slot, last_slot):
        own, own_bin = atoms[OWN_ENTRY, slot], atoms[OWN_BIN, slot]
        if own_bin >= min(group + GROUP, line_end):
            group, line_end = own_bin, (own_bin // nx + 1) * nx
            count, offset = _collect(image, types, first, layout, group, x, y, z, numbers, kinds)
            if count + 2 * LANES > room:
                return needed, count + 2 * LANES
        k = own + offset
        bits = table_bits[kinds[k]]
        lower = _append(row, 0, x, y, z, numbers, kinds, bits, 0, k, own, k, radius2)
        total = _append(row, lower, x, y, z, numbers, kinds, bits, k + 1, count, MAX_IMAGES, k, radius2)
        full = (total + LANES - 1) // LANES * LANES
        needed = max(needed, full)
        if full <= longest:
            for extra in range(total, full):
                row[extra] = 0
            atoms[LOWER, slot] = lower
            atoms[LENGTH, slot] = total
            for e in range(full):
                rows[slot, e] = row[e]
    return needed, 0


@inner()
def _build_rows(space, rank, n_threads):  # type: ignore[no-untyped-def]
    """Rows of all slots, block by block of all shares; returns the longest row that was needed in those done here."""
    room, longest = 1024, 0
    for turn in range(n_threads):
        owner = (rank + turn) % n_threads
        first, last = share(space.atoms.shape[1], owner, n_threads, ROWS)
        begin = first + ROWS * take_block(space.control, owner)
        while begin < last:
            needed, more = _fill_rows(space, begin, min(begin + ROWS, last), room)
            while more > 0:
                room = 2 * more
                needed, more = _fill_rows(space, begin, min(begin + ROWS, last), room)
            longest = max(longest, needed)
            begin = first + ROWS * take_block(space.control, owner)
    return longest


@inner()
def rebuild(space, rank, n_threads):  # type: ignore[no-untyped-def]
    """Sort the atoms and build images and rows from the positions in `state`; all members call it together.

    Returns:
        False when an array is too short: `control` then says what is needed, the state is as before or only
        reordered, and the call can be repeated.
    """
    n = space.atoms.shape[1]
    first, last = share(n, rank, n_threads, LANES)
    meet(space.control, n_threads)
    if rank == 0:
        layout_bins(space)
    meet(space.control, n_threads)
    bin_atoms(space, first, last)
    meet(space.control, n_threads)
    if rank == 0:
        space.control[IMAGES] = sort_atoms(space)
        space.control[LIST_VALID] = 0
        space.control[BUILDS] += 1
    meet(space.control, n_threads)
    if space.control[IMAGES] + 2 * LANES > space.images.shape[1]:
        return False
    for slot in range(first, last):
        space.atoms[OLD_SLOT, slot] = space.atoms[SLOT_OF, space.atoms[NEW_ORDER, slot]]
    reorder(space.state, space.spare, space.atoms[OLD_SLOT], 0, FORCE, first, last)
    reorder(space.state, space.spare, space.atoms[OLD_SLOT], GX, min(W, space.state.shape[0]), first, last)
    meet(space.control, n_threads)
    for r in range(FORCE):
        space.state[r, first:last] = space.spare[r, first:last]
    for r in range(GX, min(W, space.state.shape[0])):
        space.state[r, first:last] = space.spare[r, first:last]
    for c in range(3):
        space.state[REFERENCE + c, first:last] = space.state[X + c, first:last]
    for slot in range(first, last):
        atom = space.atoms[NEW_ORDER, slot]
        space.atoms[ORDER, slot] = atom
        space.atoms[SLOT_OF, atom] = slot
    meet(space.control, n_threads)
    lay_images(space, rank, n_threads)
    meet(space.control, n_threads)
    fill_images(space.state, X, space.images, POSITION, space.entries, space.control, rank, n_threads)
    meet(space.control, n_threads)
    space.partial[rank, 0] = _build_rows(space, rank, n_threads)
    meet(space.control, n_threads)
    refill(space.control, rank)
    needed = 0
    for member in range(n_threads):
        needed = max(needed, int(space.partial[member, 0]))
    if needed > space.rows.shape[1]:
        meet(space.control, n_threads)
        space.control[ROW_NEEDED] = needed
        return False
    if space.first.shape[0] > PARTNER:
        _weigh_rows(space, first, last)
    if rank == 0:
        space.control[LIST_VALID] = 1
    meet(space.control, n_threads)
    return True
