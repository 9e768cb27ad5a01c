"""Pair search for histograms on the CPU: atoms sorted into cells, all periodic images, any cell shape (numba)."""

from __future__ import annotations

import math

import numba
import numpy as np

from asediff.kernels.cpu.simd import LANES, compress, count_up, lanes_of, load, splat, splat_index

BLOCK = lanes_of(np.float64)

# NaN and infinity keep their meaning: the callers check for them
FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}
COLUMN_COST = 250
"""Measured time to look at one more column of cells, in candidates."""


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def sort_into_cells(positions, atoms, cell, inverse, n_cells):  # type: ignore[no-untyped-def]
    """Wrap the chosen atoms into the cell and group them by sub-cell.

    Returns:
        start `(n_total_cells + 1,)`, order `(n_chosen,)` (atom numbers) and coordinates `(3, n_chosen)`.
    """
    n = atoms.shape[0]
    n_x, n_y, n_z = n_cells[0], n_cells[1], n_cells[2]
    start = np.zeros(n_x * n_y * n_z + 1, np.int64)
    place = np.empty(n, np.int64)
    wrapped = np.empty((3, n))
    for a in range(n):
        i = atoms[a]
        box = 0
        for d in range(3):
            f = positions[i, 0] * inverse[0, d] + positions[i, 1] * inverse[1, d] + positions[i, 2] * inverse[2, d]
            f -= math.floor(f)
            if f >= 1.0:
                f = 0.0
            wrapped[d, a] = f
            box = box * n_cells[d] + min(int(f * n_cells[d]), n_cells[d] - 1)
        place[a] = box
        start[box + 1] += 1
    for box in range(n_x * n_y * n_z):
        start[box + 1] += start[box]
    filled = start[:-1].copy()
    order = np.empty(n, np.int64)
    xyz = np.empty((3, n))
    for a in range(n):
        slot = filled[place[a]]
        filled[place[a]] += 1
        order[slot] = atoms[a]
        fx, fy, fz = wrapped[0, a], wrapped[1, a], wrapped[2, a]
        for d in range(3):
            xyz[d, slot] = fx * cell[0, d] + fy * cell[1, d] + fz * cell[2, d]
    return start, order, xyz


@numba.njit(nogil=True, forceinline=True)
def half_stencil(reach_cells, n_cells, cell, reach):  # type: ignore[no-untyped-def]
    """Columns of cells that meet each pair once: offsets in x and y, and the first and last offset in z.

    The first column is that of the cell itself and holds the cell itself and those after it.
    """
    a, b, c = reach_cells[0], reach_cells[1], reach_cells[2]
    orthorhombic = True
    for i in range(3):
        for j in range(3):
            if i != j and cell[i, j] != 0.0:
                orthorhombic = False
    columns = np.empty(((a + 1) * (2 * b + 1), 4), np.int64)
    n = 0
    for x in range(a + 1):
        for y in range(-b if x > 0 else 0, b + 1):
            far = c
            if orthorhombic:
                gap_x = max(abs(x) - 1, 0) * cell[0, 0] / n_cells[0]
                gap_y = max(abs(y) - 1, 0) * cell[1, 1] / n_cells[1]
                rest = reach * reach - gap_x * gap_x - gap_y * gap_y
                if rest < 0.0:
                    continue
                far = min(c, int(math.sqrt(rest) * n_cells[2] / cell[2, 2]) + 1)
            columns[n, 0] = x
            columns[n, 1] = y
            columns[n, 2] = -far if x > 0 or y > 0 else 0
            columns[n, 3] = far
            n += 1
    return columns[:n].copy()


