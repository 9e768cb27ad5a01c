"""Energy, forces and virial of given configurations, and the reverse pass of all three."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from asediff.kernels.arrays import Array, Batch, PairForces, SplineTables
from asediff.kernels.cpu.bins import fill_images
from asediff.kernels.cpu.forward import DONE, TOO_SHORT, update_images
from asediff.kernels.cpu.lists import rebuild
from asediff.kernels.cpu.pair import sum_energy, sum_forces, sum_reverse
from asediff.kernels.cpu.simd import LANES
from asediff.kernels.cpu.space import (
    FORCE,
    FORWARD_ROWS,
    INTERVALS,
    INVERSE_SPACING,
    LENGTH,
    LIST_VALID,
    LOWER,
    MAX_IMAGES,
    ORDER,
    OWN_ENTRY,
    S_LO,
    STATUS,
    TABLE_SHIFT,
    WEIGHT,
    Space,
    TableCopies,
    X,
    make_space,
)
from asediff.kernels.cpu.step import check_moved, read, write
from asediff.kernels.cpu.team import inner, meet, share
from asediff.kernels.cpu.teamwork import build_name, for_each_system, until_done


@inner()
def _reverse_pairs(space, by_energy, by_virial, table_gradient, by_values, first, last):  # type: ignore[no-untyped-def]
    """Reverse pass of energy, forces (rows WEIGHT of the images) and virial for the atoms of these slots.

    With phi = w_ij.d + d.B.d, B the symmetric part of dL/dvirial, the loss of a pair is by_energy u(s) + a(s) phi.

    Args:
        space: images, weights and rows.
        by_energy: dL/denergy.
        by_virial: `(3, 3)`, B.
        table_gradient: like `space.table`, gets dL/db0, dL/db1, dL/db2 added.
        by_values: `(n_table_entries, 4)`, gets dL/d of (u, t u, t² u, t³ u) added.
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
                table_gradient[4 * item] += phi
                table_gradient[4 * item + 1] += phi * t
                table_gradient[4 * item + 2] += phi * t * t
                by_values[item, 0] += by_energy
                by_values[item, 1] += by_energy * (t if place > 0.0 else place)
                by_values[item, 2] += by_energy * t * t
                by_values[item, 3] += by_energy * t * t * t
        space.state[FORCE, slot], space.state[FORCE + 1, slot], space.state[FORCE + 2, slot] = gx, gy, gz


@inner()
def _listed(space, positions, first, last, rank, n_threads):  # type: ignore[no-untyped-def]
    """Take over positions `(1, n_atoms, 3)`, make list and images fit them; False when an array is too short."""
    read(space, X, positions, 0, 0, rank, n_threads, added=False)
    meet(space.control, n_threads)
    moved, _ = check_moved(space, first, last, rank, n_threads)
    fits = True
    if moved > 0 or space.control[LIST_VALID] == 0:
        fits = rebuild(space, rank, n_threads)
    else:
        update_images(space, rank, n_threads)
    meet(space.control, n_threads)
    return fits


def _compile_static(build: str):  # type: ignore[no-untyped-def]
    """The compiled functions; for `build` see `asediff.kernels.cpu.forward`."""

    @njit(nogil=True, error_model="numpy", cache=True)
    def run_forces(space, positions, energies, forces, rank, n_threads):  # type: ignore[no-untyped-def]
        """Forces `(1, n_atoms, 3)` and, with `energies`, sums of energy and virial in `space.partial[:, :7]`."""
        _ = build
        first, last = share(space.atoms.shape[1], rank, n_threads, LANES)
        if not _listed(space, positions, first, last, rank, n_threads):
            space.control[STATUS] = TOO_SHORT
            return
        sum_forces(space, first, last, keep=False)
        meet(space.control, n_threads)
        write(space, FORCE, forces, 0, 0, rank, n_threads)
        space.partial[rank, :7] = 0.0
        if energies:
            sum_energy(space, first, last, space.partial[rank])
        space.control[STATUS] = DONE

    @njit(nogil=True, error_model="numpy", cache=True)
    def run_forces_vjp(  # type: ignore[no-untyped-def]
        space, positions, weights, by_energy, by_virial, table_gradients, by_values, gradient, rank, n_threads
    ):
        """dL/dx to `gradient` `(1, n_atoms, 3)`. Without rows in `by_values`, the reverse pass of forces alone."""
        _ = build
        first, last = share(space.atoms.shape[1], rank, n_threads, LANES)
        if not _listed(space, positions, first, last, rank, n_threads):
            space.control[STATUS] = TOO_SHORT
            return
        for slot in range(first, last):
            for c in range(3):
                space.spare[c, slot] = weights[space.atoms[ORDER, slot], c]
        meet(space.control, n_threads)
        fill_images(space.spare, 0, space.images, WEIGHT, space.entries, space.control, rank, n_threads)
        meet(space.control, n_threads)
        if by_values.shape[1] == 0:
            space.state[FORCE : FORCE + 3, first:last] = 0.0
            sum_reverse(space, first, last, FORCE, table_gradients[rank], forces=False, kept=False)
        else:
            _reverse_pairs(space, by_energy, by_virial, table_gradients[rank], by_values[rank], first, last)
        meet(space.control, n_threads)
        write(space, FORCE, gradient, 0, 0, rank, n_threads)
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


