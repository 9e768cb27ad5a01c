"""Seeds that are shifted, limits for noise, and what is said of tests that cannot run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import robust
import sampling

TESTS = Path(__file__).parent
PROBE = """
import pytest, sampling
SEED = sampling.seed(3)

@pytest.mark.sampled
def test_seed():
    assert SEED == sampling.seed(3) == 200003

@pytest.mark.votca
def test_needs_votca():
    pass
"""


def test_the_option_shifts_seeds_in_each_process_and_missing_programs_take_one_line(tmp_path: Path):
    (tmp_path / "test_probe.py").write_text(PROBE)
    for name in ("conftest.py", "sampling.py"):
        shutil.copy(TESTS / name, tmp_path)
    command = [sys.executable, "-m", "pytest", "-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(tmp_path)]
    options = ["--seed-shift", "2", "-n", "2", "-p", "no:cacheprovider", str(tmp_path)]
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert done.stdout.count("not run: 1 test needs VOTCA's csg_call") == 1


def test_limits_are_quantiles():
    # two-sided: 5.33 standard errors are left once in ten million
    assert sampling.sigmas() == pytest.approx(5.3267, abs=1e-4)
    assert sampling.sigmas(comparisons=10) == pytest.approx(5.7307, abs=1e-4)
    # Student's t with one degree of freedom is a Cauchy variable: P(|t| > x) = 2/(pi x) far out
    assert sampling.sigmas(2) == pytest.approx(2 / 3.141592653589793 / 1e-7, rel=1e-6)
    assert sampling.sigmas(10_000) == pytest.approx(sampling.sigmas(), rel=1e-2)


def test_outcomes_are_counted():
    tally = robust.Tally()
    tally.add(0, "....\n68 passed, 3 deselected in 30.1s\n", 0, 30.0)
    tally.add(1, "F\nFAILED tests/a.py::b - x\n1 failed, 67 passed in 30.1s\n", 1, 32.0)
    assert tally.row("native") == "| native | 0..1 | 135 | 1 | 31 |"
    tally.add(2, "killed\n", 137, 1.0)
    assert tally.counts["error"] == 1
    assert [line.split(":")[0] for line in tally.failures] == ["shift 1", "shift 2"]
    assert robust.shifts("0..3") == [0, 1, 2, 3]
    assert robust.shifts("7") == [7]
