"""One self-contained page per fit: figures, numbers, proof of the export, configuration, versions."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import units as ase_units
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes

from asediff import plotting
from asediff.fitting.result import FitResult, versions, write_columns
from asediff.fitting.statistics.uncertainty import UncertaintyBand
from asediff.host.files import file_name
from asediff.lammps.units import LammpsUnits
from asediff.lammps.verify import VerifyReport
from asediff.observables import RDF
from asediff.plotting import Run
from asediff.targets.measurement import Measurement
from asediff.targets.target import StatePoint

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
    def length(self) -> str:
        """Unit of length, for labels."""
        return "σ" if self.reduced else "Å"

    def runs(self, k: int) -> dict[str, Measurement]:
        """The independent runs at state point k, by the name of who ran them."""
        found = {"asediff": self.result.measurements[k]}
        return found | ({"LAMMPS": self.lammps[k]} if self.lammps else {})


def write_report(folder: str | Path, evidence: Evidence) -> Path:
    """Write report.html, the figures as PNG and the curves as CSV; returns the path of the page."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figures: list[dict[str, str]] = []

    def add(ax: Axes, name: str, caption: str) -> None:
        data = plotting.png(ax)
        (folder / f"{name}.png").write_bytes(data)
        figures.append({"name": name, "caption": caption, "png": base64.b64encode(data).decode()})

    points = evidence.result.state_points
    for k, point in enumerate(points):
        for j, target in enumerate(point.targets):
            name = f"rdf_{k}_{file_name(str(target.name))}"
            if not isinstance(target.observable, RDF):
                continue
            columns = curves(evidence, k, j)
            write_columns(folder / f"{name}.csv", columns)
            add(rdf_figure(evidence, k, j), name, _rdf_caption(evidence, point, str(target.name)))
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
        figures=figures,
        rows=rows,
        worst=max((row for row in rows if row["run"] == rows[-1]["run"]), key=lambda row: float(row["inside"])),
        states=[state_row(evidence, k) for k in range(len(points))],
        passed=all(report.passed for report in evidence.verification),
        checks=[(points[k].name, report) for k, report in enumerate(evidence.verification)],
        facts=facts(evidence),
        versions=versions(),
        notes=[*evidence.result.notes, *evidence.notes],
    )
    path = folder / REPORT
    path.write_text(page, encoding="utf-8")
    return path


def curves(evidence: Evidence, k: int, j: int) -> dict[str, np.ndarray]:
    """Target j of state point k and its measured curves with standard errors, by column name."""
    target = evidence.result.state_points[k].targets[j]
    columns = {"r": target.observable.centers.numpy(), "target": target.reference.numpy()}
    for label, measurement in evidence.runs(k).items():
        columns[label] = measurement.values[j].numpy()
        columns[f"{label}_error"] = measurement.errors[j].numpy()
    return columns


def rdf_figure(evidence: Evidence, k: int, j: int) -> Axes:
    """g(r) of target j at state point k, and below it the differences from the target."""
    columns = curves(evidence, k, j)
    runs = {label: Run(columns[label], columns[f"{label}_error"]) for label in evidence.runs(k)}
    ax = plotting.new_axes(6.4, 4.6)
    figure = ax.get_figure(root=True)
    assert figure is not None
    ax.remove()
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1.15)})
    plotting.plot_rdf(columns["r"], columns["target"], runs, unit=evidence.length, ax=plotting.styled(upper))
    plotting.plot_rdf_difference(columns["r"], columns["target"], runs, unit=evidence.length, ax=plotting.styled(lower))
    upper.set_xlabel("")
    return upper


def potential_columns(evidence: Evidence) -> tuple[dict[str, np.ndarray], str]:
    """r, u/kT of every learned function and -ln g of every target, and the caption of their figure."""
    result = evidence.result
    potential, points = result.potential, result.state_points
    r = torch.linspace(potential.core * potential.cutoff, potential.cutoff, 600, dtype=torch.float64)
    columns: dict[str, np.ndarray] = {"r": r.numpy()}
    shown = points if potential.temperature_dependent else points[:1]
    for point in shown:
        for name in potential.pair_names():
            label = _label(name) + (f", {point.name}" if len(shown) > 1 else "")
            with torch.no_grad():
                u = potential.function(r, None if name == "all" else name, float(point.kT))
            columns[label] = u.numpy() / float(point.kT)
    for point in points:
        for target in point.targets:
            if not isinstance(target.observable, RDF):
                continue
            g = np.interp(r.numpy(), target.observable.centers.numpy(), target.reference.numpy())
            label = "Boltzmann inversion" + (f" {'-'.join(target.observable.pair)}" if target.observable.pair else "")
            label += f", {point.name}" if len(points) > 1 else ""
            with np.errstate(divide="ignore"):
                columns[label] = np.where(g > 1e-3, -np.log(g), np.nan)
    caption = f"The learned potential (kT of {shown[0].name}) and the inversion of the target, -ln g(r)."
    if evidence.band is not None:
        caption += " Band: what the targets leave open, two standard errors."
    return columns, caption


