"""The list of files that asediff keeps in each of its result folders: what it has written there, and may remove."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path, PurePosixPath

from asediff.host.files import writing
from asediff.host.locks import LOCK

MARKER = ".asediff"
PROGRAM = "asediff"
FORMAT = 1
TOKEN = re.compile(r"[0-9a-f]{16}")


class FolderError(ValueError):
    """A folder that cannot be used as asked; one line with the folder, the reason and the remedy."""


@dataclass
class Manifest:
    """What is in a result folder.

    Attributes:
        kind: of the results: `fit`, `export`, ...
        token: part of the names of temporary files in the folder, which tells them from all others.
        files: paths relative to the folder, with `/` between their parts.
    """

    kind: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    files: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The list of a folder; None where there is none.

        Raises:
            FolderError: it is damaged, or of another version.
        """
        try:
            values = json.loads((folder / MARKER).read_bytes())
            found = cls(values["kind"], values["token"], set(values["files"]))
            known = values["program"] == PROGRAM and values["format"] == FORMAT
            sound = (
                isinstance(found.kind, str)
                and TOKEN.fullmatch(found.token) is not None
                and all(_is_inside(name) for name in found.files)
            )
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError):
            known = sound = False
        if not (known and sound):
            raise FolderError(
                f"{folder}: its list of files, {MARKER}, is damaged or of another version; choose another folder"
            )
        return found

    @classmethod
    def of_kind(cls, folder: Path, kind: str) -> Manifest:
        """The list of a folder that has to hold results of a kind; reads only.

        Raises:
            FolderError: it does not, or nothing tells what in it asediff has written.
        """
        if folder.exists() and not folder.is_dir():
            raise FolderError(f"{folder}: is a file; choose another name for the folder")
        found = cls.read(folder)
        if found is None:
            raise FolderError(
                f"{folder}: holds no {kind} with a list of its files ({MARKER}), so asediff does not know what in it "
                "may be replaced; choose another folder, or move this one away"
            )
        if found.kind != kind:
            raise FolderError(f"{folder}: holds results of {found.kind}, not of {kind}; choose another folder")
        return found

    def encoded(self) -> bytes:
        """As it is written."""
        values = {
            "program": PROGRAM,
            "version": metadata.version("asediff"),
            "format": FORMAT,
            "kind": self.kind,
            "token": self.token,
            "files": sorted(self.files),
        }
        return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()

    def temporary(self, number: int, name: str) -> str:
        """A name for something temporary."""
        return f".{name.strip('.')[:100]}.{self.token}-{number}.part"


def is_temporary(name: str, tokens: set[str]) -> bool:
    """Whether a name was made by `Manifest.temporary` with one of the tokens."""
    found = re.fullmatch(r"\..*\.([0-9a-f]{16})-\d+\.part", name)
    return found is not None and found[1] in tokens


def is_blank(path: Path) -> bool:
    """Whether nothing is at a path but, perhaps, an empty folder or the traces of a start that was killed."""
    with writing(path):
        if not path.is_dir():
            return not path.exists() and not path.is_symlink()
        names = [entry.name for entry in path.iterdir()]
    return not names or (LOCK in names and all(n == LOCK or (n[0] == "." and n.endswith(".part")) for n in names))


def _is_inside(name: object) -> bool:
    """Whether a listed path leads to a file inside the folder and is none of the folder's own."""
    if not isinstance(name, str) or "\\" in name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and name not in (MARKER, LOCK)
