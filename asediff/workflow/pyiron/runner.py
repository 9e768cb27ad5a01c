"""Runs a chain as jobs of a pyiron project: in this process, in child processes, in a queue, or by an executor."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asediff.host.files import writing
from asediff.host.processes import Children
from asediff.lammps.program import find_lmp
from asediff.workflow.chain import Chain, Node
from asediff.workflow.pyiron.launchers import (
    Beside,
    Here,
    Launcher,
    Queued,
    Workers,
    ended,
    is_busy,
    queue_number,
    waiting,
)
from asediff.workflow.pyiron.locks import own
from asediff.workflow.pyiron.projects import PyironError, turn_to
from asediff.workflow.pyiron.queues import check_queue, in_queue
from asediff.workflow.results import Results
from asediff.workflow.runner import Run
from asediff.workflow.stages import alone_in, stage
from asediff.workflow.stages.base import Say

if TYPE_CHECKING:
    from pyiron_base import Project

SUCCESSFUL = ("finished", "not_converged")
"""States of a job that has results."""
LONGEST_NAME = 255
"""Of a job, in pyiron's database."""


def run_chain_in(
    pr: Project,
    chain: Chain,
    *,
    queue: str | None = None,
    cores: int = 1,
    run_time: int | None = None,
    executor: Executor | None = None,
    say: Say = print,
) -> dict[str, Results]:
    """Run what has not finished of a chain as jobs of a project, and wait for all of it.

    A job is named after its stage and its key, so a change of a setting makes new jobs of it and of what depends on it.
    Finished jobs are not run; jobs that were aborted or killed go on from their checkpoints; those that another client
    runs are waited for. Stages that need not wait for each other run side by side, and a failure leaves them to finish.

    Args:
        pr: from `project`.
        chain: stages.
        queue: name of a queue of pyiron's; all jobs are sent there. An interrupted call leaves them there, and the next
            one waits for them.
        cores: without queue and executor, those of all jobs together, and with 1 the jobs run in this process;
            otherwise those of each job.
        run_time: seconds after which the queue ends a job; it goes on at the next call.
        executor: runs the jobs: `submit` as in `concurrent.futures`, on workers that see the project's folder, such as
            those of executorlib.
        say: takes a line for each change of a stage's state.

    Returns:
        The results of all stages, by name: the numbers of `run_chain`.

    Raises:
        PyironError: anything that cannot work, before a job is made.
        LammpsError: a stage needs LAMMPS, which is missing here.
        ChainError: a stage failed; those that do not depend on it have been finished.
        FileError: the project cannot be written to.
    """
    turn_to(pr)
    _check(pr, chain, queue, cores, run_time, executor)
    with alone_in(Path(pr.path), say):
        pass  # a project that cannot be written to is refused before a job is made
    slots = cores if queue is None and executor is None else None
    with ExitStack() as after, ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=max(cores, len(chain.nodes))))
        stop, children = threading.Event(), Children()
        stack.callback(stop.set)
        stack.callback(children.end)
        launcher: Launcher = Here()
        if queue is not None:
            launcher = Queued(queue, cores, run_time, pool, stop)
        elif executor is not None:
            launcher = Workers(executor, cores)
        elif cores > 1:
            launcher = Beside(children, pool)
        jobs = _Jobs(pr, chain, slots, launcher, lambda folder: pool.submit(waiting, folder, stop), say)
        after.callback(jobs.settle)  # when nothing that this call has started runs any more
        run = Run(chain, jobs, say)
        if slots is not None and any(stage(node.kind).inputs for node in run.waiting):
            find_lmp()
        jobs.complete()
        return run.to_the_end()


