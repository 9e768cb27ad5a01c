"""One self-contained page per fit: figures, numbers, proof of the export, configuration, versions."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes

from asediff import plotting
from asediff.checks.temperature import kelvin_of
from asediff.fitting.result import FitResult, versions, write_columns
from asediff.fitting.statistics.uncertainty import UncertaintyBand
from asediff.host.files import file_name
from asediff.lammps.units import LammpsUnits
from asediff.lammps.verify import VerifyReport
from asediff.observables import REDUCED, Units
from asediff.observables.deviation import decimal
from asediff.plotting import Run
from asediff.potentials.pair import check_pairwise
from asediff.targets.measurement import Measurement
from asediff.targets.target import StatePoint, Target
from asediff.targets.verdict import judge

REPORT = "report.html"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a report is made of.

    Attributes:
        title: of the page.
        result: the fit, with the measurements of asediff's own independent runs.
        lammps: one measurement per state point, from LAMMPS with the exported table; empty without LAMMPS.
        verification: one comparison of LAMMPS with asediff per state point; empty without LAMMPS.
        units: `lj`, `real` or `metal`.
        configuration: resolved, as YAML.
        lammps_seconds: wall time of the LAMMPS runs.
        notes: further remarks.
        band: what the targets leave open about the potential.
    """

    title: str
    result: FitResult
    lammps: Sequence[Measurement] = ()
    verification: Sequence[VerifyReport] = ()
    units: str = "metal"
    configuration: str = ""
    lammps_seconds: float = 0.0
    notes: Sequence[str] = field(default_factory=tuple)
    band: UncertaintyBand | None = None

    @property
    def reduced(self) -> bool:
        """Whether all numbers are in reduced units."""
        return self.units == "lj"

    @property
    def named(self) -> Units:
        """What the units are called."""
        return REDUCED if self.reduced else Units()

    def runs(self, k: int) -> dict[str, Measurement]:
        """The independent runs at state point k, by the name of who ran them."""
        found = {"asediff": self.result.measurements[k]}
        return found | ({"LAMMPS": self.lammps[k]} if self.lammps else {})


