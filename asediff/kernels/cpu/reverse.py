"""The exact reverse pass of a run of one system, step by step backwards, called by every member of a team.

At step n the gradients with respect to x_n, v_n and the chain are known. The last half kick of step n and the first
half kick of step n + 1 see the same positions, so their pulls on x_n are one sweep over the rows with

    w = (dt/2m) (dL/dv before the last half kick of step n + dL/dv after the first half kick of step n + 1),

the second of which waits in the rows KICK of the state. The states come from storage, or by stepping back: the inverse
of a step needs the force at the positions that the sweep visits anyway.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from asediff.kernels.arrays import Array
from asediff.kernels.cpu.bins import fill_images
from asediff.kernels.cpu.forward import DONE, STRAYED, TOO_SHORT, stop, update_images
from asediff.kernels.cpu.lists import rebuild
from asediff.kernels.cpu.pair import sum_forces, sum_reverse
from asediff.kernels.cpu.simd import LANES
from asediff.kernels.cpu.space import (
    FORCE,
    GV,
    GX,
    INVERSE_MASS,
    LIST_VALID,
    PHASE,
    RADIUS,
    SKIN,
    STEP,
    WEIGHT,
    V,
    W,
    X,
)
from asediff.kernels.cpu.step import (
    FAST,
    apply_pull,
    chain_sums,
    check_moved,
    combine,
    field_of_kicks,
    multiply,
    read,
    team_sum,
)
from asediff.kernels.cpu.team import inner, meet, share
from asediff.kernels.cpu.thermostats import drift_back, half_chain, pull_drift, rescales, reverse_half_chain

FRESH, PENDING = 0, 1
"""Values of control[PHASE] in a reverse pass. Pending: the first half of step n + 1 is pulled back to its kick only."""


FIRST_GUESS = 8
"""How many stored states further back the first list of a reverse pass is tried."""


class Tape(NamedTuple):
    """What a reverse pass reads, for all systems of a batch.

    Attributes:
        positions: `(n_states, n_atoms, 3)`, the stored states; state k is the one after step `base + k every`.
        velocities: `(n_states, n_atoms, 3)`.
        chain: `(n_states, n_systems, 2, tchain)`.
        by_frame_positions: `(n_frames, n_atoms, 3)`, dL/d(frame).
        by_frame_velocities: `(n_frames, n_atoms, 3)`.
    """

    positions: Array
    velocities: Array
    chain: Array
    by_frame_positions: Array
    by_frame_velocities: Array


class Plan(NamedTuple):
    """What part of a run a call of the reverse pass covers.

    Attributes:
        low: step to arrive at.
        base: step of the first stored state.
        every: steps between stored states; 1 unless `backwards`.
        save_every: steps between frames.
        backwards: recover states by stepping back, and take the stored ones where there are.
        closes: complete the gradient there: it is the start of the run. Otherwise the rest of the state is recovered
            there, when stepping back, so that it can be compared with the stored one.
    """

    low: int
    base: int
    every: int
    save_every: int
    backwards: bool
    closes: bool


@inner()
def ready(space, first, last, rank, n_threads):  # type: ignore[no-untyped-def]
    """Make list and images fit the positions; TOO_SHORT when an array is, STRAYED when an atom is absurdly far."""
    moved, absurd = check_moved(space, first, last, rank, n_threads)
    if absurd > 0 and space.control[LIST_VALID] != 0:
        return STRAYED
    if moved > 0 or space.control[LIST_VALID] == 0:
        return DONE if rebuild(space, rank, n_threads) else TOO_SHORT
    update_images(space, rank, n_threads)
    return DONE


@inner()
def _recover_velocities(space, step, places, rates, first, last, rank, n_threads):  # type: ignore[no-untyped-def]
    """Take velocities and chain from behind the first half kick of a step to before it; list and images fit."""
    sum_forces(space, first, last, keep=False)
    combine(space.state, V, 1.0, -0.5 * step.timestep, FORCE, INVERSE_MASS, first, last)
    if rescales(step):
        pull = _undo_half_chain(_begin_pull(space, first, last, rank, n_threads), step, places, rates)
        multiply(space.state, V, pull.slow, first, last)


@inner(fastmath=FAST)
def _apart(space, positions, one, other, begin, rank, n_threads):  # type: ignore[no-untyped-def]
    """How many atoms of one's share are further apart in two stored states than a list allows."""
    first, last = share(space.atoms.shape[1], rank, n_threads, LANES)
    allowed = (0.499 * space.geometry[RADIUS, SKIN]) ** 2
    a, b = positions[one], positions[other]
    count = 0
    for atom in range(begin + first, begin + last):
        dx, dy, dz = a[atom, 0] - b[atom, 0], a[atom, 1] - b[atom, 1], a[atom, 2] - b[atom, 2]
        count += not dx * dx + dy * dy + dz * dz <= allowed
    return count


