"""The three interpolants of VOTCA's tables: Akima, natural cubic and linear, and the least-squares cubic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_banded

from asediff.votca.tables import FloatArray, VotcaError

MINIMUM_ROWS = {"akima": 4, "cubic": 3, "linear": 2}


@dataclass(frozen=True, eq=False)
class Piecewise:
    """Cubic pieces between knots; beyond the ends the first and last piece continue.

    Args:
        knots: `(n_knots,)`, a length.
        coefficients: `(n_knots - 1, 4)`: value, slope, and the factors of z^2 and z^3, z = r - left knot.
    """

    knots: FloatArray
    coefficients: FloatArray

    def _pieces(self, r: FloatArray) -> tuple[FloatArray, FloatArray]:
        index = np.clip(np.searchsorted(self.knots, r, side="right") - 1, 0, len(self.knots) - 2)
        return self.coefficients[index], r - self.knots[index]

    def value(self, r: FloatArray) -> FloatArray:
        """Return the interpolant at r."""
        c, z = self._pieces(r)
        return c[:, 0] + c[:, 1] * z + c[:, 2] * z * z + c[:, 3] * z * z * z

    def derivative(self, r: FloatArray) -> FloatArray:
        """Return the derivative of the interpolant at r."""
        c, z = self._pieces(r)
        return c[:, 1] + 2.0 * c[:, 2] * z + 3.0 * c[:, 3] * z * z


def interpolant(x: FloatArray, y: FloatArray, kind: str) -> Piecewise:
    """Return the interpolant of the points (x, y).

    Args:
        x: `(n_rows,)`, strictly increasing.
        y: `(n_rows,)`.
        kind: ``akima``, ``cubic`` (natural ends) or ``linear``.

    Raises:
        VotcaError: unknown kind or too few rows for it.
    """
    if kind not in MINIMUM_ROWS:
        raise VotcaError(f"kind '{kind}' is unknown; use akima, cubic or linear")
    if len(x) < MINIMUM_ROWS[kind]:
        raise VotcaError(f"kind '{kind}' needs {MINIMUM_ROWS[kind]} rows, the table has {len(x)}; add rows")
    if kind == "akima":
        return _hermite(x, y, _akima_slopes(x, y))
    if kind == "cubic":
        return _natural(x, y, _second_derivatives(x) @ y)
    coefficients = np.zeros((len(x) - 1, 4))
    coefficients[:, 0] = y[:-1]
    coefficients[:, 1] = np.diff(y) / np.diff(x)
    return Piecewise(x, coefficients)


def _akima_slopes(x: FloatArray, y: FloatArray) -> FloatArray:
    """Slopes at the knots, H. Akima, J. ACM 17, 589 (1970), doi:10.1145/321607.321609.

    Two more secants on each side come from the parabola through the three end points. Where the secants on
    both sides are equal, the slope is the mean of the inner two.
    """
    secants = np.diff(y) / np.diff(x)
    left = _end_secants(x[:3], y[:3])
    right = _end_secants(x[:-4:-1], y[:-4:-1])[::-1]
    m = np.concatenate([left, secants, right])
    m1, m2, m3, m4 = m[:-3], m[1:-2], m[2:-1], m[3:]
    left_change, right_change = np.abs(m2 - m1), np.abs(m4 - m3)
    flat = _equal(m1, m2) & _equal(m3, m4)
    weight = np.where(flat, 1.0, left_change + right_change)
    return np.where(flat, (m2 + m3) / 2.0, (right_change * m2 + left_change * m3) / weight)


def _end_secants(x: FloatArray, y: FloatArray) -> FloatArray:
    """Two secants beyond the first of three points, outermost first, of the parabola through the points."""
    dx1, dx2 = x[1] - x[0], x[2] - x[0]
    ratio = (dx1 / dx2) ** 2
    slope = ((y[1] - y[0]) - ratio * (y[2] - y[0])) / (dx1 - ratio * dx2)
    curvature = ((y[2] - y[0]) - slope * dx2) / (dx2 * dx2)
    far, near = x[0] - dx2, x[1] - dx2
    y_far = y[0] + slope * (far - x[0]) + curvature * (far - x[0]) * (far - x[0])
    y_near = y[0] + slope * (near - x[0]) + curvature * (near - x[0]) * (near - x[0])
    return np.array([(y_near - y_far) / (near - far), (y[0] - y_near) / (x[0] - near)])


def _equal(a: FloatArray, b: FloatArray, tolerance: float = 1e-15) -> np.ndarray:
    difference = np.abs(a - b)
    return (difference <= tolerance) | (difference < np.maximum(np.abs(a), np.abs(b)) * tolerance)


def _hermite(x: FloatArray, y: FloatArray, slopes: FloatArray) -> Piecewise:
    h, rise = np.diff(x), np.diff(y)
    left, right = slopes[:-1], slopes[1:]
    c2 = (3.0 * rise / h - 2.0 * left - right) / h
    c3 = (left + right - 2.0 * rise / h) / (h * h)
    return Piecewise(x, np.stack([y[:-1], left, c2, c3], axis=1))


def _second_derivatives(x: FloatArray) -> FloatArray:
    """Matrix `(n, n)` that maps knot values to the second derivatives of the natural cubic spline."""
    n = len(x)
    h = np.diff(x)
    if n < 3:
        return np.zeros((n, n))
    right_side = np.zeros((n - 2, n))
    rows = np.arange(n - 2)
    right_side[rows, rows] = 1.0 / h[:-1]
    right_side[rows, rows + 1] = -1.0 / h[:-1] - 1.0 / h[1:]
    right_side[rows, rows + 2] = 1.0 / h[1:]
    bands = np.zeros((3, n - 2))
    bands[0, 1:] = h[1:-1] / 6.0
    bands[1] = (h[:-1] + h[1:]) / 3.0
    bands[2, :-1] = h[1:-1] / 6.0
    result = np.zeros((n, n))
    result[1:-1] = solve_banded((1, 1), bands, right_side)
    return result


def _natural(x: FloatArray, y: FloatArray, second: FloatArray) -> Piecewise:
    h = np.diff(x)
    c1 = np.diff(y) / h - h * (2.0 * second[:-1] + second[1:]) / 6.0
    c3 = np.diff(second) / (6.0 * h)
    return Piecewise(x, np.stack([y[:-1], c1, second[:-1] / 2.0, c3], axis=1))


def fit_knots(minimum: float, step: float, maximum: float) -> FloatArray:
    """Return the knots of a least-squares spline: min, min + step, ... and max; the last interval takes the rest."""
    n_knots = int((maximum - minimum) / step + 1.00000001) if step > 0 else 0
    if n_knots < 2:
        raise VotcaError(f"fit grid {minimum:g}:{step:g}:{maximum:g} has no interval; give 0 < step <= max - min")
    knots = np.cumsum(np.concatenate([[minimum], np.full(n_knots - 1, step)]))
    knots[-1] = maximum
    return knots


def fit_cubic(x: FloatArray, y: FloatArray, knots: FloatArray) -> Piecewise:
    """Return the natural cubic spline on `knots` that is closest to the points (x, y) in least squares.

    Args:
        x: `(n_rows,)`, points outside the knots' range are left out.
        y: `(n_rows,)`.
        knots: `(n_knots,)`.

    Raises:
        VotcaError: the points do not determine the spline.
    """
    inside = (x >= knots[0]) & (x <= knots[-1])
    x, y = x[inside], y[inside]
    index = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    h = np.diff(knots)[index]
    z = x - knots[index]
    second = _second_derivatives(knots)
    design = np.zeros((len(x), len(knots)))
    rows = np.arange(len(x))
    design[rows, index] = 1.0 - z / h
    design[rows, index + 1] += z / h
    design += (0.5 * z * z - z**3 / (6.0 * h) - z * h / 3.0)[:, None] * second[index]
    design += (z**3 / (6.0 * h) - z * h / 6.0)[:, None] * second[index + 1]
    values, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    if rank < len(knots):
        raise VotcaError(f"spline fit: {len(x)} rows do not determine {len(knots)} knots; make the fit step larger")
    return _natural(knots, np.asarray(values, dtype=np.float64), second @ values)
