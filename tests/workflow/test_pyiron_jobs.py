"""The stages of a chain as jobs of pyiron: input, output, status, restarts, several clients."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import toy_stages
from toy_stages import chain, same, steps_of

if importlib.util.find_spec("pyiron_base") is None:  # its import without `project` would leave files
    pytest.skip("pyiron_base is not installed", allow_module_level=True)

from asediff.host.locks import exclusive
from asediff.workflow import pyiron, run_chain
from asediff.workflow.pyiron.runner import handlers_kept
from asediff.workflow.runner import ChainError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pyiron_base.*")
CLIENT = """
import sys
from pathlib import Path
from asediff.workflow import Chain
from asediff.workflow.pyiron import project, run_chain_in
found = run_chain_in(project("project"), Chain.load("toys.yaml"), cores=int(sys.argv[1]))
print(found["transfer"].scalars["x"].hex())
"""


@pytest.fixture(autouse=True)
def toys(monkeypatch, tmp_path):
    """Toys in this process and its children, and a home folder that has to stay empty."""
    for name in [name for name in os.environ if name.startswith(("PYIRON", "TOY_"))]:
        monkeypatch.delenv(name)
    for name in (
        "PYIRONSQLFILE",
        "ASEDIFF_PYIRONSQLFILE",
        "PYIRONRESOURCEPATHS",
    ):  # set by `project`, and taken back at the end
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    here = Path(__file__).parent
    others = [path for path in [os.environ.get("PYTHONPATH")] if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here / "toys"), str(here.parents[1]), *others]))
    monkeypatch.chdir(tmp_path)
    toy_stages.install(monkeypatch.setattr)
    with handlers_kept():
        yield
    assert not list(home.iterdir())


@pytest.fixture
def pr(toys):
    return pyiron.project("project")


def client(*arguments, **variables):
    """A process that runs the chain of toys in the project."""
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, *arguments],
        env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(process):
    """What a client has printed last."""
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return float.fromhex(told.splitlines()[-1])


def until(condition, process, seconds=300.0):
    """Wait until something is so, while a client runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def quiet(_):
    """Say nothing."""


def statuses(pr):
    return {row.job: row.status for row in pr.job_table().itertuples()}


def test_a_job_has_its_settings_as_input_and_numbers_arrays_and_units_as_output(pr):
    pyiron.register()
    reference = pr.create.job.AsediffReference("water_288K")
    reference.input.settings = {"temperature_K": 288.0}
    reference.server.cores = 2
    reference.run()
    job = pr.load("water_288K")
    assert job.status.finished
    assert (job.server.cores, (job.folder / "cores.txt").read_text()) == (2, "2\n")
    assert job.output.md_steps == toy_stages.STEPS
    np.testing.assert_array_equal(job.output.g, job.output.x * np.arange(3.0))
    assert job.output.units == {"g": "1"}
    fit = pr.create.job.AsediffIBI("fit_288K")
    fit.input.parents = {"reference": "water_288K"}
    fit.run()
    assert pr.load("fit_288K").status.finished


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("AsediffReference", "reference"),
        ("AsediffIBI", "ibi"),
        ("AsediffGaussNewton", "gauss_newton"),
        ("AsediffDiffSim", "diffsim"),
        ("AsediffReweighting", "reweighting"),
        ("AsediffValidate", "validate"),
        ("AsediffTransfer", "transfer"),
    ],
)
def test_every_kind_of_stage_has_its_class(pr, name, kind):
    pyiron.register()
    assert getattr(pr.create.job, name)("a_job").kind == kind


def test_a_chain_gives_the_numbers_that_it_gives_without_pyiron(pr, tmp_path):
    found = chain(tmp_path)
    lines = []
    same(run_chain(found, tmp_path / "plain", say=quiet), pyiron.run_chain_in(pr, found, say=lines.append))
    assert set(statuses(pr)) == {node.folder for node in found.nodes}
    assert set(statuses(pr).values()) == {"finished"}
    lines.clear()
    pyiron.run_chain_in(pr, found, say=lines.append)
    assert lines == []  # nothing is run again


