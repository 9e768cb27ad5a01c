"""VOTCA tables: columns x, y and a flag, read, written and put on a grid.

A table has one row per grid point. Its flag is ``i`` (in range: the value was sampled), ``o`` (out of
range: the value was filled in) or ``u`` (undefined: the value must not be used). Units are those of the
user's VOTCA set-up: nm and kJ/mol, or reduced units throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path
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
    widths = np.diff(x)
    step = float(np.median(widths))
    uneven = np.flatnonzero(np.abs(widths - step) > SPACING_TOLERANCE * step)
    if len(uneven):
        k = int(uneven[0])
        raise VotcaError(
            f"{name}: gap between rows {k + 1} and {k + 2}: x goes from {x[k]:.10g} to {x[k + 1]:.10g} where the "
            f"step is {step:.10g}; add the missing rows with flag o or u, or resample the table"
        )
    return float((x[-1] - x[0]) / (len(x) - 1))


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


def read_table(path: str | PathLike[str], *, uniform: bool = True, sloppy: bool = False) -> Table:
    """Read a table with the columns x, y, (yerr,) flag.

    Lines that start with ``#`` or ``@`` are comments. The first, second and last column are used; a table of
    four columns has errors in the third.

    Args:
        path: the file.
        uniform: refuse a table with a gap in its grid. Pass False for a target on an uneven grid.
        sloppy: accept rows without a flag (``x y``), which then is ``i``.

    Raises:
        VotcaError: naming file and line: a number cannot be read, the flag is missing, the grid has a gap.
    """
    name = Path(path).name
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(Path(path).read_text().splitlines(), start=1):
        words = line.split("#")[0].split("@")[0].split()
        if words:
            rows.append((number, words))
    if not rows:
        raise VotcaError(f"{name}: no rows; expected the columns x y flag")
    x, y, yerr, flag = [], [], [], []
    for number, words in rows:
        if words[-1] in FLAGS:
            values = words[:-1]
            flag.append(words[-1])
        elif sloppy:
            values = words
            flag.append("i")
        else:
            raise VotcaError(
                f"{name}, line {number}: the flag is missing (last column is '{words[-1]}'); end each row with "
                "i, o or u, or read with sloppy=True"
            )
        if len(values) < 2:
            raise VotcaError(f"{name}, line {number}: {len(words)} column(s); expected x y flag")
        numbers = [_number(value, name, number) for value in values]
        x.append(numbers[0])
        y.append(numbers[1])
        yerr.append(numbers[2] if len(numbers) == 3 else np.nan)
    _check_rows(x, [number for number, _ in rows], name, uniform=uniform)
    has_errors = all(len(words) == 4 for _, words in rows)
    return Table(np.array(x), np.array(y), np.array(flag), np.array(yerr) if has_errors else None)


def _number(text: str, name: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise VotcaError(f"{name}, line {line}: '{text}' is not a number; expected x y flag") from None


def _check_rows(x: Sequence[float], lines: Sequence[int], name: str, *, uniform: bool) -> None:
    for k, (left, right) in enumerate(pairwise(x)):
        if not right > left:
            raise VotcaError(
                f"{name}, line {lines[k + 1]}: x = {right:.10g} does not increase (the row before has "
                f"{left:.10g}); sort the rows and remove duplicates"
            )
    if not uniform or len(x) < 3:
        return
    widths = np.diff(x)
    step = float(np.median(widths))
    uneven = np.flatnonzero(np.abs(widths - step) > SPACING_TOLERANCE * step)
    if len(uneven):
        k = int(uneven[0])
        raise VotcaError(
            f"{name}, line {lines[k + 1]}: gap in the grid: x goes from {x[k]:.10g} to {x[k + 1]:.10g} where the "
            f"step is {step:.10g}; add the missing rows with flag o or u, or read with uniform=False and resample"
        )


def write_table(path: str | PathLike[str], table: Table, *, digits: int | None = None, comment: str = "") -> None:
    """Write a table with the columns x, y, (yerr,) flag.

    Args:
        path: the file.
        table: the rows.
        digits: significant digits; None writes the shortest text that reads back to the same numbers.
            VOTCA's compiled programs write 10, its scripts 15.
        comment: text of comment lines at the top.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    columns = [table.x, table.y] if table.yerr is None else [table.x, table.y, table.yerr]
    for k, flag in enumerate(table.flag):
        lines.append(" ".join([*(_text(float(column[k]), digits) for column in columns), str(flag)]))
    Path(path).write_text("\n".join(lines) + "\n")


def _text(value: float, digits: int | None) -> str:
    return repr(value) if digits is None else f"{value:.{digits}g}"
