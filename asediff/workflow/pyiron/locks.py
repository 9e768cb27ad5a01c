"""The files of a job for one process alone, which may ask for them again while it has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asediff.host.files import writing
from asediff.workflow.stages import alone_in
from asediff.workflow.stages.base import Say

_held: set[Path] = set()


@contextmanager
def own(folder: Path, say: Say) -> Iterator[None]:
    """Use what is in the folder of a job, and the file beside it, after any process that does so now.

    Args:
        folder: `<job>_hdf5`, made if need be; the stage works in a folder in it, which it locks itself.
        say: takes a line if there is somebody to wait for.

    Raises:
        FileError: the folder cannot be written to.
    """
    folder = folder.resolve()
    if folder in _held:
        yield
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, say):
        _held.add(folder)
        try:
            yield
        finally:
            _held.discard(folder)
