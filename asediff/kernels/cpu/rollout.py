"""Whole runs on the CPU, compiled, in numpy arrays; `asediff.kernels.cpu.descent` is their exact reverse pass.

Systems of a batch run side by side on the available threads; a large system shares its atoms among them. Where the
atoms go does not depend on the number of threads, bit for bit; energies and gradients do, through the order of sums,
and on nothing else.
"""

from __future__ import annotations

import numpy as np

from asediff.kernels.arrays import Array, Batch, Rollout, SplineTables, Stepper
from asediff.kernels.cpu.forward import Record
from asediff.kernels.cpu.space import FAILED, FORWARD_ROWS, Space, V, X, make_space
from asediff.kernels.cpu.teamwork import for_each_system, put, run_forward, take, until_done
from asediff.kernels.cpu.thermostats import make_step


def _check_types(positions: Array, velocities: Array, chain: Array, batch: Batch) -> None:
    dtype = positions.dtype
    if dtype not in (np.float64, np.float32):
        raise ValueError(f"positions: type {dtype} is not supported; use float64 or float32")
    for name, value in (("velocities", velocities), ("chain", chain), ("masses", batch.masses)):
        if value.dtype != dtype:
            raise ValueError(f"{name}: type {value.dtype} differs from the positions' {dtype}; convert it")
    if positions.shape != (int(batch.offsets[-1]), 3) or velocities.shape != positions.shape:
        raise ValueError(
            f"positions {positions.shape}, velocities {velocities.shape}: expected ({int(batch.offsets[-1])}, 3), "
            "one row for each atom of the batch"
        )


def rollout(
    positions: Array,
    velocities: Array,
    chain: Array,
    batch: Batch,
    tables: SplineTables,
    stepper: Stepper,
    n_steps: int,
    save_every: int,
    *,
    snapshot_every: int = 0,
    skin: float = 0.3,
) -> Rollout:
    """Take `n_steps` time steps of all systems of a batch.

    Args:
        positions: `(n_atoms, 3)`, length; float64 or float32, the type of all arrays.
        velocities: `(n_atoms, 3)`, length/time.
        chain: `(n_systems, 2, tchain)`, positions and rates of the thermostats; tchain 0 without.
        batch: the systems.
        tables: their pair potentials.
        stepper: the integrator.
        n_steps: number of steps.
        save_every: steps between frames.
        snapshot_every: steps between the states kept for a reverse pass; 0 keeps the start only.
        skin: length that neighbor lists reach beyond the cutoff; they are rebuilt when an atom moved half of it.

    Returns:
        The record; its `failed_step` tells a state that is not finite.

    Raises:
        ValueError: a periodic cell narrower than twice the cutoff, or types that differ.
    """
    _check_types(positions, velocities, chain, batch)
    if save_every < 1 or n_steps < 0 or snapshot_every < 0:
        raise ValueError(
            f"n_steps={n_steps}, save_every={save_every}, snapshot_every={snapshot_every}: give n_steps >= 0, "
            "save_every >= 1 and snapshot_every >= 0"
        )
    dtype = positions.dtype
    n_atoms, n_systems, n_frames = len(positions), batch.n_systems, n_steps // save_every
    n_snapshots = 1 + (n_steps // snapshot_every if snapshot_every else 0)
    record = Record(
        np.zeros((n_frames, n_atoms, 3), dtype), np.zeros((n_frames, n_atoms, 3), dtype),
        np.zeros((n_frames, n_systems, 3), dtype), np.zeros((n_snapshots, n_atoms, 3), dtype),
        np.zeros((n_snapshots, n_atoms, 3), dtype), np.zeros((n_snapshots, *chain.shape), dtype),
    )  # fmt: skip
    final_positions, final_velocities, final_chain = positions.copy(), velocities.copy(), chain.copy()
    failures = np.full(n_systems, -1, dtype=np.int64)

    def work(system: int, n_threads: int) -> None:
        begin, end = int(batch.offsets[system]), int(batch.offsets[system + 1])
        space, _ = make_space(batch, system, tables, skin=skin, n_rows=FORWARD_ROWS, n_threads=n_threads)
        put(space, X, positions[begin:end])
        put(space, V, velocities[begin:end])
        step = make_step(stepper, system, stepper.first_step)
        space.control[FAILED] = -1

        def call(current: Space, rank: int) -> None:
            run_forward(
                current, final_chain[system], step, n_steps, save_every, snapshot_every, record, begin, system, rank,
                n_threads,
            )  # fmt: skip

        space = until_done(space, n_threads, call)
        failures[system] = space.control[FAILED]
        take(space, X, final_positions[begin:end])
        take(space, V, final_velocities[begin:end])

    for_each_system(batch, work)
    failed = failures[failures >= 0]
    return Rollout(
        *record[:3], final_positions, final_velocities, final_chain, *record[3:],
        failed_step=int(failed.min()) if len(failed) else -1, batch=batch, tables=tables, stepper=stepper,
        n_steps=n_steps, save_every=save_every, snapshot_every=snapshot_every, skin=skin,
    )  # fmt: skip
