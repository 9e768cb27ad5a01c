"""Errors about the folder of results in terms of the option that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asediff.host.locks import InUseError
from asediff.host.manifest import FolderError


@contextmanager
def named_by_output() -> Iterator[None]:
    """Put `--output` before what is wrong with a folder.

    Raises:
        FolderError: instead of an error without it.
    """
    try:
        yield
    except (FolderError, InUseError) as error:
        raise FolderError(f"--output {error}") from None