@inner()
def _farthest(space, positions, index, ahead, begin, rank, n_threads):  # type: ignore[no-untyped-def]
    """The largest number of states, at most `ahead`, back to one whose list still serves the state at `index`.

    The sums have a column of their own: the last reader of `check_moved`'s may still be under way.
    """
    ahead = min(ahead, index)
    while ahead > 0:
        space.partial[rank, 12] = _apart(space, positions, index, index - ahead, begin, rank, n_threads)
        meet(space.control, n_threads)
        apart = team_sum(space.partial, 12, n_threads)
        meet(space.control, n_threads)
        if apart == 0.0:
            break
        ahead -= 1
    return ahead


@inner()
def _ready_among(space, positions, index, ahead, begin, first, last, rank, n_threads):  # type: ignore[no-untyped-def]
    """`ready` for a stored state. A new list is that of a state further back, so that it serves the states around it.

    Returns:
        DONE, or TOO_SHORT when an array is, and how many states further back the latest list was built.
    """
    moved, _ = check_moved(space, first, last, rank, n_threads)
    if moved > 0 or space.control[LIST_VALID] == 0:
        ahead = _farthest(space, positions, index, ahead + 1, begin, rank, n_threads)
        if ahead > 0:
            read(space, X, positions, index - ahead, begin, rank, n_threads, added=False)
        if not rebuild(space, rank, n_threads):
            return TOO_SHORT, ahead
        if ahead == 0:
            return DONE, ahead
        read(space, X, positions, index, begin, rank, n_threads, added=False)
        meet(space.control, n_threads)
    update_images(space, rank, n_threads)
    return DONE, ahead


@inner()
def _sweep(space, table_gradient, first, last, rank, n_threads, forces, kept):  # type: ignore[no-untyped-def]
    """Pull the half kicks in the field W back: dL/dx and the table's gradient. `forces`, `kept`: see `sum_reverse`."""
    meet(space.control, n_threads)
    fill_images(space.state, W, space.images, WEIGHT, space.entries, space.control, rank, n_threads)
    meet(space.control, n_threads)
    sum_reverse(space, first, last, GX, table_gradient, forces, kept)


class _Pull(NamedTuple):
    """Chain updates on their way back through velocities and dL/dv, gathered to be applied in one pass.

    Attributes:
        kinetic: sum of m v² over all atoms, as if applied; like the next.
        overlap: sum of dL/dv . v.
        slow: v is to be multiplied by.
        scale: dL/dv is to be multiplied by, and then
        beta: to get beta m v added, with the v that is stored.
    """

    kinetic: float
    overlap: float
    slow: float
    scale: float
    beta: float


@inner()
def _begin_pull(space, first, last, rank, n_threads):  # type: ignore[no-untyped-def]
    """A pull that changes nothing yet."""
    space.partial[rank, 2], space.partial[rank, 3] = chain_sums(space.state, first, last)
    meet(space.control, n_threads)
    return _Pull(team_sum(space.partial, 2, n_threads), team_sum(space.partial, 3, n_threads), 1.0, 1.0, 0.0)


@inner()
def _undo_half_chain(pull, step, places, rates):  # type: ignore[no-untyped-def]
    """Velocities and chain as before a half chain update."""
    slow = half_chain(places, rates, step, pull.kinetic, -0.5 * step.timestep)
    return _Pull(pull.kinetic * slow * slow, pull.overlap * slow, pull.slow * slow, pull.scale, pull.beta)


@inner()
def _pull_half_chain(pull, step, rates, by_places, by_rates):  # type: ignore[no-untyped-def]
    """dL/dv through one half chain update; velocities and rates are those before it."""
    half = 0.5 * step.timestep
    scale, beta = reverse_half_chain(rates, step, pull.kinetic, half, by_places, by_rates, pull.overlap)
    overlap = scale * pull.overlap + beta * pull.kinetic
    return _Pull(pull.kinetic, overlap, pull.slow, scale * pull.scale, scale * pull.beta + beta * pull.slow)


