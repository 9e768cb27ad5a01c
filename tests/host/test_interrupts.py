"""Killed, terminated or interrupted anywhere, `asediff fit` leaves nothing behind and goes on to the same bits."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_in_child import CURVE_G, CURVE_R, REACHED, SMALL, start, wait_until_reached

from asediff.host.locks import LOCK
from asediff.host.manifest import MARKER
from asediff.host.processes import started_at

TORCH = [*SMALL, "--set", "validation={kind: torch, steps: 200}"]
FIT = ("asediff.app.pipeline:fit_in",)
OWN = (*FIT, "asediff.engines.torch:TorchEngine.run")
LAMMPS = (*OWN, "asediff.lammps.export:ExportedEngine.run")

# stage -> where it waits, with LAMMPS or without, what the resumed process must not do again
STAGES = {
    "rehearsal": ("asediff.app.rehearsal:run_lammps", SMALL, ()),
    "before the configuration": ("asediff.app.pipeline:relocated", TORCH, ()),
    "before the first checkpoint": ("asediff.fitting.gradients.diffsim:_Descent._begin", TORCH, ()),
    "epochs": (
        "asediff.fitting.gradients.diffsim:_Descent._update@3",
        TORCH,
        ("asediff.fitting.gradients.diffsim:_Descent._begin",),
    ),
    "checkpoint": ("asediff.host.files:os.fsync@7", TORCH, ()),
    "run in asediff": ("asediff.engines.torch:TorchEngine.run", TORCH, FIT),
    "run in LAMMPS": ("asediff.lammps.export:run_lammps", SMALL, OWN),
    "verification": ("asediff.lammps.verify:run_lammps", SMALL, LAMMPS),
    "report": ("asediff.app.report:write_columns@2", SMALL, LAMMPS),
}
EXIT = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
QUICK = {
    ("rehearsal", signal.SIGINT),
    ("before the configuration", signal.SIGKILL),
    ("before the first checkpoint", signal.SIGTERM),
    ("epochs", signal.SIGKILL),
    ("checkpoint", signal.SIGKILL),
    ("run in asediff", signal.SIGHUP),
    ("verification", signal.SIGINT),
    ("report", signal.SIGKILL),
}
CASES = [
    pytest.param(stage, number, marks=() if (stage, number) in QUICK else pytest.mark.slow, id=f"{stage}-{number.name}")
    for stage in STAGES
    for number in EXIT
]


def write_curve(folder: Path) -> None:
    np.savetxt(folder / "g.csv", np.column_stack([CURVE_R, CURVE_G]), delimiter=",", header="r,g", comments="")


def run(arguments, folder, **options):
    """Run a command to its end; returns the exit code, standard output and standard error."""
    process = start(arguments, folder, **options)
    process.join(300)
    return process.exitcode, (folder / "out").read_text(), (folder / "err").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Results of fits that nothing interrupted, by whether LAMMPS took part."""
    found = {}
    for name, options in (("lammps", SMALL), ("torch", TORCH)):
        folder = tmp_path_factory.mktemp(name)
        write_curve(folder)
        code, _, told = run(["fit", "g.csv", *options, "-o", "result"], folder)
        assert code == 0, told
        found[name] = folder / "result"
    return found


@pytest.fixture
def folder(tmp_path):
    write_curve(tmp_path)
    return tmp_path


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.endswith(".part") or path.name == LOCK]


def assert_same(result, whole):
    """Parameters bit for bit, and every curve and table."""
    one, two = (torch.load(path / "potential.pt", weights_only=True)["state"] for path in (result, whole))
    assert all(torch.equal(one[key], two[key]) for key in one)
    names = sorted(path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file())
    assert sorted(path.relative_to(result).as_posix() for path in result.rglob("*") if path.is_file()) == names
    for name in names:
        if name != "history.csv" and name.endswith((".csv", ".table", ".data", ".lmp", ".yaml")):
            assert (result / name).read_bytes() == (whole / name).read_bytes(), name
    assert (result / MARKER).is_file()


@pytest.mark.parametrize(("stage", "number"), CASES)
def test_a_stopped_fit_leaves_nothing_and_goes_on_to_the_same_bits(folder, whole, stage, number):
    place, options, forbidden = STAGES[stage]
    command = ["fit", "g.csv", *options, "-o", "result"]
    process = start(command, folder, stage=place)
    wait_until_reached(process, folder)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == EXIT[number]
    told = (folder / "err").read_text()
    if stage == "checkpoint" and number == signal.SIGKILL:
        assert [path.name.split(".")[1] for path in leftovers(folder) if path.name != LOCK] == ["checkpoint"]
    if number != signal.SIGKILL:
        assert leftovers(folder) == []
        assert told.startswith("asediff: interrupted; ")
        assert told.count("\n") == 1
    early = stage in ("rehearsal", "before the configuration")
    if early and number != signal.SIGKILL:
        assert told == "asediff: interrupted; nothing was written\n"
        assert not (folder / "result").exists()
    elif number != signal.SIGKILL:
        assert told.endswith("; go on with: asediff fit --resume --output result\n")
    again = command if early else ["fit", "--resume", "-o", "result"]
    code, _, told = run(again, folder, forbidden=forbidden)
    assert code == 0, told
    assert leftovers(folder) == []
    assert_same(folder / "result", whole["lammps" if options is SMALL else "torch"])
    assert json.loads((folder / "result/result.json").read_text())["parts"]["report"] is True


