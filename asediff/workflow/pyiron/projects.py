"""pyiron's projects without configuration: the database and the log of a project lie in its own folder."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from asediff.host.files import writing
from asediff.workflow.stages import alone_in

if TYPE_CHECKING:
    from pyiron_base import Project

DATABASE = "pyiron.db"
LOG = "pyiron.log"
DATABASE_VARIABLE = "PYIRONSQLFILE"
DISABLED_VARIABLE = "PYIRONDISABLE"
RESOURCES_VARIABLE = "PYIRONRESOURCEPATHS"
OWN_VARIABLE = "ASEDIFF_PYIRONSQLFILE"
"""Tells processes that inherit the variable of the database that it was set here, and by no user."""

_own: list[Path] = []
"""Folders of the projects whose database is in their own folder, in the order in which they were opened."""


class PyironError(ValueError):
    """What pyiron cannot do here; one line with the argument, the reason and the remedy."""


def project(path: str | Path, *, resources: str | Path | None = None) -> Project:
    """A project of pyiron, which needs no configuration and no database server.

    Where the user has configured pyiron (a file `~/.pyiron`, or variables `PYIRON...` that say where the database is),
    that holds. Otherwise the project's folder takes the database (SQLite, `pyiron.db`) and the log (`pyiron.log`), and
    nothing is written to the home folder or the current one. pyiron knows one database at a time, that of the project
    opened last; the functions of this package turn to that of their project by themselves.

    Args:
        path: folder of the project, made if need be.
        resources: folder that holds pyiron's resources: the queues of a cluster are in `queues/queue.yaml` in it.

    Raises:
        PyironError: pyiron_base is not installed, the database cannot be opened, or there are no such resources.
        FileError: the folder cannot be written to.
    """
    folder = Path(path).resolve()
    if resources is not None and not Path(resources).is_dir():
        raise PyironError(f"resources: {resources} is no folder; give one that holds queues/queue.yaml")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    own = folder in _own or not is_configured()
    if resources is not None:
        os.environ[RESOURCES_VARIABLE] = str(Path(resources).resolve())
    base = load_pyiron(quietly=own)
    if own:
        with alone_in(folder, print):
            _use(folder)
        if folder not in _own:
            _own.append(folder)
    elif resources is not None:
        base.state.update()
    return base.Project(str(folder))


def turn_to(pr: Project) -> None:
    """Turn to the database of a project, if `project` has put it into its folder.

    Raises:
        PyironError: it cannot be opened.
    """
    above = [folder for folder in _own if Path(pr.path).is_relative_to(folder)]
    if above:
        _use(max(above, key=lambda folder: len(folder.parts)))


def is_configured() -> bool:
    """Whether the user has told pyiron where its database is.

    pyiron reads its file only where no variable is set, and keeps its database in the home folder if neither names one.
    """
    if os.environ.get(DATABASE_VARIABLE) not in (None, os.environ.get(OWN_VARIABLE)):
        return True
    variables = [name for name in os.environ if name.startswith("PYIRON") and name != DATABASE_VARIABLE]
    if any(name.startswith("PYIRONSQ") or name in (DISABLED_VARIABLE, "PYIRONCONFIG") for name in variables):
        return True
    return not variables and Path("~/.pyiron").expanduser().is_file()


def load_pyiron(*, quietly: bool | None = None) -> ModuleType:
    """The module pyiron_base.

    Args:
        quietly: open no database and leave no log, which `project` does later; by default where none is configured.

    Raises:
        PyironError: it is not installed.
    """
    quietly = not is_configured() if quietly is None else quietly
    with ExitStack() as stack:
        if quietly and "pyiron_base" not in sys.modules:
            stack.enter_context(_variable(DISABLED_VARIABLE, "True"))
            # pyiron opens its log in the current folder
            stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of what pyiron imports
        try:
            import pyiron_base
        except ImportError as error:
            raise PyironError(f"pyiron_base: {error}; run: pip install 'asediff[workflows]'") from None
    return pyiron_base


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _use(folder: Path) -> None:
    """Let pyiron use the database and the log in a folder; processes started from now on do so, too."""
    from pyiron_base import state

    wanted = str(folder / DATABASE)
    os.environ[DATABASE_VARIABLE] = os.environ[OWN_VARIABLE] = wanted
    opened = state.settings.configuration["sql_file"] == wanted and not state.database.database_is_disabled
    known = os.pathsep.join(state.settings.resource_paths)
    if opened and os.environ.get(RESOURCES_VARIABLE, known) == known:
        return
    try:
        state.update()
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise PyironError(f"{wanted}: the database cannot be opened ({reason}); choose another folder") from None
    for handler in [h for h in state.logger.handlers if isinstance(h, logging.FileHandler)]:
        state.logger.removeHandler(handler)
        handler.close()
    with writing(folder):
        log = logging.FileHandler(folder / LOG)
    log.setLevel(logging.INFO)
    log.setFormatter(state.logger.handlers[0].formatter)
    state.logger.addHandler(log)
