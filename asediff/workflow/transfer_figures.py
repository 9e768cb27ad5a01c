"""Figures of the report of a chain: matrices, g(r), differences, potentials, pressures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from asediff import plotting
from asediff.plotting import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, Run, styled

if TYPE_CHECKING:
    from asediff.workflow.results import Results
    from asediff.workflow.transfer import Fit, State, Transfer

Floats = NDArray[np.float64]

KJ_PER_MOL = units.kJ / units.mol
SYMBOLS = {"mean_abs_dg": "mean |Δg|", "D": "D"}
TEMPERATURES = (BLUE, ORANGE, VERMILION, GREEN, PURPLE, SKY)
HIGHEST = 6.0
"""Of u, kJ/mol: curves are shown from where they fall below it."""

MATRIX_CAPTION = (
    "Each potential (row: where it was fitted) in an independent LAMMPS run at each state (column). Below each number, "
    "what the noise of that run and of the reference would give if the potential were perfect. A frame marks the "
    "states of the fit; numbers in brackets are less than twice their noise."
)
OVERLAY_CAPTION = (
    "{}: the oxygens of SPC/E water and LAMMPS runs of the potentials fitted at this state; below, their differences. "
    "Bands are two standard errors; the grey one is that of the differences, from noise alone."
)
DIFFERENCES_CAPTION = (
    "g(r) of each potential minus that of the reference at the state of the column; colours tell where the potential "
    "was fitted (dashed: elsewhere). Grey: two standard errors of the difference, from noise alone."
)
POTENTIALS_CAPTION = (
    "The potentials, by method; colours tell the temperature. Bands of two standard errors: what the g(r) of the fit "
    "leaves open, where one curve serves all its states; of u₁ − kT u₂ it is not known."
)
PRESSURES_CAPTION = (
    "Pressure of each potential at each state, and of SPC/E water (black), with two standard errors where they are "
    "larger than the symbols. A fit matches it only if it was asked to."
)


def grid(rows: int, columns: int, width: float, height: float, **options: Any) -> list[list[Axes]]:
    """Axes of one figure, rows of columns, each as wide and high as said, in inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return [[styled(ax) for ax in line] for line in figure.subplots(rows, columns, squeeze=False, **options)]


def matrices(found: Transfer, rows: Sequence[Mapping[str, Any]], name: str) -> Axes:
    """One matrix of fitted at x tested at for each method; colours from the noise up, on a logarithmic scale."""
    values = {(row["cell"].fit.folder, row["cell"].state.folder): row for row in rows}
    largest = max((row[name] for row in rows), default=1.0)
    smallest = max(min((row[f"{name}_noise"] for row in rows), default=0.1), 1e-4 * largest, 1e-12)
    norm = LogNorm(smallest, max(largest, 1.01 * smallest))
    fewest = len(found.states)
    heights = [len(fits) for fits in found.groups.values()]
    figure = Figure(layout=ConstrainedLayoutEngine(h_pad=0.12))
    per_line = min(len(heights), 3)
    lines = [list(found.groups.items())[k : k + per_line] for k in range(0, len(heights), per_line)]
    tall = [max(len(fits) for _, fits in line) for line in lines]
    figure.set_size_inches(1.4 + (0.6 + 1.0 * fewest) * per_line, 0.5 + sum(0.9 + 0.62 * n for n in tall))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(lines), per_line, squeeze=False, gridspec_kw={"height_ratios": [n + 0.9 for n in tall]})
    for line, of_line, rows_of_line in zip(lines, axes, tall, strict=True):
        for ax in of_line[len(line) :]:
            ax.set_axis_off()
        for (group, fits), ax in zip(line, of_line, strict=False):
            table = np.full((len(fits), fewest), np.nan)
            for i, fit in enumerate(fits):
                for j, state in enumerate(found.states):
                    row = values.get((fit.folder, state.folder))
                    if row is not None:
                        table[i, j] = row[name]
                        _cell(ax, j, i, row, name, norm)
            ax.imshow(table, cmap="YlOrRd", norm=norm, aspect="auto")
            ax.set_xticks(range(fewest), [state.label for state in found.states], fontsize=8)
            ax.set_yticks(range(len(fits)), [_short(fit) for fit in fits], fontsize=8)
            ax.xaxis.tick_top()
            ax.set_title(group, fontsize=10)
            ax.set_ylim(rows_of_line - 0.5, -0.5)
            ax.set_xlim(-0.5, fewest - 0.5)
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
    axes[0, 0].set_ylabel("fitted at", fontsize=9)
    figure.suptitle(f"{SYMBOLS[name]}, tested at the temperature of the column", fontsize=11)
    first: Axes = axes[0, 0]
    return first


def _cell(ax: Axes, x: int, y: int, row: Mapping[str, Any], name: str, norm: LogNorm) -> None:
    value, noise = row[name], row[f"{name}_noise"]
    text = f"{value:.3g}" if value >= 2 * noise else f"({value:.2g})"
    color = "white" if norm(value) > 0.7 else BLACK
    ax.text(x, y - 0.1, text, ha="center", va="center", fontsize=9, color=color)
    ax.text(x, y + 0.27, f"noise {noise:.1g}", ha="center", va="center", fontsize=6.5, color=color)
    if row["cell"].at_home:
        frame = Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor=BLACK, linewidth=1.3)
        ax.add_patch(frame)


