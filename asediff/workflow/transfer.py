"""The report of a chain: how well each potential does at each state, how much of that is noise, and what it took."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from numpy.typing import NDArray

from asediff import plotting
from asediff.app.report import REPORT
from asediff.fitting.result import versions, write_columns
from asediff.host.files import file_name, write_whole
from asediff.lammps.water import AVOGADRO
from asediff.workflow import transfer_figures as figures
from asediff.workflow.results import Results
from asediff.workflow.stages.base import Record

Floats = NDArray[np.float64]

MATRIX = "transfer.csv"
METHODS = {"ibi": "IBI", "gauss_newton": "Gauss–Newton", "reweighting": "Reweighting", "diffsim": "DiffSim"}
PLAIN = str.maketrans({"–": "-", "−": "-", "₁": "1", "₂": "2"})
MEAN_OF_MODULUS = float(np.sqrt(2.0 / np.pi))
"""Mean of |x| of a normal x of standard deviation 1."""
NUMBERS = (
    *("D", "D_error", "D_noise", "mean_abs_dg", "mean_abs_dg_error", "mean_abs_dg_noise", "mean_abs_dg_noise_run"),
    *("mean_abs_dg_noise_reference", "first_peak_percent", "pressure_bar", "pressure_error_bar", "md_steps", "seconds"),
)
"""Columns of the matrix besides method and temperatures."""


@dataclass(frozen=True, eq=False)
class State:
    """A reference: what is to be reproduced at one state."""

    folder: Path
    label: str
    settings: Any
    results: Results

    @property
    def temperature(self) -> float:
        """K."""
        return float(self.settings["temperature_K"])


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted potential; its group is what is compared as one method."""

    folder: Path
    group: str
    settings: Any
    results: Results

    @property
    def fitted(self) -> tuple[float, ...]:
        """Temperatures, K."""
        return tuple(float(T) for T in self.results.arrays["temperature"])

    @property
    def label(self) -> str:
        """Where it was fitted."""
        return (
            " + ".join(f"{T:g}" for T in self.fitted) + " K" if len(self.fitted) < 4 else f"{len(self.fitted)} states"
        )


@dataclass(frozen=True, eq=False)
class Cell:
    """A potential at a state: the curves of its validation and how far apart they are."""

    fit: Fit
    state: State
    results: Results

    @property
    def at_home(self) -> bool:
        """Whether the potential was fitted at this state."""
        return self.state.temperature in self.fit.fitted

    def numbers(self) -> dict[str, float]:
        """The columns `NUMBERS`.

        d = g - g_ref has in each bin the variance s² of both curves, and bins are taken as independent. Then
        D = sum w d², w = 4πρ r² Δr, has the noise sum w s², and where d is m on average the variance
        sum w² (4 m² s² + 2 s⁴), of which sum w² (4 d² s² - 2 s⁴) is an estimate without bias.
        """
        curve, mass = self.results.arrays, self.fit.settings["mass"]
        d = curve["g"] - curve["g_reference"]
        own, wanted = (np.nan_to_num(curve[name]) for name in ("g_error", "g_reference_error"))
        square = own**2 + wanted**2
        density = self.state.settings["density_g_cm3"] * AVOGADRO / mass
        w = 4 * np.pi * density * curve["r"] ** 2 * (curve["r"][1] - curve["r"][0])
        spread = max((w**2 * (4 * d**2 - 2 * square) * square).sum(), (2 * w**2 * square**2).sum())
        inside = slice(int(np.argmax(curve["g_reference"] > 0.01 * curve["g_reference"].max())), None)
        scalars = self.results.scalars
        return {
            "D": float((w * d**2).sum()),
            "D_error": float(np.sqrt(spread)),
            "D_noise": float((w * square).sum()),
            "mean_abs_dg": float(np.abs(d[inside]).mean()),
            "mean_abs_dg_error": float(np.sqrt(square[inside].sum()) / len(d[inside])),
            "mean_abs_dg_noise": MEAN_OF_MODULUS * float(np.sqrt(square[inside]).mean()),
            "mean_abs_dg_noise_run": MEAN_OF_MODULUS * float(own[inside].mean()),
            "mean_abs_dg_noise_reference": MEAN_OF_MODULUS * float(wanted[inside].mean()),
            "first_peak_percent": 100.0 * float(curve["g"].max() / curve["g_reference"].max() - 1.0),
            **{name: float(scalars[name]) for name in ("pressure_bar", "pressure_error_bar", "md_steps", "seconds")},
        }


