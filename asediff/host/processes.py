"""Programs that asediff starts: none of them outlives it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

WATCHDOG = Path(__file__).with_name("watchdog.py")
PATIENCE = 30.0
"""Seconds that the watchdog has for ending a program before it is killed itself."""

_shared: set[int] = set()
_sharing = threading.Lock()

T = TypeVar("T")


def share_with_children(descriptor: int) -> None:
    """Let watchdogs started from now on keep a file open (a lock), until what they watch is gone."""
    with _sharing:
        _shared.add(descriptor)


def stop_sharing(descriptor: int) -> None:
    """Undo `share_with_children`, before the file is closed."""
    with _sharing:
        _shared.discard(descriptor)


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    Attributes:
        status: its exit status; 128 + the number of the signal that ended it.
        output: what it wrote to standard output and standard error, unless that went to a file.
    """

    status: int
    output: str

    @property
    def reason(self) -> str:
        """The status in words."""
        number = self.signal
        if number is None:
            return f"exit status {self.status}"
        hint = "; was the memory enough?" if number == signal.SIGKILL else ""
        return f"ended by signal {int(number)} ({number.name}){hint}"

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that ended the program, if one did."""
        # 128 + n is what shells report; a Python wrapper that exits with -n is seen as 256 - n.
        for number in (self.status - 128, 256 - self.status):
            if 0 < number < 32 and self.status != 255:
                return signal.Signals(number)
        return None


class OutOfTimeError(RuntimeError):
    """A program did not end in time, and has been ended."""


class _Child:
    """A program under its watchdog."""

    def __init__(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str] | None, output: IO[str] | None
    ) -> None:
        self._closing = threading.Lock()
        # Not a pipe: whatever escaped from a killed watchdog would hold that open, and reading it would not end.
        self._output = tempfile.TemporaryFile("w+", errors="replace") if output is None else None  # noqa: SIM115
        # The writing end of this pipe is never passed on; that it closes is how the watchdog learns of our end.
        reading, self._alive = os.pipe()
        try:
            with _sharing:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(WATCHDOG), *command],
                    cwd=cwd,
                    env=None if env is None else dict(env),
                    stdin=reading,
                    stdout=output or self._output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=tuple(_shared),
                )
        except BaseException:
            self._let_go()
            raise
        finally:
            os.close(reading)

    def wait(self, timeout: float | None) -> Finished:
        """Wait for the end.

        Raises:
            OutOfTimeError: it took longer than timeout seconds; everything has been ended then.
        """
        try:
            status = self.process.wait(timeout)
            if status < 0:
                self._kill()  # somebody killed the watchdog: what it watched is still in its process group
            return Finished(status if status >= 0 else 128 - status, self._told())
        except subprocess.TimeoutExpired:
            raise OutOfTimeError from None
        finally:
            self.end()

    def end(self) -> None:
        """End the program and all it has started; returns when they are gone."""
        self._let_go()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._kill()
            self.process.wait()

    def _told(self) -> str:
        if self._output is None:
            return ""
        self._output.seek(0)
        return self._output.read()

    def _let_go(self) -> None:
        with self._closing:
            if self._alive >= 0:
                os.close(self._alive)
                self._alive = -1
            if self._output is not None:
                self._output.close()

    def _kill(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


class Children:
    """The programs that one call has started, so that all of them can be ended together."""

    def __init__(self) -> None:
        self._running: set[_Child] = set()
        self._guard = threading.Lock()
        self._ended = False

    def run(
        self,
        command: Sequence[str],
        cwd: str | Path,
        *,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        output: IO[str] | None = None,
    ) -> Finished:
        """Run a program and wait for it; see `run_program`."""
        with self._guard:
            if self._ended:
                raise InterruptedError(f"{command[0]}: not started, since the call that needs it has ended")
            child = _Child(command, Path(cwd), env, output)
            self._running.add(child)
        try:
            return child.wait(timeout)
        finally:
            with self._guard:
                self._running.discard(child)

    def end(self) -> None:
        """End all that run, and let no other start."""
        with self._guard:
            self._ended = True
            running = list(self._running)
        for child in running:
            child.end()


def run_program(
    command: Sequence[str],
    cwd: str | Path,
    *,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    output: IO[str] | None = None,
) -> Finished:
    """Run a program and wait for it. It ends with this process, whatever ends that, and so does all it has started.

    Args:
        command: program and arguments.
        cwd: directory to run in.
        env: its environment; this process' own by default.
        timeout: seconds after which it is ended.
        output: open file that takes standard output and standard error; by default they are returned.

    Raises:
        OutOfTimeError: it took longer than timeout seconds.
    """
    return Children().run(command, cwd, env=env, timeout=timeout, output=output)


def run_all(task: Callable[[int, Children], T], count: int, workers: int) -> list[T]:
    """`[task(0, children), task(1, children), ...]`, some at the same time; when one fails, the others are ended.

    Args:
        task: runs its programs by `children.run`.
        count: number of calls.
        workers: how many may run at the same time.
    """
    children = Children()
    if count == 1 or workers == 1:
        return [task(k, children) for k in range(count)]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            futures = [pool.submit(task, k, children) for k in range(count)]
            done, _ = wait_for(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children.end()
            raise


def started_at(pid: int) -> str | None:
    """When a process of this machine began, to tell it from a later one with the same id; None if there is none."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except (OSError, IndexError):
            return None
        # a zombie has ended: its parent has only not looked yet
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    told = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, began = told.stdout.strip().partition(" ")
    return began.strip() if began and not state.startswith("Z") else None