def _short(fit: Fit) -> str:
    return "all" if len(fit.fitted) > 2 else fit.label


def curves_at(found: Transfer, state: State) -> dict[str, Floats]:
    """r, the reference and the runs of the potentials that were fitted at a state, with errors, by column name."""
    columns: dict[str, Floats] = {}
    for group, fits in found.groups.items():
        for fit in fits:
            cell = found.cell(fit, state)
            if cell is None or not cell.at_home:
                continue
            arrays = cell.results.arrays
            if not columns:
                columns = {"r": arrays["r"], "reference": arrays["g_reference"]}
                columns["reference_error"] = arrays["g_reference_error"]
            if len(arrays["r"]) == len(columns["r"]) and np.allclose(arrays["r"], columns["r"]):
                columns |= {group: arrays["g"], f"{group}_error": arrays["g_error"]}
    if not columns:
        arrays = state.results.arrays
        columns = {"r": arrays["r"], "reference": arrays["g"], "reference_error": arrays["g_error"]}
    return columns


def overlay(state: State, columns: Mapping[str, Floats]) -> Axes:
    """g(r) of the reference and of runs; below, the differences before what noise alone gives."""
    r, reference, error = columns["r"], columns["reference"], columns["reference_error"]
    runs = {name: Run(g, columns[f"{name}_error"]) for name, g in columns.items()
            if f"{name}_error" in columns and name != "reference"}  # fmt: skip
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1.7)})
    labels = ("r (Å)", "g(r)")
    plotting.plot_curves(r, reference, runs, labels=labels, baseline=1.0, ax=styled(upper))
    noise = [2 * np.hypot(*map(np.nan_to_num, (error, columns[f"{name}_error"]))) for name in runs]
    band = np.max(noise, axis=0) if noise else 2 * error
    lower.fill_between(r, -band, band, color=GREY, alpha=0.3, linewidth=0)
    bare = {name: Run(run.values) for name, run in runs.items()}
    plotting.plot_difference(r, reference, bare, labels=labels, ax=styled(lower))
    upper.set_xlabel("")
    upper.set_title(state.label, fontsize=10)
    return upper


def differences(found: Transfer) -> Axes:
    """g minus the reference: a row for each method, a column for each state."""
    states = found.states
    axes = grid(len(found.groups), len(states), 2.9, 1.75, sharex=True, sharey="col")
    for (group, fits), line in zip(found.groups.items(), axes, strict=True):
        for state, ax in zip(states, line, strict=True):
            ax.axhline(0.0, color=BLACK, linewidth=0.8)
            noise: list[tuple[Floats, Floats]] = []
            for fit in fits:
                cell = found.cell(fit, state)
                if cell is None:
                    continue
                arrays = cell.results.arrays
                error = np.hypot(*(np.nan_to_num(arrays[f"{name}_error"]) for name in ("g", "g_reference")))
                noise.append((arrays["r"], error))
                color = BLACK if len(fit.fitted) > 1 else color_of(found, fit.fitted[0])
                style = "-" if cell.at_home else (0, (4, 1.5))
                difference = arrays["g"] - arrays["g_reference"]
                ax.plot(arrays["r"], difference, color=color, linewidth=1.2, linestyle=style, label=_short(fit))
                onset = float(arrays["r"][np.argmax(arrays["g_reference"] > 0.01)])
                ax.set_xlim(0.9 * onset, float(arrays["r"][-1]))
            if noise:
                x, error = max(noise, key=lambda one: float(one[1].mean()))
                ax.fill_between(x, -2 * error, 2 * error, color=GREY, alpha=0.3, linewidth=0)
        line[0].set_ylabel(f"{_wrapped(group)}\nΔg", fontsize=8.5)
    _legend_of_temperatures(found, axes[0][-1])
    for state, ax in zip(states, axes[0], strict=True):
        ax.set_title(f"at {state.label}", fontsize=10)
    for ax in axes[-1]:
        ax.set_xlabel("r (Å)")
    return axes[0][0]


def _legend_of_temperatures(found: Transfer, ax: Axes) -> None:
    """What the colours of `differences` mean, beside the axes."""
    fits = [fit for group in found.groups.values() for fit in group]
    handles = [Line2D([], [], color=color_of(found, T), label=f"{T:g} K")
               for T in sorted({fit.fitted[0] for fit in fits if len(fit.fitted) == 1})]  # fmt: skip
    handles += [Line2D([], [], color=BLACK, label="all") for _ in [fit for fit in fits if len(fit.fitted) > 1][:1]]
    ax.legend(handles=handles, title="fitted at", frameon=False, fontsize=8, title_fontsize=8, loc="upper left",
              bbox_to_anchor=(1.0, 1.0))  # fmt: skip


