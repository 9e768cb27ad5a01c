"""Chains on a SLURM cluster: `bash tests/slurm/start.sh`, then `pytest -m slurm tests/slurm`."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "workflow"))
import toy_stages
from toy_stages import chain, same, steps_of

if importlib.util.find_spec("pyiron_base") is None:  # its import without `project` would leave files
    pytest.skip("pyiron_base is not installed", allow_module_level=True)

from asediff.workflow import pyiron, run_chain
from asediff.workflow.executors import executor
from asediff.workflow.pyiron.launchers import queue_number
from asediff.workflow.runner import ChainError

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyiron_base.*"),
    pytest.mark.filterwarnings("ignore:.*is deprecated, use:DeprecationWarning"),  # executorlib's
    pytest.mark.filterwarnings("ignore:The following keys are not recognized"),  # executorlib's, of partition
]
HERE = Path(__file__).parent
KILL = """
import pathlib, subprocess, sys, time
steps, number, how = sys.argv[1:]
while not (pathlib.Path(steps).is_file() and len(pathlib.Path(steps).read_text().split()) >= 2):
    time.sleep(0.1)
sys.exit(subprocess.run([*how.split(), "--full", pathlib.Path(number).read_text().strip()]).returncode)
"""


@pytest.fixture(autouse=True)
def toys(monkeypatch, tmp_path):
    """Toys here and in jobs of the queue, which get this environment."""
    for name in [name for name in os.environ if name.startswith(("PYIRON", "TOY_"))]:
        monkeypatch.delenv(name)
    for name in (
        "PYIRONSQLFILE",
        "ASEDIFF_PYIRONSQLFILE",
        "PYIRONRESOURCEPATHS",
    ):  # set by `project`, and taken back at the end
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    paths = [str(HERE.parent / "workflow/toys"), str(HERE.parents[1])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.chdir(tmp_path)
    toy_stages.install(monkeypatch.setattr)
    yield
    assert not list((tmp_path / "home").iterdir())


@pytest.fixture
def pr(toys):
    return pyiron.project("project", resources=HERE)


def quiet(_):
    """Say nothing."""


def statuses(pr):
    return {row.job: row.status for row in pr.job_table().itertuples()}


def squeue():
    return subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout


def test_a_chain_in_the_queue_gives_the_local_numbers(pr, tmp_path):
    found = chain(tmp_path)
    same(pyiron.run_chain_in(pr, found, queue="main", cores=1, run_time=600, say=quiet), run_chain(found, "plain"))
    assert statuses(pr) == {node.folder: "finished" for node in found.nodes}
    job = pr.load(found["transfer"].folder)
    assert (job.server.queue, job.server.run_time, job.server.cores) == ("main", 600, 1)
    lines = []
    pyiron.run_chain_in(pr, found, queue="main", say=lines.append)
    assert lines == []


def test_a_job_has_the_cores_that_it_asked_for(pr, tmp_path):
    found = chain(tmp_path, [288])
    pyiron.run_chain_in(pr, found, queue="main", cores=2, say=quiet)
    folder = pr.load(found["ibi_288K"].folder).folder
    assert (folder / "cores.txt").read_text() == "2\n"
    assert "--cpus-per-task=2" in (folder / "run_queue.sh").read_text()


@pytest.mark.parametrize("how", ["time limit", "scancel", "scancel --signal=KILL"])
def test_a_job_that_the_queue_ends_goes_on_at_the_next_call_with_the_same_numbers(pr, tmp_path, monkeypatch, how):
    found = chain(tmp_path, [288])
    folder = Path(pr.path, f"{found['ibi_288K'].folder}_hdf5", found["ibi_288K"].folder)
    with monkeypatch.context() as during:
        during.setenv("TOY_STEPS", "20")
        during.setenv("TOY_SLOW", "ibi")
        during.setenv("TOY_DELAY", "10" if how == "time limit" else "0.5")
        if how != "time limit":
            killer = subprocess.Popen(
                [sys.executable, "-S", "-c", KILL, str(folder / "steps.txt"), str(folder.parent / "queue_id.txt"), how]
            )
        with pytest.raises(ChainError, match=r"^ibi_288K: ended without results, perhaps at its time limit"):
            pyiron.run_chain_in(pr, found, queue="main", run_time=60, say=quiet)
        if how != "time limit":
            assert killer.wait(60) == 0
    assert statuses(pr)[found["ibi_288K"].folder] == "aborted"
    done = steps_of(folder)
    assert 2 <= len(done) < 20
    monkeypatch.setenv("TOY_STEPS", "20")
    again = pyiron.run_chain_in(pr, found, queue="main", run_time=600, say=quiet)
    assert steps_of(folder)[: len(done)] == done
    assert len(steps_of(folder)) <= 21  # at most one step is taken again
    assert set(statuses(pr).values()) == {"finished"}
    same(again, run_chain(found, "plain", say=quiet))


def test_a_client_that_ends_leaves_its_jobs_in_the_queue_and_the_next_one_waits_for_them(pr, tmp_path, monkeypatch):
    found = chain(tmp_path, [288])
    monkeypatch.setenv("TOY_DELAY", "1")
    code = """
from asediff.workflow import Chain, pyiron
pyiron.run_chain_in(pyiron.project("project"), Chain.load("toys.yaml"), queue="main")
"""
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    folder = Path(pr.path, f"{found['reference_288K'].folder}_hdf5", found["reference_288K"].folder)
    deadline = time.monotonic() + 300
    while not steps_of(folder):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.kill()
    first.communicate()
    number = queue_number(folder)
    pyiron.run_chain_in(pr, found, queue="main", say=quiet)
    assert queue_number(folder) == number  # it was not sent again
    assert steps_of(folder) == [1, 2, 3, 4]
    assert set(statuses(pr).values()) == {"finished"}


def test_executorlib_runs_a_chain_as_jobs_of_the_queue(tmp_path):
    found = chain(tmp_path, [288])
    with executor("slurm", tmp_path / "queue", cores=1, partition="main", minutes=5) as chosen:
        sent = run_chain(found, tmp_path / "queue", cores=1, executor=chosen, say=quiet)
    same(sent, run_chain(found, "plain", say=quiet))
    assert squeue() == ""


def test_executorlib_runs_the_jobs_of_a_project_in_the_queue(pr, tmp_path):
    found = chain(tmp_path, [288])
    with executor("slurm", tmp_path / "cache", cores=1, partition="main", minutes=5) as chosen:
        sent = pyiron.run_chain_in(pr, found, executor=chosen, say=quiet)
    same(sent, run_chain(found, "plain", say=quiet))
    assert set(statuses(pr).values()) == {"finished"}
