import numpy as np
import pytest

from asediff import votca
from asediff.votca import Table, VotcaError


def parabola():
    x = votca.grid_points(0.2, 0.05, 1.0)
    return Table(x, 3 * (x - 1.0) ** 2)


def test_file_has_votcas_header_and_columns(tmp_path):
    votca.write_lammps_table(tmp_path / "a.table", parabola(), scale=10, y_scale=0.5)
    lines = (tmp_path / "a.table").read_text().splitlines()
    assert lines[:3] == ["VOTCA", "N 17 R 2.000000 10.000000", ""]
    assert lines[3].split() == ["1", "2.0000000000e+00", "9.6000000000e-01", "2.4000000000e-01"]
    assert lines[-1].split()[:3] == ["17", "1.0000000000e+01", "0.0000000000e+00"]


def test_force_is_the_derivative_of_the_energy_on_a_finer_table():
    rows = votca.lammps_table(parabola(), table_bins=0.01)
    assert len(rows.r) == 81
    # Akima is exact for a parabola; numbers are rounded to 10 digits on the way.
    np.testing.assert_allclose(rows.energy, 3 * (rows.r - 1) ** 2, atol=1e-9)
    np.testing.assert_allclose(rows.force, -6 * (rows.r - 1), atol=1e-8)


def test_core_is_continued_exponentially_to_table_begin():
    curve = parabola()
    rows = votca.lammps_table(curve, table_begin=0.1)
    slope = (curve.y[3] - curve.y[0]) / 0.15
    assert rows.energy[0] == pytest.approx(curve.y[0] * np.exp(slope / curve.y[0] * -0.1), rel=1e-9)
    linear = votca.lammps_table(curve, table_begin=0.1, left="linear")
    assert linear.energy[0] == pytest.approx(curve.y[0] - 0.1 * slope, rel=1e-9)


def test_energy_ends_in_zero_and_the_end_can_lie_beyond_the_data():
    curve = parabola().replace(y=parabola().y + 7)
    rows = votca.lammps_table(curve, table_end=1.1)
    assert rows.r[-1] == pytest.approx(1.1)
    assert rows.energy[-1] == 0
    assert rows.energy[0] == pytest.approx(3 * 0.64, rel=1e-9)


def test_a_written_table_is_read_back(tmp_path):
    rows = votca.write_lammps_table(tmp_path / "a.table", parabola(), keyword="AA")
    back = votca.read_lammps_table(tmp_path / "a.table", "AA")
    for name in ("r", "energy", "force"):
        np.testing.assert_allclose(getattr(back, name), getattr(rows, name), rtol=1e-10, atol=1e-15)
    with pytest.raises(VotcaError, match="no section 'BB'"):
        votca.read_lammps_table(tmp_path / "a.table", "BB")


def test_energies_that_are_not_finite_are_refused(tmp_path):
    curve = Table(0.1 * np.arange(8), [0, 1e-6, -5, -5, -3, 0, 0, 0], "oiiiiiii")
    with pytest.raises(VotcaError, match="not finite at r = 0"):
        votca.write_lammps_table(tmp_path / "a.table", curve)