def potential_columns(found: Transfer) -> dict[str, Floats]:
    """r of each potential, u and, where it is known, its standard error, kJ/mol."""
    columns: dict[str, Floats] = {}
    for group, fits in found.groups.items():
        for fit in fits:
            arrays = fit.results.arrays
            for T, u in zip(fit.fitted, arrays["u"], strict=True):
                name = f"{group} {fit.label}" + (f" at {T:g} K" if len(fit.fitted) > 1 else "")
                columns |= {f"r_A {name}": arrays["u_r"], f"u {name}": u / KJ_PER_MOL}
                if "u_error" in arrays:
                    columns[f"error {name}"] = arrays["u_error"] / KJ_PER_MOL
    longest = max(map(len, columns.values()))
    return {name: np.pad(values, (0, longest - len(values)), constant_values=np.nan)
            for name, values in columns.items()}  # fmt: skip


def potentials(found: Transfer) -> Axes:
    """u(r) in kJ/mol, a panel for each method."""
    n = len(found.groups)
    across = min(n, 3)
    axes = [ax for line in grid(-(-n // across), across, 3.1, 2.9, sharex=True, sharey=True) for ax in line]
    low, left, right = -0.5, np.inf, 0.0
    for ax in axes[n:]:
        ax.set_axis_off()
    for (group, fits), ax in zip(found.groups.items(), axes, strict=False):
        ax.axhline(0.0, color="#d1d5db", linewidth=0.8, zorder=0)
        for fit in fits:
            arrays = fit.results.arrays
            r, error = arrays["u_r"], arrays.get("u_error")
            same = len(fit.fitted) > 1 and np.ptp(arrays["u"], axis=0).max() == 0
            for T, u in list(zip(fit.fitted, arrays["u"] / KJ_PER_MOL, strict=True))[: 1 if same else None]:
                color = BLACK if same else color_of(found, T)
                ax.plot(r, u, color=color, linewidth=1.5, label=_short(fit) if same else f"{T:g} K")
                if error is not None:
                    margin = 2 * error / KJ_PER_MOL
                    ax.fill_between(r, u - margin, u + margin, color=color, alpha=0.2, linewidth=0)
                low = min(low, float(np.nanmin(u)))
                left = min(left, float(r[np.argmax(u < HIGHEST)]))
                right = max(right, float(r[-1]))
        ax.set_title(group, fontsize=10)
        ax.legend(frameon=False, fontsize=8)
    top = max(2.0, -2.5 * low)
    axes[0].set_ylim(1.2 * low, top)
    axes[0].set_xlim(0.97 * left, right)
    for k, ax in enumerate(axes[:n]):
        ax.set_xlabel("r (Å)" if k + across >= n else "")
        ax.tick_params(labelbottom=k + across >= n)
        ax.set_ylabel("u (kJ/mol)" if k % across == 0 else "")
    return axes[0]


def pressures(found: Transfer) -> Axes:
    """Pressure against the temperature of the state; methods beside each other, colours as in the other figures."""
    ax = grid(1, 1, 6.4, 3.4)[0][0]
    states, groups = found.states, list(found.groups.items())
    width = 0.8 / max(len(groups), 1)
    for j, state in enumerate(states):
        value, error = _pressure(state.results)
        x = [j - 0.45, j + 0.45]
        ax.fill_between(x, value - 2 * error, value + 2 * error, color=BLACK, alpha=0.25, linewidth=0)
        ax.plot(x, [value, value], color=BLACK, linewidth=1.6, label="SPC/E" if j == 0 else None)
    for k, (group, fits) in enumerate(groups):
        color = plotting.RUN_COLORS[k % len(plotting.RUN_COLORS)]
        named = False
        for j, state in enumerate(states):
            for fit in fits:
                cell = found.cell(fit, state)
                if cell is None:
                    continue
                value, error = _pressure(cell.results)
                ax.errorbar(
                    [j - 0.4 + width * (k + 0.5)],
                    [value],
                    [2 * error],
                    fmt="o",
                    markersize=4.5,
                    color=color,
                    markerfacecolor=color if cell.at_home else "white",
                    capsize=2,
                    linewidth=1,
                    label=None if named else group,
                )
                named = True
    ax.set_xticks(range(len(states)), [f"at {state.label}" for state in states])
    ax.set_ylabel("pressure (kbar)")
    ax.set_title("filled: fitted at this state; open: elsewhere", fontsize=9, color=GREY)
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _pressure(results: Results) -> tuple[float, float]:
    """And its standard error, kbar."""
    return 1e-3 * float(results.scalars["pressure_bar"]), 1e-3 * float(results.scalars["pressure_error_bar"])


def color_of(found: Transfer, temperature: float) -> str:
    """The colour of a temperature, the same in all figures."""
    known = sorted({T for fits in found.groups.values() for fit in fits for T in fit.fitted})
    return TEMPERATURES[known.index(temperature) % len(TEMPERATURES)]


def _wrapped(group: str) -> str:
    return group.replace(", all states", ",\nall states")
