"""The whole chain behind `asediff fit`: check, fit, run independently, export, verify, report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from asediff.app.config.build import Plan, plan, relocated
from asediff.app.config.load import parse, read_yaml, to_yaml
from asediff.app.config.models import Config
from asediff.app.config.resolve import resolve
from asediff.app.parts import FIT, IndependentRun, Parts, digest, parameters
from asediff.app.rehearsal import check_plan, lammps_engine, own_engine, rehearse, uses_lammps
from asediff.app.report import Evidence, deviation_rows, write_report
from asediff.fitting.api import CHECKPOINT, fit_in, validation_seed
from asediff.fitting.result import KIND, FitResult
from asediff.fitting.statistics.histograms import FrameStatistics
from asediff.fitting.statistics.samples import Sample
from asediff.fitting.statistics.uncertainty import UncertaintyBand, uncertainty_band
from asediff.host.files import file_name, writing
from asediff.host.folders import ResultFolder
from asediff.host.manifest import MARKER, FolderError
from asediff.host.ranks import Ranks
from asediff.lammps.export import DATA, INPUT, TABLE, verified
from asediff.lammps.run import LammpsError, find_lmp
from asediff.lammps.verify import VerifyReport
from asediff.targets.measurement import Measurement
from asediff.targets.target import StatePoint

CONFIG = "config.yaml"
EXPORT = "lammps"

Say = Callable[[str], None]
Team = Callable[[Path], AbstractContextManager[Ranks]]
"""Calls the processes that share the fit of a result folder; they are let go before what follows the fit."""


def alone(_: Path) -> AbstractContextManager[Ranks]:
    """The `Team` of one process."""
    return nullcontext(Ranks())


@dataclass(frozen=True, eq=False)
class Prepared:
    """A fit that can begin, or go on, in its result folder, which is this process' own.

    Attributes:
        plan: everything it needs.
        folder: open.
    """

    plan: Plan
    folder: ResultFolder


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the chain leaves.

    Attributes:
        evidence: the fit, its independent runs and the verdict on the export.
        report: path of the page.
        folder: of everything.
    """

    evidence: Evidence
    report: Path
    folder: Path

    @property
    def verified(self) -> bool:
        """Whether LAMMPS agreed with asediff on the exported tables (true when LAMMPS was not asked)."""
        return all(report.passed for report in self.evidence.verification)


@contextmanager
def prepare(
    config: Config | None, base: Path, folder: Path, *, overwrite: bool = False, resume: bool = False, ranks: int = 1
) -> Iterator[Prepared]:
    """Check everything and only then make the result folder, with copies of all input in it.

    Args:
        config: as the user gave it; None to resume what the folder holds.
        base: folder that its relative paths start from.
        folder: result folder.
        overwrite: replace the results of an older fit; a folder that holds anything else is refused.
        resume: go on with the fit in an existing folder; its own configuration counts then.
        ranks: how many processes will share the fit.

    Raises:
        ConfigError: something cannot work; nothing has been written then.
        FolderError: something is in the way.
        InUseError: another process uses the folder.
        FileError: the folder cannot be written to.
    """
    with writing(folder):
        begun, marked = (folder / CONFIG).is_file(), (folder / MARKER).is_file()
    if resume and begun:
        if not marked:
            raise FolderError(
                f"{folder}: was not written by this version of asediff (no {MARKER} in it); start anew: "
                f"asediff fit {folder / CONFIG} --output ANOTHER"
            )
        with ResultFolder.existing(folder, KIND) as results:
            found = reopened(folder)
            _check_ranks(found, ranks)
            yield Prepared(found, results)
        return
    # A start that was killed before its configuration was there has left nothing of worth.
    overwrite = overwrite or (marked and not begun)
    ResultFolder.refuse(folder, KIND, overwrite=overwrite)
    if config is None:
        raise FolderError(f"{folder}: holds no fit to resume; give the input as well")
    resolved = resolve(config, base)
    drawn = plan(resolved, base)
    check_plan(drawn)
    _check_ranks(drawn, ranks)
    with ResultFolder.made(folder, KIND, overwrite=overwrite) as results:
        with results.scratch() as scratch:
            rehearse(drawn, scratch)
        with results.staged() as stage:
            final = relocated(resolved, base, stage)
            results.clear()  # only now: the older results may be the input
        results.write(CONFIG, to_yaml(final).encode())
        yield Prepared(reopened(folder), results)


def _check_ranks(drawn: Plan, ranks: int) -> None:
    if ranks > 1:
        drawn.method.check_ranks(ranks, drawn.plain_points)


def reopened(folder: Path) -> Plan:
    """The plan of a result folder, from the configuration in it."""
    resolved = parse(read_yaml(folder / CONFIG), str(folder / CONFIG))
    if uses_lammps(resolved):
        find_lmp()
    found = plan(resolved, folder)
    check_plan(found)
    return found


