"""The table operators of VOTCA's iterative Boltzmann inversion.

Each takes tables and returns a new one; none reads or writes files. Conventions are those of VOTCA 2022.1,
named in the docstrings; A. Reith, M. Pütz, F. Müller-Plathe, J. Comput. Chem. 24, 1624 (2003),
doi:10.1002/jcc.10307 for the method, V. Rühle et al., J. Chem. Theory Comput. 5, 3211 (2009),
doi:10.1021/ct900369w for VOTCA.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PPoly

from asediff.tabular.interpolants import fit_cubic, fit_knots, interpolant
from asediff.tabular.rows import (
    FlagArray,
    FloatArray,
    Grid,
    Table,
    VotcaError,
    as_grid,
    same_grid,
)

Kind = Literal["akima", "cubic", "linear"]

SAMPLED = 1e-10
"""g(r) above this value counts as sampled in the raw update."""

FILE_DIGITS = 10
"""Significant digits that VOTCA's compiled programs write between two operators."""


def resample(
    table: Table,
    grid: Grid | Table,
    kind: Kind = "akima",
    *,
    fit_grid: tuple[float, float, float] | None = None,
    digits: int | None = FILE_DIGITS,
) -> Table:
    """Put a table on another grid.

    All rows of the input are used, whatever their flag. A row of the output that lies outside the input's
    range has flag ``o`` and the value of the end piece; any other row has the flag of the next input row.

    Args:
        table: the input, on any increasing grid.
        grid: ``(min, step, max)``, ``"min:step:max"``, an array of points, or a table with the grid.
        kind: interpolation: ``akima``, ``cubic`` (natural ends) or ``linear``.
        fit_grid: ``(min, step, max)`` of the knots of a least-squares cubic spline, in place of interpolation.
        digits: significant digits of the result, those of VOTCA's files; None for full precision.

    Raises:
        VotcaError: too few rows for the kind, or a fit that the rows do not determine.
    """
    points = as_grid(grid)
    curve = _curve(table, kind, fit_grid)
    result = Table(points, curve(points), _carried_flags(table, points))
    return result if digits is None else result.rounded(digits)


def _curve(table: Table, kind: str, fit_grid: tuple[float, float, float] | None = None) -> PPoly:
    with np.errstate(invalid="ignore", over="ignore"):
        if fit_grid is None:
            return interpolant(table.x, table.y, kind)
        if kind != "cubic":
            raise VotcaError(f"kind '{kind}' cannot be fitted; use kind='cubic' with fit_grid")
        return fit_cubic(table.x, table.y, fit_knots(*fit_grid))


def _carried_flags(table: Table, points: FloatArray) -> FlagArray:
    """Flag of the first input row at or right of each point (to 1e-12); ``o`` outside the input's range."""
    row = np.searchsorted(table.x, points - 1e-12, side="right")
    known = (points >= table.x[0]) & (row < len(table))
    return np.where(known, table.flag[np.minimum(row, len(table) - 1)], "o")


def resample_target(target: Table, grid: Grid | Table | None = None) -> Table:
    """Put a target g(r) on the grid of an interaction, as VOTCA makes ``NAME.dist.tgt`` from it.

    Akima (skipped without a grid); rows left of the data continue linearly from the first two sampled rows,
    rows right of them are constant; negative values become 0.
    """
    table = target.rounded(FILE_DIGITS) if grid is None else resample(target, grid)
    table = extrapolate(table, "linear", "left", 1)
    table = extrapolate(table, "constant", "right", 1)
    return table.replace(y=np.where(table.y < 0, 0.0, table.y))