def potential_figure(evidence: Evidence, columns: dict[str, np.ndarray]) -> Axes:
    """u(r)/kT against Boltzmann inversion."""
    learned = {name: values for name, values in columns.items() if name.startswith("learned")}
    inverted = {name: values for name, values in columns.items() if name.startswith("Boltzmann")}
    return plotting.plot_potential(columns["r"], learned, inverted, bands=_bands(evidence), unit=evidence.length)


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
        columns = curves(evidence, k, j)
        of_pairs = isinstance(target.observable, RDF)
        for label, measurement in evidence.runs(k).items():
            found = measurement.deviations(point)[j].numbers()
            at = float(columns["r"][columns[label].argmax()])
            rows.append(
                {
                    "state": point.name,
                    "target": target.name,
                    "run": label,
                    "symbol": target.observable.ordinate,
                    "mean": found["mean"],
                    "noise": found["mean_error"],
                    "inside": mean_outside_core(columns, label) if of_pairs else found["mean"],
                    "largest": found["largest"],
                    "structural": found["structural"],
                    "structural_noise": found["structural_noise"],
                    "peak": f"{columns[label].max():.3f} at {at:.3g} {evidence.length}" if of_pairs else "",
                    "peak_target": f"{columns['target'].max():.3f}" if of_pairs else "",
                    "peak_error": None if found["peak"] is None else 100.0 * found["peak"],
                }
            )
    return rows


def told(row: Mapping[str, Any]) -> str:
    """A row of `deviation_rows` in a line: the numbers that exist."""
    line = f"{row['state']} {row['target']} in {row['run']}: mean |d{row['symbol']}| {row['inside']:.4f}"
    if row["structural"] is None:
        return f"{line} (noise {row['noise']:.4f})"
    return (
        f"{line} outside the core (noise {row['noise']:.4f}), D {row['structural']:.3g}, first peak "
        f"{row['peak_error']:+.1f} %"
    )


def mean_outside_core(columns: dict[str, np.ndarray], label: str) -> float:
    """Mean |g - g_ref| over the bins from the first in which the target exceeds a hundredth of its maximum."""
    first = int(np.argmax(columns["target"] > 0.01 * columns["target"].max()))
    return float(np.abs(columns[label] - columns["target"])[first:].mean())


def state_row(evidence: Evidence, k: int) -> dict[str, Any]:
    """Temperature, density and pressure of state point k, wanted and measured."""
    point = evidence.result.state_points[k]
    row = {"name": point.name, "n_atoms": point.system.n_atoms, "density": f"{point.density:.5g} {evidence.length}⁻³"}
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
        ("cutoff", f"{result.potential.cutoff:g} {evidence.length}"),
        ("knots of the table", str(result.potential.n_knots)),
    ]


def _temperature(evidence: Evidence, kT: float) -> str:
    return f"{kT:.4f}" if evidence.reduced else f"{kT / ase_units.kB:.1f} K"


def _pressure(evidence: Evidence, pressure: float, error: float | None) -> str:
    unit, name = (1.0, "") if evidence.reduced else (LammpsUnits.named("metal").pressure, " bar")
    digits = 4 if evidence.reduced else 0
    spread = "" if error is None else f" ± {error / unit:.{max(digits, 1) if evidence.reduced else 0}f}"
    return f"{pressure / unit:,.{digits}f}{spread}{name}"


def _rdf_caption(evidence: Evidence, point: StatePoint, name: str) -> str:
    who = "asediff and LAMMPS (with the exported table)" if evidence.lammps else "asediff"
    return (
        f"{point.name}, {name}: the target and independent runs of {who}, as plain histograms; below, their "
        "differences from the target. Bands are two standard errors."
    )