def test_child_processes_give_the_same_numbers_and_end_as_finished_jobs(pr, tmp_path):
    found = chain(tmp_path, temperatures=[288])
    here = run_chain(found, tmp_path / "plain", say=quiet)
    same(here, pyiron.run_chain_in(pr, found, cores=2, say=quiet))
    assert set(statuses(pr).values()) == {"finished"}
    job = pr.load(found["ibi_288K"].folder)
    assert (job.output.x, job.server.cores) == (here["ibi_288K"].scalars["x"], 1)


def test_a_changed_setting_makes_new_jobs_of_what_depends_on_it_only(pr, tmp_path):
    pyiron.run_chain_in(pr, chain(tmp_path), say=quiet)
    changed = chain(tmp_path, **{"ibi_288K.seed": 7})
    lines = []
    pyiron.run_chain_in(pr, changed, say=lines.append)
    started = {line.partition(":")[0] for line in lines if line.endswith("started")}
    assert started == {"ibi_288K", "test_288K_at_288K", "test_288K_at_338K", "transfer"}


def test_a_stage_that_fails_is_aborted_with_its_reason_and_leaves_the_others_to_finish(pr, tmp_path, monkeypatch):
    found = chain(tmp_path)
    with monkeypatch.context() as during:
        during.setenv("TOY_FAIL", "validate")
        with pytest.raises(ChainError) as caught:
            pyiron.run_chain_in(pr, found, say=quiet)
    told = str(caught.value)
    assert "\n" not in told
    assert "test_338K_at_338K: validate: toys of this kind fail; unset TOY_FAIL (" in told
    assert "not run, since they depend on it: transfer" in told
    node = found["test_288K_at_288K"]
    assert statuses(pr)[node.folder] == "aborted"
    assert statuses(pr)[found["ibi_338K"].folder] == "finished"
    assert found["transfer"].folder not in statuses(pr)
    assert pr.load(node.folder).output.error == "validate: toys of this kind fail; unset TOY_FAIL"
    rows = pyiron.table(pr).set_index("job")
    assert rows.loc[node.folder, "error"] == "validate: toys of this kind fail; unset TOY_FAIL"
    pyiron.run_chain_in(pr, found, say=quiet)
    assert set(statuses(pr).values()) == {"finished"}
    assert "error" not in pr.load(node.folder).output.keys()  # noqa: SIM118
    assert set(pyiron.table(pr)["error"]) == {""}