def boltzmann_invert(target: Table, kT: float, *, dist_min: float = SAMPLED) -> Table:
    """Return U = -kT ln g where g > `dist_min`; other rows get flag ``o`` and their neighbour's value.

    A row below the first or above the last sampled one, or in a hole, takes the value of the next row on the
    side of the first row flagged ``i``.

    Raises:
        VotcaError: fewer than 10 rows between the unsampled ends, or none.
    """
    sampled = target.y > dist_min
    potential = np.full(len(target), np.nan)
    potential[sampled] = -kT * np.log(target.y[sampled])
    flag = target.flag.copy()
    flag[~sampled] = "u"
    valid = np.flatnonzero(flag == "i")
    if not len(valid):
        raise VotcaError(
            f"target: g(r) is nowhere above {dist_min:g} in a row flagged i (all-zero histogram?); "
            "check the distribution, its columns and its flags"
        )
    start = int(valid[0])
    below = np.flatnonzero(flag[: start + 1] == "u")[::-1]
    above = start + np.flatnonzero(flag[start:] == "u")
    first = int(below[0]) if len(below) else 0
    last = int(above[0]) if len(above) else len(target) - 1
    if last - first + 1 < 10:
        raise VotcaError(
            f"target: only {last - first + 1} rows near r = {target.x[start]:.10g} are sampled; at least 10 are "
            "needed; check the distribution or refine the grid"
        )
    for k in below:
        potential[k], flag[k] = potential[k + 1], "o"
    for k in above:
        potential[k], flag[k] = potential[k - 1], "o"
    return Table(target.x, potential, flag)


def initial_potential(
    target: Table, kT: float, *, grid: Grid | Table | None = None, dist_min: float = SAMPLED
) -> Table:
    """Return the Boltzmann-inverted start, U = -kT ln g, with an exponential core and U(max) = 0.

    The target is put on the grid (`resample_target`), inverted, put on the grid again, continued to the left by
    U = U0 exp[(m/U0)(r - r0)] (r0 the first sampled row, m the secant over three rows) and to the right by a
    constant, and shifted to 0 at the last row. All rows are then flagged ``i``.

    Args:
        target: g(r).
        kT: thermal energy.
        grid: ``(min, step, max)`` of the interaction; the target's own grid when omitted.
        dist_min: g(r) at or below it is not inverted.

    Raises:
        VotcaError: g(r) has no or too few sampled rows.
    """
    raw = boltzmann_invert(resample_target(target, grid), kT, dist_min=dist_min)
    return given_potential(raw, as_grid(grid, raw))


def given_potential(potential: Table, grid: Grid | Table | None = None) -> Table:
    """Return a start from a given table (``NAME.pot.in``): resampled, ends continued, U(max) = 0, no ``o`` flags."""
    table = resample(potential, as_grid(grid, potential))
    table = shift_nonbonded(extrapolate_potential(table))
    return table.replace(flag=np.where(table.flag == "o", "i", table.flag))


def update_ibi_pot(target: Table, current: Table, potential: Table, kT: float) -> Table:
    """Return the raw IBI update dU = kT ln(g/g_target).

    Rows where both g exceed 1e-10 and the potential is not flagged ``u`` are flagged ``i``. Any other row is
    flagged ``o`` and takes the last value on the way from the maximum of the current g outward: first from the
    maximum to the right end, then from the row before it to the left end, each time starting with 0.

    Args:
        target: g(r) to be reproduced.
        current: g(r) of the simulation with `potential`.
        potential: the potential; only its flags matter.
        kT: thermal energy.

    Raises:
        VotcaError: the grids differ, or the current g(r) is zero everywhere.
    """
    same_grid(target, current, "target and current g(r)")
    same_grid(target, potential, "target g(r) and potential")
    for name, table in (("target", target), ("current", current)):
        if not (table.y > SAMPLED).any():
            raise VotcaError(
                f"{name} g(r): the histogram is all zero; check the trajectory, the bead types and the grid"
            )
    both = (target.y > SAMPLED) & (current.y > SAMPLED)
    usable = potential.flag != "u"
    raw = np.zeros(len(target))
    raw[both] = np.log(current.y[both] / target.y[both]) * kT
    flag = np.where(both & usable, "i", "o")
    peak = int(np.nanargmax(current.y))
    inner = _last_of(raw[:peak][::-1], flag[:peak][::-1])[::-1]
    return Table(target.x, np.concatenate([inner, _last_of(raw[peak:], flag[peak:])]), flag)


