"""Numbers that VOTCA 2022.1 computed (tests/data/votca), reproduced without VOTCA."""

from pathlib import Path

import numpy as np
import pytest

from asediff import votca
from asediff.votca import read_table

DATA = Path(__file__).parents[1] / "data" / "votca"
KT = 2.49435
SCRIPTS = 1e-12  # files of VOTCA's scripts carry 15 digits
PROGRAMS = 1e-9  # files of its compiled programs carry 10


def load(name):
    return read_table(DATA / f"{name}.tab")


def agree(ours, name, tolerance):
    theirs = load(name)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-9)
    np.testing.assert_allclose(ours.y, theirs.y, rtol=tolerance, atol=tolerance)
    assert "".join(ours.flag) == "".join(theirs.flag)


def test_raw_update():
    update = votca.update_ibi_pot(load("target"), load("current"), load("potential"), KT)
    agree(update, "update", SCRIPTS)


@pytest.mark.parametrize(
    ("function", "source", "name"),
    [
        (votca.shift_nonbonded, "update", "shifted"),
        (votca.smooth, "potential", "smoothed"),
        (lambda table: votca.add(table, load("update")), "potential", "added"),
        (lambda table: votca.scale(table, 0.7), "update", "scaled"),
        (lambda table: votca.extrapolate(table, "exponential", "left", 3), "potential", "extrapolated"),
    ],
)
def test_table_operators(function, source, name):
    agree(function(load(source)), name, SCRIPTS)


@pytest.mark.parametrize("kind", ["akima", "cubic"])
def test_resampling(kind):
    agree(votca.resample(load("potential"), (0.15, 0.013, 1.1), kind), kind, PROGRAMS)


def test_splinesmooth():
    agree(votca.splinesmooth(load("potential"), 0.11), "splinesmoothed", PROGRAMS)


def test_target_and_start():
    raw, grid = load("raw_target"), (0.2, 0.02, 1.0)
    agree(votca.resample_target(raw, grid), "resampled_target", SCRIPTS)
    agree(votca.initial_potential(raw, KT, grid=grid), "start", PROGRAMS)
    agree(votca.initial_potential(load("resampled_target"), KT), "start", PROGRAMS)


def test_pressure_corrections():
    grid = (0.0, 0.02, 1.0)
    agree(votca.pressure_simple(120, 1, KT, grid, 0.003), "pressure_simple", SCRIPTS)
    rdf = load("current_from_zero")
    agree(votca.pressure_wjk(120, 1, KT, grid, 33.4, rdf, scale=0.5), "pressure_wjk", SCRIPTS)


@pytest.mark.parametrize("types", [(1, 1), (1, 2)])
def test_rdf(types):
    frames = votca.read_frames(DATA / "frames.dump")
    agree(votca.rdf(frames, (0, 0.02, 0.44), *types), f"rdf_{types[0]}{types[1]}", PROGRAMS)


def test_lammps_table_through_the_settings(tmp_path):
    item = votca.read_settings(DATA / "settings.xml").interactions[0]
    options = {key: getattr(item.lammps, key) for key in ("table_begin", "table_bins", "scale", "y_scale")}
    votca.write_lammps_table(tmp_path / "ours.table", load("start"), step=item.step, **options)
    theirs = (DATA / "start.table").read_text().splitlines()
    assert (tmp_path / "ours.table").read_text().splitlines()[:3] == theirs[:3]
    a, b = votca.read_lammps_table(tmp_path / "ours.table"), votca.read_lammps_table(DATA / "start.table")
    np.testing.assert_allclose(a.r, b.r, rtol=1e-12)
    np.testing.assert_allclose(a.energy, b.energy, rtol=PROGRAMS, atol=PROGRAMS)
    np.testing.assert_allclose(a.force, b.force, rtol=PROGRAMS, atol=PROGRAMS)
