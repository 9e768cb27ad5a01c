"""LAMMPS pair tables in VOTCA's convention: Akima energies with the derivative of the same spline as force."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from asediff.lammps.tables import read_sections, section_lines
from asediff.tabular.interpolants import interpolant
from asediff.tabular.operators import FILE_DIGITS, extrapolate_potential, resample, shift_nonbonded
from asediff.tabular.rows import FloatArray, Table, VotcaError, grid_points


@dataclass(frozen=True, eq=False)
class LammpsTable:
    """Rows of a LAMMPS pair table.

    Args:
        r: `(n_rows,)`, LAMMPS length unit.
        energy: `(n_rows,)`, LAMMPS energy unit.
        force: `(n_rows,)`, energy per length.
    """

    r: FloatArray
    energy: FloatArray
    force: FloatArray


def lammps_table(
    table: Table,
    *,
    step: float | None = None,
    table_begin: float | None = None,
    table_end: float | None = None,
    table_bins: float | None = None,
    scale: float = 1.0,
    y_scale: float = 1.0,
    left: str = "exponential",
    right: str = "constant",
) -> LammpsTable:
    """Return the rows that VOTCA writes for LAMMPS from a potential.

    Lengths are multiplied by `scale` and energies by `y_scale`; the potential is put on
    ``begin:step:end`` by Akima interpolation, continued at both ends (slope over 3 rows on the left), and put on
    ``begin:bins:end``; the force is minus the derivative of that last spline. The energy is 0 at the last row;
    the force there is left as it is.

    Args:
        table: potential, length and energy unit of the settings (nm, kJ/mol).
        step: its spacing, `table.step` when omitted.
        table_begin: first distance before scaling, the table's first when omitted. LAMMPS refuses 0.
        table_end: last distance before scaling, the table's last when omitted.
        table_bins: spacing of the result before scaling, `step` when omitted.
        scale: length unit of LAMMPS per unit of the table (10 for nm to Å).
        y_scale: energy unit likewise (0.239006 for kJ/mol to kcal/mol).
        left: function that continues the potential to smaller r (`extrapolate`).
        right: function that continues it to larger r.

    Raises:
        VotcaError: an empty range or a continuation that is not defined.
    """
    step = float(f"{table.step:.{FILE_DIGITS}g}") if step is None else float(step)
    begin = float(table.x[0]) if table_begin is None else float(table_begin)
    end = float(table.x[-1]) if table_end is None else float(table_end)
    bins = step if table_bins is None else float(table_bins)
    if scale != 1:
        step, bins, begin, end = (_shell_product(scale, value) for value in (step, bins, begin, end))
    scaled = table.replace(x=table.x * scale, y=table.y * y_scale, yerr=None)
    coarse = resample(scaled, (begin, step, end))
    coarse = extrapolate_potential(coarse, 3, left=left, right=right)
    r = grid_points(begin, bins, end)
    with np.errstate(invalid="ignore", over="ignore"):
        curve = interpolant(coarse.x, coarse.y, "akima")
        energy = shift_nonbonded(Table(r, curve(r)).rounded(FILE_DIGITS))
        force = Table(r, -curve.derivative()(r)).rounded(FILE_DIGITS)
    return LammpsTable(energy.x, energy.y + 0.0, force.y + 0.0)  # no negative zeros in the file


def _shell_product(a: float, b: float) -> float:
    """Product as VOTCA's shell arithmetic prints it, with 6 significant digits."""
    return float(f"{a * b:.6g}")


def write_lammps_table(
    path: str | PathLike[str], table: Table, *, keyword: str = "VOTCA", **options: Any
) -> LammpsTable:
    """Write a LAMMPS pair table in VOTCA's convention and return its rows.

    Args:
        path: the file.
        table: potential.
        keyword: section name, the fourth argument of `pair_coeff`.
        options: those of `lammps_table`.

    Raises:
        VotcaError: energies or forces are not finite.
    """
    rows = lammps_table(table, **options)
    values = np.stack([rows.r, rows.energy, rows.force], axis=1)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise VotcaError(
            f"{Path(path).name}: energy or force is not finite at r = {rows.r[~finite][0]:.10g}; raise table_begin or "
            "choose another extrapolation"
        )
    lines = section_lines(keyword, f"R {rows.r[0]:f} {rows.r[-1]:f}", values, "15.10e")
    Path(path).write_text("\n".join(lines) + "\n")
    return rows


def read_lammps_table(path: str | PathLike[str], keyword: str | None = None) -> LammpsTable:
    """Read a section of a LAMMPS pair table file: r, energy and force.

    Args:
        path: the file.
        keyword: section name; the first section when omitted.

    Raises:
        VotcaError: no such section, or fewer rows than announced.
    """
    try:
        sections = read_sections(Path(path))
    except ValueError as error:
        raise VotcaError(str(error)) from None
    wanted = next(iter(sections)) if keyword is None else keyword
    if wanted not in sections:
        raise VotcaError(f"{Path(path).name}: no section '{wanted}'; there are {', '.join(sections)}")
    _, _, rows = sections[wanted]
    return LammpsTable(*rows.T)