def write_report(folder: str | Path, evidence: Evidence) -> Path:
    """Write report.html, the figures as PNG and the curves as CSV; returns the path of the page."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[bool, list[dict[str, str]]] = {True: [], False: []}

    def add(ax: Axes, name: str, caption: str, *, of_target: bool = False) -> None:
        data = plotting.png(ax)
        (folder / f"{name}.png").write_bytes(data)
        figures[of_target].append({"caption": caption, "png": base64.b64encode(data).decode()})

    points = evidence.result.state_points
    for k, point in enumerate(points):
        for j, target in enumerate(point.targets):
            name = f"{file_name(target.observable.kind)}_{k}_{file_name(str(target.name))}"
            write_columns(folder / f"{name}.csv", curves(evidence, k, j))
            add(target_figure(evidence, k, j), name, _caption(evidence, point, target), of_target=True)
    if evidence.result.potential.is_pairwise:
        columns, caption = potential_columns(evidence)
        write_columns(folder / "potential_kT.csv", columns)
        add(potential_figure(evidence, columns), "potential", caption)
    if any("loss" in row for row in evidence.result.history):
        add(plotting.plot_loss(evidence.result.history), "loss", "Loss of each update; only the trend means something.")
    rows = [row for k in range(len(points)) for row in deviation_rows(evidence, k)]
    environment = Environment(
        loader=PackageLoader("asediff.app", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        evidence=evidence,
        of_targets=figures[True],
        figures=figures[False],
        rows=rows,
        worst=worst([row for row in rows if row["run"] == rows[-1]["run"]]),
        states=[state_row(evidence, k) for k in range(len(points))],
        passed=all(report.passed for report in evidence.verification),
        checks=[(points[k].name, report) for k, report in enumerate(evidence.verification)],
        facts=facts(evidence),
        decimal=decimal,
        versions=versions(),
        notes=[*pressure_notes(evidence), *evidence.result.notes, *evidence.notes],
    )
    path = folder / REPORT
    path.write_text(page, encoding="utf-8")
    return path


def curves(evidence: Evidence, k: int, j: int) -> dict[str, np.ndarray]:
    """Target j of state point k and its measured curves with standard errors, by column name."""
    target = evidence.result.state_points[k].targets[j]
    columns = {target.observable.abscissa: target.observable.centers.numpy(), "target": target.reference.numpy()}
    for label, measurement in evidence.runs(k).items():
        columns[label] = measurement.values[j].numpy()
        columns[f"{label}_error"] = measurement.errors[j].numpy()
    return columns


def target_figure(evidence: Evidence, k: int, j: int) -> Axes:
    """Target j of state point k and its independent runs; see `Observable.plot`."""
    target = evidence.result.state_points[k].targets[j]
    runs = {label: Run(m.values[j].numpy(), m.errors[j].numpy()) for label, m in evidence.runs(k).items()}
    return target.observable.plot(target.reference, runs, units=evidence.named)


def potential_columns(evidence: Evidence) -> tuple[dict[str, np.ndarray], str]:
    """r, u/kT of every learned function and -ln g of every target, and the caption of their figure."""
    result = evidence.result
    potential, points = check_pairwise(result.potential, "the report"), result.state_points
    r = torch.linspace(potential.core * potential.cutoff, potential.cutoff, 600, dtype=torch.float64)
    columns: dict[str, np.ndarray] = {"r": r.numpy()}
    shown = points if potential.temperature_dependent else points[:1]
    for point in shown:
        for name in potential.pair_names():
            label = _label(name) + (f", {point.name}" if len(shown) > 1 else "")
            with torch.no_grad():
                u = potential.function(r, None if name == "all" else name, float(point.kT))
            columns[label] = u.numpy() / float(point.kT)
    caption = f"The learned potential (kT of {shown[0].name})"
    for point in points:
        for _, target, rdf in point.distributions():
            g = np.interp(r.numpy(), rdf.centers.numpy(), target.reference.numpy())
            label = "Boltzmann inversion" + (f" {'-'.join(rdf.pair)}" if rdf.pair else "")
            label += f", {point.name}" if len(points) > 1 else ""
            with np.errstate(divide="ignore"):
                columns[label] = np.where(g > 1e-3, -np.log(g), np.nan)
    caption += " and the inversion of the target, -ln g(r)." if any(p.distributions() for p in points) else "."
    if evidence.band is not None:
        caption += " Band: what the targets leave open, two standard errors."
    return columns, caption


def potential_figure(evidence: Evidence, columns: dict[str, np.ndarray]) -> Axes:
    """u(r)/kT against Boltzmann inversion."""
    learned = {name: values for name, values in columns.items() if name.startswith("learned")}
    inverted = {name: values for name, values in columns.items() if name.startswith("Boltzmann")}
    return plotting.plot_potential(columns["r"], learned, inverted, bands=_bands(evidence), unit=evidence.named.length)


def _bands(evidence: Evidence) -> dict[str, plotting.Band]:
    band = evidence.band
    if band is None:
        return {}
    kT = float(evidence.result.state_points[0].kT)
    return {
        _label(name): plotting.Band(band.r, band.u[k] / kT, band.error[k] / kT) for k, name in enumerate(band.names)
    }


def _label(pair: str) -> str:
    return "learned u(r)" if pair == "all" else f"learned {pair}"


def deviation_rows(evidence: Evidence, k: int) -> list[dict[str, Any]]:
    """How far each run is from each target of state point k; None for what its kind of target does not have."""
    point = evidence.result.state_points[k]
    rows = []
    for j, target in enumerate(point.targets):
        observable = target.observable
        for label, measurement in evidence.runs(k).items():
            found = measurement.deviations(point)[j].numbers()
            verdict = judge(target, measurement.values[j], measurement.errors[j])
            single = len(target.reference) == 1
            rows.append(
                {
                    "state": point.name,
                    "target": target.name,
                    "run": label,
                    "symbol": observable.ordinate,
                    "mean": found["mean"],
                    "noise": found["mean_error"],
                    "inside": found["mean"] if found["outside_core"] is None else found["outside_core"],
                    "largest": found["largest"],
                    "structural": found["structural"],
                    "structural_noise": found["structural_noise"],
                    "peak": observable.told(measurement.values[j], measurement.errors[j], evidence.named),
                    "peak_target": observable.told(target.reference, units=evidence.named),
                    "chi_square": None if verdict is None else verdict.chi_square,
                    "chi_square_limit": None if verdict is None else verdict.limit,
                    "noise_of_both": None if verdict is None else verdict.expected,
                    "verdict": "nothing tells noise from misfit: no standard error is known"
                    if verdict is None
                    else verdict.text(
                        observable.ordinate,
                        "" if single else observable.abscissa,
                        evidence.named.of(observable.abscissa_unit),
                    ),
                    "peak_error": None if found["peak"] is None else 100.0 * found["peak"],
                }
            )
    return rows


def worst(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of a g(r) the row that is furthest off; where there is none, the one that is in units of its noise."""
    of_pairs = [row for row in rows if row["structural"] is not None]
    if of_pairs:
        return max(of_pairs, key=lambda row: float(row["inside"]))
    return max(rows, key=lambda row: float(row["mean"]) / max(row["noise"] or 0.0, 1e-300))


