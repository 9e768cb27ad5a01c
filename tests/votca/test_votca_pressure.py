import numpy as np
import pytest

from asediff import votca
from asediff.votca import Table, VotcaError


def test_simple_correction_is_linear_and_limited():
    grid = (0.0, 0.01, 0.9)
    small = votca.pressure_simple(120.0, 100.0, 2.5, grid, scale=0.003)
    np.testing.assert_allclose(small.y, -0.1 * 2.5 * 0.06 * (1 - small.x / 0.9), atol=1e-15)
    large = votca.pressure_simple(-5000.0, 100.0, 2.5, grid, scale=0.003, max_A=0.2)
    assert large.y[0] == pytest.approx(0.5)
    assert large.y[-1] == 0
    assert (large.flag == "i").all()


def test_wjk_correction_of_uniform_density():
    # g = 1: the trapezoids of r^3 up to max sum to max^4/4 + step^2 max^2/4.
    x = votca.grid_points(0, 0.01, 1.0)
    integral = 0.25 + 0.01**2 / 4
    result = votca.pressure_wjk(101.0, 1.0, 2.5, (0, 0.01, 1.0), 33.0, Table(x, np.ones(101)), max_A=10)
    expected = -3 * 100 * 0.06022 / (2 * np.pi * 33**2 * integral)
    assert result.y[0] == pytest.approx(expected, rel=1e-8)
    limited = votca.pressure_wjk(1e9, 1.0, 2.5, Table(x, np.ones(101)), 33.0, Table(x, np.ones(101)), 0.5)
    assert limited.y[0] == pytest.approx(-0.5 * 0.1 * 2.5)


def test_wjk_correction_needs_a_density_and_a_histogram():
    x = votca.grid_points(0, 0.01, 1.0)
    with pytest.raises(VotcaError, match="density = 0 must be positive"):
        votca.pressure_wjk(1.0, 2.0, 2.5, (0, 0.01, 1.0), 0.0, Table(x, np.ones(101)))
    with pytest.raises(VotcaError, match="integral"):
        votca.pressure_wjk(1.0, 2.0, 2.5, (0, 0.01, 1.0), 33.0, Table(x, np.zeros(101)))
