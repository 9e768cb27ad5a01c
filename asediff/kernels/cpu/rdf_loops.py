"""The compiled pair loops of `asediff.kernels.cpu.rdf`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from asediff.kernels.cpu.cells import BLOCK, FAST, gather_candidates, nearest_square, partners, sort_into_cells
from asediff.kernels.cpu.simd import count_up, load, select, splat, splat_index, store, total
from asediff.kernels.shells import N_MOMENTS

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
SCRATCH = 1024


class Box(NamedTuple):
    """One system of the batch: its chosen atoms, the grid of cells to sort them into, and partners to leave out."""

    atoms: IntArray
    cell: Array
    inverse: Array
    n_cells: IntArray
    stencil: IntArray
    first_partner: IntArray
    partner: IntArray


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def _powers(t):  # type: ignore[no-untyped-def]
    """1, t, t², ... t⁷ in the lanes of a vector; built from t, t² and t⁴ by the binary digits of the power."""
    one = splat(1.0)
    digit = splat_index(1, one)
    power, none = count_up(one), splat_index(0, one)
    t2 = t * t
    first = select(power & digit > none, splat(t), one)
    second = select((power >> digit) & digit > none, splat(t2), one)
    third = select((power >> digit) >> digit > none, splat(t2 * t2), one)
    return first * second * third


@numba.njit(nogil=True, fastmath=FAST)
def leave_out(slot, count, slots, squares, hits, order, xyz, box):  # type: ignore[no-untyped-def]
    """Take an atom's excluded partners, in their nearest images, out of its hits; returns how many are left."""
    kept = 0
    for h in range(count):
        other, excluded = slots[hits[h]], False
        for k in range(box.first_partner[order[slot]], box.first_partner[order[slot] + 1]):
            if box.partner[k] == order[other]:
                excluded = squares[h] <= nearest_square(slot, other, xyz, box.cell, box.inverse) * (1.0 + 1e-12)
        squares[kept], hits[kept] = squares[h], hits[h]
        kept += not excluded
    return kept


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def find(slot, first, n, points, xyz, above2, below2, squares, hits, slots, order, box):  # type: ignore[no-untyped-def]
    """See `partners`; without excluded ones."""
    count = partners(slot, first, n, points, xyz, above2, below2, squares, hits)
    if box.partner.shape[0] > 0:
        count = leave_out(slot, count, slots, squares, hits, order, xyz, box)
    return count


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def add_moments(positions, types, channels, box, limits, moments):  # type: ignore[no-untyped-def]
    """Add each pair to `moments` (n_channels, n_sub_bins, N_MOMENTS); see `_limits`."""
    above2, below2, origin, per_width = limits[0], limits[1], limits[2], 1.0 / limits[3]
    cell, n_cells, stencil = box.cell, box.n_cells, box.stencil
    start, order, xyz = sort_into_cells(positions, box.atoms, cell, box.inverse, n_cells)
    kinds = types[order]
    slots, points = np.empty(SCRATCH, np.int32), np.zeros((3, SCRATCH))
    squares, hits = np.empty(SCRATCH), np.empty(SCRATCH, np.int32)
    n_sub_bins = moments.shape[1]
    flat = moments.reshape(-1)
    for here in range(start.shape[0] - 1):
        if start[here] == start[here + 1]:
            continue
        n, slots, points = gather_candidates(here, start, xyz, cell, n_cells, stencil, slots, points)
        if squares.shape[0] < slots.shape[0]:
            squares, hits = np.empty(slots.shape[0]), np.empty(slots.shape[0], np.int32)
        for slot in range(start[here], start[here + 1]):
            count = find(slot, slot - start[here] + 1, n, points, xyz, above2, below2, squares, hits, slots, order, box)
            for h in range(count):
                squares[h] = (math.sqrt(squares[h]) - origin) * per_width
            row = channels[kinds[slot]]
            for h in range(count):
                channel = row[kinds[slots[hits[h]]]]
                if channel < 0:
                    continue
                b = min(int(squares[h]), n_sub_bins - 1)
                t = 2.0 * (squares[h] - b) - 1.0
                at = (channel * n_sub_bins + b) * N_MOMENTS
                low = _powers(t)
                t2 = t * t
                high = low * splat((t2 * t2) * (t2 * t2))
                store(flat, at, load(flat, at) + low)
                store(flat, at + BLOCK, load(flat, at + BLOCK) + high)


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def pull_on_atoms(positions, types, channels, box, limits, slopes, gradient):  # type: ignore[no-untyped-def]
    """Write dL/dpositions to `gradient` (n_atoms, 3), given dL/dr as a polynomial per sub-bin, `slopes`."""
    above2, below2, origin, per_width = limits[0], limits[1], limits[2], 1.0 / limits[3]
    cell, n_cells, stencil = box.cell, box.n_cells, box.stencil
    start, order, xyz = sort_into_cells(positions, box.atoms, cell, box.inverse, n_cells)
    kinds = types[order]
    slots, points = np.empty(SCRATCH, np.int32), np.zeros((3, SCRATCH))
    squares, hits = np.empty(SCRATCH), np.empty(SCRATCH, np.int32)
    pull = np.empty(SCRATCH)
    n_sub_bins = slopes.shape[1]
    flat = slopes.reshape(-1)
    pulled = np.zeros((order.shape[0], 3))
    for here in range(start.shape[0] - 1):
        if start[here] == start[here + 1]:
            continue
        n, slots, points = gather_candidates(here, start, xyz, cell, n_cells, stencil, slots, points)
        if squares.shape[0] < slots.shape[0]:
            squares, hits = np.empty(slots.shape[0]), np.empty(slots.shape[0], np.int32)
            pull = np.empty(slots.shape[0])
        for slot in range(start[here], start[here + 1]):
            count = find(slot, slot - start[here] + 1, n, points, xyz, above2, below2, squares, hits, slots, order, box)
            for h in range(count):
                squares[h] = math.sqrt(squares[h])
            row = channels[kinds[slot]]
            for h in range(count):
                channel = row[kinds[slots[hits[h]]]]
                pull[h] = 0.0
                if channel < 0 or squares[h] == 0.0:
                    continue
                place = (squares[h] - origin) * per_width
                b = min(int(place), n_sub_bins - 1)
                t = 2.0 * (place - b) - 1.0
                at = (channel * n_sub_bins + b) * N_MOMENTS
                t2 = t * t
                terms = load(flat, at) + load(flat, at + BLOCK) * splat((t2 * t2) * (t2 * t2))
                pull[h] = total(terms * _powers(t)) / squares[h]
            sum_x, sum_y, sum_z = 0.0, 0.0, 0.0
            for h in range(count):
                k = hits[h]
                f_x = pull[h] * (points[0, k] - xyz[0, slot])
                f_y = pull[h] * (points[1, k] - xyz[1, slot])
                f_z = pull[h] * (points[2, k] - xyz[2, slot])
                sum_x += f_x
                sum_y += f_y
                sum_z += f_z
                pulled[slots[k], 0] += f_x
                pulled[slots[k], 1] += f_y
                pulled[slots[k], 2] += f_z
            pulled[slot, 0] -= sum_x
            pulled[slot, 1] -= sum_y
            pulled[slot, 2] -= sum_z
    for slot in range(order.shape[0]):
        for d in range(3):
            gradient[order[slot], d] = pulled[slot, d]


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def count_pairs(positions, types, channels, box, limits, counts):  # type: ignore[no-untyped-def]
    """Count every pair in `counts` (n_channels, bins); see `_limits`."""
    above2, below2, origin, per_width = limits[0], limits[1], limits[2], 1.0 / limits[3]
    cell, n_cells, stencil = box.cell, box.n_cells, box.stencil
    start, order, xyz = sort_into_cells(positions, box.atoms, cell, box.inverse, n_cells)
    kinds = types[order]
    slots, points = np.empty(SCRATCH, np.int32), np.zeros((3, SCRATCH))
    squares, hits = np.empty(SCRATCH), np.empty(SCRATCH, np.int32)
    bins = counts.shape[1]
    for here in range(start.shape[0] - 1):
        if start[here] == start[here + 1]:
            continue
        n, slots, points = gather_candidates(here, start, xyz, cell, n_cells, stencil, slots, points)
        if squares.shape[0] < slots.shape[0]:
            squares, hits = np.empty(slots.shape[0]), np.empty(slots.shape[0], np.int32)
        for slot in range(start[here], start[here + 1]):
            count = find(slot, slot - start[here] + 1, n, points, xyz, above2, below2, squares, hits, slots, order, box)
            for h in range(count):
                squares[h] = math.sqrt(squares[h])
            row = channels[kinds[slot]]
            for h in range(count):
                channel = row[kinds[slots[hits[h]]]]
                place = (squares[h] - origin) * per_width
                if channel >= 0 and 0.0 <= place < bins:
                    counts[channel, int(place)] += 1


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def counts_from_moments(moments, table, subdivision, counts):  # type: ignore[no-untyped-def]
    """Smeared counts (n_channels, bins) from the moments; see `asediff.kernels.shells.MomentExpansion`."""
    for channel in range(moments.shape[0]):
        for k in range(counts.shape[1]):
            total = 0.0
            for j in range(table.shape[0]):
                for m in range(table.shape[1]):
                    total += table[j, m] * moments[channel, k * subdivision + j, m]
            counts[channel, k] = total


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def slopes_from_gradient(gradient, table, subdivision, width, slopes):  # type: ignore[no-untyped-def]
    """dL/dr as a polynomial of degree 10 in t on each sub-bin, from dL/dcounts (n_channels, bins)."""
    for channel in range(gradient.shape[0]):
        for k in range(gradient.shape[1]):
            scale = gradient[channel, k] * 2.0 / width
            for j in range(table.shape[0]):
                for m in range(1, table.shape[1]):
                    slopes[channel, k * subdivision + j, m - 1] += scale * m * table[j, m]
