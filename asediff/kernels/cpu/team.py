"""A team of threads that runs one compiled function together, and the barrier at which its members meet.

Every thread of a team calls the same function on the same arrays with its own rank and works on its own fixed share,
so a result depends on the number of threads alone, bit for bit. Only where every block of a share is a result of its
own does a thread that is done go on with blocks of the others (`take_block`): cores are not equally fast. The compiled
function releases the interpreter's lock and needs no threading library, hence no conflict with torch's or LAMMPS's
threads, and the serial and the parallel program are one and the same build.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

THREADS_VARIABLE = "ASEDIFF_NUM_THREADS"
NEIGHBORS_VARIABLE = "LOCAL_WORLD_SIZE"
"""In which launchers such as `torchrun` say how many processes share this machine; each uses its part of the cores."""
ATOMS_PER_THREAD = 1000
"""Below this many atoms per thread meeting at barriers costs more than sharing the work gains."""

SPINS, YIELDS = 2000, 1000
"""How often who waits at a barrier looks again at once, and then after giving its core away, before it sleeps for a
moment: somebody else may keep it waiting for longer than any share of work takes."""
NAP = 50
"""Microseconds."""
ARRIVED, GENERATION, QUEUES, APART = 16, 32, 48, 16
"""Where a team's control array holds its barrier and the number of blocks that each member's share has given away, on
cache lines of their own; its first 16 entries are free."""
_CAN_YIELD = sys.platform != "win32"

_chosen: list[int] = []

inner = partial(njit, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Decorator of functions that only compiled functions call; an entry from Python would double their compile time."""


def set_num_threads(n_threads: int | None) -> None:
    """Set how many threads the fused kernels may use in this process.

    Args:
        n_threads: at least 1; None returns to the default: the environment variable ASEDIFF_NUM_THREADS if set, else
            the number of cores, divided by LOCAL_WORLD_SIZE if set, and never more than what pays for the number of
            atoms.
    """
    if n_threads is not None and n_threads < 1:
        raise ValueError(f"n_threads={n_threads}: too few; give at least 1, or None for the default")
    _chosen[:] = [] if n_threads is None else [n_threads]


def get_num_threads() -> int:
    """How many threads the fused kernels may use."""
    if _chosen:
        return _chosen[0]
    text = os.environ.get(THREADS_VARIABLE, "")
    if text:
        if not text.isdigit() or int(text) < 1:
            raise ValueError(f"{THREADS_VARIABLE}={text}: not a number of threads; set a whole number of at least 1")
        return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = os.environ.get(NEIGHBORS_VARIABLE, "")
    return max(1, cores // int(processes)) if processes.isdigit() and int(processes) else cores


def control_size(n_threads: int) -> int:
    """Length of the control array of a team."""
    return QUEUES + APART * n_threads


def team_size(n_atoms: int) -> int:
    """Threads that share one system: all that were asked for explicitly, by default as many as pay."""
    if _chosen or os.environ.get(THREADS_VARIABLE):
        return min(get_num_threads(), max(1, n_atoms // 16))
    return max(1, min(get_num_threads(), n_atoms // ATOMS_PER_THREAD))


class _Worker:
    """A thread that waits for work; starting one anew for each call of a few hundred microseconds costs as much."""

    def __init__(self) -> None:
        self.given: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while True:
            self.given.get()()


_idle: list[_Worker] = []
"""Workers without work. Taking from a list and giving to it is atomic; teams side by side have workers of their own."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a child has none of its parent's threads


def _take_worker() -> _Worker:
    try:
        return _idle.pop()
    except IndexError:
        return _Worker()


def run_team(n_threads: int, member: Callable[[int], Any]) -> None:
    """Call `member(rank)` for rank 0..n_threads-1, each on a thread of its own; rank 0 on the caller's.

    Any number of teams may run side by side without waiting for each other.
    """
    if n_threads == 1:
        member(0)
        return
    failures: list[BaseException] = []
    ended: SimpleQueue[int] = SimpleQueue()

    def guarded(rank: int) -> None:
        try:
            member(rank)
        except BaseException as failure:
            failures.append(failure)
        ended.put(rank)

    workers = [_take_worker() for _ in range(1, n_threads)]
    for rank, worker in enumerate(workers, start=1):
        worker.given.put(partial(guarded, rank))
    guarded(0)
    for _ in range(n_threads):
        ended.get()
    _idle.extend(workers)
    if failures:
        raise failures[0]


def _element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


@intrinsic
def _atomic_add(_context: Any, array: Any, index: Any, value: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _element(context, builder, signature.args[0], arguments[0], arguments[1])
        return builder.atomic_rmw("add", pointer, arguments[2], "acq_rel")

    return types.int64(array, types.int64, types.int64), generate


@intrinsic
def _atomic_load(_context: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _element(context, builder, signature.args[0], arguments[0], arguments[1])
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(array, types.int64), generate


def _system_call(name: str, *values: int) -> Any:
    integer = ir.IntType(32)

    @intrinsic
    def call(_context: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
            if _CAN_YIELD:
                signature = ir.FunctionType(integer, [integer for _ in values])
                function = cgutils.get_or_insert_function(builder.module, signature, name)
                builder.call(function, [ir.Constant(integer, value) for value in values])
            return context.get_dummy_value()

        return types.none(), generate

    return call


_yield_core, _nap = _system_call("sched_yield"), _system_call("usleep", NAP)


@inner()
def meet(control, n_threads):  # type: ignore[no-untyped-def]
    """Wait until all members of the team are here; what they wrote before is then visible to all."""
    if n_threads == 1:
        return
    generation = _atomic_load(control, GENERATION)
    if _atomic_add(control, ARRIVED, 1) == n_threads - 1:
        _atomic_add(control, ARRIVED, -n_threads)
        _atomic_add(control, GENERATION, 1)
        return
    spins = 0
    while _atomic_load(control, GENERATION) == generation:
        spins += 1
        if spins > SPINS + YIELDS:
            _nap()
        elif spins > SPINS:
            _yield_core()


@inner()
def share(n, rank, n_threads, block):  # type: ignore[no-untyped-def]
    """First and last + 1 of this thread's share of n things, on boundaries that are multiples of `block`."""
    blocks = (n + block - 1) // block
    return min(n, blocks * rank // n_threads * block), min(n, blocks * (rank + 1) // n_threads * block)


@inner()
def take_block(control, owner):  # type: ignore[no-untyped-def]
    """Number of the next block of a member's share, 0, 1, ..., never the same twice; beyond its end when all are gone.

    Who takes which block depends on chance, so the work on a block must not depend on who does it.
    """
    return _atomic_add(control, QUEUES + APART * owner, 1)


@inner()
def refill(control, rank):  # type: ignore[no-untyped-def]
    """Offer the blocks of one's own share again; between a barrier after the last and one before the next take."""
    control[QUEUES + APART * rank] = 0