def _last_of(values: FloatArray, flag: FlagArray) -> FloatArray:
    """The last value flagged ``i`` up to each row; zero before the first."""
    last = np.maximum.accumulate(np.where(flag == "i", np.arange(len(values)), -1))
    return np.where(last < 0, 0.0, values[last])


def shift_nonbonded(table: Table) -> Table:
    """Subtract the last row's value, whatever its flag."""
    return table.replace(y=table.y - table.y[-1])


def shift_bonded(table: Table) -> Table:
    """Subtract the smallest value among the rows flagged ``i``.

    Raises:
        VotcaError: no row is flagged ``i``.
    """
    return table.replace(y=table.y - table.y[_valid(table, "shift")].min())


def _valid(table: Table, task: str) -> NDArray[np.bool_]:
    """Which rows are flagged ``i``; a task that needs one is refused without."""
    valid = table.flag == "i"
    if not valid.any():
        raise VotcaError(f"{task}: no row is flagged i; flag the rows that hold valid values")
    return valid


def smooth(table: Table, iterations: int = 1) -> Table:
    """Smooth the rows flagged ``i`` with the weights (1/4, 1/2, 1/4); ends (2 y0 + y1)/3; other rows stay.

    Args:
        table: at least two rows.
        iterations: number of passes.
    """
    valid = table.flag == "i"
    y = table.y
    for _ in range(int(iterations)):
        smoothed = y.copy()
        smoothed[1:-1] = 0.25 * y[:-2] + 0.5 * y[1:-1] + 0.25 * y[2:]
        smoothed[0] = (2.0 * y[0] + y[1]) / 3
        smoothed[-1] = (2.0 * y[-1] + y[-2]) / 3
        y = np.where(valid, smoothed, y)
    return table.replace(y=y)


def splinesmooth(
    table: Table, step: float, *, grid: Grid | Table | None = None, digits: int | None = FILE_DIGITS
) -> Table:
    """Replace a table by the least-squares cubic spline of its rows flagged ``i``.

    The spline has natural ends and knots at every `step` from the first to the last such row. Rows outside
    that range hold its continuation and are flagged ``o``; rows inside become ``i``.

    Args:
        table: the input.
        step: distance of the knots.
        grid: points of the result; the table's own when omitted.
        digits: significant digits of the result, those of VOTCA's files; None for full precision.

    Raises:
        VotcaError: no row is flagged ``i``, or the rows do not determine the spline.
    """
    valid = _valid(table, "splinesmooth")
    inner = Table(table.x[valid], table.y[valid], table.flag[valid])
    knots = (float(inner.x[0]), float(step), float(inner.x[-1]))
    return resample(inner, as_grid(grid, table), "cubic", fit_grid=knots, digits=digits)


def scale(table: Table, factor: float) -> Table:
    """Multiply y by a factor."""
    return table.replace(y=factor * table.y, yerr=None if table.yerr is None else abs(factor) * table.yerr)


def add(a: Table, b: Table) -> Table:
    """Return a + b with the flags of `a`; where either is ``u`` the row keeps the value of `a` and is ``u``.

    Raises:
        VotcaError: the grids differ.
    """
    same_grid(a, b, "tables to add")
    undefined = (a.flag == "u") | (b.flag == "u")
    return Table(a.x, np.where(undefined, a.y, a.y + b.y), np.where(undefined, "u", a.flag))


