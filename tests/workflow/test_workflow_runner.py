"""The order in which a chain runs, and what failures leave; functions stand in for the stages."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from asediff.host.files import FileError
from asediff.host.manifest import FolderError
from asediff.host.processes import Children, started_at
from asediff.lammps.run import LammpsError
from asediff.workflow import Chain, Results, run_chain
from asediff.workflow import runner as runner_module
from asediff.workflow.executors import executor
from asediff.workflow.runner import ChainError
from asediff.workflow.stages.base import ERROR, RECORD

DIAMOND = """
title: diamond
stages:
  a: {kind: reference}
  b: {kind: reference, settings: {seed: 2}}
  x: {kind: ibi, parents: {reference: a}}
  y: {kind: ibi, parents: {reference: b}}
  both: {kind: diffsim, parents: {reference: [a, b]}}
  vx: {kind: validate, parents: {potential: x, reference: a}}
  vb: {kind: validate, parents: {potential: both, reference: b}}
  end: {kind: transfer, parents: {validations: [vx, vb]}}
"""


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "diamond.yaml").write_text(DIAMOND)
    return Chain.load(tmp_path / "diamond.yaml")


class Stand:
    """An executor that stands in for all stages: those named fail, the others leave their name."""

    def __init__(self, failing=(), workers=8):
        self.failing, self.ran, self.pool = failing, [], ThreadPoolExecutor(workers)

    def submit(self, _, folder, cores):
        return self.pool.submit(self.run, Path(folder), cores)

    def run(self, folder, cores):
        name = folder.name.rpartition("_")[0]
        self.ran.append(name)
        if name in self.failing:
            raise ValueError(f"{name}: 1 is wrong; give 2\nand more")
        Results({"name": name, "cores": cores}).write(folder)


@pytest.fixture
def stand():
    made = []

    def new(*failing):
        made.append(Stand(failing))
        return made[-1]

    yield new
    for one in made:
        one.pool.shutdown()


def quiet(_):
    pass


class TestOrder:
    def test_every_stage_runs_once_after_its_parents(self, chain, stand, tmp_path):
        executor = stand()
        found = run_chain(chain, tmp_path / "p", executor=executor, say=quiet)
        assert sorted(executor.ran) == sorted(found) == sorted(node.name for node in chain.nodes)
        for node in chain.nodes:
            for names in node.parents.values():
                assert all(executor.ran.index(name) < executor.ran.index(node.name) for name in names)
        assert [found[name].scalars["name"] for name in found] == list(found)

    def test_again_nothing_runs(self, chain, stand, tmp_path):
        run_chain(chain, tmp_path / "p", executor=stand(), say=quiet)
        executor = stand()
        run_chain(chain, tmp_path / "p", executor=executor, say=quiet)
        assert executor.ran == []

    def test_what_was_removed_runs_alone(self, chain, stand, tmp_path):
        run_chain(chain, tmp_path / "p", executor=stand(), say=quiet)
        (tmp_path / "p" / chain["x"].folder / "results.h5").unlink()
        executor = stand()
        run_chain(chain, tmp_path / "p", executor=executor, say=quiet)
        assert executor.ran == ["x"]

    def test_states_are_told(self, chain, stand, tmp_path):
        said = []
        run_chain(chain, tmp_path / "p", executor=stand(), say=said.append)
        assert "a: started" in said
        assert said[-1].startswith("end: finished in ")
        assert said[-1].endswith("(8 of 8)")

    def test_stages_that_do_not_depend_on_each_other_run_side_by_side(self, chain, tmp_path):
        meet = threading.Barrier(2, timeout=60)

        class Meeting(Stand):
            def run(self, folder, cores):
                if folder.name.startswith(("a_", "b_")):
                    meet.wait()
                super().run(folder, cores)

        executor = Meeting()
        run_chain(chain, tmp_path / "p", executor=executor, say=quiet)
        executor.pool.shutdown()

    @pytest.mark.parametrize("cores", [1, 2, 3])
    def test_no_more_at_once_than_cores(self, chain, cores, tmp_path, monkeypatch):
        busy, most, guard = [0], [0], threading.Lock()

        def child(_, folder, given):
            with guard:
                busy[0] += given
                most[0] = max(most[0], busy[0])
            time.sleep(0.01)
            Results({"x": 1}).write(folder)
            with guard:
                busy[0] -= given

        monkeypatch.setattr(runner_module, "_as_child", child)
        run_chain(chain, tmp_path / "p", cores=cores, say=quiet)
        assert most[0] <= cores

    def test_a_stage_that_can_use_them_has_several_cores(self, tmp_path, monkeypatch):
        (tmp_path / "two.yaml").write_text("title: x\nstages: {a: {kind: reference, settings: {replicas: 3}}}")
        given = []
        monkeypatch.setattr(
            runner_module, "_as_child", lambda _, folder, cores: (given.append(cores), Results().write(folder))
        )
        for cores in (1, 2, 5):
            run_chain(Chain.load(tmp_path / "two.yaml"), tmp_path / f"p{cores}", cores=cores, say=quiet)
        assert given == [1, 2, 3]


class TestFailures:
    def test_the_rest_is_finished_and_children_are_not_run(self, chain, stand, tmp_path):
        executor, said = stand("x"), []
        with pytest.raises(ChainError) as caught:
            run_chain(chain, tmp_path / "p", executor=executor, say=said.append)
        assert sorted(executor.ran) == ["a", "b", "both", "vb", "x", "y"]
        text = str(caught.value)
        assert text.startswith(f"x: x: 1 is wrong; give 2 ({tmp_path / 'p' / chain['x'].folder})")
        assert "not run, since they depend on it: vx, end" in text
        assert "\n" not in text
        assert "vx: not run, since x has no results" in said
        assert "end: not run, since vx has no results" in said

    def test_the_next_call_runs_what_failed_and_what_follows(self, chain, stand, tmp_path):
        with pytest.raises(ChainError):
            run_chain(chain, tmp_path / "p", executor=stand("x", "b"), say=quiet)
        executor = stand()
        run_chain(chain, tmp_path / "p", executor=executor, say=quiet)
        assert sorted(executor.ran) == ["b", "both", "end", "vb", "vx", "x", "y"]

    def test_the_reason_of_an_earlier_failure_is_not_told_again(self, chain, stand, tmp_path):
        folder = tmp_path / "p" / chain["a"].folder
        folder.mkdir(parents=True)
        (folder / ERROR).write_text("earlier")
        run_chain(chain, tmp_path / "p", executor=stand(), say=quiet)
        assert not (folder / ERROR).exists()

    def test_a_killed_child_is_told_by_its_signal(self, tmp_path, monkeypatch):
        program = tmp_path / "python"
        program.write_text("#!/bin/sh\nkill -9 $$\n")
        program.chmod(0o755)
        command = [str(program)]
        children = Children()
        original = children.run
        monkeypatch.setattr(children, "run", lambda _, cwd, **options: original(command, cwd, **options))
        with pytest.raises(ChainError, match=r"ended by signal 9 \(SIGKILL\)"):
            runner_module._as_child(children, tmp_path, 1)

    def test_a_child_without_a_reason_is_told_by_its_last_line(self, tmp_path):
        with pytest.raises(ChainError, match="holds no stage"):
            runner_module._as_child(Children(), tmp_path, 1)


class TestBadPlaces:
    def test_no_core(self, chain, tmp_path):
        with pytest.raises(ValueError, match="cores: 0 is below 1"):
            run_chain(chain, tmp_path / "p", cores=0)

    def test_a_file(self, chain, tmp_path):
        (tmp_path / "p").touch()
        with pytest.raises(FolderError, match="is a file; choose another name"):
            run_chain(chain, tmp_path / "p")

    def test_lammps_is_missing_before_anything_is_made(self, chain, tmp_path, monkeypatch):
        def none():
            raise LammpsError("lmp: not there")

        monkeypatch.setattr(runner_module, "find_lmp", none)
        with pytest.raises(LammpsError):
            run_chain(chain, tmp_path / "p")
        assert not (tmp_path / "p").exists()

    def test_a_folder_that_cannot_be_written_to(self, chain, stand, tmp_path, monkeypatch):
        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "open", full)
        with pytest.raises(FileError, match=r"cannot be written \(No space left on device\); free some space"):
            run_chain(chain, tmp_path / "p", executor=stand(), say=quiet)
        monkeypatch.undo()
        assert len(run_chain(chain, tmp_path / "p", executor=stand(), say=quiet)) == len(chain.nodes)

    def test_a_finished_chain_needs_no_writing(self, chain, stand, tmp_path, monkeypatch):
        run_chain(chain, tmp_path / "p", executor=stand(), say=quiet)

        def refused(*_, **__):
            raise AssertionError("something is written")

        for name in ("mkdir", "unlink", "write_text", "rename", "replace"):
            monkeypatch.setattr(Path, name, refused)
        assert len(run_chain(chain, tmp_path / "p", say=quiet)) == len(chain.nodes)

    def test_the_record_is_there_before_a_stage_starts(self, chain, stand, tmp_path):
        executor = stand("a", "b")
        with pytest.raises(ChainError):
            run_chain(chain, tmp_path / "p", executor=executor, say=quiet)
        assert (tmp_path / "p" / chain["a"].folder / RECORD).is_file()


class TestInterruption:
    def test_children_end_with_the_call(self, chain, tmp_path, monkeypatch):
        monkeypatch.setattr(
            runner_module, "_as_child", lambda children, folder, _: children.run(["/bin/sleep", "600"], folder)
        )

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(runner_module, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):  # and not after ten minutes
            run_chain(chain, tmp_path / "p", cores=2, say=quiet)


def test_futures_of_any_executor_will_do(chain, tmp_path):
    class Done:
        def submit(self, _, folder, __):
            Results({"x": 1}).write(folder)
            future = Future()
            future.set_result(None)
            return future

    assert len(run_chain(chain, tmp_path / "p", executor=Done(), say=quiet)) == len(chain.nodes)


class TestExecutorlib:
    def test_it_runs_what_it_is_given(self, tmp_path):
        pytest.importorskip("executorlib")
        with executor("executorlib", tmp_path, cores=1) as found:
            assert found.submit(len, "three").result() == 5

    def test_a_worker_ends_when_its_parent_is_killed(self):
        worker = (
            "import time; from asediff.workflow.executors import attached; "
            "attached(lambda: (print('up', flush=True), time.sleep(600)))"
        )
        parent = (
            f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {worker!r}]); "
            "print(p.pid, flush=True); p.wait()"
        )
        with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as asking:
            pid = int(asking.stdout.readline())
            assert asking.stdout.readline() == "up\n"
            asking.kill()
        deadline = time.monotonic() + 120
        while started_at(pid) is not None:
            assert time.monotonic() < deadline, "it still runs"
            time.sleep(0.1)
