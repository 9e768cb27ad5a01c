"""Sums over neighbor rows: forces, energies, and the reverse pass of both.

With s = r² and a(s) = -2 du/ds the force of a pair on its first atom is F = a d, d = x_i - x_j. For a vector field w
on the atoms (the adjoint of the forces) the reverse pass of sum_i w_i.F_i needs, with w_ij = w_i - w_j,

    dL/dx_i = sum_j  a w_ij + 2 a' (w_ij.d) d,        dL/da of a pair = w_ij.d,

so one sweep over the rows yields forces, gradient and the contributions to the table.
"""

from __future__ import annotations

import numpy as np

from asediff.kernels.cpu.simd import (
    BLOCK_BYTES,
    LANES,
    add_powers,
    as_float,
    compress,
    gather,
    load_index,
    select,
    splat,
    splat_index,
    store,
    total,
    truncate,
)
from asediff.kernels.cpu.space import (
    FORCE,
    INTERVALS,
    INVERSE_SPACING,
    LENGTH,
    LOWER,
    MAX_IMAGES,
    NEAR_LENGTH,
    NEAR_LOWER,
    OWN_ENTRY,
    S_LO,
    TABLE_SHIFT,
)
from asediff.kernels.cpu.team import inner


@inner(forceinline=True)
def _constants(space):  # type: ignore[no-untyped-def]
    """0, s_lo, 1/spacing, number of intervals, intervals per table, and what splits an entry, as vectors."""
    zero, low = splat(space.spline.dtype.type(0.0)), splat(space.spline[S_LO])
    inverse, top = splat(space.spline[INVERSE_SPACING]), splat(space.spline[INTERVALS])
    per_table = splat_index(int(space.spline[INTERVALS]) + 1, low)
    return zero, low, inverse, top, per_table, splat_index(MAX_IMAGES - 1, low), splat_index(TABLE_SHIFT, low)


@inner(forceinline=True)
def _separate(image, entry, x, y, z, constants):  # type: ignore[no-untyped-def]
    """Image number and separation vector of the entries of a block, and its square."""
    image_mask = constants[5]
    j = entry & image_mask
    dx, dy, dz = x - gather(image[0], j), y - gather(image[1], j), z - gather(image[2], j)
    return j, dx, dy, dz, dx * dx + dy * dy + dz * dz


@inner(forceinline=True)
def _locate(s, entry, constants):  # type: ignore[no-untyped-def]
    """Start of the interval of s in the flat table, the fraction t in it, and the place unclipped.

    Not-a-number becomes interval 0, so that a broken state never reads outside of the table.
    """
    zero, low, inverse, top, per_table, _, table_shift = constants
    place = (s - low) * inverse
    inside = select(place > zero, place, zero)
    inside = select(inside < top, inside, top)
    k = truncate(inside)
    t = inside - as_float(k, inside)
    k = k + (entry >> table_shift) * per_table
    k = k + k
    return k + k, t, place


@inner()
def sum_forces(space, first, last, keep):  # type: ignore[no-untyped-def]
    """Forces on the atoms in slots first..last-1.

    `keep`: write the entries within the cutoff to `space.near`, for `sum_reverse` at the same positions.
    """
    constants = _constants(space)
    zero, top = constants[0], constants[3]
    image, table, rows, near = space.images, space.table, space.rows, space.near
    near_row = near[0] if keep else rows[0]
    b0, b1, b2 = table, table[1:], table[2:]
    width = BLOCK_BYTES // image.itemsize
    for slot in range(first, last):
        own = space.atoms[OWN_ENTRY, slot]
        x, y, z = splat(image[0, own]), splat(image[1, own]), splat(image[2, own])
        fx, fy, fz = zero, zero, zero
        row = rows[slot]
        count, lower = 0, 0
        if keep:
            near_row = near[slot]
        for k in range(0, space.atoms[LENGTH, slot], width):
            entry = load_index(row, k, zero)
            j, dx, dy, dz, s = _separate(image, entry, x, y, z, constants)
            interval, t, place = _locate(s, entry, constants)
            a = gather(b0, interval) + t * (gather(b1, interval) + t * gather(b2, interval))
            fx, fy, fz = fx + a * dx, fy + a * dy, fz + a * dz
            if keep:
                inside = place < top
                if k < space.atoms[LOWER, slot]:
                    lower += compress(near_row, count, entry, inside & (j < splat_index(own, zero)))
                count += compress(near_row, count, entry, inside)
        if keep:
            store(near_row, count, splat_index(0, zero))
            space.atoms[NEAR_LOWER, slot], space.atoms[NEAR_LENGTH, slot] = lower, count
        space.state[FORCE, slot] = total(fx)
        space.state[FORCE + 1, slot] = total(fy)
        space.state[FORCE + 2, slot] = total(fz)


