"""Atoms of one system in spatial order and their periodic images, made by a team of threads.

Atoms are wrapped into the cell, binned, and the bins within reach of a periodic face are repeated on its other side:
every image that any atom can interact with is then an entry of one array `image = state[owner] + shift`, sorted by
bin, and a pair is an atom and an entry of that array. No minimum-image convention is evaluated anywhere, so skewed
cells, mixed boundary conditions and cells hardly wider than twice the cutoff are all the same case.
"""

from __future__ import annotations

import numpy as np

from asediff.kernels.cpu.simd import (
    BLOCK_BYTES,
    LANES,
    gather,
    load,
    load_index,
    store,
)
from asediff.kernels.cpu.space import (
    BIN,
    BINS,
    CELL,
    DISPLACEMENT,
    HEIGHT,
    HOME,
    IMAGE_TYPE,
    IMAGES,
    INVERSE,
    LISTING,
    MARGIN,
    NEW_ORDER,
    NEW_SLOT,
    ORDER,
    ORIGIN,
    OWN_BIN,
    OWN_ENTRY,
    OWNER,
    PADDED,
    PERIODIC,
    POSITION,
    RADIUS,
    SHIFT,
    TYPE,
    WIDTH,
    X,
)
from asediff.kernels.cpu.team import inner, share

REACH = 2
"""Bins on each side of an atom's own that its neighbors can be in."""

SAFETY = 1.000001
"""Bins are wider than the listing radius needs by more than the rounding of positions."""


@inner()
def layout_bins(space):  # type: ignore[no-untyped-def]
    """Number of bins along each lattice vector and, along free directions, the extent of the atoms."""
    n = space.atoms.shape[1]
    for a in range(3):
        origin, width = 0.0, 1.0
        if not space.layout[PERIODIC, a]:
            low, high = np.inf, -np.inf
            for i in range(n):
                f = 0.0
                for c in range(3):
                    f += space.state[X + c, i] * space.geometry[INVERSE + c, a]
                low, high = min(low, f), max(high, f)
            origin, width = low, max(high - low, 1e-12)
        space.geometry[ORIGIN, a], space.geometry[WIDTH, a] = origin, width
        fits = space.geometry[HEIGHT, a] * width * REACH / (space.geometry[RADIUS, LISTING] * SAFETY)
        space.layout[BINS, a] = max(1, int(min(fits, 1e4)))
        space.layout[MARGIN, a] = REACH if space.layout[PERIODIC, a] else 0
    while True:
        total, widest = 1, 0
        for a in range(3):
            total *= space.layout[BINS, a] + 2 * space.layout[MARGIN, a]
            if space.layout[BINS, a] > space.layout[BINS, widest]:
                widest = a
        if total < space.first.shape[1] or space.layout[BINS, widest] == 1:
            break
        space.layout[BINS, widest] = (space.layout[BINS, widest] + 1) // 2


@inner()
def bin_atoms(space, first, last):  # type: ignore[no-untyped-def]
    """Bin and whole-cell shift of the atoms in slots first..last-1, stored by atom."""
    for i in range(first, last):
        atom = space.atoms[ORDER, i]
        index = 0
        for a in range(2, -1, -1):
            f = 0.0
            for c in range(3):
                f += space.state[X + c, i] * space.geometry[INVERSE + c, a]
            shift = 0.0
            if space.layout[PERIODIC, a]:
                shift = -np.floor(f)
                f += shift
            k = int((f - space.geometry[ORIGIN, a]) / space.geometry[WIDTH, a] * space.layout[BINS, a])
            index = index * space.layout[BINS, a] + min(max(k, 0), space.layout[BINS, a] - 1)
            space.atoms[SHIFT + a, atom] = shift
        space.atoms[BIN, atom] = index


