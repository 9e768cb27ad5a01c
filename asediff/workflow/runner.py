"""Runs a chain in a project: each stage in a process of its own, and side by side what need not wait for each other."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from itertools import chain as chained
from pathlib import Path
from typing import Any, Protocol

from asediff.host.files import writing
from asediff.host.manifest import FolderError
from asediff.host.processes import Children
from asediff.lammps.program import find_lmp
from asediff.workflow.chain import Chain, Node
from asediff.workflow.plan import expectations, settings_of
from asediff.workflow.results import Results
from asediff.workflow.stages import stage
from asediff.workflow.stages.base import ERROR, Record, Say, reason_of
from asediff.workflow.stages.command import run_recorded


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
    """Run what has not finished of a chain; after an interruption, go on. The numbers depend on the chain alone.

    Args:
        chain: stages.
        project: folder of their folders, made if need be. Several may run chains in it at once.
        cores: that all stages together may use; with an executor, that each of them may.
        executor: runs stages in place of child processes: `submit` of `concurrent.futures`, on workers that see the
            project's folder, such as those of executorlib.
        say: takes a line for each change of a stage's state.

    Returns:
        The results of all stages, by name.

    Raises:
        ValueError: cores below 1.
        LammpsError: a stage needs LAMMPS, which is missing.
        FolderError: the project is a file.
        FileError: the project cannot be written to.
        ChainError: a stage failed; those that do not depend on it have been finished.
    """
    if cores < 1:
        raise ValueError(f"cores: {cores} is below 1; give the number of cores that the chain may use")
    project = Path(project)
    if project.exists() and not project.is_dir():
        raise FolderError(f"{project}: is a file; choose another name for the folder")
    children = Children()
    own = None if executor is not None else ThreadPoolExecutor(max_workers=cores)
    run = Run(chain, _Folders(chain, project, cores, executor or own, children if own is not None else None), say)
    if own is not None and any(stage(node.kind).inputs for node in run.waiting):
        find_lmp()
    try:
        if run.waiting:
            with writing(project):
                project.mkdir(parents=True, exist_ok=True)
        return run.to_the_end()
    except BaseException:
        children.end()
        raise
    finally:
        if own is not None:
            own.shutdown(wait=True, cancel_futures=True)


class Starter(Protocol):
    """Who runs the stages of a chain, and where.

    Attributes:
        slots: how many stages may run at once; None for any number. It is asked before each.
    """

    @property
    def slots(self) -> int | None:
        """See the class."""

    def folder(self, node: Node) -> Path:
        """Of a stage."""

    def submit(self, node: Node) -> Future[Any]:
        """Start a stage; the future ends with it, and has its error."""


class _Folders:
    """Stages in folders of a project, as child processes or on the workers of an executor."""

    def __init__(self, chain: Chain, project: Path, cores: int, executor: Any, children: Children | None) -> None:
        self.project, self.cores, self.executor, self.children = project, cores, executor, children
        self.by_name = {node.name: node for node in chain.nodes}
        self.given: dict[Future[Any], int] = {}

    @property
    def slots(self) -> int | None:
        """As many as cores; a stage that has several takes the place of as many."""
        if self.children is None:
            return None
        return self.cores - sum(cores - 1 for future, cores in self.given.items() if not future.done())

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
        with writing(folder):
            (folder / ERROR).unlink(missing_ok=True)
        if self.children is None:
            found: Future[Any] = self.executor.submit(run_recorded, str(folder.resolve()), self.cores)
            return found
        busy = sum(cores for future, cores in self.given.items() if not future.done())
        cores = max(1, min(self._share(node), self.cores - busy))
        future = self.executor.submit(_as_child, self.children, folder, cores)
        self.given[future] = cores
        return future

    def _share(self, node: Node) -> int:
        """Cores for a stage, if all of its kind run side by side."""
        alike = sum(other.kind == node.kind for other in self.by_name.values())
        return min(stage(node.kind).width(settings_of(node)), self.cores // alike)


class Run:
    """A chain under way."""

    def __init__(self, chain: Chain, starter: Starter, say: Say) -> None:
        self.chain, self.starter, self.say = chain, starter, say
        self.running: dict[Future[Any], tuple[Node, float]] = {}
        self.finished = {node.name for node in chain.nodes if Results.finished(starter.folder(node))}
        self.failed: dict[str, str] = {}
        self.lost: list[str] = []
        expected = expectations(chain)
        # long stages first: what is left at the end is short, and no core idles
        self.waiting = sorted(
            (node for node in chain.nodes if node.name not in self.finished),
            key=lambda node: -expected[node.name].seconds,
        )

    def to_the_end(self) -> dict[str, Results]:
        """Run what has not finished.

        Raises:
            ChainError: a stage failed; those that do not depend on it have been finished.
        """
        while self.waiting or self.running:
            self._give_up()
            self._start()
            if self.running:
                done, _ = wait(self.running, return_when=FIRST_COMPLETED)
                for future in done:
                    self._end(future)
        if self.failed:
            told = "; ".join(f"{name}: {reason}" for name, reason in self.failed.items())
            rest = f"; not run, since they depend on it: {', '.join(self.lost)}" if self.lost else ""
            raise ChainError(f"{told}{rest}; the others are kept, and the same command goes on")
        return {node.name: Results.load(self.starter.folder(node)) for node in self.chain.nodes}

    def _give_up(self) -> None:
        """Leave out what has lost a parent; in the order of the chain, so that its own children are left out, too."""
        bad = {*self.failed, *self.lost}
        for node in self.chain.nodes:
            parent = next((name for name in chained.from_iterable(node.parents.values()) if name in bad), None)
            if node in self.waiting and parent is not None:
                self.waiting.remove(node)
                self.lost.append(node.name)
                bad.add(node.name)
                self.say(f"{node.name}: not run, since {parent} has no results")

    def _start(self) -> None:
        """Start what has its parents and finds a core."""
        for node in list(self.waiting):
            slots = self.starter.slots
            if slots is not None and len(self.running) >= slots:
                return
            if self.finished.issuperset(chained.from_iterable(node.parents.values())):
                self.waiting.remove(node)
                self.running[self.starter.submit(node)] = (node, time.perf_counter())
                self.say(f"{node.name}: started")

    def _end(self, future: Future[Any]) -> None:
        node, began = self.running.pop(future)
        seconds, error = time.perf_counter() - began, future.exception()
        if error is None:
            self.finished.add(node.name)
            count = f"{len(self.finished)} of {len(self.chain.nodes)}"
            self.say(f"{node.name}: finished in {seconds:.1f} s ({count})")
        else:
            reason = reason_of(error)
            self.failed[node.name] = f"{reason} ({self.starter.folder(node)})"
            self.say(f"{node.name}: failed after {seconds:.1f} s: {reason}")


def _as_child(children: Children, folder: Path, cores: int) -> None:
    """Run a stage as a program that ends with this one."""
    command = [sys.executable, "-m", "asediff.workflow.stages", str(folder.resolve()), "--cores", str(cores)]
    done = children.run(command, Path.cwd(), env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.status == 0 and Results.finished(folder):
        return
    reason = folder / ERROR
    if done.signal is None and reason.is_file():
        raise ChainError(reason.read_text().strip())
    told = [line for line in done.output.splitlines() if line.strip()]
    raise ChainError(done.reason if done.signal is not None or not told else told[-1])


__all__ = ["ChainError", "Run", "Starter", "run_chain"]