@inner()
def sum_energy(space, first, last, sums):  # type: ignore[no-untyped-def]
    """Add energy and virial (xx, yy, zz, yz, xz, xy of r F) of these slots, half of each pair, to `sums[:7]`."""
    constants = _constants(space)
    zero = constants[0]
    image, table, rows = space.images, space.table, space.rows
    b1, b2, c0 = table[1:], table[2:], table[3:]
    width = BLOCK_BYTES // image.itemsize
    kind = space.spline.dtype.type
    half = -0.5 / space.spline[INVERSE_SPACING]
    to_c1, to_c2, to_c3 = splat(kind(half)), splat(kind(half / 2.0)), splat(kind(half / 3.0))
    for slot in range(first, last):
        own = space.atoms[OWN_ENTRY, slot]
        x, y, z = splat(image[0, own]), splat(image[1, own]), splat(image[2, own])
        u, xx, yy, zz, yz, xz, xy = zero, zero, zero, zero, zero, zero, zero
        row = rows[slot]
        for k in range(0, space.atoms[LENGTH, slot], width):
            entry = load_index(row, k, zero)
            _, dx, dy, dz, s = _separate(image, entry, x, y, z, constants)
            interval, t, place = _locate(s, entry, constants)
            below = select(place < zero, place, zero)
            f0, f1, f2 = gather(table, interval), gather(b1, interval), gather(b2, interval)
            c1 = to_c1 * f0
            u = u + gather(c0, interval) + below * c1 + t * (c1 + t * (to_c2 * f1 + t * (to_c3 * f2)))
            a = f0 + t * (f1 + t * f2)
            xx, yy, zz = xx + a * dx * dx, yy + a * dy * dy, zz + a * dz * dz
            yz, xz, xy = yz + a * dy * dz, xz + a * dx * dz, xy + a * dx * dy
        sums[0] += 0.5 * total(u)
        sums[1] += 0.5 * total(xx)
        sums[2] += 0.5 * total(yy)
        sums[3] += 0.5 * total(zz)
        sums[4] += 0.5 * total(yz)
        sums[5] += 0.5 * total(xz)
        sums[6] += 0.5 * total(xy)


@inner()
def sum_reverse(space, first, last, row_of_gradient, table_gradient, forces, kept):  # type: ignore[no-untyped-def]
    """One sweep of the reverse pass with the field in the rows WEIGHT of `space.images`.

    Args:
        space: images and rows.
        first: first slot.
        last: last slot + 1.
        row_of_gradient: the first of three rows of the state that get dL/dx added.
        table_gradient: like `space.table`, float64; gets dL/db0, dL/db1, dL/db2 added.
        forces: write the forces to the rows FORCE as well.
        kept: whether `sum_forces` has kept the entries within the cutoff of these positions.
    """
    constants = _constants(space)
    zero, inverse, top = constants[0], constants[2], constants[3]
    image, table, state = space.images, space.table, space.state
    rows = space.near if kept else space.rows
    lowers, lengths = space.atoms[LOWER], space.atoms[LENGTH]
    if kept:
        lowers, lengths = space.atoms[NEAR_LOWER], space.atoms[NEAR_LENGTH]
    b0, b1, b2 = table, table[1:], table[2:]
    width = BLOCK_BYTES // image.itemsize
    pushes = np.empty(rows.shape[1] + LANES, dtype=image.dtype)
    fractions = np.empty(rows.shape[1] + LANES, dtype=image.dtype)
    intervals = np.empty(rows.shape[1] + LANES, dtype=np.int32)
    for slot in range(first, last):
        own = space.atoms[OWN_ENTRY, slot]
        x, y, z = splat(image[0, own]), splat(image[1, own]), splat(image[2, own])
        px, py, pz = splat(image[3, own]), splat(image[4, own]), splat(image[5, own])
        fx, fy, fz, gx, gy, gz = zero, zero, zero, zero, zero, zero
        row = rows[slot]
        count, lower, found = lengths[slot], lowers[slot], 0
        itself = splat_index(own, zero)
        for k in range(0, count, width):
            entry = load_index(row, k, zero)
            j, dx, dy, dz, s = _separate(image, entry, x, y, z, constants)
            wx, wy, wz = px - gather(image[3], j), py - gather(image[4], j), pz - gather(image[5], j)
            interval, t, place = _locate(s, entry, constants)
            f0, f1, f2 = gather(b0, interval), gather(b1, interval), gather(b2, interval)
            bend = t * f2
            slope = f1 + bend
            a = f0 + t * slope
            push = wx * dx + wy * dy + wz * dz
            steepness = (slope + bend) * inverse
            steepness = select(place < zero, zero, steepness)
            along = (steepness + steepness) * push
            if forces:
                fx, fy, fz = fx + a * dx, fy + a * dy, fz + a * dz
            gx, gy, gz = gx + (a * wx + along * dx), gy + (a * wy + along * dy), gz + (a * wz + along * dz)
            if k + width > lower:
                upper = (j > itself) & (place < top)
                compress(fractions, found, t, upper)
                compress(intervals, found, interval, upper)
                found += compress(pushes, found, push, upper)
        if forces:
            state[FORCE, slot] = total(fx)
            state[FORCE + 1, slot] = total(fy)
            state[FORCE + 2, slot] = total(fz)
        state[row_of_gradient, slot] += total(gx)
        state[row_of_gradient + 1, slot] += total(gy)
        state[row_of_gradient + 2, slot] += total(gz)
        for k in range(found):
            add_powers(table_gradient, intervals[k], pushes[k], fractions[k])