def test_a_compiled_loop_of_hours_hears_a_signal(folder):
    endless = [*TORCH, "--set", "validation={kind: torch, steps: 50000000, save_every: 5000000}"]
    # after the equilibration and the four epochs of the fit, the equilibration and the run of the validation
    process = start(
        ["fit", "g.csv", *endless, "-o", "result"], folder, stage="asediff.kernels.cpu.backend:forward.rollout@7!"
    )
    wait_until_reached(process, folder)
    process.join(0.5)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143
    assert (folder / "err").read_text() == (
        "asediff: interrupted; the fit and the runs that ended are kept; "
        "go on with: asediff fit --resume --output result\n"
    )
    assert leftovers(folder) == []


def fake_lammps(folder):
    """A program named lmp that starts another one, tells who they are, and waits."""
    program = folder / "bin/lmp"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable} -IS\n"
        "import os, subprocess, sys, time\n"
        "if '-h' in sys.argv: sys.exit()\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(folder / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"open({str(folder / REACHED)!r}, 'w').close()\n"
        "time.sleep(600)\n"
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_lammps_ends_with_the_fit_and_the_own_run_is_kept(folder, whole, number, monkeypatch):
    command = ["fit", "g.csv", *SMALL, "-o", "result"]
    # LAMMPS itself until the fit is done
    process = start(command, folder, stage="asediff.lammps.export:run_lammps")
    wait_until_reached(process, folder)
    process.kill()
    process.join()
    (folder / REACHED).unlink()
    fake_lammps(folder)
    process = start(["fit", "--resume", "-o", "result"], folder, forbidden=(*OWN, f"lmp={folder / 'bin/lmp'}"))
    wait_until_reached(process, folder)
    pids = [int(word) for word in (folder / "pids").read_text().split()]
    assert all(started_at(pid) for pid in pids)
    refused = run(["fit", "--resume", "-o", "result"], folder)
    assert refused[0] == 2
    assert f"in use by process {process.pid} on " in refused[2]
    assert refused[2].count("\n") == 1
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == EXIT[number]
    parts = json.loads((folder / "result/result.json").read_text())["parts"]
    assert parts == {"fit": True, "asediff": ["kT 1"], "lammps": [], "verification": [], "report": False}
    code, _, told = run(["fit", "--resume", "-o", "result"], folder, forbidden=OWN)
    assert code == 0, told
    assert [pid for pid in pids if started_at(pid)] == []
    assert leftovers(folder) == []
    assert_same(folder / "result", whole["lammps"])


def test_two_fits_in_one_folder_and_an_overwriting_one_are_refused_by_the_name_of_the_first(folder, whole):
    process = start(
        ["fit", "g.csv", *TORCH, "-o", "result"],
        folder,
        stage="asediff.fitting.gradients.diffsim:_Descent._begin",
    )
    wait_until_reached(process, folder)
    for second in (["--resume"], ["g.csv", *TORCH], ["g.csv", *TORCH, "--overwrite"]):
        code, _, told = run(["fit", *second, "-o", "result"], folder)
        assert code == 2
        expected = "exists" if second == ["g.csv", *TORCH] else f"--output result: in use by process {process.pid} on "
        assert expected in told
        assert told.count("\n") == 1
    process.kill()
    process.join()
    assert run(["fit", "--resume", "-o", "result"], folder)[0] == 0
    assert_same(folder / "result", whole["torch"])


def test_a_result_killed_while_it_is_replaced_is_made_by_the_same_command(folder, whole):
    shutil.copytree(whole["torch"], folder / "result")
    process = start(
        ["fit", "g.csv", *TORCH, "-o", "result", "--overwrite"], folder, stage="asediff.app.pipeline:to_yaml"
    )
    wait_until_reached(process, folder)
    process.kill()
    process.join()
    assert not (folder / "result/config.yaml").exists()
    code, _, told = run(["fit", "--resume", "-o", "result"], folder)
    assert code == 2
    assert "--output result: holds no fit to resume; give the input as well" in told
    assert run(["fit", "g.csv", *TORCH, "-o", "result"], folder)[0] == 0
    assert_same(folder / "result", whole["torch"])
    assert leftovers(folder) == []