def run_fit(prepared: Prepared, *, resume: bool, progress: bool, say: Say, team: Team = alone) -> Outcome:
    """Fit, run independently, export, verify and report; each part is kept as it is finished and not done again.

    Args:
        prepared: plan and result folder.
        resume: go on from the checkpoint.
        progress: show a progress bar.
        say: takes lines for the user.
        team: calls the processes that share the fit.
    """
    drawn, folder = prepared.plan, prepared.folder
    result = fitted(drawn, folder, resume=resume, progress=progress, team=team)
    say(f"fit: {result.stopped} in {result.wall_seconds:.1f} s")
    evaluation = Evaluation(drawn, folder, result)
    evidence = evaluation.evaluate(say)
    with folder.staged() as stage:
        report = write_report(stage, evidence).relative_to(stage)
        (stage / "verdict.json").write_text(json.dumps(verdict(evidence), indent=2) + "\n")
        evidence.result.write(stage, {**evaluation.done, "report": True})
    return Outcome(evidence, folder.path / report, folder.path)


def fitted(drawn: Plan, folder: ResultFolder, *, resume: bool, progress: bool, team: Team) -> FitResult:
    """The fit's result: from an earlier process that finished it, or now."""
    config = drawn.config
    settings = config.model_dump(exclude={"validation", "export"})
    parts = Parts(folder, digest(settings, drawn.state_points))
    kept = parts.fit(drawn.method, drawn.plain_points, config.seed, drawn.potential) if resume else None
    if kept is not None:
        return kept
    with team(folder.path) as ranks:
        result = fit_in(
            folder,
            drawn.potential,
            drawn.state_points,
            drawn.method,
            validation=None,
            seed=config.seed,
            resume=resume,
            progress=progress,
            ranks=ranks,
        )
    result = replace(result, state_points=drawn.plain_points)
    with folder.staged() as stage:
        parts.put_fit(stage, result)
        result.write(stage, Evaluation(drawn, folder, result).done)
    return result