@dataclass(frozen=True, eq=False)
class Transfer:
    """All potentials at all states at which they were validated.

    Attributes:
        states: by temperature.
        groups: name -> potentials, by temperature.
        cells: (folder of the fit, folder of the state) -> validation.
    """

    states: tuple[State, ...]
    groups: dict[str, list[Fit]]
    cells: dict[tuple[Path, Path], Cell]

    @classmethod
    def of(cls, validations: Sequence[Path], fits: Sequence[Path], references: Sequence[Path]) -> Transfer:
        """From the folders of finished stages."""
        found = [_state(folder) for folder in references]
        shared = len({state.label for state in found}) < len(found)
        if shared:
            found = [State(s.folder, f"{s.label}, {s.settings['density_g_cm3']:g} g/cm³", s.settings, s.results)
                     for s in found]  # fmt: skip
        found.sort(key=lambda state: (state.temperature, state.label))
        potentials = sorted((_fit(folder) for folder in fits), key=lambda fit: (_rank(fit), fit.fitted))
        groups: dict[str, list[Fit]] = {}
        for fit in potentials:
            groups.setdefault(fit.group, []).append(fit)
        by_fit = {fit.folder.resolve(): fit for fit in potentials}
        by_state = {state.folder.resolve(): state for state in found}
        cells = {}
        for folder in validations:
            parents = Record.load(folder).parents
            fit, state = by_fit[parents["potential"][0].resolve()], by_state[parents["reference"][0].resolve()]
            cells[fit.folder, state.folder] = Cell(fit, state, Results.load(folder))
        return cls(tuple(found), groups, cells)

    def cell(self, fit: Fit, state: State) -> Cell | None:
        """A potential at a state, if that was validated."""
        return self.cells.get((fit.folder, state.folder))

    def all_cells(self) -> list[Cell]:
        """In the order of groups, fits and states."""
        pairs = [(fit, state) for fits in self.groups.values() for fit in fits for state in self.states]
        return [cell for pair in pairs for cell in [self.cell(*pair)] if cell is not None]


def _state(folder: Path) -> State:
    settings = Record.load(folder).settings
    return State(folder, f"{settings['temperature_K']:g} K", settings, Results.load(folder))


def _fit(folder: Path) -> Fit:
    results = Results.load(folder)
    kind, u = str(results.scalars["method"]), results.arrays["u"]
    group = METHODS.get(kind, kind)
    if len(u) > 1:
        group += ", all states" + (": u₁ − kT u₂" if np.ptp(u, axis=0).max() > 0 else "")
    return Fit(folder, group, Record.load(folder).settings, results)


def _rank(fit: Fit) -> tuple[bool, int]:
    """Potentials of single states first, in the order of the methods."""
    kinds = list(METHODS)
    kind = str(fit.results.scalars["method"])
    return len(fit.fitted) > 1, kinds.index(kind) if kind in kinds else len(kinds)


