"""`asediff fit` in several processes: those that it starts, and those that a launcher has started."""

import os
import signal
import socket
import sys
from pathlib import Path

import command_in_child
import numpy as np
import pytest
from command_in_child import CURVE_G, CURVE_R, SMALL
from command_line import refused

from asediff.app.ranks import _share_of_cores
from asediff.kernels.cpu.team import get_num_threads

FIT = ["fit", "g.txt", *SMALL, "--set", "validation={kind: torch, steps: 200}"]
IHNC = [
    *("fit", "g.txt", "--units", "lj", "--kT", "1.0", "--density", "0.6", "--n-atoms", "108", "--cutoff", "2.3"),
    *("--set", "validation.kind=torch", "--set", "method.kind=ihnc"),
]
LONGER = ["--set", "method.replicas=3", "--epochs", "30", "--set", "method.steps=10"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt("g.txt", np.column_stack([CURVE_R, CURVE_G]))
    return tmp_path


def completed(process, seconds=300.0):
    process.join(seconds)
    assert process.exitcode is not None, "did not end"
    return process.exitcode


def rank_of(process):
    """Id of the process that a command has started as its rank 1."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(status[1]), (entry / "cmdline").read_bytes()
            except OSError:
                continue

    def below(pid):
        while pid in parents and pid != process.pid:
            pid = parents[pid][0]
        return pid == process.pid

    found = [pid for pid, (_, told) in parents.items() if b"asediff.app.ranks" in told and below(pid)]
    return next(pid for pid in found if b"watchdog" not in parents[pid][1])


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the process in /proc")
def test_a_process_that_is_killed_ends_the_fit_in_one_line_and_another_goes_on_to_the_same_bits(here):
    process = command_in_child.start(
        [*FIT, *LONGER, "-o", "two", "--ranks", "2"], here, "asediff.fitting.api:FitJob.save_checkpoint@2!"
    )
    command_in_child.wait_until_reached(process, here, 300.0)
    os.kill(rank_of(process), signal.SIGKILL)
    assert completed(process) == 2
    line = (here / "err").read_text()
    assert line == (
        "asediff: error: ranks: process 1 has ended (ended by signal 9 (SIGKILL); was the memory enough?); the last "
        "checkpoint is kept; go on with: asediff fit --resume --output two\n"
    )
    process = command_in_child.start(["fit", "--resume", "--output", "two", "--ranks", "2"], here)
    assert completed(process) == 0, (here / "err").read_text()
    assert "fit: 30 epochs done" in (here / "out").read_text()
    assert completed(command_in_child.start([*FIT, *LONGER, "-o", "one"], here)) == 0
    assert (here / "two/potential.csv").read_bytes() == (here / "one/potential.csv").read_bytes()
    assert (here / "two/curve_0_rdf.csv").read_bytes() == (here / "one/curve_0_rdf.csv").read_bytes()


def member(rank, port, folder, arguments):
    """A process as a launcher starts it."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command_in_child._run(arguments, folder, "", ())


def among_two(arguments, here):
    """Exit codes, and what went to standard output and standard error, of the two processes of a launcher."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = [here, here / "other"]
    folders[1].mkdir(exist_ok=True)
    context = command_in_child.server()
    started = [
        context.Process(target=member, args=(rank, port, str(folder), arguments)) for rank, folder in enumerate(folders)
    ]
    for process in started:
        process.start()
    codes = [completed(process) for process in started]
    return codes, *([(folder / name).read_text() for folder in folders] for name in ("out", "err"))


def test_processes_of_a_launcher_share_the_fit_and_the_first_alone_reports(here):
    codes, out, err = among_two([*FIT, "--set", "method.replicas=2", "-o", "two"], here)
    assert codes == [0, 0], err
    assert "fit: 4 epochs done" in out[0]
    assert out[1] == "" == err[1]
    assert (here / "two/report.html").is_file()
    assert sorted(path.name for path in (here / "other").iterdir()) == ["err", "out"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ["--set", "method.replicas=1"],
            "ranks: 2 is more than the number of systems (state points x replicas), 1; run",
        ),
        (["--set", "metod.replicas=2"], "metod"),
    ],
)
def test_what_the_first_refuses_lets_the_others_go(here, change, line):
    codes, out, err = among_two([*FIT, *change, "-o", "two"], here)
    assert codes == [2, 0]
    assert err[0].startswith("asediff: error: ")
    assert line in err[0]
    assert err[0].count("\n") == 1
    assert (out[1], err[1]) == ("", "")
    assert not (here / "two").exists()


class TestRefusals:
    def test_of_numbers_that_are_none(self, capsys):
        line = refused([*FIT, "--ranks", "0"], capsys)
        assert "--ranks 0: not a number of processes; give at least 1" in line

    def test_of_processes_in_processes(self, capsys, monkeypatch):
        for name, value in {"RANK": "0", "WORLD_SIZE": "4"}.items():
            monkeypatch.setenv(name, value)
        line = refused([*FIT, "--ranks", "2"], capsys)
        assert "--ranks 2: 4 processes have been started already; leave it out" in line

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (FIT, "ranks: 2 is more than the number of systems (state points x replicas), 1; run at most that many"),
            (IHNC, "ranks: IHNC cannot be divided over 2 processes; give DiffSim, or run one process"),
        ],
    )
    def test_of_what_cannot_be_divided_before_anything_is_written(self, here, capsys, arguments, line):
        assert line in refused([*arguments, "--ranks", "2", "-o", "two"], capsys)
        assert not (here / "two").exists()


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.delenv("ASEDIFF_NUM_THREADS", raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    whole = get_num_threads()
    with _share_of_cores(2):
        assert get_num_threads() == max(1, whole // 2)
    assert get_num_threads() == whole
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert get_num_threads() == 1
    monkeypatch.setenv("ASEDIFF_NUM_THREADS", "3")
    assert get_num_threads() == 3
