import numpy as np
import pytest

from asediff import votca
from asediff.votca import Table, VotcaError


def table(y, flag=None, step=0.1, start=0.0):
    y = np.asarray(y, dtype=float)
    return Table(start + step * np.arange(len(y)), y, flag)


def test_raw_update_walks_outward_from_the_peak():
    # Peak in row 4. Row 2 is a hole: it takes row 3's value; rows 0 and 1 the value of row 1.
    target = table([0, 1, 1, 1, 1, 1, 0, 1])
    current = table([0, 2, 0, 0.5, 4, 1, 1, 2])
    potential = table(np.zeros(8))
    update = votca.update_ibi_pot(target, current, potential, 2.0)
    ln2 = 2 * np.log(2)
    np.testing.assert_allclose(update.y, [ln2, ln2, -ln2, -ln2, 2 * ln2, 0, 0, ln2], atol=1e-15)
    assert "".join(update.flag) == "oioiiioi"


def test_raw_update_skips_rows_whose_potential_is_undefined():
    # The peak's row is flagged u: both walks start at 0 until a valid row comes.
    target, current = table(np.ones(5)), table([2, 2, 8, 2, 2])
    update = votca.update_ibi_pot(target, current, table(np.zeros(5), "uiuiu"), 1.0)
    np.testing.assert_allclose(update.y, np.log(2) * np.array([1, 1, 0, 1, 1]))
    assert "".join(update.flag) == "oioio"


def test_values_at_the_threshold_are_not_sampled():
    target, current = table([1e-10, 1.1e-10, 1]), table([1, 1, 1])
    assert "".join(votca.update_ibi_pot(target, current, target, 1.0).flag) == "oii"


def test_update_refuses_an_empty_histogram_and_other_grids():
    ones = table(np.ones(4))
    with pytest.raises(VotcaError, match=r"current g\(r\): the histogram is all zero"):
        votca.update_ibi_pot(ones, table(np.zeros(4)), ones, 1.0)
    with pytest.raises(VotcaError, match=r"target g\(r\): the histogram is all zero"):
        votca.update_ibi_pot(table(np.zeros(4)), ones, ones, 1.0)
    with pytest.raises(VotcaError, match="grids differ: 4 rows"):
        votca.update_ibi_pot(ones, table(np.ones(5)), ones, 1.0)
    with pytest.raises(VotcaError, match="grids differ at row 2"):
        votca.update_ibi_pot(ones, table(np.ones(4), step=0.05), ones, 1.0)
    gap = Table([0.0, 0.1, 0.3, 0.4], np.ones(4))
    with pytest.raises(VotcaError, match="gap between rows 2 and 3"):
        votca.update_ibi_pot(gap, gap, gap, 1.0)


def test_shifts():
    curve = table([3, -5, 1, 2], "iuio")
    assert votca.shift_nonbonded(curve).y.tolist() == [1, -7, -1, 0]
    assert votca.shift_bonded(curve).y.tolist() == [2, -6, 0, 1]


def test_smoothing_touches_only_rows_in_range():
    curve = table([3, 0, 4, 8, 0], "ioioi")
    assert votca.smooth(curve).y.tolist() == [2, 0, 4, 8, 8 / 3]
    twice = votca.smooth(curve, 2)
    np.testing.assert_allclose(twice.y, [4 / 3, 0, 4, 8, 40 / 9])
    assert "".join(twice.flag) == "ioioi"


def test_adding_keeps_undefined_rows():
    result = votca.add(table([1, 2, np.nan, 4], "iouo"), table([10, 20, 30, 40], "oiiu"))
    np.testing.assert_array_equal(result.y, [11, 22, np.nan, 4])
    assert "".join(result.flag) == "iouu"


def test_scale():
    assert votca.scale(table([1, -2]), 0.5).y.tolist() == [0.5, -1]


@pytest.mark.parametrize("kind", ["akima", "cubic", "linear"])
def test_straight_lines_are_resampled_exactly(kind):
    line = table(1 - 2 * 0.1 * np.arange(8))
    result = votca.resample(line, (0, 0.035, 0.7), kind, digits=None)
    np.testing.assert_allclose(result.y, 1 - 2 * result.x, atol=1e-15)


