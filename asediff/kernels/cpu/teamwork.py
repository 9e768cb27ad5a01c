"""How the numpy side calls the compiled functions: systems over threads, arrays in and out, arrays too short."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from asediff.kernels.arrays import Array, Batch
from asediff.kernels.cpu.forward import TOO_SHORT, compile_forward
from asediff.kernels.cpu.space import ORDER, STATUS, Space, enlarge
from asediff.kernels.cpu.team import get_num_threads, run_team, team_size

COMPILED = (
    "simd",
    "team",
    "space",
    "bins",
    "lists",
    "pair",
    "step",
    "thermostats",
    "forward",
    "reverse",
    "static",
    "driven",
    "cells",
    "rdf_loops",
    "../noise",
)
"""Modules with compiled functions."""


@cache
def build_name() -> str:
    """A name for the sources of the compiled functions, part of their key in numba's cache on disk.

    That cache looks only at the file of the function it stores; one that calls functions of other files would
    outlive changes of those.
    """
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / f"{name}.py").read_bytes() for name in COMPILED)).hexdigest()


def for_each_system(batch: Batch, work: Callable[[int, int], None]) -> None:
    """Call `work(system, n_threads)` for all systems, side by side when there are several.

    The assignment depends on the numbers of atoms and of threads alone: largest first, each to the least loaded.
    """
    counts = np.diff(batch.offsets)
    threads, n_systems = get_num_threads(), batch.n_systems
    workers = min(threads, n_systems)
    load = np.zeros(workers)
    assigned: list[list[int]] = [[] for _ in range(workers)]
    for system in np.argsort(-counts, kind="stable"):
        lightest = int(np.argmin(load))
        assigned[lightest].append(int(system))
        load[lightest] += counts[system]

    def member(rank: int) -> None:
        for system in assigned[rank]:
            work(system, max(1, min(threads // workers, team_size(int(counts[system])))))

    run_team(workers, member)


def put(space: Space, row: int, values: Array) -> None:
    """Fill three rows of the state from `(n_atoms, 3)` in the order of atoms."""
    order = space.atoms[ORDER]
    space.state[row : row + 3, : len(order)] = values[order].T


def take(space: Space, row: int, target: Array) -> None:
    """The inverse of `put`."""
    order = space.atoms[ORDER]
    target[order] = space.state[row : row + 3, : len(order)].T


def until_done(space: Space, n_threads: int, call: Callable[[Space, int], None]) -> Space:
    """Let a team run `call(space, rank)`; whenever an array turns out too short, enlarge it and go on from there."""
    while True:
        run_team(n_threads, partial(call, space))
        if space.control[STATUS] != TOO_SHORT:
            return space
        space = enlarge(space)


run_forward = compile_forward(build_name())
"""See `asediff.kernels.cpu.forward`."""
