"""Sums over neighbor rows (Triton): forces, energies, and their reverse pass; see `asediff.kernels.reference.pair`.

A program owns a block of atoms and walks along their rows, LANES entries at a time; no two programs write to the same
atom. Only the derivatives of the table, which all pairs share, are collected by atomic additions in float64.
"""

from __future__ import annotations

import triton
import triton.language as tl

from asediff.kernels.cuda.math import (
    ATOM_BITS,
    CUTOFF_2,
    INVERSE_SPACING,
    TIMESTEP,
    load_box,
    load_vector,
    locate,
    nearest_image,
    own_atoms,
    store_vector,
)
from asediff.kernels.cuda.thermostats import pull_drift

_ATOM_BITS, _ATOM_MASK = tl.constexpr(ATOM_BITS), tl.constexpr((1 << ATOM_BITS) - 1)
_CUTOFF_2, _TIMESTEP = tl.constexpr(CUTOFF_2), tl.constexpr(TIMESTEP)
_INVERSE_SPACING = tl.constexpr(INVERSE_SPACING)


@triton.jit
def _entries(rows, atom, count, start, capacity, LANES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Entries start..start+LANES-1 of the rows of a block, `(BLOCK, LANES)`, and which of them exist."""
    lane = start + tl.arange(0, LANES)
    listed = lane[None, :] < count[:, None]
    return tl.load(rows + atom[:, None].to(tl.int64) * capacity + lane[None, :], mask=listed, other=0), listed


@triton.jit
def _separation(positions, entry, listed, x, y, z, box, TRICLINIC: tl.constexpr):  # type: ignore[no-untyped-def]
    a, b, c = load_vector(positions, entry & _ATOM_MASK, listed)
    return nearest_image(x[:, None] - a, y[:, None] - b, z[:, None] - c, box, TRICLINIC)


@triton.jit
def _own_tables(types, table_index, system, atom, real, n_types, MIXED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Row of `table_index` of each atom's type; with one type, the number of its table."""
    row = table_index + (system * n_types + tl.load(types + atom, mask=real, other=0)) * n_types
    if MIXED:
        return row[:, None]
    else:  # noqa: RET505
        return tl.load(row)[:, None]


@triton.jit
def _knots(own_tables, entry, interval, inside, n_intervals, MIXED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Number of the interval in the flat list of all tables."""
    if MIXED:
        return tl.load(own_tables + (entry >> _ATOM_BITS), mask=inside, other=0) * n_intervals + interval
    else:  # noqa: RET505
        return own_tables * n_intervals + interval


@triton.jit
def forces_of_rows(  # type: ignore[no-untyped-def]
    positions, velocities, forces, masses, types, rows, row_count, coefficients, table_index, boxes, numbers, blocks,
    moved, counter, kinetic, capacity, n_intervals, n_types, KICK: tl.constexpr, BLOCK: tl.constexpr, LANES:
    tl.constexpr, TRICLINIC: tl.constexpr, MIXED: tl.constexpr,
):  # fmt: skip
    """Forces on a block of atoms; with KICK also the last half kick, its sum of m v², and the end of the step."""
    system, atom, real = own_atoms(blocks, BLOCK)
    box = load_box(boxes, system)
    x, y, z = load_vector(positions, atom, real)
    count = tl.load(row_count + atom, mask=real, other=0)
    own_tables = _own_tables(types, table_index, system, atom, real, n_types, MIXED)
    cutoff = tl.load(numbers + _CUTOFF_2).to(x.dtype)
    f_x = tl.zeros([BLOCK, LANES], dtype=x.dtype)
    f_y = tl.zeros([BLOCK, LANES], dtype=x.dtype)
    f_z = tl.zeros([BLOCK, LANES], dtype=x.dtype)
    for start in range(0, tl.max(count, 0), LANES):
        entry, listed = _entries(rows, atom, count, start, capacity, LANES)
        d_x, d_y, d_z = _separation(positions, entry, listed, x, y, z, box, TRICLINIC)
        s = d_x * d_x + d_y * d_y + d_z * d_z
        inside = listed & (s < cutoff)
        interval, t, _ = locate(tl.where(inside, s, cutoff), numbers, n_intervals)
        knot = coefficients + 4 * _knots(own_tables, entry, interval, inside, n_intervals, MIXED)
        c1 = tl.load(knot + 1, mask=inside, other=0.0)
        c2 = tl.load(knot + 2, mask=inside, other=0.0)
        c3 = tl.load(knot + 3, mask=inside, other=0.0)
        slope = c1 + t * (2.0 * c2 + 3.0 * t * c3)
        f_x += slope * d_x
        f_y += slope * d_y
        f_z += slope * d_z
    scale = -2.0 * tl.load(numbers + _INVERSE_SPACING).to(x.dtype)
    f_x, f_y, f_z = scale * tl.sum(f_x, 1), scale * tl.sum(f_y, 1), scale * tl.sum(f_z, 1)
    store_vector(forces, atom, f_x, f_y, f_z, real)
    # every row kernel has seen the flag by now
    tl.store(moved + system, 0)
    if KICK:
        mass = tl.load(masses + atom, mask=real, other=1.0)
        half = 0.5 * tl.load(numbers + _TIMESTEP).to(x.dtype) / mass
        v_x, v_y, v_z = load_vector(velocities, atom, real)
        v_x, v_y, v_z = v_x + half * f_x, v_y + half * f_y, v_z + half * f_z
        store_vector(velocities, atom, v_x, v_y, v_z, real)
        twice = tl.where(real, mass * (v_x * v_x + v_y * v_y + v_z * v_z), 0.0)
        tl.store(kinetic + tl.program_id(0), tl.sum(twice.to(tl.float64), 0))
        if tl.program_id(0) == 0:
            tl.store(counter, tl.load(counter) + 1)


@triton.jit
def energies_of_rows(  # type: ignore[no-untyped-def]
    positions, types, rows, row_count, coefficients, table_index, boxes, numbers, blocks, sums, capacity, n_intervals,
    n_types, BLOCK: tl.constexpr, LANES: tl.constexpr, TRICLINIC: tl.constexpr, MIXED: tl.constexpr,
):  # fmt: skip
    """Energy and virial (xx, yy, zz, yz, xz, xy of r F) of a block, half of each pair, to `sums` `(n_blocks, 7)`."""
    system, atom, real = own_atoms(blocks, BLOCK)
    box = load_box(boxes, system)
    x, y, z = load_vector(positions, atom, real)
    count = tl.load(row_count + atom, mask=real, other=0)
    own_tables = _own_tables(types, table_index, system, atom, real, n_types, MIXED)
    cutoff = tl.load(numbers + _CUTOFF_2).to(x.dtype)
    u = tl.zeros([BLOCK, LANES], dtype=tl.float64)
    xx, yy, zz, yz, xz, xy = u, u, u, u, u, u
    for start in range(0, tl.max(count, 0), LANES):
        entry, listed = _entries(rows, atom, count, start, capacity, LANES)
        d_x, d_y, d_z = _separation(positions, entry, listed, x, y, z, box, TRICLINIC)
        s = d_x * d_x + d_y * d_y + d_z * d_z
        inside = listed & (s < cutoff)
        interval, t, below = locate(tl.where(inside, s, cutoff), numbers, n_intervals)
        knot = coefficients + 4 * _knots(own_tables, entry, interval, inside, n_intervals, MIXED)
        c0 = tl.load(knot, mask=inside, other=0.0)
        c1 = tl.load(knot + 1, mask=inside, other=0.0)
        c2 = tl.load(knot + 2, mask=inside, other=0.0)
        c3 = tl.load(knot + 3, mask=inside, other=0.0)
        u += (c0 + below * c1 + t * (c1 + t * (c2 + t * c3))).to(tl.float64)
        slope = c1 + t * (2.0 * c2 + 3.0 * t * c3)
        xx += (slope * d_x * d_x).to(tl.float64)
        yy += (slope * d_y * d_y).to(tl.float64)
        zz += (slope * d_z * d_z).to(tl.float64)
        yz += (slope * d_y * d_z).to(tl.float64)
        xz += (slope * d_x * d_z).to(tl.float64)
        xy += (slope * d_x * d_y).to(tl.float64)
    scale = -tl.load(numbers + _INVERSE_SPACING)
    target = sums + 7 * tl.program_id(0)
    tl.store(target, 0.5 * tl.sum(tl.sum(u, 1), 0))
    tl.store(target + 1, scale * tl.sum(tl.sum(xx, 1), 0))
    tl.store(target + 2, scale * tl.sum(tl.sum(yy, 1), 0))
    tl.store(target + 3, scale * tl.sum(tl.sum(zz, 1), 0))
    tl.store(target + 4, scale * tl.sum(tl.sum(yz, 1), 0))
    tl.store(target + 5, scale * tl.sum(tl.sum(xz, 1), 0))
    tl.store(target + 6, scale * tl.sum(tl.sum(xy, 1), 0))


@triton.jit
def reverse_of_rows(  # type: ignore[no-untyped-def]
    positions, weights, by_positions, by_velocities, kick, masses, types, rows, row_count, coefficients, by_table,
    table_index, boxes, numbers, blocks, moved, counter, decay, tape_velocities, sums, capacity, n_intervals, n_types,
    n_atoms, table_length, KIND: tl.constexpr, RESCALED: tl.constexpr, DRIFT: tl.constexpr, COPIES: tl.constexpr, BLOCK:
    tl.constexpr, LANES: tl.constexpr, TRICLINIC: tl.constexpr, MIXED: tl.constexpr,
):  # fmt: skip
    """Pull the field `weights` back through the forces; with DRIFT also through the drift of the step that led here.

    `by_positions` gets the Hessian-vector product added, `by_table` `(COPIES, n_tables, n_intervals, 3)` the sums of
    w_ij.d t^k. With DRIFT, `kick` becomes the gradient with respect to the velocities after the first half kick and, if
    they are RESCALED, `sums` `(n_blocks, 2)` its product with the velocities of the state before, and the sum of m v².
    """
    system, atom, real = own_atoms(blocks, BLOCK)
    box = load_box(boxes, system)
    x, y, z = load_vector(positions, atom, real)
    w_x, w_y, w_z = load_vector(weights, atom, real)
    count = tl.load(row_count + atom, mask=real, other=0)
    own_tables = _own_tables(types, table_index, system, atom, real, n_types, MIXED)
    cutoff = tl.load(numbers + _CUTOFF_2).to(x.dtype)
    bend = 2.0 * tl.load(numbers + _INVERSE_SPACING).to(x.dtype)
    own_copy = by_table + (tl.program_id(0) % COPIES) * table_length
    g_x = tl.zeros([BLOCK, LANES], dtype=x.dtype)
    g_y = tl.zeros([BLOCK, LANES], dtype=x.dtype)
    g_z = tl.zeros([BLOCK, LANES], dtype=x.dtype)
    for start in range(0, tl.max(count, 0), LANES):
        entry, listed = _entries(rows, atom, count, start, capacity, LANES)
        d_x, d_y, d_z = _separation(positions, entry, listed, x, y, z, box, TRICLINIC)
        s = d_x * d_x + d_y * d_y + d_z * d_z
        inside = listed & (s < cutoff)
        other = entry & _ATOM_MASK
        p_x, p_y, p_z = load_vector(weights, other, inside)
        p_x, p_y, p_z = w_x[:, None] - p_x, w_y[:, None] - p_y, w_z[:, None] - p_z
        interval, t, below = locate(tl.where(inside, s, cutoff), numbers, n_intervals)
        index = _knots(own_tables, entry, interval, inside, n_intervals, MIXED)
        knot = coefficients + 4 * index
        c1 = tl.load(knot + 1, mask=inside, other=0.0)
        c2 = tl.load(knot + 2, mask=inside, other=0.0)
        c3 = tl.load(knot + 3, mask=inside, other=0.0)
        slope = c1 + t * (2.0 * c2 + 3.0 * t * c3)
        curvature = tl.where(below < 0, 0.0, 2.0 * c2 + 6.0 * t * c3)
        push = p_x * d_x + p_y * d_y + p_z * d_z
        along = bend * curvature * push
        g_x += slope * p_x + along * d_x
        g_y += slope * p_y + along * d_y
        g_z += slope * p_z + along * d_z
        once = inside & (other > atom[:, None])
        push = push.to(tl.float64)
        place = t.to(tl.float64)
        target = own_copy + 3 * index
        tl.atomic_add(target, push, mask=once)
        tl.atomic_add(target + 1, push * place, mask=once)
        tl.atomic_add(target + 2, push * place * place, mask=once)
    g_x, g_y, g_z = -bend * tl.sum(g_x, 1), -bend * tl.sum(g_y, 1), -bend * tl.sum(g_z, 1)
    b_x, b_y, b_z = load_vector(by_positions, atom, real)
    g_x, g_y, g_z = g_x + b_x, g_y + b_y, g_z + b_z
    store_vector(by_positions, atom, g_x, g_y, g_z, real)
    tl.store(moved + system, 0)
    if DRIFT:
        k_x, k_y, k_z = load_vector(by_velocities, atom, real)
        k_x = pull_drift(k_x, g_x, system, decay, numbers, KIND)
        k_y = pull_drift(k_y, g_y, system, decay, numbers, KIND)
        k_z = pull_drift(k_z, g_z, system, decay, numbers, KIND)
        store_vector(kick, atom, k_x, k_y, k_z, real)
        if RESCALED:
            slot = tl.load(counter + 2) - tl.load(counter + 1)
            v_x, v_y, v_z = load_vector(tape_velocities + slot * 3 * n_atoms, atom, real)
            mass = tl.load(masses + atom, mask=real, other=0.0)
            overlap = (k_x * v_x + k_y * v_y + k_z * v_z).to(tl.float64)
            twice = (mass * (v_x * v_x + v_y * v_y + v_z * v_z)).to(tl.float64)
            target = sums + 2 * tl.program_id(0)
            tl.store(target, tl.sum(overlap, 0))
            tl.store(target + 1, tl.sum(twice, 0))
        if tl.program_id(0) == 0:
            tl.store(counter, tl.load(counter + 2))
