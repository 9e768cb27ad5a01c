"""Errors of the command line: what a user can mend is one line and code 2, a fault of asediff one line and code 70."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import told

from asediff.cli import main, schema
from asediff.lammps.run import LammpsError

FIT = ["fit", "g.txt", "--temperature", "298", "--mass", "18", "--mass-density", "0.997", "--symbol", "O"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASEDIFF_DEBUG", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    r = np.linspace(0.05, 10.0, 200)
    np.savetxt("g.txt", np.column_stack([r, np.where(r < 2.5, 0.0, 1 + 1.5 * np.exp(-(((r - 2.8) / 0.35) ** 2)))]))
    return tmp_path


def raising(error):
    def handle(options):
        raise error

    return handle


@pytest.fixture
def failing(monkeypatch):
    """Let `asediff schema` end with an error."""

    def set_to(error_or_handler):
        handler = error_or_handler if callable(error_or_handler) else raising(error_or_handler)
        monkeypatch.setattr(schema, "handle", handler)

    return set_to


class TestFaults:
    @pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("two\nlines"), AssertionError(), TypeError("t")])
    def test_an_error_of_asediff_itself_is_one_line_with_code_70_and_a_file(self, failing, capsys, here, error):
        failing(error)
        code, line = told(["schema"], capsys)
        assert code == 70
        assert line.startswith(f"asediff: internal error: {type(error).__name__}")
        assert line.count("\n") == 1
        (kept,) = here.glob("asediff-*.txt")
        assert str(kept) in line
        assert "Traceback" in kept.read_text()

    def test_a_value_error_of_a_library_was_not_foreseen(self, failing, capsys):
        failing(lambda options: int(np.zeros((2, 3)) @ np.zeros(2)))
        assert told(["schema"], capsys)[0] == 70

    def test_a_value_error_of_asediff_is_for_the_user(self, failing, capsys):
        from asediff import LennardJones, PairPotential

        failing(lambda options: PairPotential(LennardJones(), cutoff=-1.0))
        code, line = told(["schema"], capsys)
        assert code == 2
        assert line.startswith("asediff: error: cutoff: -1.0 is not a positive length")

    def test_the_traceback_is_shown_on_request(self, failing, capsys, monkeypatch):
        monkeypatch.setenv("ASEDIFF_DEBUG", "1")
        failing(KeyError("x"))
        assert "Traceback" in told(["schema"], capsys)[1]
        assert "Traceback" in told(["fit", "none.csv"], capsys)[1]

    def test_a_file_that_cannot_be_written_does_not_hide_the_error(self, failing, capsys, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", "/none/of/these")
        failing(KeyError("x"))
        code, line = told(["schema"], capsys)
        assert code == 70
        assert line.endswith("with the traceback that ASEDIFF_DEBUG=1 shows\n")

    @pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 TB")])
    def test_too_little_memory_is_told_as_such(self, failing, capsys, error):
        failing(error)
        assert told(["schema"], capsys) == (
            2,
            "asediff: error: memory: there is not enough of it for this; give fewer atoms, steps or bins\n",
        )

    def test_of_a_failed_lammps_run_the_first_line_is_told(self, failing, capsys):
        failing(LammpsError("lmp: stopped\nwith a log\nof lines"))
        assert told(["schema"], capsys) == (2, "asediff: error: lmp: stopped\n")

    def test_a_reader_that_has_had_enough_is_no_error(self):
        command = f"{sys.executable} -m asediff.cli schema | head -c 10"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert done.stderr == ""

    def test_what_a_terminal_cannot_show_does_not_stop_a_command(self):
        code = "from asediff.cli import common, main; main(['fit', '\\udcff.csv'])"
        environment = os.environ | {"PYTHONIOENCODING": "ascii"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(b"asediff: error: \\udcff.csv: no such file")

    def test_streams_without_an_encoding_are_left_alone(self, monkeypatch):
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        assert main(["schema"]) == 0


@pytest.fixture
def hostile(here):
    """Files that are none, or not what they seem."""
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("empty").touch()
    Path("bytes").write_bytes(bytes(range(256)) * 8)
    Path("points.yaml").write_text("state_points: 5\n")
    Path("keys.yaml").write_text("1: 2\nnull: 3\n")
    return here


NO_FILES = ("pipe", "folder", "none", "/dev/null", "/dev/zero", "n" * 300, "g.txt/x")


@pytest.mark.parametrize("name", [*NO_FILES, "empty", "bytes"])
@pytest.mark.parametrize("command", ["fit {} --temperature 298 --mass 18 --mass-density 1", "rdf {}", "votca {}"])
def test_a_file_that_is_none_is_one_line_and_nothing_waits_for_it(hostile, capsys, command, name):
    code, line = told(command.format(name).split(), capsys)
    assert code == 2
    assert line.count("\n") == 1


@pytest.mark.parametrize("name", NO_FILES)
@pytest.mark.parametrize("command", ["run {} g.txt", "run g.txt {}", "export {} g.txt", "export g.txt {}"])
def test_potentials_and_structures_that_are_no_files_are_told_before_either_is_read(hostile, capsys, command, name):
    code, line = told([*command.format(name).split(), "--kT", "1", "--timestep", "1"], capsys)
    assert code == 2
    assert line.count("\n") == 1
    assert name in line


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "1e400", "1e18", str(2**70)])
@pytest.mark.parametrize(
    "option",
    ["--temperature", "--kT", "--mass-density", "--mass", "--n-atoms", "--cutoff", "--timestep", "--epochs", "--seed"],
)
def test_numbers_that_cannot_be_meant_are_refused_by_the_name_of_their_option(capsys, option, number):
    given = [part for part in FIT if option != "--kT" or part not in ("--temperature", "298")]
    code, line = told([*given, f"{option}={number}"], capsys)
    assert code == 2
    assert line.count("\n") == 1
    assert option in line
    assert not Path("g_fit").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "g.txt", "g.txt", "--kT", "1", "--timestep", "1", "--seed", str(2**70)],
        ["run", "g.txt", "g.txt", "--kT", "1", "--timestep", "1", "--seed", "-1"],
        ["run", "g.txt", "g.txt", "--kT", "1", "--timestep", "1", "--steps", str(10**30)],
        ["run", "g.txt", "g.txt", "--kT", "1", "--timestep", "1", "--save-every", "0"],
        ["run", "g.txt", "g.txt", "--kT", "1", "--timestep", "nan"],
        ["run", "g.txt", "g.txt", "--kT", "inf", "--timestep", "1"],
        ["run", "g.txt", "g.txt", "--temperature", "1e9", "--timestep", "1"],
        ["run", "g.txt", "g.txt", "--kT", "1", "--timestep", "1", "-o", "x.weird"],
        ["run", "g.txt", "g.txt", "--kT", "1", "--timestep", "1", "-o", "x.png"],
        ["run", "g.txt", "g.txt", "--kT", "1", "--timestep", "1", "-o", "."],
        ["rdf", "g.txt", "--bins", str(10**12)],
        ["rdf", "g.txt", "--r-max", "nan"],
        ["rdf", "g.txt", "--r-min", "-1"],
        ["rdf", "g.txt", "--index", "1:2:3:4"],
        ["rdf", "g.txt", "--index", "::0"],
        ["rdf", "g.txt", "--index", "all"],
        ["rdf", "g.txt", "--format", "none"],
        ["validate", "g.txt", "points.yaml"],
        ["validate", "g.txt", "keys.yaml", "--seed", str(2**70)],
        ["export", "g.txt", "g.txt", "--kT", "1", "--timestep", "inf"],
        ["votca", "g.txt", "--iterations", "-1"],
        ["fit", "points.yaml"],
        ["fit", "points.yaml", "--temperature", "300"],
        ["fit", "keys.yaml"],
        [*FIT, "--set", "potential={file: pipe}"],
        [*FIT, "--set", "system.file=pipe"],
        [*FIT, "--set", 'state_points.0.targets.0.file="a\\0b"'],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_hostile_arguments_are_one_line(hostile, capsys, arguments):
    code, line = told(arguments, capsys)
    assert code == 2
    assert line.startswith("asediff: error: ")
    assert line.count("\n") == 1


def test_a_quiet_fit_tells_the_end_of_each_stage(capsys, here):
    small = [
        *("--n-atoms", "500", "--set", "potential.radial.hidden=[8]", "--set", "potential.radial.n_basis=10"),
        *("--set", "method.pretraining.steps=5", "--set", "method.equilibration_steps=10", "--set", "method.steps=10"),
        *("--set", "validation.steps=200", "--set", "validation.save_every=20", "--epochs", "1", "--quiet"),
        *("--set", "validation.equilibration_steps=10", "--set", "export.frames=10", "-o", "quiet"),
    ]
    main([*FIT, *small])
    out, err = capsys.readouterr()
    assert err == ""
    stages = ("results go to quiet", "fit: ", "independent run in asediff: ", "independent run in LAMMPS ", "report: ")
    lines = out.splitlines()
    assert [next(k for k, line in enumerate(lines) if line.startswith(stage)) for stage in stages][:4] == [0, 1, 2, 3]
