"""A class of pyiron jobs for each kind of stage: input, output and status are pyiron's, the work is `run_stage`'s."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from asediff.workflow.pyiron.locks import own
from asediff.workflow.pyiron.projects import load_pyiron
from asediff.workflow.results import Results
from asediff.workflow.stages import run_stage
from asediff.workflow.stages.base import StageError

load_pyiron()  # decides where the database is before the next line imports it
from pyiron_base import JobType, PythonTemplateJob  # noqa: E402

if TYPE_CHECKING:
    from pyiron_base import Project


class AsediffStage(PythonTemplateJob):
    """A stage of a chain as a job; what all kinds share.

    `job.input.settings` holds the settings of the stage, `job.input.parents` the names of the jobs that it needs, by
    role. `job.server` holds cores, queue and run time; no number depends on them. `job.output` has the numbers, with
    their unit in the name, the arrays, and `units` of the arrays. A stage that fails leaves its reason in
    `job.output.error`. A job that was aborted or killed goes on where it was with `job.run(repair=True)`.
    """

    kind: ClassVar[str]

    def __init__(self, project: Project, job_name: str) -> None:
        super().__init__(project, job_name)
        self._compress_by_default = False  # the stage goes on from its files
        self.input.settings = {}
        self.input.parents = {}

    @property
    def folder(self) -> Path:
        """Where the stage works, with its checkpoints, `results.h5` and, of a fit, the folder `fit`."""
        return job_folder(self.project, self.job_name)

    def run_static(self) -> None:
        """Run the stage, after any process that runs it already, and store what it gives.

        Raises:
            StageError: a parent that has not finished.
            Exception: whatever stopped the stage.
        """
        with own(self.folder.parent, print):
            self.status.running = True
            self.project.db.item_update({"timestart": datetime.now()}, self.job_id)
            try:
                found = run_stage(
                    self.kind, self.input.settings, self._parents(), self.folder, cores=int(self.server.cores)
                )
                self._store({**found.scalars, **found.arrays, "units": dict(found.units)})
            except Exception as error:
                with contextlib.suppress(OSError, ValueError):  # a full disk takes no reason; the caller has it
                    self._store({"error": reason(error)})
                self._end("aborted")
                raise
            self._end("not_converged" if found.scalars.get("not_converged") else "finished")

    def _parents(self) -> dict[str, Path | list[Path]]:
        return {
            role: self._parent(names) if isinstance(names, str) else [self._parent(name) for name in names]
            for role, names in self.input.parents.items()
        }

    def _parent(self, name: str) -> Path:
        folder = job_folder(self.project, name)
        if not Results.finished(folder):
            row = job_row(self.project, name)
            raise StageError(
                f"parents: job {name} has no results (status: {row[1] if row else 'unknown'}); run it first"
            )
        return folder

    def _store(self, values: Mapping[str, object]) -> None:
        for key in list(self.output.keys()):
            del self.output[key]
        for key, value in values.items():
            self.output[key] = value
        self.to_hdf()

    def _end(self, status: str) -> None:
        with contextlib.suppress(OSError):
            self.project_hdf5["status"] = status
        self.run_time_to_db()
        self.status.string = status


class AsediffReference(AsediffStage):
    """An all-atom run that gives the g(r) to reproduce."""

    kind = "reference"


class AsediffIBI(AsediffStage):
    """A fit by iterative Boltzmann inversion."""

    kind = "ibi"


class AsediffGaussNewton(AsediffStage):
    """A fit by Gauss-Newton steps."""

    kind = "gauss_newton"


class AsediffDiffSim(AsediffStage):
    """A fit by gradients through dynamics."""

    kind = "diffsim"


class AsediffReweighting(AsediffStage):
    """A fit by gradients of reweighted averages."""

    kind = "reweighting"


class AsediffValidate(AsediffStage):
    """An independent run with a fitted potential at the state of a reference."""

    kind = "validate"


class AsediffTransfer(AsediffStage):
    """The matrix of all validations, and the report."""

    kind = "transfer"


CLASSES: tuple[type[AsediffStage], ...] = (
    AsediffReference,
    AsediffIBI,
    AsediffGaussNewton,
    AsediffDiffSim,
    AsediffReweighting,
    AsediffValidate,
    AsediffTransfer,
)


def register() -> None:
    """Make the classes known to pyiron: `pr.create.job.AsediffDiffSim("name")` then works in every project."""
    for job_class in CLASSES:
        JobType.register(job_class)


def class_of(kind: str) -> type[AsediffStage]:
    """The class of jobs of a kind of stage."""
    return next(job_class for job_class in CLASSES if job_class.kind == kind)


def job_folder(pr: Project, name: str) -> Path:
    """Where the stage of a job works, whether the job exists or not."""
    return Path(pr.path, f"{name}_hdf5", name)


def job_row(pr: Project, name: str) -> tuple[int, str] | None:
    """Number and status of a job in the database; None if it knows none of this name."""
    rows = pr.job_table(recursive=False)
    found = [(int(row.id), str(row.status)) for row in rows.itertuples() if row.job == name]
    return found[0] if found else None


def reason(error: BaseException) -> str:
    """An error in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