def test_akima_reproduces_parabolas():
    # Equal changes of the secants on both sides give the central difference, exact for a parabola.
    parabola = table((0.1 * np.arange(9)) ** 2)
    result = votca.resample(parabola, (0, 0.01, 0.8), digits=None)
    np.testing.assert_allclose(result.y, result.x**2, atol=1e-15)


def test_results_carry_the_digits_of_votcas_files():
    parabola = table((0.1 * np.arange(9)) ** 2 + 1 / 3)
    result = votca.resample(parabola, (0, 0.03, 0.8))
    assert all(float(f"{value:.10g}") == value for value in result.y)


def test_akima_keeps_a_flat_stretch_flat():
    result = votca.resample(table([0, 0, 0, 0, 1, 2, 3, 3]), (0, 0.02, 0.3))
    np.testing.assert_allclose(result.y[result.x < 0.2], 0, atol=1e-15)


def test_cubic_spline_has_natural_ends():
    x = np.linspace(0, 1, 5)
    curve = votca.resample(Table(x, [0, 1, 0, 1, 0]), (0, 1e-3, 1), "cubic", digits=None)
    second = np.diff(curve.y, 2) / 1e-6
    assert abs(second[0]) < 1  # grows linearly from 0; its largest value on this curve is about 70
    assert abs(second[-1]) < 1
    assert np.abs(second).max() > 50


def test_flags_of_resampled_rows():
    source = table([1, 2, 3, 4, 5], "iouii", start=0.1)
    result = votca.resample(source, np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.35, 0.5, 0.55]))
    assert "".join(result.flag) == "oiooui" + "io"
    assert result.y[0] == pytest.approx(0.5)
    assert result.y[-1] == pytest.approx(5.5)


@pytest.mark.parametrize(("kind", "rows"), [("akima", 3), ("cubic", 2)])
def test_too_few_rows_are_refused(kind, rows):
    with pytest.raises(VotcaError, match=f"'{kind}' needs"):
        votca.resample(table(np.ones(rows)), (0, 0.1, 1), kind)
    with pytest.raises(VotcaError, match="kind 'spline' is unknown"):
        votca.resample(table(np.ones(5)), (0, 0.1, 1), "spline")


def test_splinesmooth_keeps_a_spline_and_flags_the_outside():
    x = 0.05 * np.arange(21)
    y = np.where((x > 0.1) & (x < 0.9), 3 - 2 * x, 99.0)
    flag = np.where((x > 0.1) & (x < 0.9), "i", "o")
    flag[10] = "u"
    y[10] = 50.0
    result = votca.splinesmooth(Table(x, y, flag), 0.2, digits=None)
    np.testing.assert_allclose(result.y, 3 - 2 * x, atol=1e-12)
    assert "".join(result.flag) == "o" * 3 + "i" * 15 + "o" * 3


def test_splinesmooth_refuses_knots_without_data():
    with pytest.raises(VotcaError, match="do not determine"):
        votca.splinesmooth(table([1, 2, 3, 4, 5, 6]), 0.04)


@pytest.mark.parametrize("function", ["constant", "linear", "quadratic", "exponential", "sasha"])
def test_extrapolation_meets_value_and_slope(function):
    curve = table([0, 0, 4, 3, 2, 1.5, 0, 0], "ooiiiioo")
    result = votca.extrapolate(curve, function, points=1, curvature=3.0)
    x, x0 = curve.x, curve.x[2]
    m, y0, C = -10.0, 4.0, 3.0
    expected = {
        "constant": 4 + 0 * x,
        "linear": y0 + m * (x - x0),
        "quadratic": C * (x + m / (2 * C) - x0) ** 2 + y0 - m**2 / (4 * C),
        "exponential": y0 * np.exp(m / y0 * (x - x0)),
        "sasha": m**2 / (4 * y0) * (x - x0 + 2 * y0 / m) ** 2,
    }[function]
    np.testing.assert_allclose(result.y[:2], expected[:2], rtol=1e-13)
    assert "".join(result.flag) == "i" * 8
    assert result.y[5] == 1.5