def extrapolate(
    table: Table,
    function: Literal["constant", "linear", "quadratic", "exponential", "sasha"] = "quadratic",
    region: Literal["left", "right", "leftright"] = "leftright",
    points: int = 3,
    *,
    curvature: float = 10000.0,
    update_flags: bool = True,
) -> Table:
    """Fill the rows before the first and after the last row flagged ``i``.

    With (x0, y0) that row and the slope m = dy/dx, the secant over `points` rows inward:

    - constant: y0
    - linear: y0 + m (x - x0)
    - quadratic: C (x + a)^2 + b, a = m/(2C) - x0, b = y0 - m^2/(4C), C the `curvature`
    - exponential: y0 exp[(m/y0)(x - x0)]
    - sasha: m^2/(4 y0) (x - b)^2, b = x0 - 2 y0/m

    Args:
        table: the input.
        function: how the curve continues.
        region: which end.
        points: number of rows over which the slope is taken.
        curvature: C of the quadratic.
        update_flags: flag the filled rows ``i``.

    Raises:
        VotcaError: unknown function or region, too few rows, or a function undefined for y0 = 0 or m = 0.
    """
    if function not in ("constant", "linear", "quadratic", "exponential", "sasha"):
        raise VotcaError(
            f"extrapolate: function '{function}' is unknown; use constant, linear, quadratic, exponential or sasha"
        )
    if region not in ("left", "right", "leftright"):
        raise VotcaError(f"extrapolate: region '{region}' is unknown; use left, right or leftright")
    valid = np.flatnonzero(_valid(table, "extrapolate"))
    y, flag = table.y.copy(), table.flag.copy()
    first, last = int(valid[0]), int(valid[-1])
    for wanted, rows, origin, other in (
        ("left", slice(0, first), first, first + points),
        ("right", slice(last + 1, None), last, last - points),
    ):
        if wanted in region:
            y[rows] = _continuation(table.x, table.y, rows, origin, other, function, curvature)
            if update_flags:
                flag[rows] = "i"
    return table.replace(y=y, flag=flag)


def _continuation(
    x: FloatArray, y: FloatArray, rows: slice, origin: int, other: int, function: str, curvature: float
) -> FloatArray:
    """Values in `rows` that continue the curve from row `origin` with the secant to row `other`."""
    if not len(x[rows]):
        return x[rows]
    slope = 0.0
    if function != "constant":
        if not 0 <= other < len(x) or other == origin:
            raise VotcaError(
                f"extrapolate: the slope over {abs(other - origin)} rows from x = {x[origin]:.10g} leaves the table; "
                "use fewer points"
            )
        slope = float((y[other] - y[origin]) / (x[other] - x[origin]))
    x0, y0 = float(x[origin]), float(y[origin])
    if (function in ("exponential", "sasha") and y0 == 0) or (function == "sasha" and slope == 0):
        raise VotcaError(
            f"extrapolate: '{function}' is undefined at x = {x0:.10g} (y = {y0:g}, slope = {slope:g}); "
            "use constant, linear or quadratic"
        )
    x = x[rows]
    if function == "linear":
        return slope * (x - x0) + y0
    if function == "quadratic":
        return curvature * (x + 0.5 * slope / curvature - x0) ** 2 + (y0 - 0.25 * slope * slope / curvature)
    if function == "sasha":
        return slope**2 / (4 * y0) * (x - (x0 - 2 * y0 / slope)) ** 2
    if function == "exponential":
        with np.errstate(over="ignore", invalid="ignore"):
            values = y0 * np.exp(-slope * x0 / y0) * np.exp(slope / y0 * x)  # VOTCA's digits
            return np.where(np.isfinite(values), values, y0 * np.exp(slope / y0 * (x - x0)))
    return np.full(len(x), y0)


def extrapolate_potential(
    table: Table, points: int = 3, *, left: str = "exponential", right: str = "constant"
) -> Table:
    """Fill both ends of a non-bonded potential: left with the slope over `points` rows, right over one."""
    table = extrapolate(table, left, "left", points)  # type: ignore[arg-type]
    return extrapolate(table, right, "right", 1)  # type: ignore[arg-type]


def convergence(target: Table, current: Table, norm: int = 1, weight: float = 1.0) -> float:
    """Return VOTCA's measure of convergence: weight times the sum over rows flagged ``i``.

    Norm 1 sums |g - g_target|, norm 2 the squares (without a root). It is neither divided by the number of
    rows nor multiplied by the step, so it grows with the number of rows.

    Raises:
        VotcaError: the grids differ or the norm is neither 1 nor 2.
    """
    same_grid(target, current, "target and current g(r)")
    if int(norm) not in (1, 2):
        raise VotcaError(f"convergence: norm {norm} is unknown; use 1 (absolute values) or 2 (squares)")
    difference = np.abs(current.y - target.y)[current.flag == "i"]
    return float(weight) * float(np.sum(difference if int(norm) == 1 else difference * difference))
