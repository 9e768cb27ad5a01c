"""Files that a user names: what is refused before anything is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHER = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a pipe, which cannot be read twice"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
    (stat.S_ISSOCK, "is a socket"),
)


def check_file(path: str | os.PathLike[str], wanted: str, *, largest: int | None = None) -> Path:
    """The path of an ordinary file.

    Args:
        path: as the user wrote it.
        wanted: what to give instead, for the message.
        largest: bytes; a larger file is refused.

    Raises:
        ValueError: there is no such file, it is a folder, pipe or device (nothing waits for one), or it is too large.
    """
    path = Path(path)
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError) else error
        raise ValueError(f"{path}: {getattr(reason, 'strerror', reason)}; give {wanted}") from None
    for matches, reason in _OTHER:
        if matches(found.st_mode):
            raise ValueError(f"{path}: {reason}; give {wanted}")
    if largest is not None and found.st_size > largest:
        raise ValueError(f"{path}: {found.st_size / 1e6:.1f} MB are more than the {largest / 1e6:g} MB of {wanted}")
    return path


def read_text(path: str | os.PathLike[str], wanted: str, *, largest: int) -> str:
    """The text of a small file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: it is not an ordinary file, is too large, or is not text.
    """
    path = check_file(path, wanted, largest=largest)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 (byte {error.start}); give {wanted}") from None
