"""Runs a chain in a project: each stage in a process of its own, and side by side what need not wait for each other."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from asediff.app.workflow.chain import Chain, Node
from asediff.app.workflow.results import Results
from asediff.app.workflow.stages.base import ERROR, Record, Say
from asediff.app.workflow.stages.command import run_recorded
from asediff.host.files import writing
from asediff.host.processes import Children

LOG = "log.txt"


class ChainError(RuntimeError):
    """Stages of a chain have failed; one line that names them, their folders and reasons."""


def run_chain(
    chain: Chain,
    project: str | Path,
    *,
    cores: int = 1,
    executor: Executor | None = None,
    say: Say = print,
) -> dict[str, Results]:
    """Run what has not finished of a chain.

    Args:
        chain: stages.
        project: folder of their folders, made if need be.
        cores: that all stages together may use; with an executor, each of them.
        executor: runs stages in place of child processes: `submit` of `concurrent.futures`, on workers that see the
            project's folder, such as those of executorlib.
        say: takes a line for each change of a stage's state.

    Returns:
        The results of all stages, by name.

    Raises:
        ChainError: a stage failed; those that do not depend on it have been finished.
        FileError: the project cannot be written to.
    """
    project = Path(project)
    with writing(project):
        project.mkdir(parents=True, exist_ok=True)
    children = Children()
    own = None if executor is not None else ThreadPoolExecutor(max_workers=max(1, cores))
    starter = _Folders(chain, project, cores, executor or own, children if own is not None else None)
    try:
        return Run(chain, starter, say).to_the_end()
    except BaseException:
        children.end()
        raise
    finally:
        if own is not None:
            own.shutdown(wait=True, cancel_futures=True)


class Starter(Protocol):
    """Who runs the stages of a chain, and where.

    Attributes:
        slots: how many stages may run at once; None for any number.
    """

    slots: int | None

    def folder(self, node: Node) -> Path:
        """Of a stage."""

    def submit(self, node: Node) -> Future[Any]:
        """Start a stage; the future ends with it, and has its error."""


class _Folders:
    """Stages in folders of a project, as child processes or on the workers of an executor."""

    def __init__(self, chain: Chain, project: Path, cores: int, executor: Any, children: Children | None) -> None:
        self.project, self.cores, self.executor, self.children = project, cores, executor, children
        self.by_name = {node.name: node for node in chain.nodes}
        self.slots = None if children is None else cores

    def folder(self, node: Node) -> Path:
        """See `Starter`."""
        return self.project / node.folder

    def submit(self, node: Node) -> Future[Any]:
        """See `Starter`."""
        folder = self.folder(node)
        with writing(folder):
            folder.mkdir(exist_ok=True)
        parents = {
            role: tuple(self.folder(self.by_name[name]) for name in names) for role, names in node.parents.items()
        }
        Record(node.kind, node.settings, parents).write(folder)
        if self.children is None:
            found: Future[Any] = self.executor.submit(run_recorded, str(folder.resolve()), self.cores)
            return found
        return self.executor.submit(_as_child, self.children, folder, 1)


class Run:
    """A chain under way."""

    def __init__(self, chain: Chain, starter: Starter, say: Say) -> None:
        self.chain, self.starter, self.say = chain, starter, say
        self.running: dict[Future[Any], tuple[Node, float]] = {}
        self.finished: set[str] = set()
        self.failed: dict[str, str] = {}
        self.waiting = list(chain.nodes)

    def to_the_end(self) -> dict[str, Results]:
        """Run what has not finished.

        Raises:
            ChainError: a stage failed; those that do not depend on it have been finished.
        """
        for node in self.chain.nodes:
            if Results.finished(self.starter.folder(node)):
                self.finished.add(node.name)
        self.waiting = [node for node in self.waiting if node.name not in self.finished]
        while self.waiting or self.running:
            self._start()
            if self.running:
                done, _ = wait(self.running, return_when=FIRST_COMPLETED)
                for future in done:
                    self._end(future)
        if self.failed:
            raise ChainError("; ".join(f"{name}: {reason}" for name, reason in self.failed.items()))
        return {node.name: Results.load(self.starter.folder(node)) for node in self.chain.nodes}

    def _start(self) -> None:
        """Start what has its parents and finds a core; give up what has lost one."""
        for node in list(self.waiting):
            parents = [name for names in node.parents.values() for name in names]
            lost = [name for name in parents if name in self.failed]
            if lost:
                self.waiting.remove(node)
                self.failed[node.name] = f"not run, since {lost[0]} failed"
                self.say(f"{node.name}: not run, since {lost[0]} failed")
            elif self.finished.issuperset(parents) and len(self.running) < (
                self.starter.slots or len(self.chain.nodes)
            ):
                self.waiting.remove(node)
                self.say(f"{node.name}: started")
                self.running[self.starter.submit(node)] = (node, time.perf_counter())

    def _end(self, future: Future[Any]) -> None:
        node, began = self.running.pop(future)
        seconds, error = time.perf_counter() - began, future.exception()
        if error is None:
            self.finished.add(node.name)
            self.say(f"{node.name}: finished in {seconds:.1f} s")
        else:
            reason = _line(error)
            self.failed[node.name] = f"{reason} ({self.starter.folder(node)})"
            self.say(f"{node.name}: failed after {seconds:.1f} s: {reason}")


def _as_child(children: Children, folder: Path, cores: int) -> None:
    """Run a stage as a program that ends with this one."""
    command = [sys.executable, "-m", "asediff.app.workflow.stages", str(folder.resolve()), "--cores", str(cores)]
    environment = os.environ | {name: str(cores) for name in ("OMP_NUM_THREADS",)}
    with (folder / LOG).open("a") as log:
        done = children.run(command, Path.cwd(), env=environment, output=log)
    if not Results.finished(folder):
        reason = folder / ERROR
        told = reason.read_text().strip() if reason.is_file() else f"{done.reason}; see {folder / LOG}"
        raise ChainError(told)


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


__all__ = ["LOG", "ChainError", "Run", "Starter", "run_chain"]
