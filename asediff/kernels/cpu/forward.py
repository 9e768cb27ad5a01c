"""A run of many time steps of one system as one compiled function, called by every member of a team."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from asediff.kernels.arrays import Array
from asediff.kernels.cpu.bins import fill_images
from asediff.kernels.cpu.lists import rebuild
from asediff.kernels.cpu.pair import sum_energy, sum_forces
from asediff.kernels.cpu.simd import LANES
from asediff.kernels.cpu.space import (
    BLOCK,
    FAILED,
    FORCE,
    INVERSE_MASS,
    LIST_VALID,
    PHASE,
    POSITION,
    STATUS,
    STEP,
    V,
    X,
)
from asediff.kernels.cpu.step import check_moved, combine, multiply, team_sum, twice_kinetic, write
from asediff.kernels.cpu.team import inner, meet, refill, share, take_block
from asediff.kernels.cpu.thermostats import bath_energy, drift, half_chain, rescales

DONE, TOO_SHORT, STRAYED = 0, 1, 2
"""Values of control[STATUS]. Strayed: stepping back led away from where the run came from."""


class Record(NamedTuple):
    """Where a run writes, for all systems of a batch.

    Attributes:
        frame_positions: `(n_frames, n_atoms, 3)`.
        frame_velocities: `(n_frames, n_atoms, 3)`.
        thermo: `(n_frames, n_systems, 3)`.
        snapshot_positions: `(n_snapshots, n_atoms, 3)`.
        snapshot_velocities: `(n_snapshots, n_atoms, 3)`.
        snapshot_chain: `(n_snapshots, n_systems, 2, tchain)`.
    """

    frame_positions: Array
    frame_velocities: Array
    thermo: Array
    snapshot_positions: Array
    snapshot_velocities: Array
    snapshot_chain: Array


@inner()
def update_images(space, rank, n_threads):  # type: ignore[no-untyped-def]
    """Positions of all images from those of the atoms; the team has met before and meets after."""
    fill_images(space.state, X, space.images, POSITION, space.entries, space.control, rank, n_threads)
    meet(space.control, n_threads)


@inner()
def stop(space, chain, places, rates, step_number, phase, status, rank, n_threads):  # type: ignore[no-untyped-def]
    """Leave everything such that the call can be resumed or its results read."""
    meet(space.control, n_threads)
    if rank == 0:
        chain[0, :] = places
        chain[1, :] = rates
        space.control[STEP] = step_number
        space.control[PHASE] = phase
        space.control[STATUS] = status
    meet(space.control, n_threads)


@inner()
def save_frame(space, step, places, rates, record, frame, begin, system, first, last, rank, n_threads):  # type: ignore[no-untyped-def]
    """Positions, velocities and the three energies of a frame."""
    meet(space.control, n_threads)
    write(space, X, record.frame_positions, frame, begin, rank, n_threads)
    write(space, V, record.frame_velocities, frame, begin, rank, n_threads)
    space.partial[rank, 4:12] = 0.0
    sum_energy(space, first, last, space.partial[rank, 4:11])
    space.partial[rank, 11] = twice_kinetic(space.state, first, last)
    meet(space.control, n_threads)
    if rank == 0:
        energy = team_sum(space.partial, 4, n_threads)
        virial = 0.0
        for column in range(5, 8):
            virial += team_sum(space.partial, column, n_threads)
        kinetic = 0.5 * team_sum(space.partial, 11, n_threads)
        record.thermo[frame, system, 0] = energy
        record.thermo[frame, system, 1] = virial
        record.thermo[frame, system, 2] = energy + kinetic + bath_energy(step, places, rates)


@inner()
def _save_snapshot(space, places, rates, record, index, begin, system, rank, n_threads):  # type: ignore[no-untyped-def]
    meet(space.control, n_threads)
    write(space, X, record.snapshot_positions, index, begin, rank, n_threads)
    write(space, V, record.snapshot_velocities, index, begin, rank, n_threads)
    if rank == 0:
        record.snapshot_chain[index, system, 0, :] = places
        record.snapshot_chain[index, system, 1, :] = rates
    meet(space.control, n_threads)


@inner()
def _kinetic_blocks(space, rank, n_threads):  # type: ignore[no-untyped-def]
    """Sums of m v² of the blocks of one's own share."""
    first, last = share(space.atoms.shape[1], rank, n_threads, BLOCK)
    for begin in range(first, last, BLOCK):
        space.by_block[begin // BLOCK] = twice_kinetic(space.state, begin, min(begin + BLOCK, last))


@inner()
def _sum_blocks(space):  # type: ignore[no-untyped-def]
    """Sum over all blocks, the same for any number of threads."""
    result = 0.0
    for k in range(space.by_block.shape[0]):
        result += space.by_block[k]
    return result


@inner()
def sum_kinetic(space, rank, n_threads):  # type: ignore[no-untyped-def]
    """Sum of m v², the same for any number of threads; all members call it together."""
    _kinetic_blocks(space, rank, n_threads)
    meet(space.control, n_threads)
    return _sum_blocks(space)


@inner()
def sum_and_kick(space, half, kicks, thermostatted, rank, n_threads):  # type: ignore[no-untyped-def]
    """Forces and, if it `kicks`, the second half kick and sums of m v² for a thermostat, block by block of all shares.

    All members call it, early or late; they have met before, and meet when it ends.
    """
    for turn in range(n_threads):
        owner = (rank + turn) % n_threads
        first, last = share(space.atoms.shape[1], owner, n_threads, BLOCK)
        begin = first + BLOCK * take_block(space.control, owner)
        while begin < last:
            end = min(begin + BLOCK, last)
            sum_forces(space, begin, end, keep=False)
            if kicks:
                combine(space.state, V, 1.0, half, FORCE, INVERSE_MASS, begin, end)
            if kicks and thermostatted:
                space.by_block[begin // BLOCK] = twice_kinetic(space.state, begin, end)
            begin = first + BLOCK * take_block(space.control, owner)
    meet(space.control, n_threads)
    refill(space.control, rank)


def compile_forward(build: str):  # type: ignore[no-untyped-def]
    """The compiled run. `build` names the sources, so that the cache on disk never serves an older build."""

    @njit(nogil=True, error_model="numpy", cache=True)
    def run_forward(space, chain, step, n_steps, save_every, snapshot_every, record, begin, system, rank, n_threads):  # type: ignore[no-untyped-def]
        """Take steps control[STEP]..n_steps-1 from the state in `space`; see `asediff.kernels.cpu.rollout`."""
        _ = build
        first, last = share(space.atoms.shape[1], rank, n_threads, LANES)
        half = 0.5 * step.timestep
        thermostatted = rescales(step)
        places, rates = chain[0].astype(np.float64), chain[1].astype(np.float64)
        start, drifted = space.control[STEP], space.control[PHASE] == 1
        kinetic = 0.0
        if not drifted:
            if start == 0 and snapshot_every >= 0:
                _save_snapshot(space, places, rates, record, 0, begin, system, rank, n_threads)
            moved, _ = check_moved(space, first, last, rank, n_threads)
            if (moved > 0 or space.control[LIST_VALID] == 0) and not rebuild(space, rank, n_threads):
                stop(space, chain, places, rates, start, 0, TOO_SHORT, rank, n_threads)
                return
            update_images(space, rank, n_threads)
            sum_forces(space, first, last, keep=False)
            kinetic = sum_kinetic(space, rank, n_threads)
        for n in range(start, n_steps):
            moved = 1.0
            if not drifted:
                scale = 1.0
                if thermostatted:
                    scale = half_chain(places, rates, step, kinetic, half)
                combine(space.state, V, scale, half, FORCE, INVERSE_MASS, first, last)
                drift(space, step, step.first_step + n, first, last)
                moved, absurd = check_moved(space, first, last, rank, n_threads)
                if absurd > 0:
                    if rank == 0:
                        space.control[FAILED] = n + 1
                    break
            drifted = False
            if moved > 0:
                if not rebuild(space, rank, n_threads):
                    stop(space, chain, places, rates, n, 1, TOO_SHORT, rank, n_threads)
                    return
            else:
                update_images(space, rank, n_threads)
            sum_and_kick(space, half, True, thermostatted, rank, n_threads)  # noqa: FBT003
            if thermostatted:
                kinetic = _sum_blocks(space)
                scale = half_chain(places, rates, step, kinetic, half)
                kinetic *= scale * scale
                multiply(space.state, V, scale, first, last)
            if (n + 1) % save_every == 0:
                frame = (n + 1) // save_every - 1
                save_frame(space, step, places, rates, record, frame, begin, system, first, last, rank, n_threads)
            if snapshot_every > 0 and (n + 1) % snapshot_every == 0:
                index = (n + 1) // snapshot_every
                _save_snapshot(space, places, rates, record, index, begin, system, rank, n_threads)
        stop(space, chain, places, rates, n_steps, 0, DONE, rank, n_threads)

    return run_forward
