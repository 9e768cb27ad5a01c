"""Where the job of a stage runs: in this process, in a child process, on a worker of an executor, in a queue."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from asediff.app.workflow.pyiron.queues import POLL, in_queue
from asediff.app.workflow.results import Results
from asediff.app.workflow.runner import LOG, ChainError
from asediff.app.workflow.stages.base import ERROR
from asediff.host.files import writing
from asediff.host.locks import InUseError, exclusive
from asediff.host.processes import Children


class Launcher(Protocol):
    """Runs jobs that have been saved, new ones and those that are to go on.

    Attributes:
        sends: jobs to where they would take the place of others while they wait for a process that runs them already.
    """

    sends: bool

    def launch(self, job: Any) -> Future[Any]:
        """Start a job; the future ends with it, and has its error."""


class Here:
    """In this process, at once."""

    sends = False

    def launch(self, job: Any) -> Future[Any]:
        """See `Launcher`."""
        _placed(job, cores=1)
        done: Future[Any] = Future()
        try:
            job.run(repair=True)
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)
        return done


class Beside:
    """In child processes, each on one core, which end with this one."""

    sends = False

    def __init__(self, children: Children, pool: ThreadPoolExecutor) -> None:
        self.children, self.pool = children, pool

    def launch(self, job: Any) -> Future[Any]:
        """See `Launcher`."""
        _placed(job, cores=1)
        return self.pool.submit(self._run, Path(job.working_directory), int(job.job_id))

    def _run(self, folder: Path, number: int) -> None:
        with (folder.parent / LOG).open("a") as log:
            done = self.children.run(_command(folder, number), folder.parent, env=_environment(1), output=log)
        if not Results.finished(folder):
            raise ChainError(_told(folder, f"{done.reason}; see {folder.parent / LOG}"))


class Workers:
    """On the workers of an executor."""

    sends = True

    def __init__(self, executor: Executor, cores: int) -> None:
        self.executor, self.cores = executor, cores

    def launch(self, job: Any) -> Future[Any]:
        """See `Launcher`."""
        _placed(job, cores=self.cores)
        variables = {name: value for name, value in os.environ.items() if name.startswith("PYIRON")}
        return self.executor.submit(run_job, job.working_directory, int(job.job_id), self.cores, variables)


class Queued:
    """In a queue of a cluster."""

    sends = True

    def __init__(
        self, queue: str, cores: int, run_time: int | None, pool: ThreadPoolExecutor, stop: threading.Event
    ) -> None:
        self.queue, self.cores, self.run_time, self.pool, self.stop = queue, cores, run_time, pool, stop

    def launch(self, job: Any) -> Future[Any]:
        """See `Launcher`."""
        _placed(job, cores=self.cores, queue=self.queue, run_time=self.run_time)
        job.run(repair=True)
        return self.pool.submit(waiting, Path(job.working_directory), job.server.queue_id, self.stop)


def run_job(folder: str, number: int, cores: int, variables: dict[str, str]) -> str:
    """Run a saved job as a program of its own; executors call this on their workers.

    Args:
        folder: its working directory.
        number: of the job in pyiron's database.
        cores: for threads of compiled loops.
        variables: of the environment, which say where the database is.

    Returns:
        The folder.

    Raises:
        ChainError: it left no results.
    """
    place = Path(folder)
    with (place.parent / LOG).open("a") as log:
        done = Children().run(_command(place, number), place.parent, env=_environment(cores) | variables, output=log)
    if not Results.finished(place):
        raise ChainError(_told(place, f"{done.reason}; see {place.parent / LOG}"))
    return folder


def waiting(folder: Path, number: int | None, stop: threading.Event) -> None:
    """Wait for a job in a queue, or of another client, until it has ended, or the call that waits has.

    Raises:
        ChainError: it left no results.
    """
    while in_queue(number) or is_busy(folder.parent):
        if stop.wait(POLL):
            return
    if not Results.finished(folder):
        raise ChainError(
            _told(folder, "ended without results, perhaps at its time limit; run the chain again to go on")
        )


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
    job.project_hdf5.write_dict(data_dict={"server": server.to_dict()})
    folder = Path(job.working_directory)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ERROR).unlink(missing_ok=True)


def _command(folder: Path, number: int) -> list[str]:
    return [sys.executable, "-m", "pyiron_base.cli", "wrapper", "-p", str(folder), "-j", str(number)]


def _environment(cores: int) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(cores)}


def _told(folder: Path, otherwise: str) -> str:
    """The reason that a stage has left."""
    reason = folder / ERROR
    return reason.read_text().strip() if reason.is_file() else otherwise