def test_extrapolation_of_one_side_leaves_the_other():
    curve = table([9, 1, 2, 3, 9], "oiiio")
    left = votca.extrapolate(curve, "linear", "left", 2)
    np.testing.assert_allclose(left.y, [0, 1, 2, 3, 9], atol=1e-15)
    assert "".join(left.flag) == "iiiio"
    kept = votca.extrapolate(curve, "linear", "right", 2, update_flags=False)
    np.testing.assert_allclose(kept.y, [9, 1, 2, 3, 4])
    assert "".join(kept.flag) == "oiiio"


def test_extrapolation_names_what_it_cannot_do():
    with pytest.raises(VotcaError, match="no row is flagged i"):
        votca.extrapolate(table([1, 2], "oo"))
    with pytest.raises(VotcaError, match="use fewer points"):
        votca.extrapolate(table([1, 2, 3], "oii"), "linear", "left", 5)
    with pytest.raises(VotcaError, match="'exponential' is undefined at x"):
        votca.extrapolate(table([1, 0, 3], "oii"), "exponential", "left", 1)
    with pytest.raises(VotcaError, match="function 'cubic' is unknown"):
        votca.extrapolate(table([1, 2, 3]), "cubic")


def test_initial_potential_of_a_boltzmann_factor_is_the_potential():
    x = 0.05 * np.arange(41)
    well = np.where(x < 0.3, np.inf, 5 * np.exp(-3 * x) - 1.2 * np.exp(-((x - 0.8) ** 2) / 0.02))
    target = Table(x, np.exp(-well / 1.5))
    start = votca.initial_potential(target, 1.5)
    sampled = np.isfinite(well)
    # Rounding to the 10 digits of VOTCA's intermediate files.
    np.testing.assert_allclose(start.y[sampled], (well - well[-1])[sampled], atol=1e-8)
    first = int(np.flatnonzero(sampled)[0])
    slope = (well[first + 3] - well[first]) / (x[first + 3] - x[first])
    core = well[first] * np.exp(slope / well[first] * (x[:first] - x[first])) - well[-1]
    np.testing.assert_allclose(start.y[:first], core, rtol=1e-8)
    assert (start.flag == "i").all()
    assert start.y[-1] == 0


def test_initial_potential_fills_holes_from_the_core_side():
    y = np.ones(20)
    y[12] = 0
    y[11] = np.e
    start = votca.initial_potential(table(y), 1.0)
    np.testing.assert_allclose(start.y[[11, 12, 13]], [-1, -1, 0], atol=1e-9)


def test_initial_potential_refuses_empty_and_short_targets():
    with pytest.raises(VotcaError, match="all-zero histogram"):
        votca.initial_potential(table(np.zeros(20)), 1.0)
    with pytest.raises(VotcaError, match="only 5 rows"):
        votca.initial_potential(table([0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]), 1.0)


def test_a_given_potential_is_shifted_and_loses_o_flags():
    start = votca.given_potential(table([0, 4, 3, 2, 1, 1, 7], "oiiiiio"))
    np.testing.assert_allclose(start.y, [4 * np.exp(1) ** 0.25 - 1, 3, 2, 1, 0, 0, 0], atol=1e-9)
    assert (start.flag == "i").all()


def test_negative_values_of_a_resampled_target_become_zero():
    target = votca.resample_target(table([0, 0, 0, 0, 3, 1, 1, 1]), (0, 0.03, 0.9))
    assert (target.y >= 0).all()
    assert target.y[-1] == pytest.approx(1, abs=1e-9)
    assert (target.flag == "i").all()


def test_convergence_sums_rows_in_range():
    target, current = table([0, 1, 1, 1]), table([5, 1.5, 0, 1], "oiii")
    assert votca.convergence(target, current) == pytest.approx(1.5)
    assert votca.convergence(target, current, norm=2, weight=2.0) == pytest.approx(2.5)
    with pytest.raises(VotcaError, match="norm 3"):
        votca.convergence(target, current, norm=3)
