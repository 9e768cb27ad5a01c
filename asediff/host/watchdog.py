"""Run a program and end it, with all that it has started, when the process that asked for it is gone.

`python -I -S watchdog.py PROGRAM ARGUMENTS...` is started by `host.processes` in a session of its own. Its standard
input is a pipe whose other end only the asking process holds: the kernel closes it however that process ends, and then
the program and its descendants are killed. Open files that come along (locks) stay open until the last of them is gone.
It needs nothing but the standard library, so that it starts in milliseconds.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
from pathlib import Path

LINUX = sys.platform == "linux"
DIES_WITH_PARENT, ADOPTS_ORPHANS = 1, 36  # of Linux' prctl: PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER
LOST = 128 + signal.SIGKILL


def prctl(option: int, value: int) -> None:
    """Ask Linux for a property of this process; elsewhere there is none."""
    if LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def start(command: list[str]) -> int:
    """The program as a child; returns its process id."""
    watchdog = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        # This process has one thread, so the parent's death that the kernel reports is that of the watchdog itself.
        prctl(DIES_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != watchdog:
            os._exit(LOST)
        if not LINUX:
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 4096))
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def descendants() -> list[int]:
    """Children of this process; their own children become ours when they end."""
    own, found = os.getpid(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        # a process may end while it is looked at
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]) == own:
                found.append(int(entry.name))
    return found


def end_all(child: int) -> None:
    """Kill whatever is left of the program, and return when it is gone."""
    while True:
        if LINUX:
            for pid in descendants():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def main(command: list[str]) -> int:
    """Wait for the program, or for the end of who asked for it; returns the program's exit status, 128 + a signal."""
    asking = os.getppid()
    prctl(ADOPTS_ORPHANS, 1)
    told, tell = os.pipe()
    for end in (told, tell):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    stops: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, _: stops.append(got))
    child = start(command)
    status = LOST
    # The pipe tells at once; the parent's id is for the case that a forked copy of the parent holds the pipe, too.
    while not stops and os.getppid() == asking:
        ready, _, _ = select.select([0, told], [], [], 1.0)
        if told in ready:
            with contextlib.suppress(BlockingIOError):
                while os.read(told, 512):
                    continue
        ended, code = _reap(child)
        if ended:
            status = code
            break
        if 0 in ready and not os.read(0, 1):
            break
    end_all(child)
    return status


def _reap(child: int) -> tuple[bool, int]:
    """Whether the program has ended, and its status; adopted processes that have ended are let go."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True, LOST
        if pid == 0:
            return False, LOST
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return True, code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
