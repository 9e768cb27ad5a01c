"""The reverse pass of a run on the CPU: where the states of each system come from, stretch by stretch."""

from __future__ import annotations

import numpy as np

from asediff.kernels.arrays import Array, Mode, Rollout, RolloutGradient
from asediff.kernels.cpu.forward import STRAYED, Record
from asediff.kernels.cpu.reverse import FRESH, Plan, Tape, compile_reverse
from asediff.kernels.cpu.space import (
    GV,
    GX,
    KICK,
    LIST_VALID,
    PHASE,
    REVERSE_ROWS,
    STATUS,
    STEP,
    Space,
    TableCopies,
    V,
    X,
    make_space,
)
from asediff.kernels.cpu.teamwork import build_name, for_each_system, put, run_forward, take, until_done
from asediff.kernels.cpu.thermostats import make_step
from asediff.kernels.recovery import strayed

NEVER = 2**62
GRADIENT = (GX, GV, KICK)
"""Rows of the state that a reverse pass carries from step to step."""

_run_reverse = compile_reverse(build_name())


def _empty_record(dtype: np.dtype, chain: int) -> Record:
    """A record that nothing is written to."""
    nothing = np.zeros((0, 0, 3), dtype=dtype)
    return Record(nothing, nothing, nothing, nothing, nothing, np.zeros((0, 0, 2, chain), dtype=dtype))