def write_transfer(
    validations: Sequence[Path], fits: Sequence[Path], references: Sequence[Path], folder: Path
) -> Results:
    """Write the page `report.html`, its figures as PNG and all numbers and curves as CSV.

    Args:
        validations: folders of finished stages `validate`.
        fits: of those that fitted the potentials.
        references: of the states.
        folder: to write to; the page links to the other folders relative to it.

    Returns:
        The columns of the matrix, one row for each validation, ordered by method and temperatures.
    """
    folder = Path(folder)
    found = Transfer.of(validations, fits, references)
    rows = [{"cell": cell, **cell.numbers()} for cell in found.all_cells()]
    columns = _columns(rows)
    write_columns(folder / MATRIX, columns)
    shown: dict[str, dict[str, str]] = {}

    def add(ax: Axes, name: str, caption: str) -> None:
        data = plotting.png(ax)
        write_whole(folder / f"{name}.png", data)
        shown[name] = {"caption": caption, "png": base64.b64encode(data).decode()}

    add(figures.matrices(found, rows, "mean_abs_dg"), "matrix_mean_abs_dg", figures.MATRIX_CAPTION)
    add(figures.matrices(found, rows, "D"), "matrix_D", figures.MATRIX_CAPTION)
    for state in found.states:
        name = f"rdf_{file_name(state.label)}"
        at_home = figures.curves_at(found, state)
        write_columns(folder / f"{name}.csv", _plainly_named(at_home))
        add(figures.overlay(state, at_home), name, figures.OVERLAY_CAPTION.format(state.label))
    add(figures.differences(found), "differences", figures.DIFFERENCES_CAPTION)
    write_columns(folder / "potentials.csv", _plainly_named(figures.potential_columns(found)))
    add(figures.potentials(found), "potentials", figures.POTENTIALS_CAPTION)
    add(figures.pressures(found), "pressures", figures.PRESSURES_CAPTION)
    environment = Environment(
        loader=PackageLoader("asediff.app", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("transfer.html.j2").render(
        found=found, rows=rows, figures=shown, versions=versions(), summary=summary(found, rows),
        references=[_reference_row(state, folder) for state in found.states],
        fits=[_fit_row(fit, folder) for group in found.groups.values() for fit in group],
        overlays=[f"rdf_{file_name(state.label)}" for state in found.states],
    )  # fmt: skip
    write_whole(folder / REPORT, page.encode())
    unit = {"fitted_at_K": "K", "tested_at_K": "K", "pressure_bar": "bar", "pressure_error_bar": "bar", "seconds": "s"}
    arrays = {name: np.array(values, dtype="S" if name in _WORDS else None) for name, values in columns.items()}
    scalars = {"validations": len(rows), "fits": len(fits), "references": len(references), **_totals(found, rows)}
    return Results(scalars, arrays, {name: unit.get(name, "1") for name in arrays})


_WORDS = ("method", "fitted_at_K")


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        # ASCII, so that the words are read back from HDF5 as they are
        "method": [str(row["cell"].fit.results.scalars["method"]) for row in rows],
        "fitted_at_K": ["+".join(f"{T:g}" for T in row["cell"].fit.fitted) for row in rows],
        "tested_at_K": [row["cell"].state.temperature for row in rows],
    }
    return columns | {name: [row[name] for row in rows] for name in NUMBERS}


def _plainly_named(columns: dict[str, Floats]) -> dict[str, Floats]:
    """With names that every program reads."""
    return {name.translate(PLAIN): values for name, values in columns.items()}


def _totals(found: Transfer, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    all_fits = [fit for group in found.groups.values() for fit in group]
    done = [*(fit.results for fit in all_fits), *(state.results for state in found.states)]
    steps = sum(int(one.scalars["md_steps"]) for one in done) + sum(int(row["md_steps"]) for row in rows)
    return {"total_md_steps": steps, "total_seconds": sum(float(one.scalars["seconds"]) for one in done)
            + sum(row["seconds"] for row in rows)}  # fmt: skip


def summary(found: Transfer, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each method the mean over its validations: at the states that it was fitted at, and at the others."""
    result = []
    for group in found.groups:
        own = [row for row in rows if row["cell"].fit.group == group]
        line: dict[str, Any] = {"group": group, "fits": len(found.groups[group])}
        for name, chosen in (("home", [row for row in own if row["cell"].at_home]),
                             ("away", [row for row in own if not row["cell"].at_home])):  # fmt: skip
            means = {key: float(np.mean([row[key] for row in chosen])) for key in NUMBERS} if chosen else None
            line[name] = means
        scalars = [fit.results.scalars for fit in found.groups[group]]
        line["md_steps"] = sum(int(one["md_steps"]) for one in scalars)
        line["seconds"] = sum(float(one["seconds"]) for one in scalars)
        result.append(line)
    return result


def _link(target: Path, folder: Path) -> str | None:
    """Relative path to a file of another stage, if it is there."""
    return Path(os.path.relpath(target, folder)).as_posix() if target.is_file() else None


def _reference_row(state: State, folder: Path) -> dict[str, Any]:
    scalars, arrays = state.results.scalars, state.results.arrays
    inside = arrays["g"] > 0.01 * arrays["g"].max()
    error = np.nan_to_num(arrays["g_error"])[inside]
    top = int(np.argmax(arrays["g"]))
    return {
        "label": state.label,
        "scalars": scalars,
        "settings": state.settings,
        "error": float(error.mean()),
        "noise": MEAN_OF_MODULUS * float(error.mean()),
        "peak": (float(arrays["g"][top]), float(arrays["g_error"][top]), float(arrays["r"][top])),
        "links": [
            (name, link)
            for name in ("rdf.png", "displacement.png", "g_OO.csv")
            for link in [_link(state.folder / name, folder)]
            if link is not None
        ],
    }


def _fit_row(fit: Fit, folder: Path) -> dict[str, Any]:
    return {
        "group": fit.group,
        "label": fit.label,
        "scalars": fit.results.scalars,
        "link": _link(fit.folder / "fit" / REPORT, folder),
    }
