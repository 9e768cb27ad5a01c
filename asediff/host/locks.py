"""Exclusive use of a folder by one process, which ends with that process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from asediff.host.files import writing
from asediff.host.processes import share_with_children, started_at, stop_sharing

if sys.platform != "win32":
    import fcntl

LOCK = ".asediff.lock"
PATIENCE = 10.0
"""Seconds that the programs of a process that has just ended have for ending, too."""

_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class InUseError(ValueError):
    """Another process uses the folder; one line that names it."""


@dataclass(frozen=True)
class Owner:
    """Who uses a folder.

    Attributes:
        pid: process id.
        host: its machine.
        started: when it began, as the system tells; a later process with the same id began at another time.
        since: local time at which it took the folder.
        command: what it does.
        token: part of the names of its temporary files.
    """

    pid: int
    host: str
    started: str
    since: str
    command: str
    token: str

    @classmethod
    def this_process(cls, token: str) -> Owner:
        """The running process."""
        pid = os.getpid()
        command = " ".join(" ".join([Path(sys.argv[0] or "python").name, *sys.argv[1:]]).split())
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(pid, socket.gethostname(), started_at(pid) or "", since, command[:200], token)

    @classmethod
    def read(cls, data: bytes) -> Owner | None:
        """From the contents of a lock file; None where they are of no owner (yet)."""
        try:
            values = json.loads(data)
            owner = cls(**{name: values[name] for name in cls.__dataclass_fields__})
        except (ValueError, KeyError, TypeError):
            return None
        return owner if isinstance(owner.pid, int) else None

    @property
    def has_ended(self) -> bool:
        """Whether it was a process of this machine and is no more."""
        return self.host == socket.gethostname() and started_at(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


class Lock:
    """The folder is this process' until `release`, or until it ends, whatever ends it.

    The kernel's lock of the file `.asediff.lock` decides (`flock`; it works between machines where the file system
    shares its locks). Watchdogs of programs share it, so a folder becomes free when the last of them is gone. Where a
    file system has no locks, the file's contents decide: who made it owns the folder as long as that process runs.

    Attributes:
        previous: who had the folder before and did not release it, if anybody; what it left may be removed.
    """

    def __init__(self, folder: Path, token: str) -> None:
        """Take the folder.

        Args:
            folder: exists.
            token: of this process' temporary files.

        Raises:
            InUseError: another process has it.
            FileError: the folder cannot be written to.
        """
        self.path = folder / LOCK
        self.previous: Owner | None = None
        with writing(folder):
            self._descriptor = self._taken(folder)
            self.previous = Owner.read(os.pread(self._descriptor, 65536, 0)) or self.previous
            share_with_children(self._descriptor)
            try:
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, json.dumps(asdict(Owner.this_process(token))).encode(), 0)
            except BaseException:
                self.release()
                raise

    def _taken(self, folder: Path) -> int:
        deadline = time.monotonic() + PATIENCE
        while True:
            descriptor, made = self._opened()
            try:
                busy = self._is_busy(descriptor, made=made)
            except BaseException:
                os.close(descriptor)
                raise
            if not busy and self._is_at_path(descriptor):
                return descriptor
            owner = Owner.read(os.pread(descriptor, 65536, 0))
            os.close(descriptor)
            if not busy:
                continue
            if owner is None and time.monotonic() < deadline - PATIENCE + 1.0:
                time.sleep(0.05)  # it is about to write who it is
            elif owner is not None and owner.has_ended and time.monotonic() < deadline:
                time.sleep(0.05)  # its programs are being ended
            else:
                raise InUseError(self._in_use(folder, owner))

    def _in_use(self, folder: Path, owner: Owner | None) -> str:
        who = "another process" if owner is None else str(owner)
        if owner is not None and owner.host != socket.gethostname():
            return f"{folder}: in use by {who}; wait for it, or remove {self.path} if it has ended"
        return f"{folder}: in use by {who}; wait for it or choose another folder"

    def _opened(self) -> tuple[int, bool]:
        """The lock file, and whether it was made here."""
        flags = os.O_RDWR | os.O_NOFOLLOW
        while True:
            try:
                return os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
            except FileExistsError:
                try:
                    return os.open(self.path, flags), False
                except FileNotFoundError:
                    continue  # released in between

    def _is_busy(self, descriptor: int, *, made: bool) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return True
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return False
        if made:
            return False
        owner = Owner.read(os.pread(descriptor, 65536, 0))
        if owner is None or not owner.has_ended:
            return True
        self._put_aside(descriptor)
        self.previous = owner
        return False

    def _put_aside(self, descriptor: int) -> None:
        """Remove the file of an owner that has ended, but not one that somebody else has made since."""
        aside = self.path.with_name(f"{LOCK}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(aside)
            if aside.stat().st_ino == os.fstat(descriptor).st_ino:
                aside.unlink()
            else:
                aside.rename(self.path)

    def _is_at_path(self, descriptor: int) -> bool:
        """Whether the open file still is the one in the folder: whoever released it before removed it."""
        try:
            there, here = self.path.lstat(), os.fstat(descriptor)
        except FileNotFoundError:
            return False
        return (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev)

    def release(self) -> None:
        """Give the folder back."""
        if self._descriptor < 0:
            return
        if self._is_at_path(self._descriptor):
            self.path.unlink(missing_ok=True)
        stop_sharing(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Use a folder that nobody else may use meanwhile.

    Raises:
        InUseError: another process has it.
        FileError: the folder cannot be written to.
    """
    lock = Lock(folder, secrets.token_hex(8))
    try:
        yield
    finally:
        lock.release()