class _SystemReverse:
    """The reverse pass of one system of a batch."""

    def __init__(self, record: Rollout, system: int, tape: Tape, by_chain: Array, *, n_threads: int) -> None:
        self.record, self.system, self.tape, self.n_threads = record, system, tape, n_threads
        self.begin, self.end = (int(record.batch.offsets[system + k]) for k in (0, 1))
        space, self.copies = make_space(
            record.batch, system, record.tables, skin=record.skin, n_rows=REVERSE_ROWS, n_threads=n_threads
        )
        self.space = space
        self.table_gradients = np.zeros((n_threads, len(space.table)))
        self.chain = record.chain[system].copy()
        self.by_chain = by_chain.astype(np.float64)

    def descend(self, tape: Tape, start: int, plan: Plan) -> None:
        """Pull the gradient back from step `start` to `plan.low`."""
        step = make_step(self.record.stepper, self.system, self.record.stepper.first_step)
        self.space.control[STEP] = start

        def call(current: Space, rank: int) -> None:
            _run_reverse(
                current, self.chain, self.by_chain, step, plan, tape, self.table_gradients, self.begin, self.system,
                rank, self.n_threads,
            )  # fmt: skip

        self.space = until_done(self.space, self.n_threads, call)

    def stored(self, step: int) -> tuple[Array, Array, Array]:
        """The state of this system after `step` steps, as the run left it there: a snapshot, or the end."""
        record, inside = self.record, slice(self.begin, self.end)
        if step == record.n_steps:
            return record.positions[inside], record.velocities[inside], record.chain[self.system]
        k = step // record.snapshot_every if record.snapshot_every else 0
        snapshots = record.snapshot_positions, record.snapshot_velocities, record.snapshot_chain
        return snapshots[0][k, inside], snapshots[1][k, inside], snapshots[2][k, self.system]

    def gradient(self) -> tuple[Array, ...]:
        """A copy of all that a stretch of steps changes: dL/d(state), and what has been summed."""
        fields = np.empty((len(GRADIENT), self.end - self.begin, 3), self.record.positions.dtype)
        for row, field in zip(GRADIENT, fields, strict=True):
            take(self.space, row, field)
        return fields, self.by_chain.copy(), self.table_gradients.copy(), self.space.control[PHASE]

    def set_gradient(self, saved: tuple[Array, ...]) -> None:
        """Back to a copy of `gradient`."""
        fields, self.by_chain, self.table_gradients, phase = saved
        for row, field in zip(GRADIENT, fields, strict=True):
            put(self.space, row, field)
        self.space.control[PHASE], self.space.control[LIST_VALID] = phase, 0

    def ascend(self, low: int, high: int, states: Record) -> None:
        """Run from the snapshot at step `low` again, keeping every state up to the one at `high`, which is known."""
        record, begin, system = self.record, self.begin, self.system
        positions, velocities, chain = (part.copy() for part in self.stored(low))
        put(self.space, X, positions)
        put(self.space, V, velocities)
        step = make_step(record.stepper, system, record.stepper.first_step + low)
        phase = int(self.space.control[PHASE])
        self.space.control[STEP], self.space.control[PHASE] = 0, 0

        def call(current: Space, rank: int) -> None:
            run_forward(current, chain, step, high - low - 1, NEVER, 1, states, begin, system, rank, self.n_threads)

        self.space = until_done(self.space, self.n_threads, call)
        self.space.control[PHASE] = phase
        last, k = self.stored(high), high - low
        states.snapshot_positions[k, begin : self.end], states.snapshot_velocities[k, begin : self.end] = last[:2]
        states.snapshot_chain[k, system] = last[2]

    def replay(self, every: int, high: int) -> None:
        """The reverse pass from step `high` in segments between snapshots, each run again and walked back."""
        record = self.record
        longest = min(every, record.n_steps) + 1
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
        while high > 0:
            low = (high - 1) // every * every
            self.ascend(low, high, states)
            self.descend(segment, high, Plan(low, low, 1, record.save_every, backwards=False, closes=low == 0))
            high = low

    def step_back(self, every: int) -> None:
        """The reverse pass with states recovered from the next snapshot; from where that fails, `replay`."""
        record = self.record
        put(self.space, X, record.positions[self.begin : self.end])
        put(self.space, V, record.velocities[self.begin : self.end])
        high = record.n_steps
        while high > 0:
            low = (high - 1) // every * every
            before = self.gradient()
            self.descend(self.tape, high, Plan(low, 0, every, record.save_every, backwards=True, closes=False))
            if not self.arrived(low, high):
                self.set_gradient(before)
                self.replay(every, high)
                return
            high = low
        self.descend(self.tape, 0, Plan(0, 0, every, record.save_every, backwards=True, closes=True))

    def arrived(self, low: int, high: int) -> bool:
        """Whether stepping back from step `high` led to the stored state at `low`."""
        if self.space.control[STATUS] == STRAYED:
            return False
        stored = self.stored(low)
        positions, velocities = np.empty_like(stored[0]), np.empty_like(stored[1])
        take(self.space, X, positions)
        take(self.space, V, velocities)
        return not strayed((positions, velocities, self.chain), stored, self.stored(high))

    def run(self, mode: Mode) -> None:
        """The whole reverse pass."""
        record = self.record
        every = record.snapshot_every or NEVER
        self.space.control[PHASE] = FRESH
        if mode == "stored":
            self.descend(self.tape, record.n_steps, Plan(0, 0, 1, record.save_every, backwards=False, closes=True))
        elif mode == "reverse":
            self.step_back(every)
        else:
            self.replay(every, record.n_steps)

    def coefficients(self) -> Array:
        """Gradient of the tables of the space, `(n_copies, n_intervals, 4)`."""
        spacing = self.record.tables.spacing
        by_table = self.table_gradients.sum(0).reshape(len(self.copies.numbers), -1, 4)[:, :-1]
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
            step, starting anew at every snapshot; memory does not grow with the number of steps. A state that misses
            its snapshot (`asediff.kernels.recovery`) turns the rest into a "replay".

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
    parts: dict[int, tuple[TableCopies, Array]] = {}

    def work(system: int, n_threads: int) -> None:
        task = _SystemReverse(record, system, tape, grad_chain[system], n_threads=n_threads)
        space, inside = task.space, slice(task.begin, task.end)
        put(space, GX, np.asarray(grad_positions[inside], dtype=dtype))
        put(space, GV, np.asarray(grad_velocities[inside], dtype=dtype))
        task.run(mode)
        take(task.space, GX, by_positions[inside])
        take(task.space, GV, by_velocities[inside])
        by_chain[system] = task.by_chain
        parts[system] = (task.copies, task.coefficients())

    for_each_system(record.batch, work)
    coefficients = np.zeros((n_tables, n_intervals, 4))
    for _, (copies, part) in sorted(parts.items()):
        copies.add(coefficients, part)
    return RolloutGradient(coefficients.astype(dtype), by_positions, by_velocities, by_chain)
