"""Several processes for the fit of a result folder: the first has the folder, starts or calls the others, and reports.

`python -m asediff.app.ranks STORE RANK SIZE` is how `asediff fit --ranks` starts each of the others.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
import torch.distributed as distributed

from asediff.app.pipeline import reopened
from asediff.fitting.api import fit_in
from asediff.host.processes import Children, Finished
from asediff.host.ranks import LostError, Ranks
from asediff.host.scratch import scratch_folder
from asediff.kernels.cpu.team import NEIGHBORS_VARIABLE

INTERRUPTED, FAILED = 130, 2
PATIENCE = 5.0
"""Seconds in which a process that is lost is seen to have ended."""
POLL = 0.05
"""Seconds between two looks at processes that have been started."""


def serve(ranks: Ranks) -> int:
    """What all but the first do: fit what it says; returns the exit code. Only what the first cannot tell is raised."""
    try:
        told = ranks.first(lambda: "")
        if not told:
            return 0
        plan = ranks.together(lambda: reopened(Path(told)))
        fit_in(
            None, plan.potential, plan.state_points, plan.method, validation=None, seed=plan.config.seed,
            progress=False, ranks=ranks,
        )  # fmt: skip
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if error is not ranks.failure:
            raise
        return FAILED
    return 0


class Crew:
    """The others as the first sees them: they wait in `serve` until they are called, or let go."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.waiting = ranks, True

    @contextmanager
    def called(self, folder: Path) -> Iterator[Ranks]:
        """Have them fit what a result folder says; they are gone afterwards."""
        self.waiting = False
        self.ranks.first(lambda: str(folder.absolute()))
        self.ranks.together(lambda: None)
        yield self.ranks

    def dismiss(self) -> None:
        """Let them go if they have not been called."""
        if self.waiting:
            self.waiting = False
            self.ranks.first(lambda: "")


def among(work: Callable[[Callable[[Path], AbstractContextManager[Ranks]]], int]) -> int:
    """One of the processes that a launcher has started; returns the exit code.

    Args:
        work: what the first does; it is handed what calls the others to a result folder.
    """
    with Ranks.joined() as ranks:
        if ranks.rank:
            return serve(ranks)
        crew = Crew(ranks)
        try:
            return work(crew.called)
        finally:
            crew.dismiss()


@contextmanager
def launched(size: int, folder: Path) -> Iterator[Ranks]:
    """Start `size - 1` other processes on this machine for the fit of a result folder, and end them afterwards.

    Each uses its part of the cores.

    Raises:
        LostError: one of them has ended before the fit has.
    """
    children = Children()
    with (
        scratch_folder() as place,
        ThreadPoolExecutor(max_workers=size - 1) as waiting,
        _share_of_cores(size),
    ):
        path = str(place / "store")
        store = distributed.FileStore(path, size)
        command = [sys.executable, "-m", "asediff.app.ranks", path]
        ends = {
            rank: waiting.submit(children.run, [*command, str(rank), str(size)], Path.cwd()) for rank in range(1, size)
        }
        try:
            while not store.check([f"here {rank}" for rank in ends]):
                if lost := _ended(ends):
                    raise LostError(lost)
                time.sleep(POLL)
            with (
                Ranks.joined(store=store, rank=0, world_size=size) as ranks,
                Crew(ranks).called(folder) as crew,
            ):
                yield crew
        except LostError as error:
            wait(ends.values(), PATIENCE, FIRST_COMPLETED)  # it takes a moment until the end of a process is known
            raise LostError(_ended(ends) or str(error)) from error
        finally:
            children.end()


def _ended(ends: dict[int, Future[Finished]]) -> str:
    """What is to be said of processes that have ended; nothing if none has."""
    for rank, end in ends.items():
        if end.done():
            finished = end.result()
            last = (finished.output.strip().splitlines() or [""])[-1]
            return f"ranks: process {rank} has ended ({finished.reason}{': ' if last else ''}{last})"
    return ""


@contextmanager
def _share_of_cores(size: int) -> Iterator[None]:
    """Let this process, and those that it starts, use their part of the cores only."""
    before, threads = os.environ.get(NEIGHBORS_VARIABLE), torch.get_num_threads()
    os.environ[NEIGHBORS_VARIABLE] = str(size)
    torch.set_num_threads(max(1, threads // size))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        os.environ.pop(NEIGHBORS_VARIABLE)
        if before is not None:
            os.environ[NEIGHBORS_VARIABLE] = before


def main(path: str, rank: int, size: int) -> int:
    """One of the processes that `launched` starts."""
    torch.set_num_threads(max(1, torch.get_num_threads() // size))
    store = distributed.FileStore(path, size)
    store.set(f"here {rank}", "")
    with contextlib.suppress(KeyboardInterrupt), Ranks.joined(store=store, rank=rank, world_size=size) as ranks:
        return serve(ranks)
    return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
