"""A table of the jobs of a project: what each took, and how well it reproduces its reference."""

from __future__ import annotations

import math
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asediff.workflow.pyiron.projects import turn_to
from asediff.workflow.results import Results
from asediff.workflow.stages import alone_in
from asediff.workflow.stages.base import ERROR

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyiron_base import Project

NAME = "asediff_table"
COLUMNS = ("temperature_K", "D", "mean_abs_dg", "pressure_bar", "pressure_error_bar", "md_steps", "seconds")
"""Numbers of `job.output`; a kind of stage that has not one of them leaves its place empty."""


def table(pr: Project) -> DataFrame:
    """All stages in a project, finished or not, as pyiron's table job `asediff_table` collects them.

    It is collected anew at each call, so that it holds jobs and results that came since.

    Args:
        pr: from `project`.

    Returns:
        A row for each job: job_id, its number, job, kind, status, temperature_K, D, mean_abs_dg, pressure_bar,
        pressure_error_bar, md_steps, seconds, and error, the reason of a failure.
    """
    from pyiron_base.jobs.job.extension.jobstatus import job_status_lst

    from asediff.workflow.pyiron.jobs import CLASSES

    turn_to(pr)
    kinds = {job_class.__name__: job_class.kind for job_class in CLASSES}
    # pyiron tells of each step on both
    with alone_in(Path(pr.path), print), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        found = pr.create.table(NAME, delete_existing_job=True)
        found.job_status = job_status_lst
        found.db_filter_function = lambda rows: rows["hamilton"].isin(list(kinds))
        found.add["job"] = lambda job: job.job_name
        found.add["kind"] = lambda job: kinds[job.content["NAME"]]
        found.add["status"] = lambda job: job.status
        for column in COLUMNS:
            found.add[column] = (lambda name: lambda job: number(job, name))(column)
        found.add["error"] = error
        found.run()
    return found.get_dataframe()


def number(job: Any, name: str) -> float:
    """A number of a job's results, or the one that fits at one state have in an array; NaN where there is none."""
    folder = Path(job.working_directory)
    if not Results.finished(folder):
        return math.nan
    found = Results.load(folder)
    array = found.arrays.get(name.rpartition("_")[0])
    alone = float(array.reshape(-1)[0]) if array is not None and array.size == 1 else math.nan
    return float(found.scalars.get(name, alone))


def error(job: Any) -> str:
    """Why a job has failed; empty where it has not."""
    path = Path(job.working_directory, ERROR)
    return path.read_text().strip() if path.is_file() else ""
