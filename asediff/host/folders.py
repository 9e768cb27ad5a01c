"""Folders of results, which know what asediff has written into them; only that is ever replaced or removed."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from asediff.host.files import DISK, write_whole, writing
from asediff.host.locks import LOCK, Lock
from asediff.host.manifest import MARKER, FolderError, Manifest, is_blank, is_temporary

HINTS = {"fit": " or --resume"}
"""What else can be done with a folder that exists."""


class ResultFolder:
    """A folder in which asediff keeps results, for this process alone while it is open.

    The file `.asediff` in it lists every file that asediff has written there, and is brought up to date before each
    one. A file that is there but not listed belongs to somebody else: it is neither replaced nor removed. Temporary
    files carry the folder's token in their names; what an interrupted process has left of them is removed when the
    folder is opened next.

    Use `opened`, `made` or `existing`, which lock and release it.

    Attributes:
        path: the folder.
        manifest: kind of the results and list of files.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._counter = itertools.count()

    @classmethod
    @contextmanager
    def opened(cls, path: str | Path, kind: str) -> Iterator[ResultFolder]:
        """A folder to write results to, made if need be; other files in it are left alone.

        Raises:
            FolderError: it is a file, or its list of files cannot be read.
            InUseError: another process uses it.
            FileError: it cannot be written to.
        """
        with cls._entered(Path(path), kind) as folder:
            yield folder

    @classmethod
    @contextmanager
    def made(cls, path: str | Path, kind: str, *, overwrite: bool = False) -> Iterator[ResultFolder]:
        """A new folder, or one whose older results `clear` may remove; vanishes if nothing is written to it.

        Args:
            path: of the folder; absent, empty, or with nothing but what an interrupted start has left.
            kind: what will be in it.
            overwrite: results of the same kind may be there, and nothing else.

        Raises:
            FolderError: something is there that may not be replaced.
            InUseError: another process uses it.
            FileError: it cannot be written to.
        """
        path = Path(path)
        cls.refuse(path, kind, overwrite=overwrite)
        with cls._entered(path, kind) as folder:
            if foreign := folder.foreign():
                some = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
                raise FolderError(
                    f"{path}: holds {some}, which asediff did not write; move that elsewhere or choose another folder"
                )
            for name in folder.manifest.files:
                folder._check_removable(name)
            yield folder

    @classmethod
    def refuse(cls, path: Path, kind: str, *, overwrite: bool) -> None:
        """Refuse a path for `made` as far as a look at it tells; nothing is written.

        Raises:
            FolderError: something is there that may not be replaced.
        """
        if is_blank(path):
            return
        marked = path.is_dir() and (path / MARKER).is_file()
        if not marked and not overwrite:
            raise FolderError(f"{path}: exists; choose another folder")
        if Manifest.of_kind(path, kind).files and not overwrite:
            raise FolderError(f"{path}: exists; choose another folder, --overwrite{HINTS.get(kind, '')}")

    @classmethod
    @contextmanager
    def existing(cls, path: str | Path, kind: str) -> Iterator[ResultFolder]:
        """A folder with results of a kind.

        Raises:
            FolderError: there is none, or it has no list of files, as those of earlier versions.
            InUseError: another process uses it.
            FileError: it cannot be written to.
        """
        Manifest.of_kind(Path(path), kind)
        with cls._entered(Path(path), kind) as folder:
            yield folder

    @classmethod
    @contextmanager
    def _entered(cls, path: Path, kind: str) -> Iterator[ResultFolder]:
        if path.exists() and not path.is_dir():
            raise FolderError(f"{path}: is a file; choose another name for the folder")
        manifest = Manifest(kind)
        with ExitStack() as stack:
            with writing(path):
                for made in _make(path):
                    stack.callback(_remove_if_empty, made)
            lock = Lock(path, manifest.token)
            stack.callback(lock.release)
            folder = cls(path, Manifest.read(path) or manifest)
            stack.callback(folder._leave)
            tokens = {folder.manifest.token} | ({lock.previous.token} if lock.previous is not None else set())
            folder._tidy(tokens)
            yield folder

    def _leave(self) -> None:
        """Without any file, a folder is no result: its list of files goes."""
        if not self.manifest.files:
            (self.path / MARKER).unlink(missing_ok=True)

    def _tidy(self, tokens: set[str]) -> None:
        """Remove what interrupted processes have left."""
        with writing(self.path):
            for entry in list(self.path.iterdir()):
                if not is_temporary(entry.name, tokens):
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()

    def _temporary(self, name: str) -> Path:
        return self.path / self.manifest.temporary(next(self._counter), name)

    def _save(self) -> None:
        write_whole(self.path / MARKER, self.manifest.encoded(), unfinished=self._temporary(MARKER))

    def foreign(self) -> list[str]:
        """Paths in the folder that are not listed; other result folders inside it are left out."""
        found = []
        for root, folders, names in os.walk(self.path):
            here = PurePosixPath(Path(root).relative_to(self.path).as_posix())
            for name in list(folders):
                if Path(root, name).is_symlink():
                    names.append(name)
                elif (Path(root, name) / MARKER).is_file():
                    folders.remove(name)
            paths = [str(here / name) for name in names]
            found += [path for path in paths if path not in (MARKER, LOCK) and path not in self.manifest.files]
        return sorted(found)

    def has(self, name: str) -> bool:
        """Whether asediff has written a file, and it is there."""
        return name in self.manifest.files and (self.path / name).is_file()

    def check(self, *names: str) -> None:
        """Refuse names under which asediff could not write.

        Raises:
            FolderError: one of them is there already, and asediff did not write it.
        """
        for name in names:
            self._check_parents(name)
        for name in sorted(set(names) - self.manifest.files):
            if os.path.lexists(self.path / name):
                raise FolderError(
                    f"{self.path / name}: exists, and asediff did not write it, or an earlier version did; move it "
                    "elsewhere or choose another folder"
                )

    def _add(self, *names: str) -> None:
        """List files that are about to be written."""
        self.check(*names)
        if not self.manifest.files.issuperset(names):
            self.manifest.files.update(names)
            self._save()

    def write(self, name: str, data: bytes) -> Path:
        """Write a file in one step and list it.

        Args:
            name: path relative to the folder.
            data: its contents.

        Raises:
            FolderError: it is there already, and asediff did not write it.
            FileError: the system refused; an earlier file is as it was.
        """
        self._add(name)
        path = self.path / name
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data, unfinished=self._temporary(path.name))
        return path

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder for temporary files."""
        path = self._temporary("scratch")
        with writing(path):
            path.mkdir()
        try:
            with writing(self.path, only=DISK):
                yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)  # what stays is removed when the folder is opened next

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A new folder, whose files all move to the same places in the result folder and are listed, at the end.

        Nothing moves if the body fails.

        Raises:
            FolderError: one of them is there already, and asediff did not write it.
            FileError: the system refused.
        """
        with self.scratch() as stage:
            yield stage
            paths = sorted(path for path in stage.rglob("*") if not path.is_dir())
            names = [path.relative_to(stage).as_posix() for path in paths]
            self._add(*names)
            for path, name in zip(paths, names, strict=True):
                with writing(self.path / name):
                    _to_disk(path)
                    (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                    path.replace(self.path / name)

    def remove(self, *names: str) -> None:
        """Remove listed files, and folders that become empty; a link is never followed.

        Raises:
            FolderError: a name is not listed, or something else is in its place.
        """
        for name in names:
            if name not in self.manifest.files:
                raise FolderError(f"{self.path / name}: asediff did not write it; it stays")
            self._check_removable(name)
        with writing(self.path):
            for name in names:
                self._unlink(name)
        if names:
            self.manifest.files -= set(names)
            self._save()

    def clear(self) -> None:
        """Remove all listed files."""
        self.remove(*sorted(self.manifest.files))

    def _check_parents(self, name: str) -> None:
        path = self.path
        for part in PurePosixPath(name).parts[:-1]:
            path /= part
            if path.is_symlink():
                raise FolderError(f"{path}: is a link, which asediff did not make; remove it or choose another folder")

    def _check_removable(self, name: str) -> None:
        self._check_parents(name)
        path = self.path / name
        if path.is_symlink() or path.is_dir():
            what = "link" if path.is_symlink() else "folder"
            raise FolderError(f"{path}: is a {what}, which asediff did not make; move it elsewhere")

    def _unlink(self, name: str) -> None:
        """Remove a file by way of open folders, so that no link that appears meanwhile can lead elsewhere."""
        *parents, last = PurePosixPath(name).parts
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        with ExitStack() as stack:
            opened = [os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)]
            stack.callback(os.close, opened[0])
            try:
                for part in parents:
                    opened.append(os.open(part, flags, dir_fd=opened[-1]))
                    stack.callback(os.close, opened[-1])
                os.unlink(last, dir_fd=opened[-1])
            except FileNotFoundError:
                return
            for part, above in zip(reversed(parents), reversed(opened[:-1]), strict=True):
                with contextlib.suppress(OSError):  # it is not empty
                    os.rmdir(part, dir_fd=above)


def _make(path: Path) -> list[Path]:
    """Make a folder and those above it; returns the new ones, from the top."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
    return list(reversed(missing))


def _remove_if_empty(path: Path) -> None:
    with contextlib.suppress(OSError):  # it holds something, or is gone
        path.rmdir()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