def compile_reverse(build: str):  # type: ignore[no-untyped-def]
    """The compiled reverse pass; for `build` see `asediff.kernels.cpu.forward`."""

    @njit(nogil=True, error_model="numpy", cache=True)
    def run_reverse(space, chain, by_chain, step, plan, tape, table_gradients, begin, system, rank, n_threads):  # type: ignore[no-untyped-def]
        """Reverse pass from step control[STEP] down to step `plan.low`; see `asediff.kernels.cpu.descent`.

        Args:
            space: with dL/dx and dL/dv in rows GX, GV, KICK of the state; also x and v when stepping back.
            chain: `(2, tchain)`, after step control[STEP].
            by_chain: `(2, tchain)` float64, its gradient; becomes that at step `low`.
            step: the integrator.
            plan: see `Plan`.
            tape: see `Tape`.
            table_gradients: `(n_threads, table length)` float64, added to.
            begin: first atom of this system.
            system: its number.
            rank: of this thread.
            n_threads: in the team.
        """
        _ = build
        first, last = share(space.atoms.shape[1], rank, n_threads, LANES)
        half = 0.5 * step.timestep
        thermostatted = rescales(step)
        places, rates = chain[0].astype(np.float64), chain[1].astype(np.float64)
        by_places, by_rates = by_chain[0].copy(), by_chain[1].copy()
        start, pending = space.control[STEP], space.control[PHASE] == PENDING
        status, n = DONE, start
        pull = _Pull(0.0, 0.0, 1.0, 1.0, 0.0)
        ahead = FIRST_GUESS
        for n in range(start, plan.low - 1, -1):
            if n == plan.low and not plan.closes:
                if plan.backwards:
                    status = ready(space, first, last, rank, n_threads)
                    if status == DONE:
                        _recover_velocities(space, step, places, rates, first, last, rank, n_threads)
                break
            loaded = not plan.backwards or (pending and n % plan.every == 0)
            index = (n - plan.base) // plan.every
            if loaded:
                meet(space.control, n_threads)
                read(space, X, tape.positions, index, begin, rank, n_threads, added=False)
                read(space, V, tape.velocities, index, begin, rank, n_threads, added=False)
                meet(space.control, n_threads)
                places[:] = tape.chain[index, system, 0]
                rates[:] = tape.chain[index, system, 1]
            if plan.backwards:
                status = ready(space, first, last, rank, n_threads)
            else:
                status, ahead = _ready_among(space, tape.positions, index, ahead, begin, first, last, rank, n_threads)
            if status != DONE:
                break
            kept = pending and thermostatted and not loaded
            if pending and thermostatted:
                if not loaded:
                    sum_forces(space, first, last, keep=True)
                    combine(space.state, V, 1.0, -half, FORCE, INVERSE_MASS, first, last)
                pull = _begin_pull(space, first, last, rank, n_threads)
                if not loaded:
                    pull = _undo_half_chain(pull, step, places, rates)
                pull = _pull_half_chain(pull, step, rates, by_places, by_rates)
            saved = n % plan.save_every == 0
            if thermostatted and (n == 0 or saved):
                apply_pull(space.state, pull.slow, pull.scale, pull.beta, half, first, last)
            if n == 0:
                field_of_kicks(space.state, half, 0.0, first, last)
                _sweep(space, table_gradients[rank], first, last, rank, n_threads, forces=False, kept=kept)
                break
            if saved:
                frame = n // plan.save_every - 1
                meet(space.control, n_threads)
                read(space, GX, tape.by_frame_positions, frame, begin, rank, n_threads, added=True)
                read(space, GV, tape.by_frame_velocities, frame, begin, rank, n_threads, added=True)
                meet(space.control, n_threads)
            if thermostatted:
                if saved or not pending:
                    pull = _begin_pull(space, first, last, rank, n_threads)
                pull = _undo_half_chain(pull, step, places, rates)
                pull = _pull_half_chain(pull, step, rates, by_places, by_rates)
                apply_pull(space.state, pull.slow, pull.scale, pull.beta, half, first, last)
            else:
                field_of_kicks(space.state, half, 1.0, first, last)
            _sweep(space, table_gradients[rank], first, last, rank, n_threads, forces=plan.backwards, kept=kept)
            if plan.backwards:
                # positions of the step before; velocities become those after its first half kick
                kicks = 2.0 if pending and not loaded and not thermostatted else 1.0
                combine(space.state, V, 1.0, -half * kicks, FORCE, INVERSE_MASS, first, last)
                drift_back(space, step, step.first_step + n - 1, first, last)
            pull_drift(space, step, first, last)
            pending = True
        meet(space.control, n_threads)
        if rank == 0:
            by_chain[0, :] = by_places
            by_chain[1, :] = by_rates
        stop(space, chain, places, rates, n, PENDING if pending else FRESH, status, rank, n_threads)

    return run_reverse