@inner()
def sort_atoms(space):  # type: ignore[no-untyped-def]
    """Count bins, order the atoms by (bin, atom) and lay out the images; returns the number of entries."""
    n = space.atoms.shape[1]
    n_bins = space.layout[BINS, 0] * space.layout[BINS, 1] * space.layout[BINS, 2]
    first = space.first[HOME]
    for b in range(n_bins + 1):
        first[b] = 0
    for atom in range(n):
        first[space.atoms[BIN, atom] + 1] += 1
    for b in range(n_bins):
        first[b + 1] += first[b]
    for atom in range(n):
        b = space.atoms[BIN, atom]
        slot = first[b]
        first[b] += 1
        space.atoms[NEW_SLOT, atom] = slot
        space.atoms[NEW_ORDER, slot] = atom
    for b in range(n_bins, 0, -1):
        first[b] = first[b - 1]
    first[0] = 0
    entry, padded_bin = 1, 0
    for z in range(-space.layout[MARGIN, 2], space.layout[BINS, 2] + space.layout[MARGIN, 2]):
        home_z = z % space.layout[BINS, 2]
        for y in range(-space.layout[MARGIN, 1], space.layout[BINS, 1] + space.layout[MARGIN, 1]):
            home_y = home_z * space.layout[BINS, 1] + y % space.layout[BINS, 1]
            for x in range(-space.layout[MARGIN, 0], space.layout[BINS, 0] + space.layout[MARGIN, 0]):
                home = home_y * space.layout[BINS, 0] + x % space.layout[BINS, 0]
                space.first[PADDED, padded_bin] = entry
                entry += first[home + 1] - first[home]
                padded_bin += 1
    space.first[PADDED, padded_bin] = entry
    return entry


@inner()
def lay_images(space, rank, n_threads):  # type: ignore[no-untyped-def]
    """Owner, shift and type of every entry; own entry and bin of every atom."""
    nx = space.layout[BINS, 0] + 2 * space.layout[MARGIN, 0]
    ny = space.layout[BINS, 1] + 2 * space.layout[MARGIN, 1]
    nz = space.layout[BINS, 2] + 2 * space.layout[MARGIN, 2]
    mx, my, mz = space.layout[BINS, 0], space.layout[BINS, 1], space.layout[BINS, 2]
    atoms, entries, padded_first, home_first = space.atoms, space.entries, space.first[PADDED], space.first[HOME]
    cell = space.geometry[CELL:INVERSE]
    first, last = share(ny * nz, rank, n_threads, 1)
    for line in range(first, last):
        z, y = line // ny - space.layout[MARGIN, 2], line % ny - space.layout[MARGIN, 1]
        home_line = (z % mz * my + y % my) * mx
        for column in range(nx):
            x = column - space.layout[MARGIN, 0]
            home = home_line + x % mx
            cx, cy, cz = x // mx, y // my, z // mz
            entry = padded_first[line * nx + column]
            for slot in range(home_first[home], home_first[home + 1]):
                atom = atoms[ORDER, slot]
                sx, sy, sz = cx + atoms[SHIFT, atom], cy + atoms[SHIFT + 1, atom], cz + atoms[SHIFT + 2, atom]
                entries[OWNER, entry] = slot
                entries[IMAGE_TYPE, entry] = atoms[TYPE, atom]
                for c in range(3):
                    space.images[DISPLACEMENT + c, entry] = sx * cell[0, c] + sy * cell[1, c] + sz * cell[2, c]
                if cx == 0 and cy == 0 and cz == 0:
                    atoms[OWN_ENTRY, slot] = entry
                    atoms[OWN_BIN, slot] = line * nx + column
                entry += 1


@inner()
def fill_images(source, source_row, images, row, entries, control, rank, n_threads):  # type: ignore[no-untyped-def]
    """Copy three rows of a field on atoms to its images; positions are displaced by whole cells."""
    first, last = share(control[IMAGES], rank, n_threads, LANES)
    owner = entries[OWNER]
    for c in range(3):
        field, result, displacement = source[source_row + c], images[row + c], images[DISPLACEMENT + c]
        for k in range(first, last, BLOCK_BYTES // field.itemsize):
            value = gather(field, load_index(owner, k, load(displacement, k)))
            if row == POSITION:
                value = value + load(displacement, k)
            store(result, k, value)


@inner()
def reorder(source, target, old_slot, first_row, end_row, first, last):  # type: ignore[no-untyped-def]
    """target[row, slot] = source[row, old slot] for some rows and slots."""
    for row in range(first_row, end_row):
        here, there = source[row], target[row]
        for slot in range(first, last):
            there[slot] = here[old_slot[slot]]
