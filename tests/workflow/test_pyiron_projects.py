"""pyiron's projects without configuration, and what is refused before a job is made."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_stages

if importlib.util.find_spec("pyiron_base") is None:  # its import without `project` would leave files
    pytest.skip("pyiron_base is not installed", allow_module_level=True)

from asediff.lammps.run import LammpsError
from asediff.workflow import pyiron, run_chain
from asediff.workflow.chain import Chain, Node
from asediff.workflow.pyiron.projects import PyironError, is_configured
from asediff.workflow.runner import ChainError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pyiron_base.*")
ROOT = Path(__file__).parents[2]
QUEUE = """
queue_type: SLURM
queue_primary: main
queues:
  main: {cores_max: 2, cores_min: 1, run_time_max: 3600, script: main.sh}
"""


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("PYIRON")]:
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
    monkeypatch.chdir(tmp_path)


def python(code, **variables):
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_project_leaves_nothing_outside_its_folder(tmp_path):
    told = python("""
from asediff.workflow.pyiron import project, register
pr = project("water")
register()
print(pr.create.job.AsediffIBI("a").kind, pr.state.database.database_is_disabled, len(pr.job_table()))
""")
    assert told == ["ibi", "False", "0"]
    assert {path.name for path in tmp_path.iterdir()} == {"home", "water"}
    assert not list((tmp_path / "home").iterdir())
    assert {"pyiron.db", "pyiron.log"} <= {path.name for path in (tmp_path / "water").iterdir()}


def test_a_process_that_inherits_the_database_opens_it_as_quietly(tmp_path):
    code = """
from asediff.workflow.pyiron import project
pr = project("water")
print(pr.state.database.database_is_disabled, pr.db.conn.engine.url.database)
"""
    database = str(tmp_path / "water/pyiron.db")
    inherited = {"PYIRONSQLFILE": database, "ASEDIFF_PYIRONSQLFILE": database}
    assert python(code, **inherited) == ["False", database]
    assert {path.name for path in tmp_path.iterdir()} == {"home", "water"}


def test_the_database_that_a_user_has_configured_is_used(tmp_path):
    code = "from asediff.workflow.pyiron import project; print(project('water').db.conn.engine.url.database)"
    told = python(code, PYIRONSQLFILE=str(tmp_path / "mine.db"))
    assert told == [str(tmp_path / "mine.db")]
    assert not (tmp_path / "water/pyiron.db").exists()


@pytest.mark.parametrize(
    ("variables", "file", "configured"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"PYIRONSQLTYPE": "Postgres"}, False, True),
        ({"PYIRONDISABLE": "True"}, False, True),
        ({"PYIRONCONFIG": "/nowhere"}, False, True),
        ({"PYIRONSQLFILE": "/mine.db"}, False, True),
        ({"PYIRONSQLFILE": "/water/pyiron.db", "ASEDIFF_PYIRONSQLFILE": "/water/pyiron.db"}, False, False),  # inherited
        ({"PYIRONRESOURCEPATHS": "/queues"}, False, False),  # says nothing of the database: pyiron would use the home
        ({"PYIRONRESOURCEPATHS": "/queues"}, True, False),  # and pyiron then does not read the file
    ],
)
def test_what_counts_as_a_configuration(monkeypatch, tmp_path, variables, file, configured):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if file:
        (tmp_path / "home/.pyiron").write_text("[DEFAULT]\nFILE = ~/mine.db\n")
    assert is_configured() is configured


def test_each_project_has_its_own_database_and_finds_it_again(tmp_path):
    first = pyiron.project("first")
    pyiron.register()
    first.create.job.AsediffIBI("a_fit").save()
    second = pyiron.project("second")
    assert len(second.job_table()) == 0
    assert list(pyiron.table(first)["job"]) == ["a_fit"]  # turns to the database of its project
    assert len(pyiron.table(second)) == 0


def test_the_package_and_the_command_line_import_no_pyiron():
    names = "asediff.cli, asediff.workflow.pyiron, workflows.pyiron_jobs"
    code = f"import sys, {names}; print('pyiron_base' in sys.modules)"
    assert python(code, PYTHONPATH=str(ROOT)) == ["False"]


def test_the_jobs_are_offered_beside_the_chains():
    from workflows import pyiron_jobs

    for name in pyiron_jobs.__all__:
        assert getattr(pyiron_jobs, name) is getattr(pyiron, name)


def test_without_pyiron_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiron_base", None)
    with pytest.raises(PyironError, match=r"^pyiron_base: .*; run: pip install 'asediff\[workflows\]'$"):
        pyiron.project("water")


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"^\S*file/water: cannot be written"):
        pyiron.project("file/water")


def test_missing_resources_are_refused():
    with pytest.raises(PyironError, match=r"^resources: nowhere is no folder; give one that holds queues/queue.yaml$"):
        pyiron.project("water", resources="nowhere")


def refused(error, match, *, nodes=None, **options):
    pr = pyiron.project("water", resources=options.pop("resources", None))
    chain = toy_stages.chain(Path.cwd()) if nodes is None else Chain("odd", "", tuple(nodes))
    with pytest.raises(error, match=match) as caught:
        pyiron.run_chain_in(pr, chain, **options)
    assert "\n" not in str(caught.value)
    assert len(pr.job_table()) == 0  # before any job is made


def queues(folder):
    (folder / "resources/queues").mkdir(parents=True)
    (folder / "resources/queues/queue.yaml").write_text(QUEUE)
    (folder / "resources/queues/main.sh").write_text("#!/bin/bash\n{{command}}\n")
    return folder / "resources"


def programs(folder, monkeypatch, **statuses):
    """A queue whose programs do nothing but end with a status."""
    (folder / "bin").mkdir()
    for name, status in statuses.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\necho {name}: no controller >&2\nexit {status}\n")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"cores": 0}, "^cores: 0 is below 1; give"),
        ({"run_time": 60}, "^run_time: 60 s is for a queue, and none is given; give queue"),
        ({"queue": "main", "executor": object()}, "^queue, executor: queue 'main' and an executor are given; give one"),
        ({"queue": "main"}, "^queue: 'main' is given, but pyiron has no queues; put queues/queue.yaml into a folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, match):
    refused(PyironError, match, **options)


def test_a_queue_that_is_not_configured_is_refused(tmp_path):
    told = "^queue: 'big' is not in queues/queue.yaml; choose one of main$"
    refused(PyironError, told, queue="big", resources=queues(tmp_path))


def test_more_than_a_queue_gives_is_refused(tmp_path):
    told = "^cores: queue 'main' does not take 8; give 2, or change queue.yaml$"
    refused(PyironError, told, queue="main", cores=8, resources=queues(tmp_path))


def test_missing_programs_of_a_queue_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    told = "^queue: sbatch is not on PATH here; log in where jobs can be sent to 'main'$"
    refused(PyironError, told, queue="main", resources=queues(tmp_path))


def test_a_queue_that_does_not_answer_is_told(tmp_path, monkeypatch):
    programs(tmp_path, monkeypatch, sbatch=0, squeue=1)
    told = r"^queue: 'main' does not answer \(squeue: no controller\); try again when it runs$"
    refused(PyironError, told, queue="main", resources=queues(tmp_path))


def test_a_job_that_the_queue_does_not_take_is_aborted_with_what_it_said(tmp_path, monkeypatch):
    programs(tmp_path, monkeypatch, sbatch=1, squeue=0)
    pr, chain = pyiron.project("water", resources=queues(tmp_path)), toy_stages.chain(tmp_path, [288])
    told = r"^reference_288K: queue 'main' did not take the job \(sbatch: no controller\); see \S+pysqa.err \("
    with pytest.raises(ChainError, match=told):
        pyiron.run_chain_in(pr, chain, queue="main")
    assert list(pr.job_table()["status"]) == ["aborted"]


def test_names_that_pyiron_refuses_and_two_of_one_name_are_refused():
    node = Node("a-b", "reference", {}, {}, "0" * 12)
    refused(PyironError, "^chain: 'a-b_000000000000' cannot be the name of a job; give letters, digits", nodes=[node])
    node = Node("ab", "reference", {}, {}, "0" * 12)
    refused(PyironError, "^chain: two stages would be the job 'ab_000000000000'; give them names", nodes=[node, node])


def test_a_missing_lmp_is_told_before_a_job_is_made(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    refused(LammpsError, "^lmp: not beside .* nor on PATH; run: pip install")


def fill(path):
    """Leave no room on a disk."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 4096)


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="mounts a small disk, as root of Linux")
def test_a_disk_that_is_full_or_read_only_is_refused_and_loses_nothing(tmp_path, monkeypatch):
    toy_stages.install(monkeypatch.setattr)
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("no mounts here")
    try:
        pr = pyiron.project(place / "water")
        chain = toy_stages.chain(tmp_path, [288])
        found = pyiron.run_chain_in(pr, chain, say=lambda _: None)
        fill(place / "filler")
        told = r"^\S+: cannot be written \(No space left on device\); free some space there"
        with pytest.raises(OSError, match=told):
            pyiron.run_chain_in(pr, toy_stages.chain(tmp_path), say=lambda _: None)
        (place / "filler").unlink()
        everything = pyiron.run_chain_in(pr, toy_stages.chain(tmp_path), say=lambda _: None)
        assert everything["ibi_288K"].scalars == found["ibi_288K"].scalars
    finally:
        pyiron.project(tmp_path / "elsewhere")  # lets go of the database on the disk
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="mounts a small disk, as root of Linux")
def test_a_read_only_disk_is_refused(tmp_path):
    place = tmp_path / "disk"
    (place / "water").mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("no mounts here")
    try:
        with pytest.raises(OSError, match=r"^\S+: cannot be written \(Read-only file system\); choose a folder"):
            pyiron.project(place / "water")
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


