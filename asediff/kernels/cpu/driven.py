"""Runs whose pair forces are compiled, and whose other forces somebody else finds in the midst of each step.

While the first member of a team finds those, the others begin with the pair forces; it joins them when it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit

from asediff.kernels.arrays import Array, Batch, SplineTables, Stepper
from asediff.kernels.cpu.forward import (
    DONE,
    TOO_SHORT,
    Record,
    save_frame,
    stop,
    sum_and_kick,
    sum_kinetic,
    update_images,
)
from asediff.kernels.cpu.lists import rebuild
from asediff.kernels.cpu.space import (
    BLOCK,
    FAILED,
    FORCE,
    FORWARD_ROWS,
    INVERSE_MASS,
    ORDER,
    PHASE,
    STATUS,
    STEP,
    Space,
    V,
    X,
    make_space,
)
from asediff.kernels.cpu.step import check_moved, combine, multiply, write
from asediff.kernels.cpu.team import inner, run_team, share
from asediff.kernels.cpu.teamwork import build_name, for_each_system, put, until_done
from asediff.kernels.cpu.thermostats import drift, half_chain, make_step, rescales

WAITING, ABANDONED = 10, 11
"""Further values of control[STATUS]: for the other forces; for nothing, since finding those has failed."""


@inner()
def _add_forces(space, others, begin, first, last):  # type: ignore[no-untyped-def]
    """Add those of others `(n_atoms_of_all_systems, 3)` to the forces of these slots."""
    order = space.atoms[ORDER]
    x, y, z = space.state[FORCE], space.state[FORCE + 1], space.state[FORCE + 2]
    for k in range(first, last):
        atom = begin + order[k]
        x[k] += others[atom, 0]
        y[k] += others[atom, 1]
        z[k] += others[atom, 2]


def _compile_driven(build: str):  # type: ignore[no-untyped-def]
    """The compiled steps; for `build` see `cpu.forward`."""

    @njit(nogil=True, error_model="numpy", cache=True)
    def run_driven(  # type: ignore[no-untyped-def]
        space, chain, step, n_steps, save_every, record, others, positions, begin, system, stays, rank, n_threads
    ):
        """From one evaluation of the other forces to the next, or, if it `stays`, to the end of the run.

        control[STEP] counts the steps that are done; it is -1 before the forces at the start are known.
        control[PHASE] is 1 when atoms have drifted and have no list yet.
        """
        _ = build
        first, last = share(space.atoms.shape[1], rank, n_threads, BLOCK)
        half, n, drifted = 0.5 * step.timestep, space.control[STEP], space.control[PHASE] == 1
        places, rates = chain[0].copy(), chain[1].copy()
        while True:
            moved, kinetic = 1.0, 0.0
            if not drifted:
                sum_and_kick(space, half, False, False, rank, n_threads)  # noqa: FBT003
                if space.control[STATUS] == ABANDONED:
                    return
                _add_forces(space, others, begin, first, last)
                n += 1
                if n > 0:
                    combine(space.state, V, 1.0, half, FORCE, INVERSE_MASS, first, last)
                if rescales(step):
                    kinetic = sum_kinetic(space, rank, n_threads)
                if rescales(step) and n > 0:
                    scale = half_chain(places, rates, step, kinetic, half)
                    kinetic *= scale * scale
                    multiply(space.state, V, scale, first, last)
                if n > 0 and n % save_every == 0:
                    frame = n // save_every - 1
                    save_frame(space, step, places, rates, record, frame, begin, system, first, last, rank, n_threads)
                    if rank == 0:
                        record.snapshot_chain[frame, system, 0, :] = places
                        record.snapshot_chain[frame, system, 1, :] = rates
                if n == n_steps:
                    stop(space, chain, places, rates, n, 0, DONE, rank, n_threads)
                    return
                scale = 1.0
                if rescales(step):
                    scale = half_chain(places, rates, step, kinetic, half)
                combine(space.state, V, scale, half, FORCE, INVERSE_MASS, first, last)
                drift(space, step, step.first_step + n, first, last)
                moved, absurd = check_moved(space, first, last, rank, n_threads)
                if absurd > 0:
                    if rank == 0:
                        space.control[FAILED] = n + 1
                    stop(space, chain, places, rates, n, 0, DONE, rank, n_threads)
                    return
            drifted = False
            if moved > 0:
                if not rebuild(space, rank, n_threads):
                    stop(space, chain, places, rates, n, 1, TOO_SHORT, rank, n_threads)
                    return
            else:
                update_images(space, rank, n_threads)
            write(space, X, positions, 0, begin, rank, n_threads)
            stop(space, chain, places, rates, n, 0, WAITING, rank, n_threads)
            if not stays:
                return

    return run_driven


_run_driven = _compile_driven(build_name())


class DrivenRun:
    """A run of a batch of systems under pair forces and those of others.

    Args:
        positions: `(n_atoms, 3)`, length.
        velocities: `(n_atoms, 3)`, length/time.
        chain: `(n_systems, 2, tchain)`, positions and rates of the thermostats; tchain 0 without.
        batch: the systems.
        tables: their pair potentials.
        stepper: the integrator.
        others: forces `(n_atoms, 3)` of all else at positions `(n_atoms, 3)`, which the next step overwrites.
        n_steps: number of steps.
        save_every: steps between frames.
        skin: length that neighbor lists reach beyond the cutoff.

    Attributes:
        record: frames, their energies without those of others, and their thermostats (`snapshot_chain`).
    """

    def __init__(
        self, positions: Array, velocities: Array, chain: Array, batch: Batch, tables: SplineTables, stepper: Stepper,
        others: Callable[[Array], Array], n_steps: int, save_every: int, *, skin: float,
    ) -> None:  # fmt: skip
        self.batch, self.others, self.length = batch, others, (n_steps, save_every)
        self.positions, self.forces = positions.copy()[None], np.zeros_like(positions)
        self.chain = chain.astype(np.float64)  # of any type, calls take up what others have left to the last bit
        n_frames, dtype = n_steps // save_every, positions.dtype
        none = np.zeros((0, *positions.shape), dtype)
        self.record = Record(
            np.zeros((n_frames, *positions.shape), dtype), np.zeros((n_frames, *positions.shape), dtype),
            np.zeros((n_frames, batch.n_systems, 3), dtype), none, none, np.zeros((n_frames, *chain.shape), dtype),
        )  # fmt: skip
        self._systems: dict[int, tuple[Space, Any, int]] = {}

        def work(system: int, n_threads: int) -> None:
            space, _ = make_space(batch, system, tables, skin=skin, n_rows=FORWARD_ROWS, n_threads=n_threads)
            inside = slice(int(batch.offsets[system]), int(batch.offsets[system + 1]))
            put(space, X, positions[inside])
            put(space, V, velocities[inside])
            space.control[[STEP, PHASE, FAILED]] = -1, 1, -1
            self._systems[system] = space, make_step(stepper, system, stepper.first_step), n_threads

        for_each_system(batch, work)

    def run(self) -> bool:
        """Take all steps; False when one left a state that is not finite or absurdly far."""
        self._turn()
        while all(space.control[STATUS] == WAITING for space, _, _ in self._systems.values()):
            if self.batch.n_systems == 1:
                self._accompany()
            else:
                self._find_others()
                self._turn()
        return all(space.control[FAILED] < 0 for space, _, _ in self._systems.values())

    def _turn(self) -> None:
        """Take every system to where the other forces are wanted."""

        def work(system: int, _: int) -> None:
            space, step, n_threads = self._systems[system]
            space = until_done(space, n_threads, partial(self._call, system, stays=False))
            self._systems[system] = space, step, n_threads

        for_each_system(self.batch, work)

    def _call(self, system: int, space: Space, rank: int, *, stays: bool) -> None:
        _, step, n_threads = self._systems[system]
        _run_driven(
            space, self.chain[system], step, *self.length, self.record, self.forces, self.positions,
            int(self.batch.offsets[system]), system, stays, rank, n_threads,
        )  # fmt: skip

    def _find_others(self) -> None:
        self.forces[...] = self.others(self.positions[0])

    def _accompany(self) -> None:
        """Take the only system to its end, the team staying in compiled code but for its first member."""
        space, _, n_threads = self._systems[0]

        def member(rank: int) -> None:
            if rank > 0:
                self._call(0, space, rank, stays=True)
                return
            try:
                while space.control[STATUS] == WAITING:
                    self._find_others()
                    self._call(0, space, rank, stays=False)
            except BaseException:
                if space.control[STATUS] == WAITING:  # and so does the team, at the end of its pair forces
                    space.control[STATUS] = ABANDONED
                    self._call(0, space, rank, stays=False)
                raise

        run_team(n_threads, member)
        if space.control[STATUS] == TOO_SHORT:
            self._turn()
