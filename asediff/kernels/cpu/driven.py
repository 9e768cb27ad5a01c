"""Steps whose pair forces are compiled, and whose other forces somebody else finds in the midst of each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from asediff.kernels.arrays import Array, Batch, SplineTables, Stepper
from asediff.kernels.cpu.forward import DONE, TOO_SHORT, stop, sum_kinetic, update_images
from asediff.kernels.cpu.lists import rebuild
from asediff.kernels.cpu.pair import sum_forces
from asediff.kernels.cpu.simd import LANES
from asediff.kernels.cpu.space import FAILED, FORCE, FORWARD_ROWS, INVERSE_MASS, PHASE, Space, V, X, make_space
from asediff.kernels.cpu.step import check_moved, combine, multiply, read, write
from asediff.kernels.cpu.team import meet, share
from asediff.kernels.cpu.teamwork import build_name, for_each_system, put, take, until_done
from asediff.kernels.cpu.thermostats import drift, half_chain, make_step, rescales


class Turn(NamedTuple):
    """What one call does, in this order.

    Attributes:
        closes: forces where the atoms are, the last step's.
        kicks: and the rest of that step.
        opens: half a kick and drift of the next one, and where the atoms are then.
        number: of the step that is opened.
    """

    closes: bool
    kicks: bool
    opens: bool
    number: int


def _compile_driven(build: str):  # type: ignore[no-untyped-def]
    """The compiled turn from one evaluation of outer forces to the next; for `build` see `cpu.forward`."""

    @njit(nogil=True, error_model="numpy", cache=True)
    def run_turn(space, chain, step, turn, others, positions, begin, rank, n_threads):  # type: ignore[no-untyped-def]
        """See `Turn`; with control[PHASE] 1 the atoms have drifted and only a list is made."""
        _ = build
        first, last = share(space.atoms.shape[1], rank, n_threads, LANES)
        half, moved = 0.5 * step.timestep, 1.0
        places, rates = chain[0].astype(np.float64), chain[1].astype(np.float64)
        drifted = space.control[PHASE] == 1
        if turn.closes and not drifted:
            sum_forces(space, first, last, keep=False)
            meet(space.control, n_threads)
            read(space, FORCE, others, 0, begin, rank, n_threads, added=True)
            meet(space.control, n_threads)
            if turn.kicks:
                combine(space.state, V, 1.0, half, FORCE, INVERSE_MASS, first, last)
                if rescales(step):
                    scale = half_chain(places, rates, step, sum_kinetic(space, rank, n_threads), half)
                    multiply(space.state, V, scale, first, last)
        if turn.opens and not drifted:
            scale = 1.0
            if rescales(step):
                meet(space.control, n_threads)
                scale = half_chain(places, rates, step, sum_kinetic(space, rank, n_threads), half)
            combine(space.state, V, scale, half, FORCE, INVERSE_MASS, first, last)
            drift(space, step, step.first_step + turn.number, first, last)
            moved, absurd = check_moved(space, first, last, rank, n_threads)
            if absurd > 0:
                if rank == 0:
                    space.control[FAILED] = turn.number + 1
                stop(space, chain, places, rates, 0, 0, DONE, rank, n_threads)
                return
        if turn.opens or drifted:
            if moved > 0:
                if not rebuild(space, rank, n_threads):
                    stop(space, chain, places, rates, 0, 1, TOO_SHORT, rank, n_threads)
                    return
            else:
                update_images(space, rank, n_threads)
            write(space, X, positions, 0, begin, rank, n_threads)
        stop(space, chain, places, rates, 0, 0, DONE, rank, n_threads)

    return run_turn


_run_turn = _compile_driven(build_name())


class DrivenRun:
    """Steps of a batch of systems under pair forces and those of others.

    Each call of the compiled function goes from one evaluation of the other forces to the next.

    Args:
        positions: `(n_atoms, 3)`, length.
        velocities: `(n_atoms, 3)`, length/time.
        chain: `(n_systems, 2, tchain)`, positions and rates of the thermostats; tchain 0 without.
        batch: the systems.
        tables: their pair potentials.
        stepper: the integrator.
        others: forces `(n_atoms, 3)` of all else at positions `(n_atoms, 3)`.
        skin: length that neighbor lists reach beyond the cutoff.
    """

    def __init__(
        self, positions: Array, velocities: Array, chain: Array, batch: Batch, tables: SplineTables, stepper: Stepper,
        others: Callable[[Array], Array], *, skin: float,
    ) -> None:  # fmt: skip
        self.batch, self.others, self.chain = batch, others, chain.copy()
        self.positions = positions.copy()[None]
        self._spaces: dict[int, tuple[Space, Any, int]] = {}

        def work(system: int, n_threads: int) -> None:
            space, _ = make_space(batch, system, tables, skin=skin, n_rows=FORWARD_ROWS, n_threads=n_threads)
            inside = slice(int(batch.offsets[system]), int(batch.offsets[system + 1]))
            put(space, X, positions[inside])
            put(space, V, velocities[inside])
            space.control[FAILED], space.control[PHASE] = -1, 1
            self._spaces[system] = space, make_step(stepper, system, stepper.first_step), n_threads

        for_each_system(batch, work)
        self._done = -1  # steps; -1: the forces at the start are still to be found
        self._turn(Turn(closes=False, kicks=False, opens=True, number=0), self.positions)

    def advance(self, steps: int) -> bool:
        """Take steps; False when one left a state that is not finite or absurdly far."""
        started = self._done >= 0
        self._done = max(self._done, 0)
        self._turn(Turn(closes=not started, kicks=False, opens=True, number=self._done), self._forces(not started))
        for k in range(steps):
            if any(space.control[FAILED] >= 0 for space, _, _ in self._spaces.values()):
                return False
            self._done += 1
            turn = Turn(closes=True, kicks=True, opens=k + 1 < steps, number=self._done)
            self._turn(turn, self._forces(wanted=True))
        return True

    def _forces(self, wanted: bool) -> Array:  # noqa: FBT001
        """Those of others, `(1, n_atoms, 3)`; anything of that shape where no turn reads them."""
        here = self.positions
        return np.ascontiguousarray(self.others(here[0])[None], here.dtype) if wanted else here

    def velocities(self) -> Array:
        """`(n_atoms, 3)`, length/time; positions are `positions[0]`, the thermostats `chain`."""
        result = np.empty_like(self.positions[0])
        for system, (space, _, _) in self._spaces.items():
            take(space, V, result[int(self.batch.offsets[system]) : int(self.batch.offsets[system + 1])])
        return result

    def _turn(self, turn: Turn, others: Array) -> None:
        def work(system: int, _: int) -> None:
            space, step, n_threads = self._spaces[system]

            def call(current: Space, rank: int) -> None:
                _run_turn(
                    current, self.chain[system], step, turn, others, self.positions, int(self.batch.offsets[system]),
                    rank, n_threads,
                )  # fmt: skip

            self._spaces[system] = until_done(space, n_threads, call), step, n_threads

        for_each_system(self.batch, work)
