"""The three interpolants of VOTCA's tables: Akima, natural cubic and linear, and the least-squares cubic.

All are SciPy's piecewise polynomials, whose first and last piece continue beyond the ends.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline, PPoly

from asediff.tabular.rows import FloatArray, VotcaError

MINIMUM_ROWS = {"akima": 4, "cubic": 3, "linear": 2}


def interpolant(x: FloatArray, y: FloatArray, kind: str) -> PPoly:
    """Return the interpolant of the points (x, y).

    Args:
        x: `(n_rows,)`, strictly increasing.
        y: `(n_rows,)`; values that are not finite spoil their surroundings, or all of a cubic.
        kind: ``akima``, ``cubic`` (natural ends) or ``linear``.

    Raises:
        VotcaError: unknown kind or too few rows for it.
    """
    if kind not in MINIMUM_ROWS:
        raise VotcaError(f"kind '{kind}' is unknown; use akima, cubic or linear")
    if len(x) < MINIMUM_ROWS[kind]:
        raise VotcaError(f"kind '{kind}' needs {MINIMUM_ROWS[kind]} rows, the table has {len(x)}; add rows")
    h, secants = np.diff(x), np.diff(y) / np.diff(x)
    if kind == "linear":
        return PPoly(np.stack([secants, y[:-1]]), x)
    if kind == "cubic":
        return CubicSpline(x, y, bc_type="natural") if np.isfinite(y).all() else PPoly(np.full((1, len(h)), np.nan), x)
    slopes = _akima_slopes(secants)
    left, right = slopes[:-1], slopes[1:]
    square, cube = (3.0 * secants - 2.0 * left - right) / h, (left + right - 2.0 * secants) / (h * h)
    return PPoly(np.stack([cube, square, left, y[:-1]]), x)


def _akima_slopes(secants: FloatArray) -> FloatArray:
    """Slopes at the knots, H. Akima, J. ACM 17, 589 (1970), doi:10.1145/321607.321609.

    Two more secants on each side come from the parabola through the three end points. Where the secants on both sides
    are equal, the slope is the mean of the inner two. (SciPy's Akima takes secants for equal whose difference is small
    beside the largest of the table: next to a steep core it would flatten the well.)
    """
    (a, b), (y, z) = secants[:2], secants[-2:]
    m = np.concatenate([[3 * a - 2 * b, 2 * a - b], secants, [2 * z - y, 3 * z - 2 * y]])
    m1, m2, m3, m4 = m[:-3], m[1:-2], m[2:-1], m[3:]
    left_change, right_change = np.abs(m2 - m1), np.abs(m4 - m3)
    flat = np.isclose(m1, m2, rtol=1e-15, atol=1e-15) & np.isclose(m3, m4, rtol=1e-15, atol=1e-15)
    weight = np.where(flat, 1.0, left_change + right_change)
    return np.where(flat, (m2 + m3) / 2.0, (right_change * m2 + left_change * m3) / weight)


def fit_knots(minimum: float, step: float, maximum: float) -> FloatArray:
    """Return the knots of a least-squares spline: min, min + step, ... and max; the last interval takes the rest."""
    n_knots = int((maximum - minimum) / step + 1.00000001) if step > 0 else 0
    if n_knots < 2:
        raise VotcaError(f"fit grid {minimum:g}:{step:g}:{maximum:g} has no interval; give 0 < step <= max - min")
    knots = np.cumsum(np.concatenate([[minimum], np.full(n_knots - 1, step)]))
    knots[-1] = maximum
    return knots


def fit_cubic(x: FloatArray, y: FloatArray, knots: FloatArray) -> PPoly:
    """Return the natural cubic spline on `knots` that is closest to the points (x, y) in least squares.

    Args:
        x: `(n_rows,)`, points outside the knots' range are left out.
        y: `(n_rows,)`.
        knots: `(n_knots,)`.

    Raises:
        VotcaError: the points do not determine the spline.
    """
    inside = (x >= knots[0]) & (x <= knots[-1])
    cardinal = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")
    values, _, rank, _ = np.linalg.lstsq(cardinal(x[inside]), y[inside], rcond=None)
    if rank < len(knots):
        raise VotcaError(
            f"spline fit: {inside.sum()} rows do not determine {len(knots)} knots; make the fit step larger"
        )
    return CubicSpline(knots, values, bc_type="natural")
