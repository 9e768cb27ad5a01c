"""Files of VOTCA's tables: the columns x, y and a flag."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from asediff.tabular.rows import FLAGS, FloatArray, Table, VotcaError, gap


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
    _check_rows(np.array(x), [number for number, _ in rows], name, uniform=uniform)
    has_errors = all(len(words) == 4 for _, words in rows)
    return Table(np.array(x), np.array(y), np.array(flag), np.array(yerr) if has_errors else None)


def _number(text: str, name: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise VotcaError(f"{name}, line {line}: '{text}' is not a number; expected x y flag") from None


def _check_rows(x: FloatArray, lines: Sequence[int], name: str, *, uniform: bool) -> None:
    back = np.flatnonzero(~(np.diff(x) > 0))
    if len(back):
        k = int(back[0])
        raise VotcaError(
            f"{name}, line {lines[k + 1]}: x = {x[k + 1]:.10g} does not increase (the row before has {x[k]:.10g}); "
            "sort the rows and remove duplicates"
        )
    found = gap(x) if uniform and len(x) > 2 else None
    if found is not None:
        k, where = found
        raise VotcaError(
            f"{name}, line {lines[k + 1]}: gap in the grid: {where}; add the missing rows with flag o or u, or read "
            "with uniform=False and resample"
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
