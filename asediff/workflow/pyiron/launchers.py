"""Where the job of a stage runs: in this process, in a child process, on a worker of an executor, in a queue."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from asediff.host.files import write_whole, writing
from asediff.host.locks import InUseError, exclusive
from asediff.host.processes import Children
from asediff.workflow.pyiron.queues import POLL, in_queue
from asediff.workflow.results import Results
from asediff.workflow.runner import ChainError
from asediff.workflow.stages.base import ERROR

LOG = "log.txt"
NUMBER = "queue_id.txt"
"""Beside the folder of a stage: its number in the queue, which can be read while the job writes its own file."""


SAID = "pysqa.err"


class Launcher(Protocol):
    """Runs jobs that have been saved, new ones and those that are to go on."""

    def launch(self, job: Any) -> Future[Any]:
        """Start a job, whose files are this process' own meanwhile; the future ends with it, and has its error."""

    def join(self, folder: Path, number: int) -> Future[Any] | None:
        """Wait for a job that another process runs now; None to do so in place, and launch it then.

        Args:
            folder: of the stage.
            number: of the job in pyiron's database.
        """


class Here:
    """In this process, at once."""

    def launch(self, job: Any) -> Future[Any]:
        """See `Launcher`."""
        _placed(job, cores=1)
        try:
            job.run(repair=True)
        except Exception as error:
            return ended(error)
        return ended()

    def join(self, folder: Path, number: int) -> None:
        """See `Launcher`."""
        return


class Beside:
    """In child processes, each on one core, which end with this one."""

    def __init__(self, children: Children, pool: ThreadPoolExecutor) -> None:
        self.children, self.pool = children, pool

    def launch(self, job: Any) -> Future[Any]:
        """See `Launcher`."""
        _placed(job, cores=1)
        return self.join(Path(job.working_directory), int(job.job_id))

    def join(self, folder: Path, number: int) -> Future[Any]:
        """See `Launcher`; the child waits."""
        return self.pool.submit(run_job, str(folder), number, 1, {}, self.children)


class Workers:
    """On the workers of an executor."""

    def __init__(self, executor: Executor, cores: int) -> None:
        self.executor, self.cores = executor, cores

    def launch(self, job: Any) -> Future[Any]:
        """See `Launcher`."""
        _placed(job, cores=self.cores)
        return self.join(Path(job.working_directory), int(job.job_id))

    def join(self, folder: Path, number: int) -> Future[Any]:
        """See `Launcher`; the worker waits."""
        variables = {name: value for name, value in os.environ.items() if name.startswith("PYIRON")}
        return self.executor.submit(run_job, str(folder), number, self.cores, variables)


class Queued:
    """In a queue of a cluster."""

    def __init__(
        self, queue: str, cores: int, run_time: int | None, pool: ThreadPoolExecutor, stop: threading.Event
    ) -> None:
        self.queue, self.cores, self.run_time, self.pool, self.stop = queue, cores, run_time, pool, stop

    def launch(self, job: Any) -> Future[Any]:
        """See `Launcher`."""
        folder = Path(job.working_directory)
        _placed(job, cores=self.cores, queue=self.queue, run_time=self.run_time)
        try:
            job.run(repair=True)
        except ValueError as error:  # pyiron's, after pysqa has written down what the queue said
            told = folder / SAID
            why = (told.read_text().strip() if told.is_file() else str(error)).splitlines()[0]
            return ended(ChainError(f"queue {self.queue!r} did not take the job ({why}); see {told}"))
        write_whole(folder.parent / NUMBER, f"{job.server.queue_id}\n".encode())
        return self.join(folder, 0)

    def join(self, folder: Path, number: int) -> Future[Any]:
        """See `Launcher`."""
        return self.pool.submit(waiting, folder, self.stop)


def ended(error: Exception | None = None) -> Future[Any]:
    """The future of a job that has ended."""
    found: Future[Any] = Future()
    found.set_exception(error) if error is not None else found.set_result(None)
    return found


def run_job(folder: str, number: int, cores: int, variables: dict[str, str], children: Children | None = None) -> str:
    """Run a saved job as a program of its own; executors call this on their workers.

    Args:
        folder: its working directory.
        number: of the job in pyiron's database.
        cores: for threads of compiled loops.
        variables: of the environment, which say where the database is.
        children: the programs that it is to be ended with.

    Returns:
        The folder.

    Raises:
        ChainError: it left no results.
    """
    place = Path(folder)
    command = [sys.executable, "-m", "asediff.workflow.pyiron.program", str(place), str(number)]
    environment = os.environ | variables | {"OMP_NUM_THREADS": str(cores)}
    with (place.parent / LOG).open("a") as log:
        done = (children or Children()).run(command, place.parent, env=environment, output=log)
    if not Results.finished(place):
        raise ChainError(_told(place, f"{done.reason}; see {place.parent / LOG}"))
    return folder


def waiting(folder: Path, stop: threading.Event) -> None:
    """Wait for a job in a queue, or of another client, until it has ended, or the call that waits has.

    Raises:
        ChainError: it left no results.
    """
    number = queue_number(folder)
    while in_queue(number) or is_busy(folder.parent):
        if stop.wait(POLL):
            return
    if not Results.finished(folder):
        raise ChainError(_told(folder, "ended without results, perhaps at its time limit; the next run goes on"))


def queue_number(folder: Path) -> int | None:
    """Of a job in the queue to which it was sent last; None if it was not."""
    path = folder.parent / NUMBER
    return int(path.read_text()) if path.is_file() else None


def is_busy(folder: Path) -> bool:
    """Whether a process uses a folder."""
    if not folder.is_dir():
        return False
    try:
        with exclusive(folder):
            return False
    except InUseError:
        return True


def _placed(job: Any, *, cores: int, queue: str | None = None, run_time: int | None = None) -> None:
    """Tell a job, and its file, where it runs."""
    server = job.server
    with server.unlocked():
        server.queue = None  # and with it all that is said of an earlier one
        server.run_mode = "modal"
        server.cores = cores
        if queue is not None:
            if run_time is not None:
                server.run_time = run_time
            server.queue = queue
    folder = Path(job.working_directory)
    with writing(folder):
        job.project_hdf5.write_dict(data_dict={"server": server.to_dict()})
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ERROR).unlink(missing_ok=True)
        (folder.parent / NUMBER).unlink(missing_ok=True)


def _told(folder: Path, otherwise: str) -> str:
    """The reason that a stage has left."""
    reason = folder / ERROR
    return reason.read_text().strip() if reason.is_file() else otherwise
