"""The whole chain behind `asediff fit`: check, fit, run independently, export, verify, report."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from asediff.config.build import Plan, engine_arguments, plan, relocated
from asediff.config.load import ConfigError, parse, read_yaml, to_yaml
from asediff.config.models import Config
from asediff.config.resolve import resolve
from asediff.engines import TorchEngine
from asediff.export import ExportedEngine, verified
from asediff.fitting.api import CHECKPOINT, fit, validate
from asediff.fitting.histograms import FrameStatistics
from asediff.fitting.result import FitResult
from asediff.fitting.samples import Sample
from asediff.lammps import LammpsRun, find_lmp
from asediff.report import Evidence, deviation_rows, write_report
from asediff.targets import StatePoint
from asediff.uncertainty import UncertaintyBand, uncertainty_band

CONFIG = "config.yaml"
OWN = (CONFIG, CHECKPOINT, "potential.pt")


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


def prepare(config: Config | None, base: Path, folder: Path, *, overwrite: bool = False, resume: bool = False) -> Plan:
    """Check everything and only then make the result folder, with copies of all input in it.

    Args:
        config: as the user gave it; None to resume what the folder holds.
        base: folder that its relative paths start from.
        folder: result folder.
        overwrite: replace an existing result folder.
        resume: go on with the fit in an existing folder; its own configuration counts then.

    Raises:
        ConfigError: something cannot work; nothing has been written then.
    """
    if resume and (folder / CONFIG).is_file():
        return reopened(folder)
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        if not overwrite:
            raise ConfigError(f"--output {folder}: exists; choose another folder, --resume, or --overwrite")
        if not any((folder / name).is_file() for name in OWN):
            raise ConfigError(f"--output {folder}: holds no fit; --overwrite replaces results of fits only")
    if config is None:
        raise ConfigError(f"--output {folder}: holds no fit to resume; give the input as well")
    resolved = resolve(config, base)
    plan(resolved, base)
    check_engine(resolved)
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    final = relocated(resolved, base, unfinished)
    (unfinished / CONFIG).write_text(to_yaml(final), encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.replace(folder)
    return reopened(folder)


def reopened(folder: Path) -> Plan:
    """The plan of a result folder, from the configuration in it."""
    resolved = parse(read_yaml(folder / CONFIG), str(folder / CONFIG))
    check_engine(resolved)
    return plan(resolved, folder)


def check_engine(config: Config) -> None:
    """Refuse LAMMPS runs where there is no LAMMPS, before any work."""
    if config.validation.kind == "lammps":  # type: ignore[attr-defined]
        find_lmp()


def run_fit(prepared: Plan, folder: Path, *, resume: bool, progress: bool, say: Callable[[str], None]) -> Outcome:
    """Fit, run independently, export, verify and report.

    Args:
        prepared: of the result folder.
        folder: the result folder.
        resume: go on from the checkpoint.
        progress: show a progress bar.
        say: takes lines for the user.
    """
    config = prepared.config
    result = fit(
        prepared.potential,
        prepared.state_points,
        prepared.method,
        validation=None,
        seed=config.seed,
        folder=folder,
        resume=resume,
        progress=progress,
    )
    result.save(folder)
    say(f"fit: {result.stopped} in {result.wall_seconds:.1f} s")
    evidence = evaluate(prepared, result, folder, say=say)
    evidence.result.save(folder)
    report = write_report(folder, evidence)
    (folder / "verdict.json").write_text(json.dumps(verdict(evidence), indent=2) + "\n")
    return Outcome(evidence, report, folder)


def title_of(points: Sequence[StatePoint]) -> str:
    """What was fitted, in a few words: species and state points."""
    symbols = dict.fromkeys(symbol for point in points for symbol in point.system.get_chemical_symbols())
    return f"Pair potential of {'-'.join(symbols)} at {', '.join(point.name for point in points)}"


def evaluate(prepared: Plan, result: FitResult, folder: Path, *, say: Callable[[str], None]) -> Evidence:
    """Independent runs in asediff and, if configured, in LAMMPS with the exported files, which are verified."""
    config, points = prepared.config, prepared.plain_points
    arguments = engine_arguments(config)
    own = {field.name for field in dataclasses.fields(TorchEngine)}
    began = time.perf_counter()
    with torch.no_grad():
        measurements = validate(
            result.potential, points, TorchEngine(**{k: v for k, v in arguments.items() if k in own}), result.seed
        )
    seconds = time.perf_counter() - began
    result = dataclasses.replace(result, state_points=points, measurements=measurements, validation_seconds=seconds)
    say(f"independent run in asediff: {seconds:.1f} s")
    facts: dict[str, Any] = {
        "title": title_of(points),
        "result": result,
        "units": config.units,
        "configuration": to_yaml(config),
        "band": band(result),
    }
    if config.validation.kind != "lammps":  # type: ignore[attr-defined]
        return Evidence(**facts)
    began = time.perf_counter()
    engine = ExportedEngine(LammpsRun(**arguments, units=config.units), folder / "lammps", config.export.refine)
    lammps = validate(result.potential, points, engine, result.seed + 1)
    reports = []
    for point, measurement in zip(points, lammps, strict=True):
        assert measurement.trajectory is not None
        files = engine.exported[point.name]
        reports.append(verified(files, result.potential, point, measurement.trajectory, config.export.frames))
    seconds = time.perf_counter() - began
    say(f"independent run in LAMMPS with the exported table: {seconds:.1f} s")
    return Evidence(**facts, lammps=lammps, verification=reports, lammps_seconds=seconds)


def band(result: FitResult) -> UncertaintyBand | None:
    """What the targets leave open about the potential; None where one potential has a curve for each temperature."""
    if result.potential.temperature_dependent:
        return None
    samples = []
    for point, measurement in zip(result.state_points, result.measurements, strict=True):
        assert measurement.trajectory is not None
        statistics = FrameStatistics.of(measurement.trajectory, result.potential, point)
        samples.append(Sample(measurement, statistics))
    return uncertainty_band(result.potential, samples)


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
