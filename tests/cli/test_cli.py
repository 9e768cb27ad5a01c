"""The command line: the chain end to end, and one line for each kind of bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read, write
from command_line import refused
from sampling import seed

from asediff import lattices, save_potential
from asediff.cli import main
from asediff.fitting.result import FitResult
from asediff.host.folders import ResultFolder
from asediff.lammps.tables import read_tables
from asediff.potentials import LennardJones, PairPotential

DENSITY, N_ATOMS, CUTOFF = 0.6, 108, 2.3


def write_curve(path, r=None, g=None):
    """A g(r) like that of a Lennard-Jones fluid, at low density: exp(-u/kT)."""
    r = np.linspace(0.02, 3.0, 200) if r is None else r
    g = np.exp(-4 * (np.maximum(r, 0.5) ** -12 - np.maximum(r, 0.5) ** -6)) if g is None else g
    np.savetxt(path, np.column_stack([r, g]), header="r,g", comments="", delimiter=",")


SMALL = [
    *("--units", "lj", "--kT", "1.0", "--density", str(DENSITY), "--n-atoms", str(N_ATOMS), "--cutoff", str(CUTOFF)),
    *("--seed", str(seed(0))),
    *("--set", "potential.radial.hidden=[16]", "--set", "potential.radial.n_basis=20"),
    *("--set", "method.pretraining.steps=50", "--set", "method.equilibration_steps=200", "--set", "method.steps=40"),
    *("--set", "method.checkpoint_every=1", "--set", "validation.steps=1000", "--set", "validation.save_every=50"),
    *("--set", "validation.equilibration_steps=200", "--set", "export.frames=10"),
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_curve(tmp_path / "g.csv")
    return tmp_path


@pytest.fixture
def saved(tmp_path):
    """A saved potential and a structure for it, in reduced units."""
    save_potential(PairPotential(LennardJones(), CUTOFF), tmp_path / "lj.pt")
    atoms = lattices.fcc("Ar", density=DENSITY, cells=3, mass=1.0, rattle=0.02)
    write(tmp_path / "start.extxyz", atoms)
    return tmp_path


class TestFit:
    @pytest.mark.sampled
    def test_a_curve_becomes_a_verified_table_and_a_report(self, here, capsys):
        assert main(["fit", "g.csv", *SMALL, "--epochs", "3", "-o", "result"]) == 0
        told = capsys.readouterr().out
        assert "PASS" in told
        assert "report: result/report.html" in told
        result = here / "result"
        for name in ("config.yaml", "potential.pt", "report.html", "history.csv", "rdf_0_rdf.csv", "rdf_0_rdf.png"):
            assert (result / name).is_file(), name
        verdict = json.loads((result / "verdict.json").read_text())
        assert verdict["verification"][0]["passed"]
        folder = result / "lammps" / "kT_1"
        assert list(read_tables(folder / "cg.table")) == ["X_X"]
        assert "index 1.0" in (folder / "cg_nvt.lmp").read_text()
        assert not (folder / "cg.dump").exists()

    def test_a_configuration_does_the_same_as_options(self, here):
        main(["fit", "g.csv", *SMALL, "--epochs", "2", "-o", "first", "--set", "validation={kind: torch, steps: 500}"])
        main(["fit", "first/config.yaml", "-o", "second"])
        one, two = (torch.load(here / name / "potential.pt")["state"] for name in ("first", "second"))
        assert all(torch.equal(one[key], two[key]) for key in one)
        assert (here / "first/config.yaml").read_text() == (here / "second/config.yaml").read_text()

    def test_a_killed_fit_resumes_to_the_same_potential_bit_for_bit(self, here):
        short = [*SMALL, "--set", "validation={kind: torch, steps: 200}"]
        command = [sys.executable, "-m", "asediff.cli", "fit"]
        start = [*command, "g.csv", *short, "--epochs", "8", "-o"]
        subprocess.run([*start, "whole"], check=True, capture_output=True)
        process = subprocess.Popen([*start, "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        checkpoint = here / "killed/checkpoint.pt"
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if checkpoint.is_file() and len(torch.load(checkpoint, weights_only=True)["history"]) >= 3:
                break
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (here / "killed/report.html").exists()
        subprocess.run([*command, "--resume", "-o", "killed"], check=True, capture_output=True)
        whole, resumed = (torch.load(here / name / "potential.pt")["state"] for name in ("whole", "killed"))
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)
        losses = [
            [row["loss"] for row in torch.load(here / name / "checkpoint.pt", weights_only=True)["history"]]
            for name in ("whole", "killed")
        ]
        assert losses[0] == losses[1]

    def test_an_interrupt_says_how_to_go_on(self, here, capsys, monkeypatch):
        def interrupted(folder: ResultFolder, *_: object, **__: object) -> FitResult:
            folder.write("checkpoint.pt", b"state")
            raise KeyboardInterrupt

        monkeypatch.setattr("asediff.app.pipeline.fit_in", interrupted)
        assert main(["fit", "g.csv", *SMALL, "-o", "result"]) == 130
        told = capsys.readouterr().err
        assert told == (
            "asediff: interrupted; the last checkpoint is kept; go on with: asediff fit --resume --output result\n"
        )
        assert (here / "result/config.yaml").is_file()

    def test_an_existing_result_is_not_overwritten_unless_asked(self, here, capsys):
        (here / "result").mkdir()
        (here / "result/config.yaml").write_text("old")
        assert "--output result: exists" in refused(["fit", "g.csv", *SMALL, "-o", "result"], capsys)
        assert (here / "result/config.yaml").read_text() == "old"

    def test_a_folder_that_holds_no_fit_is_never_overwritten(self, here, capsys):
        (here / "thesis").mkdir()
        (here / "thesis/chapter.tex").write_text("words")
        assert "holds no fit" in refused(["fit", "g.csv", *SMALL, "-o", "thesis", "--overwrite"], capsys)
        assert (here / "thesis/chapter.tex").is_file()

    def test_a_bad_input_leaves_an_existing_result_alone_even_with_overwrite(self, here, capsys):
        (here / "result").mkdir()
        (here / "result/config.yaml").write_text("old")
        refused(["fit", "none.csv", *SMALL, "-o", "result", "--overwrite"], capsys)
        assert (here / "result/config.yaml").read_text() == "old"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "none.csv: no such file"),
            (
                "r,g\n" + "".join(f"{0.1 * k:.1f},{'x' if k == 7 else 1.0}\n" for k in range(1, 31)),
                "bad.csv:8: '0.7,x'",
            ),
            ("".join(f"{0.1 * (k if k != 9 else 3):.1f} 1.0\n" for k in range(1, 31)), "bad.csv:9: r=0.3 follows"),
            ("".join(f"{0.1 * k:.1f} {-1.0 if k == 9 else 1.0}\n" for k in range(1, 31)), "bad.csv:9: g=-1"),
            ("".join(f"{0.1 * k:.1f} 0.0\n" for k in range(1, 31)), "bad.csv: g is zero on every line"),
            ("".join(f"{0.1 * k:.1f} {min(k / 9, 1)}\n" for k in range(1, 21)), "bad.csv: ends at r=2, inside 2.3"),
        ],
        ids=["missing", "non-numeric", "unsorted", "negative", "all zero", "ends inside the cutoff"],
    )
    def test_a_bad_curve_is_one_line_with_file_reason_and_remedy(self, here, capsys, content, message):
        name = "none.csv" if content is None else "bad.csv"
        if content is not None:
            (here / name).write_text(content)
        assert message in refused(["fit", name, *SMALL, "-o", "result"], capsys)
        assert not (here / "result").exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--temperature", "-3"], "--temperature -3: nothing moves"),
            (["--kT", "0"], "--kT 0: nothing moves"),
            (["--n-atoms", "30"], "less than twice the cutoff 2.3"),
            (["--set", "method.epoch=3"], "method.epoch: unknown key; did you mean 'epochs'?"),
            (["--set", "state_points.0.targets.0.pair=[X, O]"], "pair: 'O' is not in the system, which has X"),
            (["--density", "-1"], "--density: -1.0 is not accepted; give greater than 0"),
            (["--set", "seed"], "--set seed: not an assignment"),
            (["--resume", "--overwrite"], "--resume, --overwrite: both are given"),
        ],
    )
    def test_bad_options_are_one_line(self, here, capsys, arguments, message):
        assert message in refused(["fit", "g.csv", *SMALL, *arguments, "-o", "result"], capsys)
        assert not (here / "result").exists()

    def test_a_time_step_that_blows_up_names_the_time_step(self, here, capsys):
        huge = ["--timestep", "0.4", "--set", "method.pretraining=null", "--epochs", "2"]
        told = refused(["fit", "g.csv", *SMALL, *huge, "--set", "validation={kind: torch}", "-o", "result"], capsys)
        assert "timestep: with 0.4 the atoms blew up; use a shorter time step" in told

    def test_without_a_temperature_nothing_starts(self, here, capsys):
        told = refused(["fit", "g.csv", "--density", "0.6", "--units", "lj"], capsys)
        assert "--temperature: missing" in told


class TestValidate:
    @pytest.mark.sampled
    def test_the_truth_is_close_to_its_own_curve(self, saved, capsys):
        main(["fit", "g.csv", *SMALL, "--epochs", "1", "-o", "result", "--set", "validation={kind: torch, steps: 200}"])
        for engine in ("torch", "lammps"):
            run = ["--engine", engine, "--steps", "1000", "--seed", str(seed(1))]
            assert main(["validate", "lj.pt", "result/config.yaml", *run]) == 0
            assert "kT 1 rdf: mean |dg|" in capsys.readouterr().out

    def test_a_missing_potential_is_refused(self, capsys):
        (Path("c.yaml")).write_text("state_points: [{kT: 1.0, targets: [{file: g.csv}]}]")
        assert "potential none.pt: no such file" in refused(["validate", "none.pt", "c.yaml"], capsys)


class TestExport:
    @pytest.mark.parametrize("units", ["lj", "real"])
    def test_the_exported_files_are_verified(self, saved, capsys, units):
        thermal = ["--kT", "1.0", "--timestep", "0.005" if units == "lj" else "0.05"]
        assert main(["export", "lj.pt", "start.extxyz", *thermal, "--units", units, "-o", "files"]) == 0
        assert "PASS" in capsys.readouterr().out
        assert {path.name for path in (saved / "files").iterdir()} == {".asediff", "cg.table", "cg.data", "cg_nvt.lmp"}

    def test_boxes_shorter_than_twice_the_cutoff_are_run_and_exported(self, saved, capsys):
        write("small.extxyz", lattices.fcc("Ar", density=0.8, cells=2, mass=1.0, rattle=0.03))
        settings = ["lj.pt", "small.extxyz", "--kT", "1", "--timestep", "0.002", "--units", "lj"]
        assert main(["run", *settings, "--steps", "20", "--save-every", "10", "-o", "small_md.extxyz"]) == 0
        assert main(["export", *settings, "--frames", "10", "-o", "small_files"]) == 0
        assert "PASS" in capsys.readouterr().out

    def test_an_existing_folder_is_kept(self, saved, capsys):
        (saved / "files").mkdir()
        (saved / "files/notes.txt").write_text("words")
        arguments = ["export", "lj.pt", "start.extxyz", "--kT", "1", "--timestep", "0.005", "-o", "files"]
        assert "--output files: exists" in refused(arguments, capsys)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["none.pt", "start.extxyz", "--kT", "1", "--timestep", "1"], "none.pt: no such file"),
            (["lj.pt", "none.xyz", "--kT", "1", "--timestep", "1"], "none.xyz: no such file"),
            (["lj.pt", "start.extxyz", "--timestep", "1"], "--temperature, --kT: give exactly one"),
            (["lj.pt", "start.extxyz", "--kT", "1", "--timestep", "-1"], "--timestep -1: not a time"),
            (["lj.pt", "start.extxyz", "--kT", "-1", "--timestep", "1"], "--kT -1: not a temperature"),
        ],
    )
    def test_bad_arguments_are_one_line(self, saved, capsys, arguments, message):
        assert message in refused(["export", *arguments], capsys)


class TestRunAndRDF:
    @pytest.mark.sampled
    def test_a_run_can_be_analysed(self, saved, capsys):
        run = ["run", "lj.pt", "start.extxyz", "--units", "lj", "--kT", "1.0", "--timestep", "0.005", "-o", "md.extxyz"]
        assert main([*run, "--seed", str(seed(0)), "--steps", "600", "--save-every", "100"]) == 0
        assert len(read("md.extxyz", ":")) == 6
        assert main(["rdf", "md.extxyz", "--index", "2:", "--r-max", "2.5", "--bins", "50", "--length-unit", "σ"]) == 0
        assert "4 frames" in capsys.readouterr().out
        table = np.loadtxt("md_rdf.csv", delimiter=",", skiprows=1)
        assert table.shape == (50, 3)
        # The first peak of a Lennard-Jones liquid: 2.4 between 1.05 and 1.15, with 230 pairs in a bin of width 0.05,
        # and 1.6 beyond 1.2: more than ten Poisson errors.
        assert 1.0 < table[table[:, 1].argmax(), 0] < 1.2
        assert Path("md_rdf.png").read_bytes().startswith(b"\x89PNG")

    def test_a_lammps_dump_is_read(self, saved, capsys):
        write("traj.lammpstrj.xyz", read("start.extxyz"))
        atoms = read("start.extxyz")
        rows = "".join(f"{k + 1} 1 {x} {y} {z}\n" for k, (x, y, z) in enumerate(atoms.positions))
        length = atoms.cell[0, 0]
        bounds = f"0 {length}\n" * 3
        Path("cg.dump").write_text(
            f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n{len(atoms)}\nITEM: BOX BOUNDS pp pp pp\n{bounds}"
            f"ITEM: ATOMS id type x y z\n{rows}"
        )
        assert main(["rdf", "cg.dump", "--bins", "40", "-o", "dump.csv"]) == 0
        assert main(["rdf", "start.extxyz", "--bins", "40", "-o", "direct.csv"]) == 0
        one, two = (np.loadtxt(name, delimiter=",", skiprows=1)[:, 1] for name in ("dump.csv", "direct.csv"))
        # the dump holds as many digits as Python writes; a pair on a bin's edge may still fall on either side
        assert np.abs(one - two).mean() < 1e-2

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["rdf", "none.xyz"], "trajectory none.xyz: no such file"),
            (["rdf", "g.csv"], "ASE cannot read it"),
            (["rdf", "start.extxyz", "--pair", "O-H", "--r-max", "2"], "has no 'O' atoms"),
            (["rdf", "start.extxyz", "--pair", "O"], "--pair O: not two symbols"),
            (["rdf", "start.extxyz", "--r-max", "9"], "r_max=9.0: more than half the height"),
            (["run", "lj.pt", "start.extxyz", "--kT", "1", "--timestep", "50", "--units", "lj"], "timestep: with 50"),
            (["run", "lj.pt", "start.extxyz", "--temperature", "300", "--timestep", "1", "--units", "lj"], "kelvin"),
        ],
    )
    def test_bad_arguments_are_one_line(self, saved, capsys, arguments, message):
        before = {path.name for path in saved.iterdir()}
        assert message in refused(arguments, capsys)
        assert {path.name for path in saved.iterdir()} == before

    def test_existing_files_are_not_overwritten(self, saved, capsys):
        Path("start_rdf.csv").write_text("old")
        assert "start_rdf.csv: exists" in refused(["rdf", "start.extxyz"], capsys)
        assert Path("start_rdf.csv").read_text() == "old"


def test_votca_settings_that_are_missing_are_refused(capsys):
    assert "none.xml" in refused(["votca", "none.xml"], capsys)
    assert "--iterations 0" in refused(["votca", "none.xml", "--iterations", "0"], capsys)


def test_the_schema_is_json(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Config"


@pytest.mark.parametrize("arguments", [[], ["fits"], ["fit", "--epochs", "many"]])
def test_a_wrong_command_line_is_one_line(arguments, capsys):
    refused(arguments, capsys)
