"""Tables of x, y and a flag, one row per grid point, and grids, as VOTCA defines them.

A row's flag is ``i`` (in range: the value was sampled), ``o`` (out of range: the value was filled in) or ``u``
(undefined: the value must not be used). Units are the caller's; VOTCA's files are in nm and kJ/mol, or reduced units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
FlagArray = NDArray[np.str_]
Grid = ArrayLike | str | tuple[float, float, float]

FLAGS = ("i", "o", "u")
SPACING_TOLERANCE = 1e-3
"""Largest deviation of a row spacing from the mean spacing, as a fraction of it."""


class VotcaError(ValueError):
    """Bad input of a VOTCA-style calculation: one line that names the place, the reason and the remedy."""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of a VOTCA table.

    Args:
        x: `(n_rows,)`, strictly increasing grid points, a length.
        y: `(n_rows,)`, g(r) or a potential (an energy).
        flag: `(n_rows,)` characters ``i``, ``o`` or ``u``, or a string of them; all ``i`` when omitted.
        yerr: `(n_rows,)`, errors of `y`, or None.

    Raises:
        VotcaError: lengths differ, a flag is unknown, or x does not increase.
    """

    x: FloatArray
    y: FloatArray
    flag: FlagArray = None  # type: ignore[assignment]
    yerr: FloatArray | None = None

    def __post_init__(self) -> None:
        x = np.array(self.x, dtype=np.float64).reshape(-1)
        y = np.array(self.y, dtype=np.float64).reshape(-1)
        flag = _flag_array(self.flag, len(x))
        if len(y) != len(x) or len(flag) != len(x):
            raise VotcaError(
                f"table: x has {len(x)} rows, y has {len(y)}, flag has {len(flag)}; give one value per row"
            )
        if not np.isfinite(x).all() or (np.diff(x) <= 0).any():
            row = int(np.flatnonzero(~np.isfinite(x) | np.append(np.diff(x) <= 0, [False]))[0])
            raise VotcaError(f"table: x does not increase at row {row + 1} (x = {x[row]:.10g}); sort the rows")
        for name, value in (("x", x), ("y", y), ("flag", flag)):
            object.__setattr__(self, name, value)
        if self.yerr is not None:
            yerr = np.array(self.yerr, dtype=np.float64).reshape(-1)
            if len(yerr) != len(x):
                raise VotcaError(f"table: yerr has {len(yerr)} rows, x has {len(x)}; give one error per row")
            object.__setattr__(self, "yerr", yerr)

    def __len__(self) -> int:
        return len(self.x)

    def __iter__(self) -> Iterator[Any]:
        """Unpack as ``x, y, flag = table``."""
        return iter((self.x, self.y, self.flag))

    @property
    def step(self) -> float:
        """Spacing of the grid; an error names the first row where a gap breaks it."""
        return uniform_step(self.x)

    def replace(self, **fields: Any) -> Table:
        """Return a copy with some of x, y, flag, yerr exchanged."""
        return replace(self, **fields)

    def rounded(self, digits: int) -> Table:
        """Return a copy whose x and y carry `digits` significant digits, as a file written so would."""
        return self.replace(x=_round(self.x, digits), y=_round(self.y, digits))


def _flag_array(flag: Any, n_rows: int) -> FlagArray:
    if flag is None:
        return np.full(n_rows, "i", dtype="<U1")
    given = np.array(list(flag) if isinstance(flag, str) else flag)
    if given.dtype.kind == "S":
        given = given.astype("<U8")
    bad = [str(f) for f in given.reshape(-1) if str(f) not in FLAGS]
    if bad:
        raise VotcaError(f"table: flag '{bad[0]}' is unknown; use i (in range), o (out of range) or u (undefined)")
    return given.reshape(-1).astype("<U1")


def _round(values: FloatArray, digits: int) -> FloatArray:
    return np.array([float(f"{v:.{digits}g}") for v in values], dtype=np.float64)


