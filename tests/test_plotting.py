"""Figures: labelled, readable without colour, and drawn without pyplot."""

import sys

import numpy as np
import pytest

from asediff import plotting
from asediff.plotting import Run

R = np.linspace(0.05, 7.5, 150)
G = np.where(R < 2.4, 0.0, 1 + 1.5 * np.exp(-((R - 2.8) ** 2) / 0.03))


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


LABELS = ("r (Å)", "g(r)")


def test_curves_are_the_target_and_every_run_with_units():
    runs = {"asediff": Run(G + 0.01), "LAMMPS": Run(G, np.full_like(G, 0.02))}
    ax = plotting.plot_curves(R, G, runs, labels=LABELS)
    assert labels(ax) == ["target", "asediff", "LAMMPS"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("r (Å)", "g(r)")
    # the empty core is left out, the onset is not
    assert 1.5 < ax.get_xlim()[0] < 2.4


def test_a_band_is_two_standard_errors_wide():
    ax = plotting.plot_difference(R, G, {"run": Run(G, np.full_like(G, 0.02))}, labels=LABELS)
    (band,) = ax.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(0.04)
    assert heights.min() == pytest.approx(-0.04)


def test_runs_differ_in_line_style_as_well_as_in_colour():
    ax = plotting.plot_curves(R, None, {name: Run(G) for name in "abc"}, labels=LABELS)
    lines = ax.get_lines()
    assert len({line.get_color() for line in lines}) == 3
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in lines}) == 3


def test_potential_is_drawn_from_where_it_is_of_the_order_of_kT():
    r = np.linspace(1.0, 7.5, 400)
    u = 4 * ((2.6 / r) ** 12 - (2.6 / r) ** 6)
    with np.errstate(divide="ignore", invalid="ignore"):
        inversion = -np.log(np.interp(r, R, G))
    ax = plotting.plot_potential(r, {"learned": u}, {"inversion": np.where(np.isfinite(inversion), inversion, np.nan)})
    assert ax.get_ylabel() == "u(r) / kT"
    assert ax.get_ylim()[1] == plotting.HIGHEST_KT
    assert 2.0 < ax.get_xlim()[0] < 2.6


def test_loss_is_logarithmic_and_takes_epochs_or_iterations():
    ax = plotting.plot_loss([{"epoch": float(k), "loss": 1.0 / k} for k in range(1, 40)])
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "epoch"
    assert plotting.plot_loss([{"iteration": 0.0, "loss": 1.0}]).get_xlabel() == "iteration"


def test_a_figure_becomes_png_without_pyplot():
    before = "matplotlib.pyplot" in sys.modules
    data = plotting.png(plotting.plot_loss([{"epoch": 1.0, "loss": 1.0}]))
    assert data.startswith(b"\x89PNG")
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_given_axes_are_drawn_into():
    ax = plotting.new_axes()
    assert plotting.plot_curves(R, G, {}, labels=LABELS, ax=ax) is ax
    assert plotting.plot_comparison(R, G, {}, labels=LABELS, ax=ax) is ax
    assert plotting.plot_value(1.0, {}, label="P", ax=ax) is ax


def test_a_comparison_has_the_differences_below():
    upper = plotting.plot_comparison(R, G, {"run": Run(G + 0.1)}, labels=LABELS, baseline=1.0)
    _, lower = upper.get_figure().axes
    assert (upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()) == ("g(r)", "Δg(r)", "r (Å)")
    assert lower.get_lines()[1].get_ydata() == pytest.approx(0.1)


def test_curves_that_are_negative_or_zero_are_shown_whole():
    x = np.linspace(-1.0, 1.0, 20)
    assert plotting.plot_curves(x, np.zeros(20), {"run": Run(-x)}, labels=("x", "y")).get_xlim() == (-1.0, 1.0)
    assert plotting.plot_difference(x, np.zeros(20), {"run": Run(np.zeros(20))}, labels=("x", "y")).get_ylim()[1] > 0


def test_a_single_number_has_a_bar_of_two_standard_errors():
    ax = plotting.plot_value(0.5, {"run": Run(np.array([0.6]), np.array([0.1]))}, label="P (eV)")
    ((_, low), (_, high)) = ax.collections[0].get_segments()[0]
    assert (low, high) == (pytest.approx(0.4), pytest.approx(0.8))
    assert labels(ax) == ["target", "run"]
