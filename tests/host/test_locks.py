"""A folder belongs to one process; it becomes free when that process, and all it has started, is gone."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from asediff.host.locks import LOCK, InUseError, Lock, Owner, exclusive
from asediff.host.processes import started_at

TOKEN = "0123456789abcdef"
HOLD = (
    "import sys, time, pathlib; from asediff.host.locks import Lock; from asediff.host.processes import run_program\n"
    f"lock = Lock(pathlib.Path(sys.argv[1]), '{TOKEN}'); print('held', flush=True)\n"
    "run_program(sys.argv[2:], '.') if sys.argv[2:] else time.sleep(600)\n"
)


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds the folder, perhaps with a program under it; ends it."""
    started = []

    def hold(*program):
        process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path, *program], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def owner(**changes):
    """The contents of a lock file of this process, changed."""
    values = dict(vars(Owner.this_process(TOKEN)))
    return json.dumps(values | changes)


def test_the_second_process_is_refused_by_the_name_of_the_first(tmp_path, holder):
    process = holder()
    with pytest.raises(
        InUseError, match=rf"in use by process {process.pid} on .* since 20.*; wait for it or"
    ) as caught:
        Lock(tmp_path, TOKEN)
    assert "\n" not in str(caught.value)


def test_two_in_one_process_do_not_share_a_folder_either(tmp_path):
    with (
        exclusive(tmp_path),
        pytest.raises(InUseError, match=f"in use by process {os.getpid()}"),
        exclusive(tmp_path),
    ):
        pass


def test_a_released_folder_is_free_and_empty(tmp_path):
    for _ in range(2):
        with exclusive(tmp_path):
            assert (tmp_path / LOCK).is_file()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_folder_of_a_killed_process_is_taken_over(tmp_path, holder, number):
    process = holder()
    os.kill(process.pid, number)
    process.wait()
    lock = Lock(tmp_path, "fedcba9876543210")
    assert lock.previous.pid == process.pid
    assert lock.previous.token == TOKEN
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_stays_in_use_until_the_programs_of_a_killed_process_are_gone(tmp_path, holder):
    # The program survives everything but SIGKILL; it notes that it is there as long as it lives.
    code = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]; open('alive', 'w')\nwhile 1:\n"
    process = holder(sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r})\n" + code + " time.sleep(1)")
    deadline = time.monotonic() + 60
    while not (tmp_path / "alive").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    children = [int(pid) for pid in _descendants(process.pid)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lock = Lock(tmp_path, TOKEN)
    assert [pid for pid in children if started_at(pid) is not None] == []
    lock.release()


def _descendants(pid):
    told = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(line.split() for line in told.splitlines())
    found = [str(pid)]
    for child in found:
        found += [one for one, parent in parents.items() if parent == child]
    return found[1:]


@pytest.mark.parametrize("content", ["", "garbage", "[]", "{}", '{"pid": 1}', owner(pid=2**22 + 1), owner(started="?")])
def test_a_lock_file_that_nobody_holds_is_no_lock(tmp_path, content):
    (tmp_path / LOCK).write_text(content)
    with exclusive(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "words").write_text("words")
    (tmp_path / LOCK).symlink_to(tmp_path / "words")
    with pytest.raises(OSError, match="cannot be written"):
        Lock(tmp_path, TOKEN)
    assert (tmp_path / "words").read_text() == "words"


class TestWithoutLocksOfTheFileSystem:
    """Where there is no flock, the owner's process decides."""

    @pytest.fixture(autouse=True)
    def _no_flock(self, monkeypatch):
        def unsupported(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr("asediff.host.locks.fcntl.flock", unsupported)
        monkeypatch.setattr("asediff.host.locks.PATIENCE", 0.1)

    def test_a_running_owner_keeps_the_folder(self, tmp_path):
        with exclusive(tmp_path), pytest.raises(InUseError, match=f"process {os.getpid()}"):
            Lock(tmp_path, TOKEN)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"started": "at another time"}], ids=["gone", "reused"])
    def test_an_owner_that_has_ended_does_not(self, tmp_path, changes):
        (tmp_path / LOCK).write_text(owner(**changes))
        lock = Lock(tmp_path, "fedcba9876543210")
        assert lock.previous.token == TOKEN
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        lock.release()
        assert list(tmp_path.iterdir()) == []

    def test_an_owner_on_another_machine_is_believed_and_the_remedy_told(self, tmp_path):
        (tmp_path / LOCK).write_text(owner(host="elsewhere", pid=2**22 + 1))
        with pytest.raises(InUseError, match=rf"on elsewhere .*; wait for it, or remove .*{LOCK} if it has ended"):
            Lock(tmp_path, TOKEN)


def test_a_process_is_known_by_its_id_and_its_start():
    assert started_at(os.getpid()) == started_at(os.getpid())
    assert started_at(2**22 + 1) is None
    child = subprocess.Popen([sys.executable, "-c", ""])
    while child.poll() is None:
        time.sleep(0.01)
    assert started_at(child.pid) is None