def uniform_step(x: FloatArray, name: str = "table") -> float:
    """Return the spacing of a uniform grid.

    Raises:
        VotcaError: fewer than two rows, or a spacing that differs from the mean by more than 0.1 percent.
    """
    if len(x) < 2:
        raise VotcaError(f"{name}: {len(x)} row(s) are no grid; give at least two rows")
    found = gap(x)
    if found is not None:
        k, where = found
        raise VotcaError(
            f"{name}: gap between rows {k + 1} and {k + 2}: {where}; add the missing rows with flag o or u, or "
            "resample the table"
        )
    return float((x[-1] - x[0]) / (len(x) - 1))


def gap(x: FloatArray) -> tuple[int, str] | None:
    """The first row of increasing points whose distance to the next differs from the others', and words for it."""
    widths = np.diff(x)
    step = float(np.median(widths))
    uneven = np.flatnonzero(np.abs(widths - step) > SPACING_TOLERANCE * step)
    if not len(uneven):
        return None
    k = int(uneven[0])
    return k, f"x goes from {x[k]:.10g} to {x[k + 1]:.10g} where the step is {step:.10g}"


def same_grid(first: Table, second: Table, names: str) -> None:
    """Check that two tables share one uniform grid.

    Raises:
        VotcaError: row counts or grid points differ.
    """
    step = uniform_step(first.x, names)
    if len(first) != len(second):
        raise VotcaError(
            f"{names}: grids differ: {len(first)} rows ({_range(first)}) and {len(second)} rows "
            f"({_range(second)}); resample one of them"
        )
    off = np.abs(first.x - second.x) > SPACING_TOLERANCE * step
    if off.any():
        k = int(np.flatnonzero(off)[0])
        raise VotcaError(
            f"{names}: grids differ at row {k + 1}: x = {first.x[k]:.10g} and {second.x[k]:.10g}; resample one of them"
        )


def _range(table: Table) -> str:
    return f"{table.x[0]:.10g} to {table.x[-1]:.10g}"


def grid_points(minimum: float, step: float, maximum: float) -> FloatArray:
    """Return the points of VOTCA's grid ``min:step:max``.

    The step is stretched so that the last point is exactly `maximum`; points are accumulated sums, which
    matters for the flags of rows that sit on the border of a table.

    Raises:
        VotcaError: the step is not positive or the range holds no interval.
    """
    minimum, step, maximum = float(minimum), float(step), float(maximum)
    if not step > 0 or not maximum > minimum:
        raise VotcaError(f"grid {minimum:g}:{step:g}:{maximum:g} is empty; give min < max and step > 0")
    n_points = int((maximum - minimum) / step + 1.00000001)
    if n_points < 2:
        raise VotcaError(f"grid {minimum:g}:{step:g}:{maximum:g}: the step exceeds the range; make it smaller")
    stretched = (maximum - minimum) / (n_points - 1.0)
    points = np.cumsum(np.concatenate([[minimum], np.full(n_points - 1, stretched)]))
    points[-1] = maximum
    return points


def as_grid(grid: Grid | Table | None, fallback: Table | None = None) -> FloatArray:
    """Return grid points from an array of points, ``(min, step, max)``, ``"min:step:max"`` or a table.

    Uniform points are generated anew from their ends, free of the rounding of a file, as VOTCA would: whether
    a row on the border of a table counts as inside depends on it. Without a grid the fallback's is taken.
    """
    if grid is None and fallback is not None:
        grid = fallback
    if isinstance(grid, Table):
        return _regenerated(grid.x)
    if isinstance(grid, str):
        parts = grid.split(":")
        if len(parts) != 3:
            raise VotcaError(f"grid '{grid}' is not of the form min:step:max")
        return grid_points(*(float(part) for part in parts))
    if isinstance(grid, (tuple, list)) and len(grid) == 3:
        return grid_points(*(float(value) for value in grid))
    points = np.array(grid, dtype=np.float64).reshape(-1)
    if len(points) < 2 or (np.diff(points) <= 0).any():
        raise VotcaError("grid: points must increase and be at least two; or give (min, step, max)")
    return _regenerated(points)


def _regenerated(points: FloatArray) -> FloatArray:
    if len(points) < 2:
        return points.copy()
    step = (points[-1] - points[0]) / (len(points) - 1)
    new = grid_points(points[0], step, points[-1])
    return new if len(new) == len(points) and np.abs(new - points).max() < 1e-6 * step else points.copy()