def test_a_fit_that_did_not_converge_says_so_and_counts_as_finished(pr, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_NOT_CONVERGED", "ibi")
    found = chain(tmp_path, temperatures=[288])
    pyiron.run_chain_in(pr, found, say=quiet)
    assert statuses(pr)[found["ibi_288K"].folder] == "not_converged"
    lines = []
    pyiron.run_chain_in(pr, found, say=lines.append)
    assert lines == []


def test_a_parent_without_results_is_named_and_the_job_goes_on_when_it_has_them(pr):
    pyiron.register()
    fit = pr.create.job.AsediffIBI("fit")
    fit.input.parents = {"reference": ["water"]}
    with pytest.raises(ValueError, match=r"^parents: job water has no results \(status: unknown\); run it first$"):
        fit.run()
    assert pr.load("fit").status.aborted
    assert pr.load("fit").output.error.startswith("parents: job water has no results")
    pr.create.job.AsediffReference("water").run()
    pr.load("fit").run(repair=True)
    assert pr.load("fit").status.finished


@pytest.mark.parametrize("cores", ["1", "2"])
def test_a_killed_job_goes_on_where_it_was_with_the_same_numbers(pr, tmp_path, cores):
    found = chain(tmp_path, temperatures=[288])
    folder = Path(pr.path, f"{found['ibi_288K'].folder}_hdf5", found["ibi_288K"].folder)
    process = client(cores, TOY_DELAY="0.3")
    until(lambda: len(steps_of(folder)) == 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert statuses(pr)[found["ibi_288K"].folder] in ("running", "submitted")
    again = pyiron.run_chain_in(pr, found, say=quiet)
    assert steps_of(folder) in ([1, 2, 3, 4], [1, 2, 2, 3, 4])
    assert set(statuses(pr).values()) == {"finished"}
    same(again, run_chain(found, tmp_path / "plain", say=quiet))


def test_sigterm_as_of_a_queue_leaves_an_aborted_job_that_goes_on(pr, tmp_path):
    found = chain(tmp_path, temperatures=[288])
    folder = Path(pr.path, f"{found['ibi_288K'].folder}_hdf5", found["ibi_288K"].folder)
    process = client("1", TOY_DELAY="0.3")
    until(lambda: len(steps_of(folder)) == 2, process)
    process.terminate()
    process.communicate()
    assert statuses(pr)[found["ibi_288K"].folder] == "aborted"
    pyiron.run_chain_in(pr, found, say=quiet)
    assert steps_of(folder) in ([1, 2, 3, 4], [1, 2, 2, 3, 4])


@pytest.mark.parametrize("cores", ["1", "2"])
def test_two_clients_at_once_run_each_stage_once_and_have_the_same_numbers(pr, tmp_path, cores):
    found = chain(tmp_path, temperatures=[288])
    clients = [client(cores, TOY_DELAY="0.05") for _ in range(2)]
    first, second = map(ended, clients)
    assert first == second == run_chain(found, tmp_path / "plain", say=quiet)["transfer"].scalars["x"]
    assert statuses(pr) == {node.folder: "finished" for node in found.nodes}
    assert len(pr.job_table()) == len(found.nodes)
    for node in found.nodes:
        assert steps_of(Path(pr.path, f"{node.folder}_hdf5", node.folder)) == [1, 2, 3, 4]
        assert pr.load(node.folder).output.x is not None


def test_a_job_that_runs_is_waited_for_and_not_repaired(pr, tmp_path):
    found = chain(tmp_path, temperatures=[288])
    process = client("1", TOY_DELAY="0.2")
    reference = Path(pr.path, f"{found['reference_288K'].folder}_hdf5", found["reference_288K"].folder)
    until(lambda: len(steps_of(reference)) >= 1, process)
    pyiron.run_chain_in(pr, found, say=quiet)
    ended(process)
    assert steps_of(reference) == [1, 2, 3, 4]
    assert set(statuses(pr).values()) == {"finished"}


def test_a_job_killed_after_its_results_takes_them_without_running(pr, tmp_path):
    found = chain(tmp_path, temperatures=[288])
    pyiron.run_chain_in(pr, found, say=quiet)
    name = found["ibi_288K"].folder
    pr.set_job_status(name, "running")
    pyiron.run_chain_in(pr, found, say=quiet)
    assert statuses(pr)[name] == "finished"
    assert steps_of(Path(pr.path, f"{name}_hdf5", name)) == [1, 2, 3, 4]


def test_the_table_has_jobs_that_came_since_and_numbers_of_each(pr, tmp_path):
    pyiron.run_chain_in(pr, chain(tmp_path, temperatures=[288]), say=quiet)
    before = pyiron.table(pr)
    assert list(before["kind"]) == ["reference", "ibi", "validate", "transfer"]
    assert list(before["md_steps"]) == [toy_stages.STEPS] * 4
    pyiron.run_chain_in(pr, chain(tmp_path), say=quiet)
    after = pyiron.table(pr)
    assert len(after) == 9 + 1  # the transfer of one temperature is another than that of two
    assert not after["D"].isna().any()


def test_interrupts_work_as_before_after_a_chain(pr, tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pyiron.run_chain_in(pr, chain(tmp_path, temperatures=[288]), say=quiet)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_executor_runs_the_jobs_with_its_cores(pr, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    found = chain(tmp_path, temperatures=[288])
    with ThreadPoolExecutor(2) as executor:
        results = pyiron.run_chain_in(pr, found, executor=executor, cores=2, say=quiet)
    same(results, run_chain(found, tmp_path / "plain", say=quiet))
    job = pr.load(found["ibi_288K"].folder)
    assert (job.server.cores, (job.folder / "cores.txt").read_text()) == (2, "2\n")


def test_a_folder_in_use_elsewhere_is_no_reason_to_fail(pr, tmp_path):
    chain(tmp_path, temperatures=[288])
    with exclusive(Path(pr.path)):
        process = client("1")
        time.sleep(0.5)
        assert process.poll() is None
    ended(process)
