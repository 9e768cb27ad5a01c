"""Stages that run: what they leave, that they go on after a kill with the same numbers, and what stops them."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from stage_in_child import TINY, start

from asediff.host.locks import exclusive
from asediff.potentials import load_potential
from asediff.workflow import Chain, Results, run_chain, run_stage
from asediff.workflow.runner import ChainError
from asediff.workflow.stages.base import ERROR, RECORD, Record, StageError
from asediff.workflow.stages.fit import FIT, POTENTIAL

FITS = ("ibi", "gauss_newton", "reweighting", "diffsim")
TIMES = {"seconds", "total_seconds", "validation_seconds"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("chain") / "tiny.yaml"
    path.write_text(TINY)
    return Chain.load(path)


@pytest.fixture(scope="module")
def project(tiny, tmp_path_factory):
    """A project in which the chain has run, in this process."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as here:
        patch.setattr("asediff.plotting.png", lambda _: b"figures take longer than all the rest")
        run_chain(tiny, folder, executor=here, say=lambda _: None)
    return folder


def same(a, b):
    """Whether two results have the same bits, but for times."""
    scalars = {name: value for name, value in a.scalars.items() if name not in TIMES}
    assert scalars == {name: value for name, value in b.scalars.items() if name not in TIMES}
    assert a.arrays.keys() == b.arrays.keys()
    for name, array in ((name, array) for name, array in a.arrays.items() if name not in TIMES):
        np.testing.assert_array_equal(array, b.arrays[name], err_msg=name)
    return True


def renewed(project, tiny, name, folder):
    """A copy of the project in which one stage has not begun; its folder."""
    shutil.copytree(project, folder)
    target = folder / tiny[name].folder
    for entry in target.iterdir():
        if entry.name != RECORD:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return target


class TestWhatTheyLeave:
    def test_a_fit_is_a_result_folder_of_asediff_fit(self, tiny, project):
        for name in FITS:
            folder = project / tiny[name].folder
            assert (folder / FIT / "report.html").is_file()
            assert list((folder / FIT).glob("lammps/*/cg.table"))
            assert load_potential(folder / POTENTIAL).cutoff == pytest.approx(6.0, abs=0.06)

    def test_numbers_with_units_in_their_names(self, tiny, project):
        for name in FITS:
            found = Results.load(project / tiny[name].folder)
            assert found.scalars["method"] == name
            assert found.scalars["verified"] is True
            assert isinstance(found.scalars["not_converged"], bool)
            assert found.scalars["md_steps"] > 0
            assert found.arrays["temperature"].tolist() == [288.0]
            assert found.units["pressure"] == "bar"
            assert found.arrays["u"].shape == (1, len(found.arrays["u_r"]))
        found = Results.load(project / tiny["validate_ibi"].folder)
        assert found.scalars["temperature_K"] == 288.0
        assert min(found.scalars[name] for name in ("D", "D_noise", "mean_abs_dg", "mean_abs_dg_noise")) > 0

    def test_a_validation_takes_the_bins_of_the_reference(self, tiny, project):
        reference, found = (Results.load(project / tiny[name].folder) for name in ("reference_288K", "validate_ibi"))
        n = len(found.arrays["r"])
        np.testing.assert_array_equal(found.arrays["r"], reference.arrays["r"][:n])
        np.testing.assert_array_equal(found.arrays["g_reference"], reference.arrays["g"][:n])

    def test_the_transfer_has_every_validation(self, tiny, project):
        assert (project / tiny["transfer"].folder / "transfer.csv").read_text().count("\n") == 1 + len(FITS)

    def test_again_nothing_runs(self, tiny, project):
        class Never(ThreadPoolExecutor):
            def submit(self, *_, **__):
                raise AssertionError("a finished stage runs again")

        said = []
        assert len(run_chain(tiny, project, executor=Never(1), say=said.append)) == len(tiny.nodes)
        assert said == []

    def test_a_finished_folder_gives_what_is_there(self, tiny, project):
        folder = project / tiny["ibi"].folder
        before = (folder / "results.h5").stat().st_mtime_ns
        record = Record.load(folder)
        run_stage(record.kind, record.settings, record.parents, folder)
        assert (folder / "results.h5").stat().st_mtime_ns == before


