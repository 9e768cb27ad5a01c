"""Energy, forces and virial of given configurations, and the reverse pass of all three."""

from __future__ import annotations

import numpy as np
from numba import njit

from asediff.kernels.arrays import Array, Batch, PairForces, SplineTables
from asediff.kernels.cpu_bins import fill_images
from asediff.kernels.cpu_forward import DONE, TOO_SHORT
from asediff.kernels.cpu_list import rebuild
from asediff.kernels.cpu_pair import sum_energy, sum_forces
from asediff.kernels.cpu_simd import LANES
from asediff.kernels.cpu_space import (
    FORCE,
    FORWARD_ROWS,
    INTERVALS,
    INVERSE_SPACING,
    LENGTH,
    LOWER,
    MAX_IMAGES,
    ORDER,
    OWN_ENTRY,
    S_LO,
    STATUS,
    TABLE_SHIFT,
    WEIGHT,
    Space,
    X,
    make_space,
)
from asediff.kernels.cpu_team import inner, meet, share
from asediff.kernels.cpu_teamwork import build_name, for_each_system, put, take, until_done


@inner()
def _reverse_pairs(space, by_energy, by_virial, by_table, first, last):  # type: ignore[no-untyped-def]
    """Reverse pass of energy, forces (rows WEIGHT of the images) and virial for the atoms of these slots.

    With phi = w_ij.d + d.B.d, B the symmetric part of dL/dvirial, the loss of a pair is by_energy u(s) + a(s) phi.

    Args:
        space: images, weights and rows.
        by_energy: dL/denergy.
        by_virial: `(3, 3)`, B.
        by_table: `(n_table_entries, 8)`, dL/d of (a, t a, t² a) and, from column 4, of (u, t u, t² u, t³ u), added.
        first: first slot.
        last: last slot + 1.
    """
    low, inverse, intervals = space.spline[S_LO], space.spline[INVERSE_SPACING], int(space.spline[INTERVALS])
    table, images = space.table, space.images
    d, push = np.zeros(3), np.zeros(3)
    for slot in range(first, last):
        own = space.atoms[OWN_ENTRY, slot]
        gx, gy, gz = 0.0, 0.0, 0.0
        for k in range(space.atoms[LENGTH, slot]):
            entry = space.rows[slot, k]
            j = entry & (MAX_IMAGES - 1)
            s, phi = 0.0, 0.0
            for c in range(3):
                d[c] = images[c, own] - images[c, j]
                s += d[c] * d[c]
            place = (s - low) * inverse
            if place >= intervals:
                continue
            for c in range(3):
                bent = by_virial[c, 0] * d[0] + by_virial[c, 1] * d[1] + by_virial[c, 2] * d[2]
                w = images[WEIGHT + c, own] - images[WEIGHT + c, j]
                phi += (w + bent) * d[c]
                push[c] = w + 2.0 * bent
            interval = int(place) if place > 0.0 else 0
            t = place - interval if place > 0.0 else 0.0
            item = (entry >> TABLE_SHIFT) * (intervals + 1) + interval
            f0, f1, f2 = table[4 * item], table[4 * item + 1], table[4 * item + 2]
            a = f0 + t * (f1 + t * f2)
            steepness = (f1 + 2.0 * t * f2) * inverse if place >= 0.0 else 0.0
            along = 2.0 * steepness * phi - by_energy * a
            gx += a * push[0] + along * d[0]
            gy += a * push[1] + along * d[1]
            gz += a * push[2] + along * d[2]
            if k >= space.atoms[LOWER, slot]:
                by_table[item, 0] += phi
                by_table[item, 1] += phi * t
                by_table[item, 2] += phi * t * t
                by_table[item, 4] += by_energy
                by_table[item, 5] += by_energy * (t if place > 0.0 else place)
                by_table[item, 6] += by_energy * t * t
                by_table[item, 7] += by_energy * t * t * t
        space.state[FORCE, slot], space.state[FORCE + 1, slot], space.state[FORCE + 2, slot] = gx, gy, gz


def _compile_static(build: str):  # type: ignore[no-untyped-def]
    """The compiled functions; for `build` see `cpu_forward`."""

    @njit(nogil=True, error_model="numpy", cache=True)
    def run_forces(space, rank, n_threads):  # type: ignore[no-untyped-def]
        """Build the list; forces to the rows FORCE, partial sums of energy and virial to `space.partial[:, :7]`."""
        _ = build
        first, last = share(space.atoms.shape[1], rank, n_threads, LANES)
        if not rebuild(space, rank, n_threads):
            space.control[STATUS] = TOO_SHORT
            return
        meet(space.control, n_threads)
        sum_forces(space, first, last, keep=False)
        space.partial[rank, :7] = 0.0
        sum_energy(space, first, last, space.partial[rank])
        space.control[STATUS] = DONE

    @njit(nogil=True, error_model="numpy", cache=True)
    def run_forces_vjp(space, weights, by_energy, by_virial, by_tables, rank, n_threads):  # type: ignore[no-untyped-def]
        """Build the list; dL/dx to the rows FORCE, dL/dtable added to by_tables[rank]."""
        _ = build
        first, last = share(space.atoms.shape[1], rank, n_threads, LANES)
        if not rebuild(space, rank, n_threads):
            space.control[STATUS] = TOO_SHORT
            return
        for slot in range(first, last):
            for c in range(3):
                space.spare[c, slot] = weights[space.atoms[ORDER, slot], c]
        meet(space.control, n_threads)
        fill_images(space.spare, 0, space.images, WEIGHT, space.entries, space.control, rank, n_threads)
        meet(space.control, n_threads)
        _reverse_pairs(space, by_energy, by_virial, by_tables[rank], first, last)
        space.control[STATUS] = DONE

    return run_forces, run_forces_vjp