class PairEvaluator:
    """Forces of configurations that follow each other, and their reverse pass, with lists that last a while.

    Args:
        batch: the systems.
        tables: their pair potentials.
        skin: length that the lists reach beyond the cutoff; at 0 each configuration has a list of its own.
    """

    def __init__(self, batch: Batch, tables: SplineTables, *, skin: float) -> None:
        self.batch, self.tables, self.skin = batch, tables, skin
        self._systems: dict[int, _One] = {}

    def _work(self, call: Callable[[_One], None]) -> None:
        def work(system: int, n_threads: int) -> None:
            one = self._systems.get(system)
            if one is None or one.n_threads != n_threads:
                space, copies = make_space(
                    self.batch, system, self.tables, skin=self.skin, n_rows=FORWARD_ROWS, n_threads=n_threads
                )
                one = self._systems[system] = _One(system, self.batch, space, copies, n_threads)
            call(one)

        for_each_system(self.batch, work)

    def forces(self, positions: Array, *, energies: bool = True) -> PairForces:
        """Energy `(n_systems,)`, forces `(n_atoms, 3)` and virial `(n_systems, 3, 3)` at `(n_atoms, 3)`, length.

        Without `energies`, energy and virial are left at zero.
        """
        n_systems, dtype = self.batch.n_systems, positions.dtype
        result = PairForces(np.zeros(n_systems, dtype), np.zeros_like(positions), np.zeros((n_systems, 3, 3), dtype))

        def call(one: _One) -> None:
            x, forces = np.ascontiguousarray(positions[None, one.inside]), result.forces[None, one.inside]
            one.run(lambda current, rank: _run_forces(current, x, energies, forces, rank, one.n_threads))
            sums = one.space.partial[:, :7].sum(0)
            result.energy[one.system] = sums[0]
            result.virial[one.system] = sums[np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3]])]

        self._work(call)
        return result

    def vjp(self, positions: Array, w_forces: Array, w_energy: Array, w_virial: Array) -> tuple[Array, Array]:
        """Reverse pass of `forces`: dL/dpositions `(n_atoms, 3)` and dL/dcoefficients, float64.

        Args:
            positions: `(n_atoms, 3)`, length.
            w_forces: `(n_atoms, 3)`, dL/dforces.
            w_energy: `(n_systems,)`, dL/denergy.
            w_virial: `(n_systems, 3, 3)` symmetric, dL/dvirial.
        """
        gradient = np.zeros_like(positions)
        n_intervals, spacing = self.tables.coefficients.shape[1], self.tables.spacing
        parts: dict[int, tuple[TableCopies, Array]] = {}
        simple = not (w_energy.any() or w_virial.any())

        def call(one: _One) -> None:
            n_copies = len(one.copies.numbers)
            table_gradients = np.zeros((one.n_threads, len(one.space.table)))
            by_values = np.zeros((one.n_threads, 0 if simple else n_copies * (n_intervals + 1), 4))
            x, by_x = np.ascontiguousarray(positions[None, one.inside]), gradient[None, one.inside]
            w = np.ascontiguousarray(w_forces[one.inside], positions.dtype)
            e, b = float(w_energy[one.system]), np.ascontiguousarray(w_virial[one.system], np.float64)
            arguments = x, w, e, b, table_gradients, by_values, by_x
            one.run(lambda current, rank: _run_forces_vjp(current, *arguments, rank, one.n_threads))
            shape = n_copies, n_intervals + 1, 4
            part = np.zeros(shape) if simple else by_values.sum(0).reshape(shape)
            part[..., 1:] += table_gradients.sum(0).reshape(shape)[..., :3] * (np.array([-2.0, -4.0, -6.0]) / spacing)
            part = part[:, :-1]
            parts[one.system] = (one.copies, part)

        self._work(call)
        coefficients = np.zeros(self.tables.coefficients.shape)
        for _, (copies, part) in sorted(parts.items()):
            copies.add(coefficients, part)
        return gradient, coefficients


class _One:
    """One system under evaluation, and the team that works on it."""

    def __init__(self, system: int, batch: Batch, space: Space, copies: TableCopies, n_threads: int) -> None:
        self.system, self.space, self.copies, self.n_threads = system, space, copies, n_threads
        self.inside = slice(int(batch.offsets[system]), int(batch.offsets[system + 1]))

    def run(self, call: Callable[[Space, int], None]) -> None:
        self.space = until_done(self.space, self.n_threads, call)


def pair_forces(positions: Array, batch: Batch, tables: SplineTables) -> PairForces:
    """Energy, forces and virial of one configuration or of many frames.

    Args:
        positions: `(n_atoms, 3)` or `(n_frames, n_atoms, 3)`, length.
        batch: the systems.
        tables: their pair potentials.

    Returns:
        Energy `(..., n_systems)`, forces `(..., n_atoms, 3)` and virial `(..., n_systems, 3, 3)`.
    """
    evaluator = PairEvaluator(batch, tables, skin=0.0)
    results = [evaluator.forces(frame) for frame in _as_frames(positions, batch)]
    if positions.ndim == 2:
        return results[0]
    return PairForces(*(np.stack(parts) for parts in zip(*results, strict=True)))


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
    shape = (len(frames), batch.n_systems)
    weights = np.zeros_like(frames) if w_forces is None else np.reshape(w_forces, frames.shape)
    by_energy = np.zeros(shape) if w_energy is None else np.reshape(w_energy, shape)
    by_virial = np.zeros((*shape, 3, 3)) if w_virial is None else np.reshape(w_virial, (*shape, 3, 3))
    by_virial = 0.5 * (by_virial + by_virial.swapaxes(-1, -2))
    evaluator = PairEvaluator(batch, tables, skin=0.0)
    parts = [evaluator.vjp(*frame) for frame in zip(frames, weights, by_energy, by_virial, strict=True)]
    gradient = np.stack([by_positions for by_positions, _ in parts])
    coefficients = np.sum([by_coefficients for _, by_coefficients in parts], axis=0)
    return gradient.reshape(positions.shape), coefficients.astype(frames.dtype)
