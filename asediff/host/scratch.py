"""Temporary folders that are found and removed even if whoever made them was killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asediff.host.files import FileError
from asediff.host.locks import LOCK, InUseError, Lock

SCRATCH = "asediff-scratch-"
MARK = ".asediff.host.scratch"
"""File that tells a temporary folder from one in which somebody keeps results, whatever both are called."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of its own for temporary files, in the system's place for them.

    Those that killed processes have left are removed, told by their mark and by their locks.
    """
    top = Path(tempfile.gettempdir())
    for entry in list(os.scandir(top)):
        if entry.name.startswith(SCRATCH) and entry.is_dir(follow_symlinks=False):
            _remove_abandoned(Path(entry.path))
    path = Path(tempfile.mkdtemp(prefix=SCRATCH))
    lock = None
    try:
        lock = Lock(path, secrets.token_hex(8))
        (path / MARK).touch()
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            lock.release()


def _remove_abandoned(path: Path) -> None:
    # Somebody else's, in use, or being removed by another process: all are left alone.
    with contextlib.suppress(OSError, InUseError, FileError):
        if path.stat().st_uid != os.getuid() or not ((path / LOCK).is_file() and (path / MARK).is_file()):
            return
        lock = Lock(path, secrets.token_hex(8))
        try:
            if lock.previous is not None:
                shutil.rmtree(path, ignore_errors=True)
        finally:
            lock.release()
