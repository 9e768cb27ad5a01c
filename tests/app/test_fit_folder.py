"""`asediff fit`, `export` and `validate` in their folders: what is refused, what is kept, what goes on."""

import errno
import json
import os
import resource
import shutil
import sys

import numpy as np
import pytest
import torch
import yaml
from ase.io import write
from command_in_child import CURVE_G, CURVE_R, SMALL
from command_line import refused

from asediff import lattices, save_potential
from asediff.checks import numbers as sanity
from asediff.cli import main
from asediff.host.files import FileError, write_whole
from asediff.host.manifest import MARKER
from asediff.lammps.run import LammpsError
from asediff.lammps.tables import PairTable
from asediff.lammps.verify import outside_secants, verify_export
from asediff.potentials import LennardJones, PairPotential
from asediff.system import System

TORCH = [*SMALL, "--set", "validation={kind: torch, steps: 200}"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("asediff.plotting.png", lambda _: b"figures take longer than all the rest")
    np.savetxt(tmp_path / "g.csv", np.column_stack([CURVE_R, CURVE_G]), delimiter=",", header="r,g", comments="")
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Fits that are done, without LAMMPS and with it."""
    folder = tmp_path_factory.mktemp("finished")
    np.savetxt(folder / "g.csv", np.column_stack([CURVE_R, CURVE_G]), delimiter=",", header="r,g", comments="")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("asediff.plotting.png", lambda _: b"figures take longer than all the rest")
        assert main(["fit", "g.csv", *TORCH, "-o", "torch"]) == 0
        assert main(["fit", "g.csv", *SMALL, "-o", "lammps"]) == 0
    return folder


@pytest.fixture
def result(finished, here):
    """A copy of a fit without LAMMPS."""
    shutil.copytree(finished / "torch", here / "result")
    return here / "result"


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestLostFiles:
    def test_a_folder_of_somebody_else_with_a_configuration_survives(self, here, capsys):
        (here / "theirs").mkdir()
        (here / "theirs/config.yaml").write_text("theirs")
        (here / "theirs/thesis.tex").write_text("words")
        before = contents(here)
        for options in (["--overwrite"], [], ["--resume"]):
            assert "theirs" in refused(["fit", "g.csv", *TORCH, "-o", "theirs", *options], capsys)
        assert contents(here) == before

    def test_names_like_unfinished_ones_are_not_touched(self, here, finished):
        for name in ("result.part", "files.part"):
            (here / name).mkdir()
            (here / name / "words").write_text("words")
        assert main(["fit", "g.csv", *TORCH, "-o", "result"]) == 0
        assert (here / "result.part/words").read_text() == "words"

    def test_an_overwritten_result_leaves_no_old_file(self, result, capsys):
        (result / "notes.txt").write_text("words")
        told = refused(["fit", "g.csv", *TORCH, "-o", "result", "--overwrite"], capsys)
        assert "--output result: holds notes.txt, which asediff did not write" in told
        (result / "notes.txt").unlink()
        other = ["--set", "state_points.0.name=cold"]
        assert main(["fit", "g.csv", *TORCH, *other, "-o", "result", "--overwrite"]) == 0
        listed = json.loads((result / MARKER).read_text())["files"]
        assert sorted(contents(result)) == sorted([*listed, MARKER])
        assert json.loads((result / "result.json").read_text())["state_points"][0]["name"] == "cold"

    def test_a_result_may_be_the_input_of_what_replaces_it(self, result, here):
        (here / "g.csv").unlink()
        before = (result / "potential.csv").read_bytes()
        assert main(["fit", "result/config.yaml", "-o", "result", "--overwrite"]) == 0
        assert (result / "inputs/g.csv").is_file()
        assert (result / "potential.csv").read_bytes() == before

    def test_a_result_of_an_earlier_version_is_refused_with_the_remedy(self, result, capsys):
        (result / MARKER).unlink()
        before = contents(result)
        assert refused(["fit", "--resume", "-o", "result"], capsys).endswith(
            "no .asediff in it); start anew: asediff fit result/config.yaml --output ANOTHER\n"
        )
        assert "holds no fit with a list" in refused(["fit", "g.csv", *TORCH, "-o", "result", "--overwrite"], capsys)
        assert contents(result) == before

    def test_a_fit_is_not_replaced_by_an_export(self, result, capsys):
        write("start.extxyz", lattices.fcc("X", density=0.6, cells=3, mass=1.0))
        command = ["export", "result/potential.pt", "start.extxyz", "--kT", "1", "--units", "lj", "--timestep", "0.005"]
        before = contents(result)
        told = refused([*command, "-o", "result", "--overwrite"], capsys)
        assert "--output result: holds results of fit, not of export" in told
        assert contents(result) == before


class TestRefusedBeforeTheFit:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--density", "1.1e-7"], "state_points[0].density: 1.1e-07 is so low that "),
            (["--set", "validation.steps=200"], "validation.steps: 200 with save_every 50 keep 4 frames, and"),
            (["--set", "validation.save_every=7"], "validation.save_every: 7 does not divide validation.steps (500)"),
            (["--set", "validation.equilibration_steps=-1"], "validation.equilibration_steps: -1 is not within 0 "),
            (["--set", "validation.input=mine.lmp"], "validation: input: 'mine.lmp' is not among"),
            (["--set", "validation.threads=0"], "validation.threads: 0 is not within 1 "),
            (["--set", "validation.timeout=-1"], "validation: timeout: -1.0 is not positive"),
            (["--set", "validation.tdamp=-1"], "validation.tdamp: -1 is not within "),
            (["-o", "x" * 300], "cannot be written (File name too long); give a shorter name"),
            (["-o", "g.csv"], "--output g.csv: exists"),
            (["-o", "g.csv/result"], "cannot be written (Not a directory)"),
        ],
    )
    def test_what_validation_would_refuse(self, here, capsys, monkeypatch, options, message):
        monkeypatch.setattr("asediff.app.pipeline.fit_in", None)
        assert message in refused(["fit", "g.csv", *SMALL, "-o", "result", *options], capsys)
        assert [path.name for path in here.iterdir()] == ["g.csv"]

    def test_what_lammps_cannot_run(self, here, capsys, monkeypatch):
        # enough pairs, but more bins than LAMMPS can number
        monkeypatch.setattr("asediff.app.pipeline.fit_in", None)
        monkeypatch.setattr("asediff.app.rehearsal.expected_pairs", lambda *_: 1e9)
        monkeypatch.setitem(sanity.BY_KEY, "density", sanity.OTHER)
        told = refused(["fit", "g.csv", *SMALL, "--density", "1e-10", "-o", "result"], capsys)
        assert "state_points[0]: LAMMPS cannot run the export at this density and temperature (" in told
        assert "Too many" in told
        assert [path.name for path in here.iterdir()] == ["g.csv"]

    @pytest.mark.parametrize("names", [("a/b", "a b"), ("Water", "water"), (".", "..")])
    def test_state_points_whose_files_would_meet(self, here, capsys, names):
        points = [{"name": name, "kT": 1.0, "targets": [{"file": "g.csv"}]} for name in names]
        self.write_config(here, points)
        told = refused(["fit", "two.yaml", "-o", "result"], capsys)
        assert f"state_points[1].name: {names[1]!r} would share its files with {names[0]!r}" in told
        assert not (here / "result").exists()

    def test_targets_whose_files_would_meet(self, here, capsys):
        targets = [{"file": "g.csv", "name": name} for name in ("O/H", "O_H")]
        self.write_config(here, [{"kT": 1.0, "targets": targets}])
        assert "state_points[0].targets[1].name: 'O_H' would" in refused(["fit", "two.yaml", "-o", "result"], capsys)

    @staticmethod
    def write_config(here, points):
        config = {"units": "lj", "system": {"density": 0.6, "n_atoms": 216}, "state_points": points}
        (here / "two.yaml").write_text(yaml.safe_dump(config | {"potential": {"cutoff": 2.3}}))


def test_state_points_without_names_get_different_ones(here):
    from asediff.app.config import parse, resolve

    points = [{"kT": kT, "density": density, "targets": [{"file": "g.csv"}]} for kT, density in ((1, 0.5), (1, 0.6))]
    config = parse({"units": "lj", "system": {"n_atoms": 108}, "state_points": points, "potential": {"cutoff": 2.3}})
    assert [point.name for point in resolve(config, here).state_points] == ["kT 1-1", "kT 1-2"]


def test_a_target_may_be_named_like_a_path(here):
    assert main(["fit", "g.csv", *TORCH, "--set", "state_points.0.targets.0.name=O/H", "-o", "result"]) == 0
    assert {"curve_0_O_H.csv", "rdf_0_O_H.csv", "rdf_0_O_H.png"} <= {path.name for path in (here / "result").iterdir()}


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("validation", "steps", 50, "validation.steps: 50 with save_every 100 keep 0 frames, and an error bar needs 2"),
        ("method", "clip", 1e300, "method.clip: 1e+300 is not within "),
    ],
)
def test_an_edited_configuration_is_checked_like_a_new_one(result, capsys, section, key, value, message):
    config = yaml.safe_load((result / "config.yaml").read_text())
    config[section][key] = value
    (result / "config.yaml").write_text(yaml.safe_dump(config))
    before = contents(result)
    assert message in refused(["fit", "--resume", "-o", "result"], capsys)
    assert contents(result) == before


class TestLostWork:
    def test_a_lammps_that_fails_leaves_the_run_in_asediff(self, here, finished, capsys, monkeypatch):
        def fail(*_: object, **__: object) -> None:
            (here / "told").touch()
            raise LammpsError("cg_nvt.lmp: ended by signal 9 (SIGKILL); the end of x/log.lammps:\nlast line")

        with monkeypatch.context() as patch:
            patch.setattr("asediff.lammps.export.run_lammps", fail)
            told = refused(["fit", "g.csv", *SMALL, "-o", "result"], capsys)
        assert told.endswith(
            "the fit and the runs that ended are kept; go on with: asediff fit --resume -o result\n"
        ) or ("go on with: asediff fit --resume --output result" in told)
        saved = json.loads((here / "result/result.json").read_text())
        expected = {"fit": True, "asediff": ["kT 1"], "lammps": [], "verification": [], "report": False}
        assert saved["parts"] == expected
        assert saved["state_points"][0]["measured"] is True
        assert (here / "result/curve_0_rdf.csv").is_file()
        monkeypatch.setattr("asediff.app.pipeline.fit_in", None)
        monkeypatch.setattr("asediff.engines.TorchEngine.run", None)
        assert main(["fit", "--resume", "-o", "result"]) == 0
        saved = json.loads((here / "result/result.json").read_text())
        assert saved["parts"] == expected | {"lammps": ["kT 1"], "verification": ["kT 1"], "report": True}
        for name in ("potential.csv", "curve_0_rdf.csv", "rdf_0_rdf.csv", "lammps/kT_1/cg.table"):
            assert (here / "result" / name).read_bytes() == (finished / "lammps" / name).read_bytes(), name

    def test_a_finished_fit_that_is_resumed_does_nothing_again(self, here, finished, monkeypatch):
        shutil.copytree(finished / "lammps", here / "result")
        for name in (
            "app.pipeline.fit_in",
            "engines.TorchEngine.run",
            "lammps.export.run_lammps",
            "lammps.verify.run_lammps",
        ):
            monkeypatch.setattr(f"asediff.{name}", None)
        before = contents(here / "result")
        assert main(["fit", "--resume", "-o", "result"]) == 0
        assert contents(here / "result") == before

    @pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:200]), lambda p: p.unlink()])
    def test_a_part_that_is_damaged_is_done_again(self, result, damage):
        before = contents(result)
        damage(result / "parts/asediff_0.pt")
        assert main(["fit", "--resume", "-o", "result"]) == 0
        after = contents(result)
        assert sorted(after) == sorted(before)
        assert after["curve_0_rdf.csv"] == before["curve_0_rdf.csv"]

    def test_a_changed_validation_is_run_and_the_fit_is_not(self, result, monkeypatch):
        config = yaml.safe_load((result / "config.yaml").read_text())
        config["validation"]["steps"] = 400
        (result / "config.yaml").write_text(yaml.safe_dump(config))
        monkeypatch.setattr("asediff.app.pipeline.fit_in", None)
        before = (result / "curve_0_rdf.csv").read_bytes()
        assert main(["fit", "--resume", "-o", "result"]) == 0
        assert (result / "curve_0_rdf.csv").read_bytes() != before

    def test_more_epochs_go_on_from_the_checkpoint(self, result):
        config = (result / "config.yaml").read_text()
        (result / "config.yaml").write_text(config.replace("epochs: 4\n", "epochs: 5\n"))
        assert main(["fit", "--resume", "-o", "result"]) == 0
        assert len(torch.load(result / "checkpoint.pt", weights_only=True)["history"]) == 5

    def test_a_full_disk_keeps_the_checkpoint_before_and_says_how_to_go_on(self, here, finished, capsys, monkeypatch):
        calls = []

        def full(path, data, **options):
            calls.append(path.name)
            if calls.count("checkpoint.pt") == 3:
                raise FileError(errno.ENOSPC, f"{path}: cannot be written (No space left on device); free some space")
            write_whole(path, data, **options)

        with monkeypatch.context() as patch:
            patch.setattr("asediff.host.folders.write_whole", full)
            told = refused(["fit", "g.csv", *TORCH, "-o", "result"], capsys)
        assert "result/checkpoint.pt: cannot be written (No space left on device)" in told
        assert told.endswith("; the last checkpoint is kept; go on with: asediff fit --resume --output result\n")
        assert sorted(path.name for path in (here / "result").iterdir()) == [
            *(MARKER, "checkpoint.pt", "config.yaml", "inputs"),
        ]
        assert main(["fit", "--resume", "-o", "result"]) == 0
        assert (here / "result/potential.csv").read_bytes() == (finished / "torch/potential.csv").read_bytes()

    def test_a_limit_on_the_size_of_files_is_one_line(self, here):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        write_whole(here / "a", b"old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            with pytest.raises(FileError, match=r"a: cannot be written \(File too large\); raise the limit"):
                write_whole(here / "a", bytes(10_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (here / "a").read_bytes() == b"old"
        assert sorted(path.name for path in here.iterdir()) == ["a", "g.csv"]


class TestExportAndValidate:
    @pytest.fixture(autouse=True)
    def _saved(self, here):
        save_potential(PairPotential(LennardJones(), 2.3), here / "lj.pt")
        write("start.extxyz", lattices.fcc("X", density=0.6, cells=3, mass=1.0, rattle=0.02))

    EXPORT = ("export", "lj.pt", "start.extxyz", "--kT", "1", "--units", "lj", "--timestep", "0.005", "-o", "files")

    def test_a_failed_export_leaves_no_folder(self, here, capsys, monkeypatch):
        def fail(*_: object, **__: object) -> None:
            raise LammpsError("table_check.lmp: ERROR: no; the end of x/log.lammps:\nlast line")

        monkeypatch.setattr("asediff.lammps.verify.run_lammps", fail)
        assert refused(self.EXPORT, capsys) == "asediff: error: table_check.lmp: ERROR: no\n"
        assert not (here / "files").exists()

    def test_a_failed_export_leaves_the_older_one(self, here, capsys, monkeypatch):
        assert main(self.EXPORT) == 0
        assert "files/cg.table (units lj) in LAMMPS" in capsys.readouterr().out
        before = contents(here / "files")
        assert "--output files: exists; choose another folder, --overwrite" in refused(self.EXPORT, capsys)
        with monkeypatch.context() as patch:
            patch.setattr("asediff.lammps.export.write_tables", lambda *_, **__: 1 / 0)
            patch.setattr(sys.modules["asediff.cli.main"], "report", lambda error: 70)
            assert main([*self.EXPORT, "--overwrite"]) == 70
        assert contents(here / "files") == before
        assert main([*self.EXPORT, "--overwrite"]) == 0
        assert contents(here / "files") == before

    def test_curves_of_finished_state_points_are_there_when_a_later_one_fails(self, here, capsys, monkeypatch):
        points = [{"name": name, "kT": 1.0, "targets": [{"file": "g.csv"}]} for name in ("one", "two")]
        TestRefusedBeforeTheFit.write_config(here, points)
        from asediff.engines import TorchEngine

        original, calls = TorchEngine.run, []

        def run(*arguments, **options):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        monkeypatch.setattr(TorchEngine, "run", run)
        command = ["validate", "lj.pt", "two.yaml", "--engine", "torch", "--steps", "200", "-o", "curves"]
        assert main(command) == 130
        told = capsys.readouterr()
        assert told.out.startswith("one rdf: mean |dg|")
        assert told.err == "asediff: interrupted; 1 of 2 state points are done, and their curves are in curves\n"
        assert sorted(contents(here / "curves")) == [MARKER, "rdf_0_rdf.csv"]
        assert "--output curves: exists" in refused(command, capsys)
        assert main([*command, "--overwrite"]) == 0
        assert sorted(contents(here / "curves")) == [MARKER, "rdf_0_rdf.csv", "rdf_1_rdf.csv"]

    def test_a_potential_in_a_folder_with_an_odd_name_is_found(self, here):
        odd = here / "a: {b} #c"
        odd.mkdir()
        shutil.copy("lj.pt", odd / "lj.pt")
        TestRefusedBeforeTheFit.write_config(here, [{"kT": 1.0, "targets": [{"file": "g.csv"}]}])
        assert main(["validate", str(odd / "lj.pt"), "two.yaml", "--engine", "torch", "--steps", "200"]) == 0


class TestRemarksOfLammps:
    def test_forces_lie_outside_the_secants_next_to_an_inflection_only(self):
        table = PairTable.from_function(lambda r: np.cos(2 * r), 2.5, r_core=0.1)
        found = outside_secants(table)
        flagged = table.r[found > 1e-12]
        assert np.abs(flagged - np.pi / 4).min() < 0.01
        # of second order: a quarter with half the spacing
        finer = PairTable.from_function(lambda r: np.cos(2 * r), 2.5, r_core=0.1, n_points=8001)
        smooth = lambda t: outside_secants(t)[t.r > 0.2].max()  # noqa: E731
        assert smooth(finer) < smooth(table) / 4

    def test_a_remark_comes_with_its_weight(self, here):
        atoms = lattices.fcc("Ar", density=0.6, cells=3, mass=1.0, rattle=0.05)
        potential = PairPotential(LennardJones(), 2.3)
        frames = [System.from_atoms(atoms)] * 10
        from asediff.lammps.tables import spline_tables, write_tables

        tables = spline_tables(potential.tabulate(frames[0]), refine=4)
        write_tables(here / "x.table", tables, "lj")
        report = verify_export(here / "x.table", potential, frames, kT=1.0)
        assert report.passed
        assert len(report.warnings) == 1
        assert "forces of Ar_Ar lie outside the slopes to their neighbours in the table, as they do where" in str(
            report
        )
        assert "(limit 1e-04): this does not matter" in str(report)
        strict = verify_export(here / "x.table", potential, frames, kT=1.0, force_limit=1e-12)
        assert "give the table more points (refine, n_knots)" in str(strict)


def test_a_demonstration_does_not_replace_a_folder_of_somebody_else(here, capsys):
    from asediff.cli import demo

    (here / "demo").mkdir()
    (here / "demo" / demo.CURVE).write_text("theirs")
    with pytest.raises(SystemExit) as stop:
        demo.main([])
    assert stop.value.code == 2
    assert "--output demo: holds no demo with a list of its files" in capsys.readouterr().err
    assert (here / "demo" / demo.CURVE).read_text() == "theirs"


def test_a_votca_run_in_a_folder_in_use_is_refused(here, monkeypatch):
    from asediff.host.locks import InUseError, exclusive
    from asediff.votca import run as votca_run

    monkeypatch.setattr(votca_run._Run, "__init__", lambda *_: None)
    monkeypatch.setattr(votca_run._Run, "until", None)
    monkeypatch.setattr(votca_run, "_check_files", lambda *_: [])
    settings = votca_run.Settings.__new__(votca_run.Settings)
    object.__setattr__(settings, "path", here / "settings.xml")
    object.__setattr__(settings, "iterations_max", 1)
    with exclusive(here), pytest.raises(InUseError, match=f"in use by process {os.getpid()}"):
        votca_run.run_ibi(settings, here, lambda *_: None)


def test_the_loops_of_a_demonstration_are_compiled_by_a_fit(monkeypatch):
    from asediff.cli import demo

    fitted = []
    fit = demo.fit
    monkeypatch.setattr(demo, "fit", lambda *given, **options: fitted.append(fit(*given, **options)))
    demo.compile_loops()
    assert len(fitted[0].history) == 1
    assert len(fitted[0].measurements) == 1
