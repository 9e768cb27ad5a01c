"""Reading reference curves g(r) from text files, with checks that name what is wrong and where."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
FEWEST_POINTS = 10


def read_curve(path: str | os.PathLike[str], *, fewest_points: int = FEWEST_POINTS) -> tuple[Array, Array]:
    """Read a g(r) from the first two columns of a text file.

    Columns are separated by commas, semicolons or blanks; one header line may come first; lines that begin with `#` or
    `@` and empty lines are skipped.

    Args:
        path: the file.
        fewest_points: fewer points than this are refused.

    Returns:
        r `(n,)`, ascending, length; and g `(n,)`.

    Raises:
        ValueError: If the file is missing, a line is not numbers, r does not ascend, g is negative or zero
            everywhere, or there are too few points. The message begins with the file, and the line if one is
            to blame.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the path of a two-column text file with r and g(r)")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file; give a two-column text file with r and g(r)") from None
    rows: list[tuple[int, float, float]] = []
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
            raise ValueError(f"{path}:{number}: {line.strip()!r} is not two numbers; correct or remove the line")
        rows.append((number, *row))
    _check_rows(path, rows, fewest_points)
    table = np.array([row[1:] for row in rows], dtype=np.float64)
    return table[:, 0].copy(), table[:, 1].copy()


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


def _check_rows(path: Path, rows: list[tuple[int, float, float]], fewest_points: int) -> None:
    if len(rows) < fewest_points:
        raise ValueError(f"{path}: {len(rows)} points are too few for a g(r); give at least {fewest_points}")
    before = -np.inf
    for number, r, g in rows:
        if not (np.isfinite(r) and np.isfinite(g)):
            raise ValueError(f"{path}:{number}: r={r}, g={g} is not finite; correct or remove the line")
        if r < 0.0:
            raise ValueError(f"{path}:{number}: r={r:.6g} is negative; distances are not")
        if r == before:
            raise ValueError(f"{path}:{number}: r={r:.6g} occurs twice; remove one of the lines")
        if r < before:
            raise ValueError(f"{path}:{number}: r={r:.6g} follows {before:.6g}; sort the lines by r")
        if g < 0.0:
            raise ValueError(f"{path}:{number}: g={g:.6g} at r={r:.6g} is negative; a g(r) is not: correct the curve")
        before = r
    if not any(g > 0.0 for _, _, g in rows):
        raise ValueError(f"{path}: g is zero on every line; check the columns (r first, then g)")