@numba.njit(nogil=True, forceinline=True)
def choose_cells(cell, inverse, reach, n_atoms):  # type: ignore[no-untyped-def]
    """Cut the box into cells so that the search looks at few candidates.

    Args:
        cell: `(3, 3)`, rows are lattice vectors, length.
        inverse: its inverse.
        reach: largest pair distance of interest, length.
        n_atoms: number of atoms to be sorted.

    Returns:
        Number of cells along each lattice vector `(3,)` and the half stencil (see `half_stencil`).
    """
    best = -1.0
    best_cells = np.ones(3, np.int64)
    best_stencil = np.zeros((1, 4), np.int64)
    for refinement in range(1, 4):
        n_cells = np.ones(3, np.int64)
        far = np.ones(3, np.int64)
        for d in range(3):
            height = 1.0 / math.sqrt(inverse[0, d] ** 2 + inverse[1, d] ** 2 + inverse[2, d] ** 2)
            n_cells[d] = max(1, int(height * refinement / reach))
            far[d] = math.ceil(reach * n_cells[d] / height)
        n_total = n_cells[0] * n_cells[1] * n_cells[2]
        if refinement > 1 and n_total > n_atoms:
            break
        while n_total > 4 * n_atoms + 64:
            # a dilute box: fewer, larger cells
            for d in range(3):
                n_cells[d] = max(1, n_cells[d] // 2)
                height = 1.0 / math.sqrt(inverse[0, d] ** 2 + inverse[1, d] ** 2 + inverse[2, d] ** 2)
                far[d] = math.ceil(reach * n_cells[d] / height)
            n_total = n_cells[0] * n_cells[1] * n_cells[2]
        stencil = half_stencil(far, n_cells, cell, reach)
        n_looked_at = (stencil[:, 3] - stencil[:, 2] + 1).sum()
        cost = n_atoms * (n_looked_at / n_total) * n_atoms + n_total * stencil.shape[0] * COLUMN_COST
        if best < 0.0 or cost < best:
            best, best_cells, best_stencil = cost, n_cells, stencil
    return best_cells, best_stencil


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def gather_candidates(here, start, xyz, cell, n_cells, stencil, slots, points):  # type: ignore[no-untyped-def]
    """Copy the atoms of the half stencil around cell number `here`, moved to their nearest image, into `points`.

    Returns:
        number of candidates, slots `(n,)` and points `(3, n)`, the last two enlarged when they were too small.
    """
    n_x, n_y, n_z = n_cells[0], n_cells[1], n_cells[2]
    x, y, z = here // (n_y * n_z), here // n_z % n_y, here % n_z
    n = 0
    for o in range(stencil.shape[0]):
        box_x, box_y = x + stencil[o, 0], y + stencil[o, 1]
        image_x, image_y = box_x // n_x, box_y // n_y
        column = ((box_x - image_x * n_x) * n_y + (box_y - image_y * n_y)) * n_z
        box_z, last_z = z + stencil[o, 2], z + stencil[o, 3]
        image_z = box_z // n_z
        while box_z <= last_z:
            end_z = min(last_z, (image_z + 1) * n_z - 1)
            first = start[column + box_z - image_z * n_z]
            size = start[column + end_z - image_z * n_z + 1] - first
            if n + size + LANES > slots.shape[0]:
                more_slots = np.empty(2 * (n + size + LANES), np.int32)
                more_points = np.empty((3, 2 * (n + size + LANES)))
                more_slots[:n] = slots[:n]
                more_points[:, :n] = points[:, :n]
                slots, points = more_slots, more_points
            for d in range(3):
                shift = image_x * cell[0, d] + image_y * cell[1, d] + image_z * cell[2, d]
                source, target = xyz[d, first : first + size], points[d, n : n + size]
                for k in range(size):
                    target[k] = source[k] + shift
            target_slots = slots[n : n + size]
            for k in range(size):
                target_slots[k] = first + k
            n += size
            box_z = end_z + 1
            image_z += 1
    return n, slots, points


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def partners(slot, first, n, points, xyz, above2, below2, squares, hits):  # type: ignore[no-untyped-def]
    """Candidates first..n-1 whose squared distance from atom `slot` lies between above2 and below2, both excluded.

    Writes the squared distances to `squares` and the candidate numbers to `hits`, side by side, and returns how many
    there are. All arrays are `LANES` longer than their contents.
    """
    x, y, z = splat(xyz[0, slot]), splat(xyz[1, slot]), splat(xyz[2, slot])
    above, below = splat(above2), splat(below2)
    end, ascending = splat_index(n, x), count_up(x)
    count = 0
    for start in range(first, n, BLOCK):
        dx, dy, dz = load(points[0], start) - x, load(points[1], start) - y, load(points[2], start) - z
        s = dx * dx + dy * dy + dz * dz
        candidate = splat_index(start, x) + ascending
        close = (s < below) & (s > above) & (candidate < end)
        compress(squares, count, s, close)
        count += compress(hits, count, candidate, close)
    return count


@numba.njit(nogil=True, fastmath=FAST)
def nearest_square(slot, other, xyz, cell, inverse):  # type: ignore[no-untyped-def]
    """Squared distance of two atoms in their nearest images, among those next to the one within half a cell."""
    nearest = np.inf
    d, f = np.empty(3), np.empty(3)
    for c in range(3):
        d[c] = xyz[c, other] - xyz[c, slot]
    for a in range(3):
        f[a] = np.rint(d[0] * inverse[0, a] + d[1] * inverse[1, a] + d[2] * inverse[2, a])
    for x in range(-1, 2):
        for y in range(-1, 2):
            for z in range(-1, 2):
                s = 0.0
                for c in range(3):
                    s += (d[c] - (f[0] + x) * cell[0, c] - (f[1] + y) * cell[1, c] - (f[2] + z) * cell[2, c]) ** 2
                nearest = min(nearest, s)
    return nearest