REAL = """
title: real stages, as small as they run
stages:
  reference_300K:
    kind: reference
    settings: {temperature_K: 300, molecules: 200, production_ps: 1, equilibration_ps: 0.2, every_ps: 0.02}
  ibi_300K:
    kind: ibi
    parents: {reference: reference_300K}
    settings:
      bins: 150
      potential: {cutoff: 7.5}
      method: {iterations: 2, engine: {equilibration_steps: 50, steps: 200, save_every: 20}}
      validation: {equilibration_steps: 50, steps: 400, save_every: 20}
      export: {frames: 10}
  validate:
    kind: validate
    parents: {potential: ibi_300K, reference: reference_300K}
    settings: {production_ps: 2, equilibration_ps: 0.5}
  transfer: {kind: transfer, parents: {validations: validate}}
"""


@pytest.mark.slow
def test_real_stages_have_the_numbers_of_the_chain_without_pyiron_bit_for_bit(tmp_path):
    (tmp_path / "real.yaml").write_text(REAL)
    chain = Chain.load("real.yaml")
    jobs = pyiron.run_chain_in(pyiron.project("jobs"), chain)
    folders = run_chain(chain, "folders")
    for name, found in folders.items():
        times = {key for key in found.scalars if key.endswith("seconds")}
        assert {**found.scalars, **dict.fromkeys(times)} == {**jobs[name].scalars, **dict.fromkeys(times)}
        for key, array in found.arrays.items():
            if key not in ("seconds", "fit_seconds", "reference_seconds"):
                np.testing.assert_array_equal(array, jobs[name].arrays[key], strict=True)