_run_forces, _run_forces_vjp = _compile_static(build_name())


def _as_frames(positions: Array, batch: Batch) -> Array:
    expected = (int(batch.offsets[-1]), 3)
    if positions.shape[-2:] != expected or positions.ndim not in (2, 3):
        raise ValueError(f"positions: shape {positions.shape}; expected {expected} or (n_frames, {expected[0]}, 3)")
    if positions.dtype != batch.masses.dtype:
        raise ValueError(f"positions: type {positions.dtype} differs from the masses' {batch.masses.dtype}; convert it")
    return positions.reshape(-1, *expected)


def pair_forces(positions: Array, batch: Batch, tables: SplineTables) -> PairForces:
    """Energy, forces and virial of one configuration or of many frames.

    Args:
        positions: `(n_atoms, 3)` or `(n_frames, n_atoms, 3)`, length.
        batch: the systems.
        tables: their pair potentials.

    Returns:
        Energy `(..., n_systems)`, forces `(..., n_atoms, 3)` and virial `(..., n_systems, 3, 3)`.
    """
    frames = _as_frames(positions, batch)
    n_frames, n_systems = len(frames), batch.n_systems
    energy = np.zeros((n_frames, n_systems), frames.dtype)
    virial = np.zeros((n_frames, n_systems, 3, 3), frames.dtype)
    forces = np.zeros_like(frames)

    def work(system: int, n_threads: int) -> None:
        inside = slice(int(batch.offsets[system]), int(batch.offsets[system + 1]))
        space, _ = make_space(batch, system, tables, skin=0.0, n_rows=FORWARD_ROWS, n_threads=n_threads)
        for k in range(n_frames):
            put(space, X, frames[k, inside])
            space = until_done(space, n_threads, lambda current, rank: _run_forces(current, rank, n_threads))
            take(space, FORCE, forces[k, inside])
            sums = space.partial[:, :7].sum(0)
            energy[k, system] = sums[0]
            virial[k, system] = sums[np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3]])]

    for_each_system(batch, work)
    if positions.ndim == 2:
        return PairForces(energy[0], forces[0], virial[0])
    return PairForces(energy, forces, virial)


def pair_vjp(
    positions: Array,
    batch: Batch,
    tables: SplineTables,
    w_forces: Array | None = None,
    w_energy: Array | None = None,
    w_virial: Array | None = None,
) -> tuple[Array, Array]:
    """Reverse pass of `pair_forces`.

    Args:
        positions: `(n_atoms, 3)` or `(n_frames, n_atoms, 3)`, length.
        batch: the systems.
        tables: their pair potentials.
        w_forces: dL/dforces, shaped like the forces; None counts as zero, here and below.
        w_energy: dL/denergy.
        w_virial: dL/dvirial.

    Returns:
        dL/dpositions, shaped like `positions`, and dL/dcoefficients `(n_tables, n_intervals, 4)`.
    """
    frames = _as_frames(positions, batch)
    n_frames, n_systems = len(frames), batch.n_systems
    weights = np.zeros_like(frames) if w_forces is None else np.ascontiguousarray(w_forces).reshape(frames.shape)
    by_energy = np.zeros((n_frames, n_systems)) if w_energy is None else np.reshape(w_energy, (n_frames, n_systems))
    by_virial = np.zeros((n_frames, n_systems, 3, 3))
    if w_virial is not None:
        given = np.reshape(w_virial, by_virial.shape)
        by_virial = 0.5 * (given + given.swapaxes(-1, -2)).astype(np.float64)
    gradient = np.zeros_like(frames)
    n_intervals = tables.coefficients.shape[1]
    parts: list[tuple[Array, Array]] = [(np.empty(0), np.empty(0))] * n_systems

    def work(system: int, n_threads: int) -> None:
        inside = slice(int(batch.offsets[system]), int(batch.offsets[system + 1]))
        space, used = make_space(batch, system, tables, skin=0.0, n_rows=FORWARD_ROWS, n_threads=n_threads)
        by_tables = np.zeros((n_threads, len(used) * (n_intervals + 1), 8))
        for k in range(n_frames):
            put(space, X, frames[k, inside])
            w, e, b = weights[k, inside].astype(frames.dtype), float(by_energy[k, system]), by_virial[k, system]

            def work(current: Space, rank: int, w: Array = w, e: float = e, b: Array = b) -> None:
                _run_forces_vjp(current, w, e, b, by_tables, rank, n_threads)

            space = until_done(space, n_threads, work)
            take(space, FORCE, gradient[k, inside])
        summed = by_tables.sum(0).reshape(len(used), n_intervals + 1, 8)[:, :-1]
        part = summed[..., 4:].copy()
        part[..., 1:] += summed[..., :3] * (np.array([-2.0, -4.0, -6.0]) / tables.spacing)
        parts[system] = (used, part)

    for_each_system(batch, work)
    coefficients = np.zeros(tables.coefficients.shape)
    for used, part in parts:
        coefficients[used] += part
    return gradient.reshape(positions.shape), coefficients.astype(frames.dtype)
