"""Figures of a fit: plain functions of arrays that draw into given axes, without pyplot's global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

# Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of colour vision.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#1a1a1a",
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)
RUN_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
RUN_STYLES = ("-", (0, (5, 1.6)), "-.", ":")
GREY = "#6b7280"
HIGHEST_KT = 6.0


@dataclass(frozen=True, eq=False)
class Run:
    """A measured curve and its standard error, `(bins,)` each."""

    values: NDArray[np.float64]
    errors: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Band:
    """u(r) in kT and its standard error, `(n,)` each, at distances r `(n,)`, length."""

    r: NDArray[np.float64]
    u: NDArray[np.float64]
    error: NDArray[np.float64]


def new_axes(width: float = 5.2, height: float = 3.6) -> Axes:
    """Axes of a new figure of this size in inches, styled like all of asediff's."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return styled(figure.subplots())


def styled(ax: Axes) -> Axes:
    """Give axes light lines and a faint grid; returns them."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(colors="#374151", labelsize=9)
    ax.grid(color="#e5e7eb", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def plot_curves(
    x: ArrayLike,
    target: ArrayLike | None,
    runs: Mapping[str, Run],
    *,
    labels: tuple[str, str],
    baseline: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The target as a black line, each run in colour with a band of two standard errors.

    Args:
        x: `(n,)`.
        target: `(n,)`, or None when there is nothing to compare with.
        runs: label -> curve.
        labels: of the axes.
        baseline: height of a faint line.
        ax: axes to draw into; new ones by default.
    """
    ax = new_axes() if ax is None else ax
    x = np.asarray(x)
    if baseline is not None:
        ax.axhline(baseline, color="#d1d5db", linewidth=0.8, zorder=0)
    if target is not None:
        ax.plot(x, np.asarray(target), color=BLACK, linewidth=2.6, alpha=0.85, label="target")
    _runs(ax, x, runs, 0.0, 1.5)
    shown = [np.asarray(y) for y in (*(() if target is None else (target,)), *(run.values for run in runs.values()))]
    ax.set(xlabel=labels[0], ylabel=labels[1], xlim=(_onset(x, shown[0]), x[-1]))
    if all((y >= 0.0).all() for y in shown):
        ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=9)
    return ax


def plot_difference(
    x: ArrayLike, target: ArrayLike, runs: Mapping[str, Run], *, labels: tuple[str, str], ax: Axes | None = None
) -> Axes:
    """Each run minus the target, with bands of two standard errors; arguments as in `plot_curves`."""
    ax = new_axes(height=1.8) if ax is None else ax
    x, reference = np.asarray(x), np.asarray(target)
    ax.axhline(0.0, color=BLACK, linewidth=1.0)
    _runs(ax, x, runs, reference, 1.2)
    largest = max((float(np.abs(run.values - reference).max()) for run in runs.values()), default=0.0)
    bound = 1.3 * max(largest, 4e-3 * float(np.abs(reference).max()), 1e-12)
    ax.set(xlabel=labels[0], ylabel=f"Δ{labels[1]}", xlim=(_onset(x, reference), x[-1]), ylim=(-bound, bound))
    return ax


def plot_comparison(
    x: ArrayLike,
    target: ArrayLike,
    runs: Mapping[str, Run],
    *,
    labels: tuple[str, str],
    baseline: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """`plot_curves`, in a new figure with `plot_difference` below it; returns the upper axes."""
    if ax is not None:
        return plot_curves(x, target, runs, labels=labels, baseline=baseline, ax=ax)
    ax = new_axes(6.4, 4.6)
    figure = ax.get_figure(root=True)
    assert figure is not None
    ax.remove()
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1.15)})
    plot_curves(x, target, runs, labels=labels, baseline=baseline, ax=styled(upper))
    plot_difference(x, target, runs, labels=labels, ax=styled(lower))
    upper.set_xlabel("")
    return upper


def plot_value(target: float, runs: Mapping[str, Run], *, label: str, ax: Axes | None = None) -> Axes:
    """A single number: the target as a line, each run as a point with a bar of two standard errors."""
    ax = new_axes(4.2, 2.8) if ax is None else ax
    ax.axhline(target, color=BLACK, linewidth=2.0, alpha=0.85, label="target")
    for k, (name, run) in enumerate(runs.items()):
        error = None if run.errors is None else 2.0 * run.errors[:1]
        color = RUN_COLORS[k % len(RUN_COLORS)]
        ax.errorbar([name], run.values[:1], error, fmt="o", color=color, capsize=4, label=name)
    ax.set(ylabel=label, xlim=(-0.7, max(len(runs), 1) - 0.3))
    ax.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return ax