@dataclass(eq=False)
class Evaluation:
    """The parts that follow a fit: independent runs, error band, export and its verification."""

    plan: Plan
    folder: ResultFolder
    result: FitResult
    done: dict[str, Any] = field(init=False)
    parts: Parts = field(init=False)

    def __post_init__(self) -> None:
        config = self.plan.config
        self.done = {"fit": True, "asediff": []}
        if uses_lammps(config):
            self.done |= {"lammps": [], "verification": []}
        self.done["report"] = False
        key = digest(config.model_dump(), self.plan.plain_points, *parameters(self.result.potential))
        self.parts = Parts(self.folder, key)

    def evaluate(self, say: Say) -> Evidence:
        """Independent runs in asediff and, if configured, in LAMMPS with the exported files, which are verified."""
        config, points = self.plan.config, self.plan.plain_points
        own = [self._own_run(k) for k in range(len(points))]
        say(f"independent run in asediff: {self.result.validation_seconds:.1f} s")
        facts: dict[str, Any] = {
            "title": title_of(points),
            "result": self.result,
            "units": config.units,
            "configuration": to_yaml(config),
            "band": self._band(own),
        }
        if not uses_lammps(config):
            return Evidence(**facts)
        runs, reports = [], []
        for k in range(len(points)):
            run, report = self._lammps_run(k)
            runs.append(run)
            reports.append(report)
        seconds = sum(run.seconds for run in runs)
        say(f"independent run in LAMMPS with the exported table: {seconds:.1f} s")
        lammps = [run.measurement for run in runs]
        return Evidence(**facts, lammps=lammps, verification=reports, lammps_seconds=seconds)

    @property
    def _banded(self) -> bool:
        """Whether the potential has one curve for each pair, and frames tell how the targets change with it."""
        potential, points = self.result.potential, self.plan.plain_points
        framed = all(target.observable.of_single_frames for point in points for target in point.targets)
        return framed and potential.is_pairwise and not potential.temperature_dependent

    def _own_run(self, k: int) -> Measurement:
        point, name = self.plan.plain_points[k], f"asediff_{k}"
        banded = self._banded
        run = self.parts.run(name, frames=banded and self.parts.band() is None)
        found = run is not None
        if run is None:
            began = time.perf_counter()
            with torch.no_grad():
                seed = validation_seed(self.result.seed, k)
                measured = own_engine(self.plan.config).measure(self.result.potential, point, seed=seed)
            run = IndependentRun(measured, time.perf_counter() - began)
        self.result = replace(
            self.result,
            measurements=[*self.result.measurements, run.measurement],
            validation_seconds=self.result.validation_seconds + run.seconds,
        )
        self.done["asediff"].append(point.name)
        if not found:
            with self.folder.staged() as stage:
                self.parts.put_run(stage, name, run, frames=banded)
                self.result.write(stage, self.done)
        return run.measurement

    def _band(self, measurements: Sequence[Measurement]) -> UncertaintyBand | None:
        """What the targets leave open about the potential; None where that cannot be told."""
        if not self._banded:
            return None
        band = self.parts.band()
        if band is None:
            samples = []
            for point, measurement in zip(self.plan.plain_points, measurements, strict=True):
                assert measurement.trajectory is not None
                statistics = FrameStatistics.of(measurement.trajectory, self.result.potential, point)
                samples.append(Sample(measurement, statistics))
            band = uncertainty_band(self.result.potential, samples)
            with self.folder.staged() as stage:
                self.parts.put_band(stage, band)
        for k in range(len(measurements)):
            self.parts.drop_frames(f"asediff_{k}")
        return band

    def _lammps_run(self, k: int) -> tuple[IndependentRun, VerifyReport]:
        point, name = self.plan.plain_points[k], f"lammps_{k}"
        exported = all(self.folder.has(f"{EXPORT}/{file_name(point.name)}/{file}") for file in (TABLE, DATA, INPUT))
        report = self.parts.report(f"verified_{k}") if exported else None
        run = self.parts.run(name, frames=report is None) if exported else None
        if run is None:
            run, report = self._run_export(k, name, point), None
        self.done["lammps"].append(point.name)
        found = report is not None
        if report is None:
            report = self._verified(k, run)
        self.done["verification"].append(point.name)
        if not found:
            with self.folder.staged() as stage:
                self.parts.put_report(stage, f"verified_{k}", report)
                self.result.write(stage, self.done)
        self.parts.drop_frames(name)
        return run, report

    def _run_export(self, k: int, name: str, point: StatePoint) -> IndependentRun:
        began = time.perf_counter()
        with self.folder.staged() as stage:
            engine = lammps_engine(self.plan.config, stage / EXPORT)
            seed = validation_seed(self.result.seed + 1, k)
            try:
                measured = engine.measure(self.result.potential, point, seed=seed)
            except LammpsError as error:
                self._keep_log(engine.folder_of(point).relative_to(stage).as_posix(), stage)
                raise LammpsError(str(error).replace(str(stage), str(self.folder.path))) from None
            run = IndependentRun(measured, time.perf_counter() - began)
            self.parts.put_run(stage, name, run, frames=True)
            self.result.write(stage, {**self.done, "lammps": [*self.done["lammps"], point.name]})
        return run

    def _keep_log(self, folder: str, stage: Path) -> None:
        """The log of a run that failed goes where it would be after one that did not."""
        name = f"{folder}/log.lammps"
        if (stage / name).is_file():
            self.folder.write(name, (stage / name).read_bytes())

    def _verified(self, k: int, run: IndependentRun) -> VerifyReport:
        """LAMMPS compared with asediff on frames of its run."""
        point, folder = self.plan.plain_points[k], self.folder.path
        assert run.measurement.trajectory is not None
        table = lammps_engine(self.plan.config, folder / EXPORT).folder_of(point) / TABLE
        frames, count = run.measurement.trajectory, self.plan.config.export.frames
        with self.folder.scratch() as scratch:
            try:
                return verified(table, self.result.potential, point, frames, count, workdir=scratch)
            except LammpsError as error:
                raise LammpsError(error.reason) from None


def title_of(points: Sequence[StatePoint]) -> str:
    """What was fitted, in a few words: species and state points."""
    symbols = dict.fromkeys(symbol for point in points for symbol in point.system.get_chemical_symbols())
    return f"Pair potential of {'-'.join(symbols)}: {', '.join(point.name for point in points)}"


def verdict(evidence: Evidence) -> dict[str, Any]:
    """The numbers of the report as plain data."""
    points = evidence.result.state_points
    return {
        "deviations": [row for k in range(len(points)) for row in deviation_rows(evidence, k)],
        "verification": [
            {
                "state_point": point.name,
                "passed": report.passed,
                "checks": [{"name": c.name, "value": c.value, "limit": c.limit} for c in report.checks],
            }
            for point, report in zip(points, evidence.verification, strict=False)
        ],
    }


def finished_fit(folder: Path) -> bool:
    """Whether a result folder holds a fit that has ended, with or without what follows it."""
    return (folder / FIT).is_file()


def what_is_kept(folder: Path) -> str:
    """What a result folder holds of a chain that did not end, and how to go on, in words."""
    if finished_fit(folder):
        kept = "the fit and the runs that ended are kept"
    elif (folder / CHECKPOINT).is_file():
        kept = "the last checkpoint is kept"
    else:
        kept = "no checkpoint had been written yet"
    return f"{kept}; go on with: asediff fit --resume --output {folder}"
