"""The fused engine on the CPU: whole runs and their exact reverse pass, compiled, in numpy arrays.

`rollout` and `rollout_vjp` do for a pair table what `simulate` and autograd do for any potential, `pair_forces` and
`pair_vjp` the same for given configurations. Systems of a batch run side by side on the available threads; a large
system shares its atoms among them. Where the atoms go does not depend on the number of threads, bit for bit; energies
and gradients do, through the order of sums, and on nothing else.
"""

from __future__ import annotations

import math

import numpy as np

from asediff.kernels.arrays import (
    Array,
    Batch,
    Mode,
    Rollout,
    RolloutGradient,
    SplineTables,
    Stepper,
)
from asediff.kernels.cpu_forward import Record, _compile_forward
from asediff.kernels.cpu_reverse import FRESH, Plan, Tape, _compile_reverse
from asediff.kernels.cpu_space import FAILED, FORWARD_ROWS, GV, GX, PHASE, REVERSE_ROWS, STEP, Space, V, X, make_space
from asediff.kernels.cpu_static import pair_forces, pair_vjp
from asediff.kernels.cpu_step import Step
from asediff.kernels.cpu_team import get_num_threads, set_num_threads
from asediff.kernels.cpu_teamwork import build_name, for_each_system, put, take, until_done

__all__ = ["Mode", "get_num_threads", "pair_forces", "pair_vjp", "rollout", "rollout_vjp", "set_num_threads"]

NEVER = 2**62

_run_forward = _compile_forward(build_name())
_run_reverse = _compile_reverse(build_name())


def _step(stepper: Stepper, system: int, first_step: int) -> Step:
    return Step(
        kind=int(stepper.kind),
        timestep=float(stepper.timestep),
        kT=float(stepper.kT[system]),
        n_dof=float(stepper.n_dof[system]),
        chain_masses=np.ascontiguousarray(stepper.chain_masses[system], dtype=np.float64),
        decay=math.exp(-float(stepper.friction[system]) * float(stepper.timestep)),
        seed=np.uint64(stepper.seeds[system]),
        first_step=int(first_step),
    )


def _empty_record(dtype: np.dtype, chain: int) -> Record:
    """A record that nothing is written to."""
    nothing = np.zeros((0, 0, 3), dtype=dtype)
    return Record(nothing, nothing, nothing, nothing, nothing, np.zeros((0, 0, 2, chain), dtype=dtype))


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
        np.zeros((n_frames, n_atoms, 3), dtype),
        np.zeros((n_frames, n_atoms, 3), dtype),
        np.zeros((n_frames, n_systems, 3), dtype),
        np.zeros((n_snapshots, n_atoms, 3), dtype),
        np.zeros((n_snapshots, n_atoms, 3), dtype),
        np.zeros((n_snapshots, *chain.shape), dtype),
    )
    final_positions, final_velocities, final_chain = positions.copy(), velocities.copy(), chain.copy()
    failures = np.full(n_systems, -1, dtype=np.int64)

    def work(system: int, n_threads: int) -> None:
        begin, end = int(batch.offsets[system]), int(batch.offsets[system + 1])
        space, _ = make_space(batch, system, tables, skin=skin, n_rows=FORWARD_ROWS, n_threads=n_threads)
        put(space, X, positions[begin:end])
        put(space, V, velocities[begin:end])
        step = _step(stepper, system, stepper.first_step)
        space.control[FAILED] = -1

        def call(current: Space, rank: int) -> None:
            _run_forward(
                current,
                final_chain[system],
                step,
                n_steps,
                save_every,
                snapshot_every,
                record,
                begin,
                system,
                rank,
                n_threads,
            )

        space = until_done(space, n_threads, call)
        failures[system] = space.control[FAILED]
        take(space, X, final_positions[begin:end])
        take(space, V, final_velocities[begin:end])

    for_each_system(batch, work)
    failed = failures[failures >= 0]
    return Rollout(
        *record[:3],
        final_positions,
        final_velocities,
        final_chain,
        *record[3:],
        failed_step=int(failed.min()) if len(failed) else -1,
        batch=batch,
        tables=tables,
        stepper=stepper,
        n_steps=n_steps,
        save_every=save_every,
        snapshot_every=snapshot_every,
        skin=skin,
    )


