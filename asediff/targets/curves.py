"""Reading reference curves g(r) from text files, with checks that name what is wrong and where."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asediff.checks.numbers import HIGHEST_G, LOWEST_G, MEAN_TAIL
from asediff.host.reading import read_text

Array = NDArray[np.float64]
FEWEST_POINTS = 10
LARGEST_FILE = 20_000_000
"""Bytes; half a million points."""
PROMINENCE = 0.1
"""Of a first peak, as a fraction of the largest g."""
_DECIMAL_COMMA = re.compile(r"[-+]?\d+(?:,\d+)?(?:[eE][-+]?\d+)?")


def read_curve(
    path: str | os.PathLike[str], *, fewest_points: int = FEWEST_POINTS, radial: bool = True
) -> tuple[Array, Array]:
    """Read a curve, a g(r) unless `radial` is false, from the first two columns of a text file.

    Columns are separated by commas, semicolons or blanks; one header line may come first; lines that begin with `#` or
    `@` and empty lines are skipped.

    Args:
        path: the file.
        fewest_points: fewer points than this are refused.
        radial: refuse what no g(r) can be; other curves may be negative, and need not go to 1.

    Returns:
        r `(n,)`, ascending, length; and g `(n,)`.

    Raises:
        ValueError: If the file is missing, a line is not numbers, r does not ascend, g is negative, zero everywhere or
            not normalised, or there are too few points. Decimal commas, a column that counts the lines, and rows in
            place of columns are told by name. The message begins with the file, and the line if one is to blame.
    """
    path = Path(path)
    lines = read_text(
        path, f"a two-column text file with {'r and g(r)' if radial else 'abscissa and value'}", largest=LARGEST_FILE
    ).splitlines()
    rows: list[tuple[int, list[str], float, float]] = []
    header_seen = False
    for number, line in enumerate(lines, start=1):
        fields = line.replace(",", " ").replace(";", " ").split()
        if not fields or fields[0][0] in "#@":
            continue
        row = _numbers(fields)
        if row is None:
            if not rows and not header_seen:
                header_seen = True
                continue
            rest = "write r and g as columns, not rows" if len(fields) > FEWEST_POINTS else "correct or remove the line"
            raise ValueError(f"{path}:{number}: {_shown(line)} is not two numbers; {rest}")
        if _has_decimal_commas(line):
            raise ValueError(
                f"{path}:{number}: {_shown(line)} has decimal commas, but commas separate columns; "
                f"write points: sed 's/,/./g' {path.name} > points.txt"
            )
        rows.append((number, fields, *row))
    _check_layout(path, rows, fewest_points, "g(r)" if radial else "curve")
    _check_rows(path, [(number, r, g) for number, _, r, g in rows], radial=radial)
    table = np.array([row[2:] for row in rows], dtype=np.float64)
    r, g = table[:, 0].copy(), table[:, 1].copy()
    if radial:
        check_normalised(r, g, str(path))
    return r, g


def read_errors(path: str | os.PathLike[str]) -> Array | None:
    """Standard errors of the values of a curve: the third column, where the header calls it `error`.

    Args:
        path: a file that `read_curve` reads.

    Returns:
        `(n,)`, one for each point of the curve; None without such a column.

    Raises:
        ValueError: one of them is missing, not finite, or negative.
    """
    path = Path(path)
    errors: list[float] = []
    named = False
    for number, line in enumerate(read_text(path, "a curve", largest=LARGEST_FILE).splitlines(), start=1):
        fields = line.replace(",", " ").replace(";", " ").split()
        if not fields or fields[0][0] in "#@":
            continue
        if _numbers(fields) is None:
            named = len(fields) > 2 and fields[2].lower() == "error"
            continue
        if not named:
            return None
        numbers = _numbers(fields[1:])
        if numbers is None or not 0.0 <= numbers[1] < np.inf:
            raise ValueError(
                f"{path}:{number}: {_shown(line)} has no standard error >= 0 in its third column; give one"
            )
        errors.append(numbers[1])
    return np.array(errors) if named else None


def first_peak(r: ArrayLike, g: ArrayLike) -> float:
    """Distance of the first maximum that stands out by a tenth of the largest g; of the largest g without one.

    Args:
        r: `(n,)`, ascending, length.
        g: `(n,)`.
    """
    radii, values = np.asarray(r, dtype=np.float64), np.asarray(g, dtype=np.float64)
    steps = np.flatnonzero(np.diff(values))
    height = PROMINENCE * float(values.max())
    # plateaus: between the step up to a value and the next step, which goes down
    for up, down in pairwise(steps):
        if values[up + 1] > values[up] and values[down + 1] < values[down]:
            top = values[down]
            if _falls(values[up::-1], top, height) and _falls(values[down + 1 :], top, height):
                return float(radii[(up + 1 + down) // 2])
    return float(radii[int(values.argmax())])


def _falls(values: Array, top: float, height: float) -> bool:
    """Whether values fall by this height below the top before they rise above it."""
    for value in values:
        if top - value >= height:
            return True
        if value > top:
            return False
    return False


def check_normalised(r: ArrayLike, g: ArrayLike, name: str = "reference") -> None:
    """Refuse a curve that is no g(r): one times a factor, in per cent, a density or a running number.

    The largest g lies within 0.1 ... 1000. Where the curve reaches beyond two first-peak distances, the mean over its
    last fifth lies within 0.05 ... 20, for g goes to 1: see `asediff.checks.numbers`.

    Args:
        r: `(n,)`, ascending, length.
        g: `(n,)`.
        name: what the message calls the curve.

    Raises:
        ValueError: it does not.
    """
    radii, values = np.asarray(r, dtype=np.float64), np.asarray(g, dtype=np.float64)
    highest = float(values.max())
    remedy = "divide it by the density and the volumes of the shells, so that it goes to 1"
    if not LOWEST_G <= highest <= HIGHEST_G:
        raise ValueError(f"{name}: its largest g is {highest:.4g}, not within {LOWEST_G:g} ... {HIGHEST_G:g}; {remedy}")
    if radii[-1] >= 2.0 * first_peak(radii, values):
        tail = float(values[radii >= 0.8 * radii[-1]].mean())
        low, high = MEAN_TAIL
        if not low <= tail <= high:
            raise ValueError(
                f"{name}: its g is {tail:.4g} on average over the last fifth of r, where a g(r) is close to 1; {remedy}"
            )


def check_reference_range(r: ArrayLike, g: ArrayLike, cutoff: float, name: str = "reference") -> None:
    """Refuse a curve that ends inside the cutoff (or the r_max of a histogram).

    Args:
        r: `(n,)`, ascending, length.
        g: `(n,)`, g(r).
        cutoff: distance that the curve has to reach, length.
        name: what the message calls the curve.

    Raises:
        ValueError: If it is too short, or zero up to the cutoff.
    """
    radii, values = np.asarray(r, dtype=np.float64), np.asarray(g, dtype=np.float64)
    if radii[-1] < cutoff * (1.0 - 1e-9):
        raise ValueError(
            f"{name}: ends at r={radii[-1]:.6g}, inside {cutoff:.6g}; lower the cutoff and r_max or give a longer curve"
        )
    if not (values[radii <= cutoff] > 0.0).any():
        raise ValueError(f"{name}: is zero up to r={cutoff:.6g}; check the unit of length of the curve")


def _numbers(fields: list[str]) -> tuple[float, float] | None:
    if len(fields) < 2:
        return None
    try:
        return float(fields[0]), float(fields[1])
    except ValueError:
        return None


def _shown(line: str) -> str:
    text = " ".join(line.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _has_decimal_commas(line: str) -> bool:
    """Whether blanks, tabs or semicolons separate numbers that are written as 0,05.

    Lines whose columns are separated by commas too have whole numbers only, such as 0,05,1,23; `_check_layout` tells.
    """
    fields = line.replace(";", " ").split()
    return len(fields) > 1 and "," in line and all(_DECIMAL_COMMA.fullmatch(field) for field in fields)


def _check_layout(path: Path, rows: list[tuple[int, list[str], float, float]], fewest_points: int, what: str) -> None:
    """Refuse what is no r and g in columns, before single lines are blamed."""
    if len(rows) < fewest_points:
        widths = {len(fields) for _, fields, _, _ in rows}
        if widths and min(widths) >= fewest_points and len(widths) == 1:
            raise ValueError(
                f"{path}: {len(rows)} lines of {widths.pop()} numbers are a curve in rows; write r and g as columns "
                "(numpy: savetxt(file, table.T))"
            )
        raise ValueError(f"{path}: {len(rows)} points are too few for a {what}; give at least {fewest_points}")
    whole = all(field.isdecimal() for _, fields, _, _ in rows for field in fields)
    if whole and min(len(fields) for _, fields, _, _ in rows) >= 4:
        raise ValueError(
            f"{path}:{rows[0][0]}: {' '.join(rows[0][1][:4])}: whole numbers in four columns are decimal commas with "
            "commas between the columns; write r and g with points"
        )
    first = [r for _, _, r, _ in rows]
    second = [g for _, _, _, g in rows]
    counts = first[0] in (0.0, 1.0) and all(b - a == 1.0 for a, b in pairwise(first))
    if counts and all(b > a for a, b in pairwise(second)) and min(len(fields) for _, fields, _, _ in rows) > 2:
        raise ValueError(
            f"{path}: the first column counts the lines, and r seems to be the second; remove the first column: "
            f"sed -E 's/^[[:space:]]*[0-9]+[,;[:space:]]+//' {path.name} > columns.txt"
        )


def _check_rows(path: Path, rows: list[tuple[int, float, float]], *, radial: bool) -> None:
    before = -np.inf
    for number, r, g in rows:
        if not (np.isfinite(r) and np.isfinite(g)):
            raise ValueError(f"{path}:{number}: r={r}, g={g} is not finite; correct or remove the line")
        if radial and r < 0.0:
            raise ValueError(f"{path}:{number}: r={r:.6g} is negative; distances are not")
        if r == before:
            raise ValueError(f"{path}:{number}: r={r:.6g} occurs twice; remove one of the lines")
        if r < before:
            raise ValueError(f"{path}:{number}: r={r:.6g} follows {before:.6g}; sort the lines by r")
        if radial and g < 0.0:
            raise ValueError(f"{path}:{number}: g={g:.6g} at r={r:.6g} is negative; a g(r) is not: correct the curve")
        before = r
    if radial and not any(g > 0.0 for _, _, g in rows):
        raise ValueError(f"{path}: g is zero on every line; check the columns (r first, then g)")
