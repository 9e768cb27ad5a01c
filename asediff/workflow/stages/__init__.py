"""The kinds of stages, and `run_stage`, which runs one in a folder of its own and can be called again after a kill."""

from __future__ import annotations

import importlib
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from asediff.app.config.load import parse_as
from asediff.host.files import FileError, write_whole, writing
from asediff.host.locks import InUseError, Lock
from asediff.workflow.results import Results
from asediff.workflow.stages.base import ERROR, JSON, RECORD, Record, Say, Stage, StageError, Work, reason_of

KINDS = ("reference", "ibi", "gauss_newton", "diffsim", "reweighting", "validate", "transfer")
WAIT = 0.5
"""Seconds between looks at a folder that another process uses."""


def stage(kind: str) -> Stage:
    """A kind of stage by its name; its module is named alike.

    Raises:
        StageError: there is no such kind.
    """
    if kind not in KINDS:
        raise StageError(f"kind: {kind!r} is unknown; choose one of {', '.join(KINDS)}")
    found: Stage = importlib.import_module(f"{__name__}.{kind}").STAGE
    return found


def run_stage(
    kind: str,
    settings: Mapping[str, JSON],
    parents: Mapping[str, Path | str | Sequence[Path | str]],
    folder: str | Path,
    *,
    cores: int = 1,
    say: Say = print,
) -> Results:
    """Run a stage in a folder, go on with one that was interrupted there, or return what a finished one has left.

    Another process that works in the folder is waited for. The numbers do not depend on `cores`.

    Args:
        kind: of the stage.
        settings: of the kind; what is left out has its default.
        parents: role -> folder or folders of finished stages.
        folder: made if need be.
        cores: that the stage may use.
        say: takes lines for the user.

    Returns:
        What `results.h5` in the folder holds.

    Raises:
        StageError: an unknown kind, a parent that has not finished, or a folder that holds another stage.
        ConfigError: a setting that is refused.
        Exception: whatever stopped the stage; `error.txt` in the folder then holds the reason in one line.
    """
    chosen, folder = stage(kind), Path(folder)
    checked = parse_as(chosen.settings, settings, kind)
    given = {role: _paths(paths) for role, paths in parents.items()}
    record = Record(kind, checked.model_dump(mode="json"), given)
    check_roles(chosen, {role: len(paths) for role, paths in given.items()}, kind)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, say):
        if (folder / RECORD).is_file() and not Record.load(folder).same(record):
            raise StageError(f"{folder}: holds another stage or other settings; choose another folder")
        if Results.finished(folder):
            return Results.load(folder)
        for role, paths in given.items():
            for path in paths:
                if not Results.finished(path):
                    raise StageError(f"parents.{role}: {path} has not finished; run that stage first")
        record.write(folder)
        with writing(folder):
            (folder / ERROR).unlink(missing_ok=True)
        with told(folder), one_thread():
            found = chosen.run(Work(checked, given, folder, cores, say))
            found.write(folder)
    return Results.load(folder)


def check_roles(chosen: Stage, counts: Mapping[str, int], where: str) -> None:
    """Refuse parents that a stage does not take, or too few or many of them.

    Raises:
        StageError: naming the role.
    """
    for role in counts:
        if role not in chosen.roles:
            known = ", ".join(chosen.roles) or "none"
            raise StageError(f"{where}: parents.{role}: unknown role of {chosen.kind}; the roles are {known}")
    for role, rule in chosen.roles.items():
        count = counts.get(role, 0)
        if count == 0 or (count > 1 and not rule.many):
            wanted = "at least one stage" if rule.many else "one stage"
            kinds = " or ".join(rule.kinds)
            raise StageError(f"{where}: parents.{role}: {count} stages are given; give {wanted} of kind {kinds}")


@contextmanager
def alone_in(folder: Path, say: Say) -> Iterator[None]:
    """Use a folder that nobody else uses meanwhile; whoever does is waited for."""
    lock = _taken(folder, say)
    try:
        yield
    finally:
        lock.release()


def _taken(folder: Path, say: Say) -> Lock:
    waiting = False
    while True:
        try:
            return Lock(folder, secrets.token_hex(8))
        except InUseError as error:
            if not waiting:
                say(f"waiting: {error}")
            waiting = True
            time.sleep(WAIT)


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Leave the reason of an error in the folder, in one line.

    Raises:
        FileError: the folder cannot be written to, which is the better reason then.
    """
    try:
        yield
    except Exception as error:
        try:
            write_whole(folder / ERROR, (reason_of(error) + "\n").encode())
        except FileError as full:
            raise full from error  # a disk that has no room for a line has had none for the stage
        raise


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and the compiled loops use one thread: the bits of a run depend on the number of its threads."""
    names = ("OMP_NUM_THREADS", "ASEDIFF_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    torch = sys.modules.get("torch")  # if it is imported later, it reads the environment
    threads = torch.get_num_threads() if torch is not None else 1
    if torch is not None:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if torch is not None:
            torch.set_num_threads(threads)


def _paths(paths: Path | str | Sequence[Path | str]) -> tuple[Path, ...]:
    return (Path(paths),) if isinstance(paths, str | Path) else tuple(Path(path) for path in paths)