def plot_potential(
    r: ArrayLike,
    potentials: Mapping[str, ArrayLike],
    inversions: Mapping[str, ArrayLike],
    *,
    bands: Mapping[str, Band] | None = None,
    unit: str = "Å",
    ax: Axes | None = None,
) -> Axes:
    """u(r)/kT of learned potentials (solid) against Boltzmann inversion, -ln g (dashed).

    Args:
        r: `(n,)`, length.
        potentials: label -> u/kT `(n,)`.
        inversions: label -> -ln g `(n,)`, NaN where g is zero.
        bands: label of a learned potential -> its error band.
        unit: of length.
        ax: axes to draw into; new ones by default.
    """
    ax = new_axes() if ax is None else ax
    r = np.asarray(r)
    ax.axhline(0.0, color="#d1d5db", linewidth=0.8, zorder=0)
    for k, (label, u) in enumerate(inversions.items()):
        color = GREY if len(inversions) == 1 else RUN_COLORS[k % len(RUN_COLORS)]
        ax.plot(r, np.asarray(u), color=color, linewidth=1.4, linestyle=(0, (4, 2)), label=label)
    for k, (label, u) in enumerate(potentials.items()):
        color = RUN_COLORS[k % len(RUN_COLORS)]
        ax.plot(r, np.asarray(u), color=color, linewidth=2.0, label=label)
        if bands is not None and label in bands:
            band = bands[label]
            margin = 2 * band.error
            ax.fill_between(band.r, band.u - margin, band.u + margin, color=color, alpha=0.18, linewidth=0)
    curves = [np.asarray(u, dtype=np.float64) for u in (*potentials.values(), *inversions.values())]
    visible = np.concatenate([u[np.isfinite(u) & (u < HIGHEST_KT)] for u in curves])
    low = float(visible.min()) if len(visible) else -1.0
    learned = np.min(np.stack([np.asarray(u, dtype=np.float64) for u in potentials.values()]), axis=0)
    shown = r[np.argmax(learned < HIGHEST_KT)]
    ax.set(xlabel=f"r ({unit})", ylabel="u(r) / kT", ylim=(1.15 * min(low, -0.1), HIGHEST_KT))
    ax.set_xlim(max(float(r[0]), 0.97 * float(shown)), float(r[-1]))
    ax.legend(frameon=False, fontsize=9 if len(curves) <= 4 else 6.5)
    return ax


def plot_loss(history: Sequence[Mapping[str, float]], *, ax: Axes | None = None) -> Axes:
    """Loss of each epoch or iteration on a logarithmic axis, and its running mean over ten."""
    ax = new_axes() if ax is None else ax
    rows = [row for row in history if "loss" in row]
    key = "epoch" if rows and "epoch" in rows[0] else "iteration"
    x = np.array([row.get(key, k + 1.0) for k, row in enumerate(rows)])
    loss = np.array([row["loss"] for row in rows])
    ax.plot(x, loss, color=SKY, linewidth=0.8, label="each")
    if len(loss) >= 20:
        window = np.ones(10) / 10
        ax.plot(x[9:], np.convolve(loss, window, mode="valid"), color=BLUE, linewidth=1.8, label="mean of 10")
        ax.legend(frameon=False, fontsize=9)
    if len(loss) and (loss > 0).all():
        ax.set_yscale("log")
    ax.set(xlabel=key, ylabel="loss")
    return ax


def png(ax: Axes, *, dpi: int = 160) -> bytes:
    """The figure that the axes belong to, as PNG."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()


def _runs(
    ax: Axes, x: NDArray[np.float64], runs: Mapping[str, Run], reference: float | NDArray[np.float64], width: float
) -> None:
    """Each run minus the reference with its band."""
    for k, (label, run) in enumerate(runs.items()):
        color, middle = RUN_COLORS[k % len(RUN_COLORS)], run.values - reference
        ax.plot(x, middle, color=color, linewidth=width, linestyle=RUN_STYLES[k % len(RUN_STYLES)], label=label)
        if run.errors is not None:
            low, high = middle - 2 * run.errors, middle + 2 * run.errors
            ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


def _onset(x: NDArray[np.float64], y: ArrayLike) -> float:
    """A little before a curve rises, to leave most of an empty core out of the picture."""
    size = np.abs(np.asarray(y))
    first = int(np.argmax(size > 0.01 * size.max()))
    start, lowest = float(x[first]), float(x[0])
    if first == 0 or lowest < 0.0:
        return lowest
    return min(0.85 * start, lowest) if lowest > 0.3 * start else 0.85 * start
