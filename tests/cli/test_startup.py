"""What cannot work is told before anything heavy is imported."""

import json
import subprocess
import sys

import numpy as np
import pytest

HEAVY = {"torch", "numba", "scipy", "ase", "matplotlib", "vesin"}
CODE = """
import json, sys
from asediff.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
SOUND = """
system: {mass: 18.0, mass_density: 0.997, symbol: O}
state_points: [{temperature_K: 298, targets: [{file: g.txt}]}]
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    r = np.linspace(0.05, 10.0, 200)
    np.savetxt("g.txt", np.column_stack([r, np.where(r < 2.5, 0.0, 1 + 1.5 * np.exp(-(((r - 2.8) / 0.35) ** 2)))]))
    (tmp_path / "sound.yaml").write_text(SOUND)
    (tmp_path / "misspelt.yaml").write_text(SOUND + "metod: {epochs: 3}\n")
    (tmp_path / "broken.yaml").write_text("system: [1, 2\n")
    return tmp_path


def imported(arguments):
    """Exit code, and what a command had imported in the end."""
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=False)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert done.stderr.count("\n") == (code != 0), done.stderr
    return code, set(modules) & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fit", "--help"], ["run", "--help"], ["schema"]])
def test_help_imports_nothing_heavy(arguments):
    assert imported(arguments) == (0, set())


@pytest.mark.parametrize(
    "arguments",
    [
        ["fits"],
        ["fit", "--bogus"],
        ["fit", "g.txt", "--epochs", "many"],
        ["fit", "none.csv", "--temperature", "300"],
        ["fit", "none.yaml"],
        ["fit", "g.txt", "--temperature", "300", "-o", "."],
        ["fit", "broken.yaml"],
        ["fit", "misspelt.yaml"],
        ["fit", "sound.yaml", "--set", "method.epoch=3"],
        ["validate", "none.pt", "none.yaml"],
        ["export", "none.pt", "none.xyz", "--kT", "1", "--timestep", "1"],
        ["export", "g.txt", "none.xyz", "--kT", "1", "--timestep", "1"],
        ["run", "none.pt", "none.xyz", "--kT", "1", "--timestep", "1"],
        ["run", "g.txt", "g.txt", "--kT", "1", "--timestep", "-1"],
        ["rdf", "none.xyz"],
        ["rdf", "g.txt", "--bins", "0"],
        ["votca", "none.xml"],
    ],
)
def test_wrong_arguments_missing_files_and_misspelt_keys_import_nothing_heavy(arguments):
    assert imported(arguments) == (2, set())


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "sound.yaml", "--set", "state_points.0.temperature_K=1e9"],
        ["fit", "sound.yaml", "--set", "state_points.0.targets.0.file=none.txt"],
        ["fit", "sound.yaml", "--set", "system.n_atoms=30"],
        ["fit", "g.txt", "--temperature", "298", "--mass", "18", "--density", "1e9"],
        ["fit", "g.txt", "--temperature", "298", "--mass", "18", "--mass-density", "1", "--timestep", "900"],
    ],
)
def test_numbers_and_curves_are_refused_without_torch_numba_scipy_and_matplotlib(arguments):
    code, modules = imported(arguments)
    assert code == 2
    assert modules <= {"ase"}
