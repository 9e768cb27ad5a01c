"""Processes that work on one task together: each hands what it has to all, and an error of one is an error of all.

The processes are those of a `torch.distributed` group. Everything is handed on as Python objects, tensors in the memory
of the CPU: a fit exchanges a few hundred kilobytes in an epoch.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What launchers such as `torchrun` tell each process they start."""


class LostError(ConnectionError):
    """A process of the group has ended, or cannot be reached; one line."""


class Ranks:
    """The processes that share a fit, each with its number; one alone unless it is said otherwise.

    All of them call the same methods in the same order. What `work` does may fail in any of them: then the error of the
    lowest rank that failed is raised in all, so that none waits for another that has given up.

    Attributes:
        rank: number of this process, 0 for the one that writes files.
        size: number of processes.
        failure: the last error that all of them have raised together.
    """

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        """Use `of_group` or `joined` for more than one."""
        self.rank, self.size, self.group = rank, size, group
        self.failure: Exception | None = None

    @classmethod
    def of_group(cls, group: Any = None) -> Ranks:
        """The processes of a `torch.distributed` group that exists; None is all of them.

        Raises:
            ValueError: there is no group, or this process is not in it.
        """
        import torch.distributed as distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            raise ValueError(
                "ranks: torch.distributed has no group of processes; use Ranks.joined() in a script started by "
                "torchrun, or call torch.distributed.init_process_group before"
            )
        rank = distributed.get_rank(group)
        if rank < 0:
            raise ValueError("group: this process is not in it; give a group of which it is a member")
        return cls(rank, distributed.get_world_size(group), group)

    @classmethod
    @contextmanager
    def joined(cls, backend: str = "gloo", *, timeout: float = 3600.0, **place: Any) -> Iterator[Ranks]:
        """Join the other processes that `torchrun` has started, and leave them at the end; alone if it has not.

        Args:
            backend: of `torch.distributed`: `gloo`, or `nccl` with a GPU for each process; that of number LOCAL_RANK
                becomes the current one.
            timeout: seconds that one may wait for another.
            place: where to meet, as `init_process_group` takes it; by default what the environment says.

        Raises:
            ValueError: too little is said about the other processes.
            LostError: they cannot be reached.
        """
        import torch
        import torch.distributed as distributed

        missing = [] if place else [name for name in VARIABLES if name not in os.environ]
        if len(missing) == len(VARIABLES):
            yield cls()
            return
        if missing:
            raise ValueError(f"ranks: {missing[0]} is not in the environment; start the script with torchrun")
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        try:
            distributed.init_process_group(backend, timeout=timedelta(seconds=timeout), **place)
        except (RuntimeError, ValueError) as error:
            raise LostError(_lost(error)) from error
        try:
            yield cls.of_group()
        finally:
            distributed.destroy_process_group()

    def exchange(self, work: Callable[[], T]) -> list[T]:
        """What `work()` gives in each process, in rank order, everywhere.

        Raises:
            Exception: that of the lowest rank in which `work` failed.
            LostError: a process has ended.
        """
        if self.size == 1:
            return [work()]
        import torch.distributed as distributed

        own, error = _tried(work)
        found: list[Any] = [None] * self.size
        self._call(lambda: distributed.all_gather_object(found, (own, _portable(error)), group=self.group))
        found[self.rank] = own, error
        failed = next((error for _, error in found if error is not None), None)
        if failed is not None:
            self._fail(failed)
        return [value for value, _ in found]

    def together(self, work: Callable[[], T]) -> T:
        """`work()` of this process, once it has not failed in any; raises as `exchange` does."""
        own: list[T] = []
        self.exchange(lambda: own.append(work()))
        return own[0]

    def first(self, work: Callable[[], T]) -> T:
        """`work()` of rank 0, everywhere; the others do not call it. Raises as `exchange` does."""
        if self.size == 1:
            return work()
        import torch.distributed as distributed

        own: tuple[Any, Exception | None] = _tried(work) if self.rank == 0 else (None, None)
        told: list[Any] = [(own[0], _portable(own[1]))]
        source = 0 if self.group is None else distributed.get_global_rank(self.group, 0)
        self._call(lambda: distributed.broadcast_object_list(told, source, self.group))
        value, failed = own if self.rank == 0 else told[0]
        if failed is not None:
            self._fail(failed)
        found: T = value
        return found

    @contextmanager
    def entered(self, opened: Callable[[], AbstractContextManager[T]]) -> Iterator[T | None]:
        """What rank 0 opens, which it closes at the end; None elsewhere. Raises as `exchange` does."""
        with ExitStack() as stack:
            yield self.together(lambda: stack.enter_context(opened()) if self.rank == 0 else None)

    def _fail(self, error: Exception) -> None:
        self.failure = error
        raise error

    def _call(self, collective: Callable[[], None]) -> None:
        try:
            collective()
        except RuntimeError as error:
            raise LostError(_lost(error)) from error


def _tried(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error


def _portable(error: Exception | None) -> Exception | None:
    """An error as another process can have it: the same, or its words where it cannot be made again."""
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:
        again = None
    if type(again) is type(error) and str(again) == str(error):
        return error
    return ValueError(f"{type(error).__name__}: {error}")


def _lost(error: Exception) -> str:
    reason = " ".join(str(error).split("\n")[0].split())
    return f"ranks: another process has ended, or cannot be reached ({reason}); see what it said, and resume"
