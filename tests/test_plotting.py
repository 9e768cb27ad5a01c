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


def test_rdf_shows_the_target_and_every_run_with_units():
    ax = plotting.plot_rdf(R, G, {"asediff": Run(G + 0.01), "LAMMPS": Run(G, np.full_like(G, 0.02))}, unit="Å")
    assert labels(ax) == ["target", "asediff", "LAMMPS"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("r (Å)", "g(r)")
    # the empty core is left out, the onset is not
    assert 1.5 < ax.get_xlim()[0] < 2.4


def test_a_band_is_two_standard_errors_wide():
    ax = plotting.plot_rdf_difference(R, G, {"run": Run(G, np.full_like(G, 0.02))})
    (band,) = ax.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(0.04)
    assert heights.min() == pytest.approx(-0.04)


def test_runs_differ_in_line_style_as_well_as_in_colour():
    ax = plotting.plot_rdf(R, G, {name: Run(G) for name in "abc"})
    lines = ax.get_lines()[2:]
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
    assert plotting.plot_rdf(R, G, {}, ax=ax) is ax