def told(row: Mapping[str, Any]) -> str:
    """A row of `deviation_rows` in a line: the numbers that exist."""
    line = f"{row['state']} {row['target']} in {row['run']}: mean |d{row['symbol']}| {decimal(row['inside'])}"
    noise = f"(noise {decimal(row['noise'])})"
    if row["structural"] is None:
        return f"{line} {noise}"
    peak = "" if row["peak_error"] is None else f", first peak {row['peak_error']:+.1f} %"
    return f"{line} outside the core {noise}, D {row['structural']:.3g}{peak}"


def state_row(evidence: Evidence, k: int) -> dict[str, Any]:
    """Temperature, density and pressure of state point k, wanted and measured."""
    point = evidence.result.state_points[k]
    row = {
        "name": point.name,
        "n_atoms": point.system.n_atoms,
        "density": f"{point.density:.5g} {evidence.named.length}⁻³",
    }
    row["temperature"] = _temperature(evidence, float(point.kT))
    row["wanted_pressure"] = "" if point.pressure is None else _pressure(evidence, point.pressure, None)
    row["runs"] = [
        {
            "run": label,
            "temperature": _temperature(evidence, measurement.kT),
            "pressure": _pressure(evidence, measurement.pressure, measurement.pressure_error),
        }
        for label, measurement in evidence.runs(k).items()
    ]
    return row


def pressure_notes(evidence: Evidence) -> list[str]:
    """What the pressure of a fit to structure alone is worth, for each state point that asked for none."""
    notes = []
    for k, point in enumerate(evidence.result.state_points):
        wanted = point.pressure is not None or any(t.observable.kind == "pressure" for t in point.targets)
        if wanted or not point.distributions():
            continue
        found = list(evidence.runs(k).values())[-1]
        unit = (
            "" if evidence.reduced else f", energy/length³ (1 bar is {LammpsUnits.named('metal').pressure:.4g} eV/Å³)"
        )
        notes.append(
            f"{point.name}: the pressure is {_pressure(evidence, found.pressure, found.pressure_error)}, and none was "
            "asked for. g(r) at one density hardly knows it: a slow ramp added to u(r) changes it much and g(r) "
            "little, and beads lack the forces within what they stand for. At constant volume the structure is right "
            f"all the same; for a right pressure too, give the state point its pressure{unit} and fit again"
        )
    return notes


def facts(evidence: Evidence) -> list[tuple[str, str]]:
    """What was done, in short lines."""
    result = evidence.result
    return [
        ("method", f"{type(result.method).__name__}: {result.stopped}"),
        ("MD steps of the fit", f"{result.md_steps:,}"),
        ("wall time of the fit", f"{result.wall_seconds:.1f} s"),
        ("independent runs, asediff", f"{result.validation_seconds:.1f} s"),
        ("independent runs, LAMMPS", f"{evidence.lammps_seconds:.1f} s" if evidence.lammps else "none"),
        ("seed", str(result.seed)),
        (
            "cutoff",
            "none" if result.potential.cutoff is None else f"{result.potential.cutoff:g} {evidence.named.length}",
        ),
        *(("knots of the table", str(part.n_knots)) for part in result.potential.tabulated()),
    ]


def _temperature(evidence: Evidence, kT: float) -> str:
    return f"{kT:.4f}" if evidence.reduced else f"{kelvin_of(kT):.1f} K"


def _pressure(evidence: Evidence, pressure: float, error: float | None) -> str:
    unit, name = (1.0, "") if evidence.reduced else (LammpsUnits.named("metal").pressure, " bar")
    digits = 4 if evidence.reduced else 0
    spread = "" if error is None else f" ± {error / unit:.{max(digits, 1) if evidence.reduced else 0}f}"
    return f"{pressure / unit:,.{digits}f}{spread}{name}"


def _caption(evidence: Evidence, point: StatePoint, target: Target) -> str:
    who = "asediff and LAMMPS (with the exported table)" if evidence.lammps else "asediff"
    rdf = target.observable.pair_distribution()
    how = ", as plain histograms" if rdf is not None and rdf.width == 0.0 else ""
    rest = "below, their differences from the target. Bands" if len(target.reference) > 1 else "bars"
    return (
        f"{point.name}, {target.name}: the target and independent runs of {who}{how}; {rest} are two standard errors."
    )