class _Jobs:
    """The jobs of a chain in a project; pyiron is asked in the thread that made this, and in no other."""

    def __init__(
        self,
        pr: Project,
        chain: Chain,
        slots: int | None,
        launcher: Launcher,
        wait: Callable[[Path], Future[Any]],
        say: Say,
    ) -> None:
        from asediff.workflow.pyiron.jobs import register

        register()
        self.pr, self.chain, self.slots = pr, chain, slots
        self.launcher, self.wait, self.say = launcher, wait, say
        self.submitted: list[Node] = []

    def folder(self, node: Node) -> Path:
        """Where a stage works."""
        from asediff.workflow.pyiron.jobs import job_folder

        return job_folder(self.pr, node.folder)

    def complete(self) -> None:
        """Let jobs whose stage has finished, but which were killed before they could say so, take their results."""
        for node in self.chain.nodes:
            folder = self.folder(node)
            if Results.finished(folder) and self._status(node) not in SUCCESSFUL and not is_busy(folder.parent):
                self._launch(node, Here()).result()

    def submit(self, node: Node) -> Future[Any]:
        """Start the job of a stage, go on with it, or wait for who runs it."""
        self.submitted.append(node)
        folder, row = self.folder(node), self._row(node)
        if in_queue(queue_number(folder)):
            return self.wait(folder)
        if row is not None and is_busy(folder.parent):
            joined = self.launcher.join(folder, row[0])
            if joined is not None:
                return joined
        return self._launch(node, self.launcher)

    def settle(self) -> None:
        """Call jobs aborted that were killed; those in a queue, or of another client, run on."""
        for node in self.submitted:
            folder, status = self.folder(node), self._status(node)
            if status is None or status in (*SUCCESSFUL, "aborted"):
                continue
            if not is_busy(folder.parent) and not in_queue(queue_number(folder)):
                self.pr.set_job_status(node.folder, "aborted")

    def _row(self, node: Node) -> tuple[int, str] | None:
        from asediff.workflow.pyiron.jobs import job_row

        return job_row(self.pr, node.folder)

    def _status(self, node: Node) -> str | None:
        row = self._row(node)
        return row[1] if row is not None else None

    def _launch(self, node: Node, launcher: Launcher) -> Future[Any]:
        with own(self.folder(node).parent, self.say), handlers_kept():
            status = self._status(node)
            if status in SUCCESSFUL:
                if Results.finished(self.folder(node)):  # somebody was quicker
                    return ended()
                self.pr.set_job_status(node.folder, "created")
            return launcher.launch(self._made(node) if status is None else self.pr.load(node.folder))

    def _made(self, node: Node) -> Any:
        from asediff.workflow.pyiron.jobs import class_of

        by_name = {other.name: other.folder for other in self.chain.nodes}
        job = self.pr.create_job(class_of(node.kind), node.folder)
        job.input.settings = dict(node.settings)
        job.input.parents = {role: [by_name[name] for name in names] for role, names in node.parents.items()}
        with writing(Path(self.pr.path)):
            job.save()
        return job


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Undo what pyiron does to Python's handlers of signals, after which Ctrl-C would end the interpreter."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGABRT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # set by another language
                signal.signal(number, handler)


def _check(
    pr: Project, chain: Chain, queue: str | None, cores: int, run_time: int | None, executor: Executor | None
) -> None:
    names = [node.folder for node in chain.nodes]
    for name in names:
        if not (name.isidentifier() and name.isascii() and len(name) <= LONGEST_NAME):
            raise PyironError(
                f"chain: {name!r} cannot be the name of a job; give letters, digits and _, a letter first, at most "
                f"{LONGEST_NAME} with the key"
            )
        if names.count(name) > 1:
            raise PyironError(f"chain: two stages would be the job {name!r}; give them names that differ")
    if cores < 1:
        raise PyironError(f"cores: {cores} is below 1; give the number of cores that may be used")
    if queue is not None and executor is not None:
        raise PyironError(f"queue, executor: queue {queue!r} and an executor are given; give one of the two")
    if queue is None and run_time is not None:
        raise PyironError(
            f"run_time: {run_time} s is for a queue, and none is given; give queue, or leave run_time out"
        )
    if queue is not None:
        check_queue(queue, Path(pr.path), cores, run_time)