class TestAfterAKill:
    """The process is killed with SIGKILL at a call in the midst of its work, and the stage is called again."""

    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("ibi", "asediff.fitting.api:FitJob.save_checkpoint@3"),
            ("diffsim", "asediff.app.parts:Parts.put_run"),
            ("validate_ibi", "asediff.engines.base:measure"),
            pytest.param("gauss_newton", "asediff.fitting.api:FitJob.save_checkpoint@3", marks=pytest.mark.slow),
            pytest.param("reweighting", "asediff.fitting.api:FitJob.save_checkpoint@3", marks=pytest.mark.slow),
            pytest.param("diffsim", "asediff.fitting.api:FitJob.save_checkpoint@3", marks=pytest.mark.slow),
            pytest.param("ibi", "asediff.host.folders:ResultFolder.write", marks=pytest.mark.slow),
            pytest.param("ibi", "asediff.app.pipeline:verified", marks=pytest.mark.slow),
            pytest.param("ibi", "asediff.workflow.results:write_whole", marks=pytest.mark.slow),
            pytest.param("reference_288K", "asediff.workflow.results:write_whole", marks=pytest.mark.slow),
            pytest.param("transfer", "asediff.workflow.transfer:write_whole", marks=pytest.mark.slow),
        ],
    )
    def test_the_numbers_are_the_same(self, name, place, tiny, project, tmp_path, monkeypatch):
        monkeypatch.setattr("asediff.plotting.png", lambda _: b"figures take longer than all the rest")
        folder = renewed(project, tiny, name, tmp_path / "copy")
        process = start(str(folder), place)
        process.join()
        assert process.exitcode == -9
        assert not Results.finished(folder)
        with ThreadPoolExecutor(1) as here:
            again = run_chain(tiny, tmp_path / "copy", executor=here, say=lambda _: None)
        assert same(again[name], Results.load(project / tiny[name].folder))


class TestTwoClients:
    def test_the_second_waits_and_takes_the_result_of_the_first(self, tiny, project, tmp_path):
        folder = renewed(project, tiny, "validate_ibi", tmp_path / "copy")
        processes = [start(str(folder)) for _ in range(2)]
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        assert same(Results.load(folder), Results.load(project / tiny["validate_ibi"].folder))
        assert (folder / "log.txt").read_text().count("waiting: ") <= 1

    def test_a_folder_in_use_is_waited_for(self, tiny, project, tmp_path, monkeypatch):
        folder = renewed(project, tiny, "transfer", tmp_path / "copy")
        said, record = [], Record.load(folder)
        with ThreadPoolExecutor(1) as other:
            with exclusive(folder):
                waiting = other.submit(run_stage, record.kind, record.settings, record.parents, folder, say=said.append)
                while not said:
                    assert not waiting.done()
                assert not Results.finished(folder)
            assert same(waiting.result(), Results.load(project / tiny["transfer"].folder))
        assert "in use by process" in said[0]


class TestWhatStopsThem:
    def test_a_parent_that_has_not_finished(self, tmp_path):
        with pytest.raises(StageError, match=r"parents.reference: .*has not finished; run that stage first"):
            run_stage("ibi", {}, {"reference": tmp_path / "none"}, tmp_path / "ibi")

    def test_a_parent_that_is_missing(self, tmp_path):
        with pytest.raises(StageError, match=r"parents.reference: 0 stages are given"):
            run_stage("ibi", {}, {}, tmp_path / "ibi")
        assert not (tmp_path / "ibi").exists()

    def test_another_stage_in_the_folder(self, tiny, project):
        folder = project / tiny["ibi"].folder
        record = Record.load(folder)
        with pytest.raises(StageError, match="holds another stage or other settings; choose another folder"):
            run_stage("ibi", {**record.settings, "seed": 5}, record.parents, folder)

    def test_the_reason_stays_in_the_folder_until_the_next_start(self, tiny, project, tmp_path, monkeypatch):
        folder = renewed(project, tiny, "validate_ibi", tmp_path / "copy")
        record = Record.load(folder)
        with monkeypatch.context() as patch:
            patch.setattr("asediff.lammps.run.find_lmp", lambda: "/bin/false")
            with pytest.raises(Exception, match=r"cg_nvt.lmp"):
                run_stage(record.kind, record.settings, record.parents, folder)
        assert (folder / ERROR).read_text().count("\n") == 1
        assert same(run_stage(record.kind, record.settings, record.parents, folder),
                    Results.load(project / tiny["validate_ibi"].folder))  # fmt: skip
        assert not (folder / ERROR).exists()

    def test_a_failure_leaves_the_rest_finished_and_the_next_run_goes_on(self, tiny, project, tmp_path, monkeypatch):
        renewed(project, tiny, "validate_ibi", tmp_path / "copy")
        shutil.rmtree(tmp_path / "copy" / tiny["transfer"].folder)
        with monkeypatch.context() as patch, ThreadPoolExecutor(1) as here:
            patch.setattr("asediff.lammps.run.find_lmp", lambda: "/bin/false")
            with pytest.raises(ChainError, match=r"validate_ibi: .*; not run, since they depend on it: transfer;"):
                run_chain(tiny, tmp_path / "copy", executor=here, say=lambda _: None)
        with ThreadPoolExecutor(1) as here:
            again = run_chain(tiny, tmp_path / "copy", executor=here, say=lambda _: None)
        assert same(again["transfer"], Results.load(project / tiny["transfer"].folder))

    def test_threads_are_as_before(self, tiny, project, tmp_path):
        import torch

        folder, threads = renewed(project, tiny, "transfer", tmp_path / "copy"), torch.get_num_threads()
        record = Record.load(folder)
        run_stage(record.kind, record.settings, record.parents, folder)
        assert torch.get_num_threads() == threads
        assert "ASEDIFF_NUM_THREADS" not in os.environ
