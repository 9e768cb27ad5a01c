"""Files that are written whole or not at all, and names for them that cannot meet."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LONGEST_NAME = 80
"""Bytes of a cleaned name; file systems take 255, and prefixes, suffixes and temporary names need room."""

REMEDIES = {
    errno.ENOSPC: "free some space there or choose another folder",
    errno.EDQUOT: "free some of your quota or choose another folder",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENAMETOOLONG: "give a shorter name",
}


class FileError(OSError):
    """A file that cannot be written; one line with the path, the reason and the remedy, and the system's `errno`."""

    def __str__(self) -> str:
        return str(self.strerror)


DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What a system says that can write no more, whatever the name of the file."""


@contextmanager
def writing(path: str | Path, only: frozenset[int] | None = None) -> Iterator[None]:
    """Turn the system's errors into a `FileError` that names the path.

    Args:
        path: what is written.
        only: numbers of the errors to turn; all of them when None.

    Raises:
        FileError: the system refused.
    """
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        number = error.errno if error.errno is not None else errno.EIO
        reason = os.strerror(number) if error.errno is not None else str(error)
        remedy = REMEDIES.get(number, "check the path and the disk, or choose another folder")
        raise FileError(number, f"{path}: cannot be written ({reason}); {remedy}") from error


def write_whole(path: str | Path, data: bytes, *, unfinished: Path | None = None) -> None:
    """Replace a file in one step: whoever reads it, and whatever interrupts this, finds the old or the new contents.

    Args:
        path: the file; its folder has to exist.
        data: its contents.
        unfinished: where they are written first, in a folder on the same disk; it must not exist.

    Raises:
        FileError: the system refused; the file is as it was, and nothing else is left.
    """
    path = Path(path)
    if unfinished is None:
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    with writing(path):
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def file_name(name: str) -> str:
    """A name without what file systems refuse or read as a path; the same for the same name."""
    cleaned = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("_.").lstrip("-_.") or "unnamed"
    if len(cleaned.encode()) <= LONGEST_NAME:
        return cleaned
    digest = hashlib.sha256(cleaned.encode()).hexdigest()[:12]
    return cleaned.encode()[: LONGEST_NAME - 13].decode(errors="ignore") + "-" + digest


def check_names(argument: str, names: Sequence[str | None]) -> None:
    """Refuse names whose files would overwrite each other, also where upper and lower case are the same.

    Args:
        argument: what carries the names, for the message: `state_points`.
        names: in order.

    Raises:
        ValueError: two names that are the same, or become so in the name of a file.
    """
    taken: dict[str, int] = {}
    for k, name in enumerate(names):
        key = file_name(str(name)).casefold()
        if key in taken:
            raise ValueError(
                f"{argument}[{k}].name: {name!r} would share its files with {names[taken[key]]!r} of "
                f"{argument}[{taken[key]}]; give them names that differ in letters, digits, '.' or '-'"
            )
        taken[key] = k
