"""What is in the wheel and in the source archive, and that the wheel works without the checkout."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
TO_WORK_WITH = ["pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile", "constraints.txt", ".ci/run"]
# What a wheel holds beside Python, as names in the checkout and in the wheel.
DATA = [
    ("asediff/py.typed", "asediff/py.typed"),
    *(
        (str(path.relative_to(ROOT)), str(path.relative_to(ROOT)))
        for path in (ROOT / "asediff" / "app" / "templates").iterdir()
        if path.is_file()
    ),
    *((f"lammps_inputs/{path.name}", f"asediff/_lammps_inputs/{path.name}") for path in ROOT.glob("lammps_inputs/*")),
    *((f"workflows/{path.name}", f"asediff/_workflows/{path.name}") for path in ROOT.glob("workflows/*.yaml")),
]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The wheel, built from the source archive, which is built from the checkout."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / f"asediff-{VERSION}-py3-none-any.whl", folder / f"asediff-{VERSION}.tar.gz"


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """The wheel, unpacked where nothing else is, as pip would."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(archives[0]) as wheel:
        wheel.extractall(folder)
    return folder


def run(site: Path, *arguments: str, cwd: Path) -> str:
    """What a program prints that sees the unpacked wheel, not the checkout."""
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python_files(folder: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in ROOT.glob(f"{folder}/**/*.py")}


def test_the_wheel_holds_the_package_its_data_and_nothing_else(archives):
    with zipfile.ZipFile(archives[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert names == python_files("asediff") | {inside for _, inside in DATA}
        for outside, inside in DATA:
            assert wheel.read(inside) == (ROOT / outside).read_bytes(), inside


def test_the_source_archive_holds_what_builds_and_tests(archives):
    with tarfile.open(archives[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {*TO_WORK_WITH, *(outside for outside, _ in DATA), "docs/conf.py", "docs/images/water_rdf.png"}
    for folder in ("asediff", "tests", "examples", "workflows"):
        wanted |= python_files(folder)
    assert wanted <= names
    litter = (".venv", "__pycache__", "docs/_build", ".git/", "dist/")
    assert not [name for name in names if name.startswith(litter) or "__pycache__" in name]


def test_the_command_and_its_files_are_those_of_the_wheel(installed, tmp_path):
    code = """if True:
        import asediff, json
        from asediff.lammps.run import lammps_input
        print(json.dumps([asediff.__file__, str(lammps_input("cg_nvt.lmp"))]))
    """
    for path in json.loads(run(installed, "-c", code, cwd=tmp_path)):
        assert Path(path).is_relative_to(installed), path
    assert "fit" in run(installed, "-m", "asediff.cli", "--help", cwd=tmp_path)
    assert run(installed, "-m", "asediff.cli", "--version", cwd=tmp_path).split() == ["asediff", VERSION]
    assert json.loads(run(installed, "-m", "asediff.cli", "schema", cwd=tmp_path))["properties"]


@pytest.mark.slow
def test_a_fit_with_lammps_runs_from_the_wheel_alone(installed, tmp_path):
    code = "import asediff; from asediff import *; import torch; r = RDF(7.5, 60, width=0.0).centers; print(r.tolist())"
    r = json.loads(run(installed, "-c", code, cwd=tmp_path))
    rows = "".join(f"{x},{0.0 if x < 2.5 else 1.0 + 1.5 * 2.718 ** (-4 * (x - 2.8) ** 2)}\n" for x in r)
    (tmp_path / "g.csv").write_text("r,g\n" + rows)
    state = ["--temperature", "300", "--mass-density", "0.997", "--mass", "18.015", "--symbol", "O", "--n-atoms", "125"]
    short = ["--epochs", "2", "--set", "validation.steps=2000", "--set", "validation.equilibration_steps=500"]
    run(installed, "-m", "asediff.cli", "fit", "g.csv", *state, *short, "-o", "water", "--quiet", cwd=tmp_path)
    assert json.loads((tmp_path / "water" / "verdict.json").read_text())
    assert (tmp_path / "water" / "lammps").is_dir()
    assert (tmp_path / "water" / "report.html").is_file()


def test_one_version_is_stated_everywhere():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == VERSION
    assert f"\n## [{VERSION}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
