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


def plot_rdf(
    r: ArrayLike, target: ArrayLike, runs: Mapping[str, Run], *, unit: str = "Å", ax: Axes | None = None
) -> Axes:
    """g(r): the target as a black line, each run in colour with a band of two standard errors.

    Args:
        r: `(bins,)`, length.
        target: `(bins,)`.
        runs: label -> curve.
        unit: of length, for the label.
        ax: axes to draw into; new ones by default.
    """
    ax = new_axes() if ax is None else ax
    r = np.asarray(r)
    ax.axhline(1.0, color="#d1d5db", linewidth=0.8, zorder=0)
    ax.plot(r, np.asarray(target), color=BLACK, linewidth=2.6, alpha=0.85, label="target")
    for k, (label, run) in enumerate(runs.items()):
        color = RUN_COLORS[k % len(RUN_COLORS)]
        ax.plot(r, run.values, color=color, linewidth=1.5, linestyle=RUN_STYLES[k % len(RUN_STYLES)], label=label)
        _band(ax, r, run, color, 0.0)
    ax.set(xlabel=f"r ({unit})", ylabel="g(r)", xlim=(_onset(r, target), r[-1]))
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=9)
    return ax


def plot_rdf_difference(
    r: ArrayLike, target: ArrayLike, runs: Mapping[str, Run], *, unit: str = "Å", ax: Axes | None = None
) -> Axes:
    """g(r) of each run minus the target, with bands of two standard errors; arguments as in `plot_rdf`."""
    ax = new_axes(height=1.8) if ax is None else ax
    r, reference = np.asarray(r), np.asarray(target)
    ax.axhline(0.0, color=BLACK, linewidth=1.0)
    largest = 0.0
    for k, (label, run) in enumerate(runs.items()):
        color = RUN_COLORS[k % len(RUN_COLORS)]
        difference = run.values - reference
        largest = max(largest, float(np.abs(difference).max()))
        ax.plot(r, difference, color=color, linewidth=1.2, linestyle=RUN_STYLES[k % len(RUN_STYLES)], label=label)
        _band(ax, r, run, color, reference)
    bound = 1.3 * max(largest, 0.01)
    ax.set(xlabel=f"r ({unit})", ylabel="Δg(r)", xlim=(_onset(r, target), r[-1]), ylim=(-bound, bound))
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


def _band(ax: Axes, r: NDArray[np.float64], run: Run, color: str, reference: ArrayLike) -> None:
    if run.errors is not None:
        middle = run.values - np.asarray(reference)
        low, high = middle - 2 * run.errors, middle + 2 * run.errors
        ax.fill_between(r, low, high, color=color, alpha=0.2, linewidth=0)


def _onset(r: NDArray[np.float64], g: ArrayLike) -> float:
    """A little before g(r) rises, to leave most of the empty core out of the picture."""
    values = np.asarray(g)
    start = float(r[np.argmax(values > 0.01 * values.max())])
    return max(0.0, min(0.85 * start, float(r[0]) if r[0] > 0.3 * start else 0.85 * start))