class _SystemReverse:
    """The reverse pass of one system of a batch."""

    def __init__(self, record: Rollout, system: int, tape: Tape, by_chain: Array, *, n_threads: int) -> None:
        self.record, self.system, self.tape, self.n_threads = record, system, tape, n_threads
        self.begin, self.end = (int(record.batch.offsets[system + k]) for k in (0, 1))
        space, self.used = make_space(
            record.batch, system, record.tables, skin=record.skin, n_rows=REVERSE_ROWS, n_threads=n_threads
        )
        self.space = space
        self.table_gradients = np.zeros((n_threads, len(space.table)))
        self.by_chain = by_chain.astype(np.float64)

    def descend(self, tape: Tape, start: int, plan: Plan) -> None:
        """Pull the gradient back from step `start` to `plan.low`."""
        chain = self.record.chain[self.system].copy()
        step = _step(self.record.stepper, self.system, self.record.stepper.first_step)
        self.space.control[STEP] = start

        def call(current: Space, rank: int) -> None:
            _run_reverse(
                current,
                chain,
                self.by_chain,
                step,
                plan,
                tape,
                self.table_gradients,
                self.begin,
                self.system,
                rank,
                self.n_threads,
            )

        self.space = until_done(self.space, self.n_threads, call)

    def ascend(self, low: int, high: int, states: Record) -> None:
        """Run from the snapshot at step `low` again, keeping every state up to the one at `high`, which is known."""
        record, begin, end, system = self.record, self.begin, self.end, self.system
        index = low // record.snapshot_every if record.snapshot_every else 0
        chain = record.snapshot_chain[index, system].copy()
        put(self.space, X, record.snapshot_positions[index, begin:end])
        put(self.space, V, record.snapshot_velocities[index, begin:end])
        step = _step(record.stepper, system, record.stepper.first_step + low)
        phase = int(self.space.control[PHASE])
        self.space.control[STEP], self.space.control[PHASE] = 0, 0

        def call(current: Space, rank: int) -> None:
            _run_forward(current, chain, step, high - low - 1, NEVER, 1, states, begin, system, rank, self.n_threads)

        self.space = until_done(self.space, self.n_threads, call)
        self.space.control[PHASE] = phase
        if high == record.n_steps:
            last: tuple[Array, Array, Array] = (record.positions, record.velocities, record.chain)
        else:
            after = high // record.snapshot_every
            snapshots = (record.snapshot_positions, record.snapshot_velocities, record.snapshot_chain)
            last = (snapshots[0][after], snapshots[1][after], snapshots[2][after])
        states.snapshot_positions[high - low, begin:end] = last[0][begin:end]
        states.snapshot_velocities[high - low, begin:end] = last[1][begin:end]
        states.snapshot_chain[high - low, system] = last[2][system]

    def replay(self, every: int) -> None:
        """The reverse pass in segments between snapshots, each run again and walked back."""
        record = self.record
        high, longest = record.n_steps, min(every, record.n_steps) + 1
        shape, dtype = (longest, *record.positions.shape), record.positions.dtype
        states = _empty_record(dtype, record.chain.shape[-1])._replace(
            snapshot_positions=np.empty(shape, dtype),
            snapshot_velocities=np.empty(shape, dtype),
            snapshot_chain=np.empty((longest, *record.chain.shape), dtype),
        )
        segment = self.tape._replace(
            positions=states.snapshot_positions,
            velocities=states.snapshot_velocities,
            chain=states.snapshot_chain,
        )
        while True:
            low = max(0, (high - 1) // every * every)
            self.ascend(low, high, states)
            self.descend(segment, high, Plan(low, low, 1, record.save_every, backwards=False))
            high = low
            if low == 0:
                return

    def run(self, mode: Mode) -> None:
        """The whole reverse pass."""
        record, tape = self.record, self.tape
        every = record.snapshot_every or NEVER
        self.space.control[PHASE] = FRESH
        if mode == "stored":
            self.descend(tape, record.n_steps, Plan(0, 0, 1, record.save_every, backwards=False))
        elif mode == "reverse":
            put(self.space, X, record.positions[self.begin : self.end])
            put(self.space, V, record.velocities[self.begin : self.end])
            self.descend(tape, record.n_steps, Plan(0, 0, every, record.save_every, backwards=True))
        else:
            self.replay(every)

    def coefficients(self) -> Array:
        """Gradient of the tables that this system uses, `(n_used, n_intervals, 4)`."""
        spacing = self.record.tables.spacing
        by_table = self.table_gradients.sum(0).reshape(len(self.used), -1, 4)[:, :-1]
        gradient = np.zeros_like(by_table)
        gradient[..., 1:] = by_table[..., :3] * (np.array([-2.0, -4.0, -6.0]) / spacing)
        return gradient


def rollout_vjp(
    record: Rollout,
    grad_frame_positions: Array,
    grad_frame_velocities: Array,
    grad_positions: Array,
    grad_velocities: Array,
    grad_chain: Array,
    *,
    mode: Mode = "replay",
) -> RolloutGradient:
    """Exact reverse pass of a run: gradients of any loss of its frames and of its final state.

    Args:
        record: of `rollout`.
        grad_frame_positions: `(n_frames, n_atoms, 3)`, dL/d(frame positions).
        grad_frame_velocities: `(n_frames, n_atoms, 3)`.
        grad_positions: `(n_atoms, 3)`, of the final state.
        grad_velocities: `(n_atoms, 3)`.
        grad_chain: `(n_systems, 2, tchain)`.
        mode: where the states come from. "stored": every state was kept (snapshot_every=1). "replay": the segments
            between snapshots are run again, each kept while it is needed. "reverse": by the exact inverse of the
            step, starting anew at every snapshot; memory does not grow with the number of steps.

    Returns:
        Gradients with respect to spline coefficients and initial state.

    Raises:
        ValueError: "stored" of a run that did not keep every state, or a run that failed.
    """
    if mode == "stored" and record.snapshot_every != 1:
        raise ValueError(f"mode='stored': snapshot_every={record.snapshot_every}; run with snapshot_every=1")
    if record.failed_step >= 0:
        raise ValueError(
            f"record: the run failed at step {record.failed_step} and has no gradient; use a shorter timestep or a "
            "potential with a stronger core"
        )
    dtype = record.positions.dtype
    frames = record.frame_positions.shape
    tape = Tape(
        record.snapshot_positions,
        record.snapshot_velocities,
        record.snapshot_chain,
        np.ascontiguousarray(grad_frame_positions, dtype=dtype).reshape(frames),
        np.ascontiguousarray(grad_frame_velocities, dtype=dtype).reshape(frames),
    )
    by_positions, by_velocities = np.zeros_like(record.positions), np.zeros_like(record.positions)
    by_chain = np.zeros_like(record.chain)
    n_tables, n_intervals, _ = record.tables.coefficients.shape
    parts: list[tuple[Array, Array]] = [(np.empty(0), np.empty(0))] * record.batch.n_systems

    def work(system: int, n_threads: int) -> None:
        task = _SystemReverse(record, system, tape, grad_chain[system], n_threads=n_threads)
        space, inside = task.space, slice(task.begin, task.end)
        put(space, GX, np.asarray(grad_positions[inside], dtype=dtype))
        put(space, GV, np.asarray(grad_velocities[inside], dtype=dtype))
        task.run(mode)
        take(task.space, GX, by_positions[inside])
        take(task.space, GV, by_velocities[inside])
        by_chain[system] = task.by_chain
        parts[system] = (task.used, task.coefficients())

    for_each_system(record.batch, work)
    coefficients = np.zeros((n_tables, n_intervals, 4))
    for used, part in parts:
        coefficients[used] += part
    return RolloutGradient(coefficients.astype(dtype), by_positions, by_velocities, by_chain)
