"""Pair potentials on a grid, and LAMMPS' table files of them.

`pair_style table spline N` builds, from N points equidistant in r², the C2 cubic spline of u(r²) whose end
slopes follow from the forces. That spline is unique, and it is the one that asediff simulates with: a table
written on the knots of the simulated spline is not refitted, and LAMMPS' energies agree to round-off. (At the
edge of the core, where the wall joins with a jump of the curvature, LAMMPS' spline rings; the ringing falls
3.7-fold per point, long before any distance that is visited.) LAMMPS splines the forces separately, so
between knots they differ by O(spacing³) from the derivative of the energy. Lennard-Jones liquid, rho 0.7, T
1.0, 500 atoms, 10 frames, 114,000 pairs, which is why asediff uses `spline`:

| pair_style table | N    | largest error of a pair's energy | of a force on an atom |
| ---------------- | ---- | -------------------------------- | --------------------- |
| spline           | 521  | 1e-14 kT                         | 1.3e-5 max |F|        |
| spline           | 1041 | 1e-14 kT                         | 2.1e-6 max |F|        |
| linear           | 1041 | 2.7e-3 kT                        | 4.1e-4 max |F|        |
| linear           | 8321 | 3.9e-5 kT                        | 5.4e-6 max |F|        |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from asediff.host.files import write_whole
from asediff.lammps.units import LammpsUnits

if TYPE_CHECKING:
    from asediff.potentials.splines import PairSpline

LARGEST_START = 0.05
"""A table written for LAMMPS starts at or below this fraction of its cutoff, far inside any repulsive core."""


def _array(values: ArrayLike) -> NDArray[np.float64]:
    detach = getattr(values, "detach", None)
    return np.array(detach().cpu() if detach is not None else values, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class PairTable:
    """u(r) and f(r) = -du/dr of one pair of types, on points equidistant in r² from `r_lo` to `cutoff`.

    Between the points the potential is the C2 cubic spline of u in r² with end slopes from f; below `r_lo` it continues
    linearly in r²; at and beyond the cutoff it is zero.

    Attributes:
        r: `(n_points,)`, length.
        u: `(n_points,)`, energy.
        f: `(n_points,)`, energy/length; the value at the cutoff is the limit from inside.
        f_slopes: df/dr at the first and the last point, energy/length².
    """

    r: NDArray[np.float64]
    u: NDArray[np.float64]
    f: NDArray[np.float64]
    f_slopes: tuple[float, float]

    def __post_init__(self) -> None:
        if not self.r.shape == self.u.shape == self.f.shape or self.r.ndim != 1 or len(self.r) < 4:
            raise ValueError(
                f"r, u, f: shapes {self.r.shape}, {self.u.shape}, {self.f.shape}; "
                "give three equally long vectors of at least 4 points"
            )
        for name, values in (("r", self.r), ("u", self.u), ("f", self.f)):
            if not np.isfinite(values).all():
                k = int(np.flatnonzero(~np.isfinite(values))[0])
                raise ValueError(f"{name}: point {k} is {values[k]}; a table needs finite values, start it further out")
        s = self.r**2
        grid = np.linspace(s[0], s[-1], len(s))
        if self.r[0] <= 0.0 or not np.allclose(s, grid, rtol=0.0, atol=1e-9 * s[-1]):
            raise ValueError(
                f"r: from {self.r[0]:g} to {self.r[-1]:g}, not positive and equidistant in r²; "
                "use PairTable.from_arrays"
            )

    @property
    def r_lo(self) -> float:
        """First point, length."""
        return float(self.r[0])

    @property
    def cutoff(self) -> float:
        """Last point, length."""
        return float(self.r[-1])

    @property
    def n_points(self) -> int:
        """Number of points."""
        return len(self.r)

    @cached_property
    def _spline(self) -> CubicSpline:
        s = np.linspace(self.r[0] ** 2, self.r[-1] ** 2, self.n_points)
        ends = -self.f[[0, -1]] / (2.0 * self.r[[0, -1]])
        return CubicSpline(s, self.u, bc_type=((1, ends[0]), (1, ends[1])))

    def evaluate(self, r: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energy u and force f = -du/dr at distances.

        Args:
            r: `(...)`, length.

        Returns:
            u `(...)`, energy; f `(...)`, energy/length.
        """
        r = _array(r)
        s = r * r
        s_lo = self.r_lo**2
        inner = np.clip(s, s_lo, self.cutoff**2)
        slope = self._spline(inner, 1)
        u = self._spline(inner) + slope * np.minimum(s - s_lo, 0.0)
        inside = r < self.cutoff
        return np.where(inside, u, 0.0), np.where(inside, -2.0 * r * slope, 0.0)

    @classmethod
    def from_coefficients(cls, coefficients: ArrayLike, s_lo: float, spacing: float, *, refine: int = 1) -> PairTable:
        """Table of a C2 spline in s = r², exact at its points.

        Args:
            coefficients: `(n_intervals, 4)`, energy; u = c0 + t (c1 + t (c2 + t c3)), t in [0, 1) in each interval.
            s_lo: first knot, length².
            spacing: distance of the knots, length².
            refine: points per interval; LAMMPS' force error falls with its cube, its energies are exact anyway.
        """
        c = _array(coefficients)
        if c.ndim != 2 or c.shape[1] != 4:
            raise ValueError(f"coefficients: shape {c.shape}; give (n_intervals, 4)")
        if refine < 1:
            raise ValueError(f"refine: {refine} points per interval; give 1 or more")
        n = len(c)
        position = np.arange(n * refine + 1) / refine
        interval = np.minimum(position.astype(np.int64), n - 1)
        t = position - interval
        c0, c1, c2, c3 = c[interval].T
        u = c0 + t * (c1 + t * (c2 + t * c3))
        first = (c1 + t * (2 * c2 + 3 * t * c3)) / spacing
        second = (2 * c2 + 6 * t * c3) / spacing**2
        s = s_lo + spacing * position
        r = np.sqrt(s)
        f_slope = -2.0 * first - 4.0 * s * second
        return cls(r, u, -2.0 * r * first, (float(f_slope[0]), float(f_slope[-1])))

    @classmethod
    def from_function(
        cls,
        u: Callable[[NDArray[np.float64]], ArrayLike],
        cutoff: float,
        *,
        r_core: float,
        r_lo: float | None = None,
        n_points: int = 2001,
    ) -> PairTable:
        """Table of a function u(r), with forces from its spline.

        Args:
            u: takes r `(n,)`, length, and returns the energy `(n,)`.
            cutoff: length; u should go to zero there.
            r_core: below this distance, length, u is continued linearly in r² (a wall), which keeps the steep part of a
                repulsion within reach of the spline.
            r_lo: first point, length; 0.02 cutoff by default.
            n_points: number of points.
        """
        r_lo = 0.02 * cutoff if r_lo is None else r_lo
        if not 0.0 < r_lo <= r_core < cutoff:
            raise ValueError(f"r_core: {r_core:g} is not within r_lo = {r_lo:g} and cutoff = {cutoff:g}")
        s = np.linspace(r_lo**2, cutoff**2, n_points)
        s_core = r_core**2
        near = np.array([1.0 - 1e-5, 1.0, 1.0 + 1e-5])
        below, at, above = _array(u(np.sqrt(s_core * near)))
        slope = (above - below) / (2e-5 * s_core)
        values = np.empty_like(s)
        outer = s >= s_core
        values[outer] = _array(u(np.sqrt(s[outer])))
        values[~outer] = at + slope * (s[~outer] - s_core)
        return cls._of_spline(CubicSpline(s, values))

    @classmethod
    def _of_spline(cls, spline: CubicSpline) -> PairTable:
        s_lo, spacing = float(spline.x[0]), float(spline.x[1] - spline.x[0])
        return cls.from_coefficients(spline.c[::-1].T * spacing ** np.arange(4), s_lo, spacing)

    @classmethod
    def from_arrays(cls, r: ArrayLike, u: ArrayLike, *, r_lo: float | None = None, n_points: int = 2001) -> PairTable:
        """Table of a tabulated u on any ascending grid: splined in r, continued linearly in r² below its first point.

        Args:
            r: `(n,)` ascending and positive, length; its last value is the cutoff.
            u: `(n,)`, energy.
            r_lo: first point of the table, length; 0.02 cutoff by default (or r[0] where that is smaller).
            n_points: number of points.
        """
        r, u = _array(r), _array(u)
        if r.ndim != 1 or r.shape != u.shape or len(r) < 4:
            raise ValueError(f"r, u: shapes {r.shape}, {u.shape}; give two equally long vectors of at least 4 points")
        if r[0] <= 0.0 or (np.diff(r) <= 0.0).any():
            raise ValueError("r: not positive and ascending; sort the rows and drop r = 0")
        spline = CubicSpline(r, u)
        start = min(0.02 * r[-1], r[0]) if r_lo is None else r_lo
        return cls.from_function(spline, float(r[-1]), r_core=max(float(r[0]), start), r_lo=start, n_points=n_points)

    def extended(self, r_lo: float | None = None) -> PairTable:
        """The same potential with its points continued inwards, linearly in r², to r_lo or just below.

        Args:
            r_lo: length; 0.02 cutoff by default. A table that starts there already is returned unchanged.
        """
        r_lo = 0.02 * self.cutoff if r_lo is None else r_lo
        if not 0.0 < r_lo < self.cutoff:
            raise ValueError(f"r_lo: {r_lo:g} is not between 0 and the cutoff {self.cutoff:g}")
        if self.r_lo <= r_lo:
            return self
        s_lo, s_hi = self.r_lo**2, self.cutoff**2
        extra = math.ceil((s_lo - r_lo**2) / ((s_hi - s_lo) / (self.n_points - 1)))
        s = np.linspace(r_lo**2, s_hi, self.n_points + extra)
        u, f = self.evaluate(np.sqrt(s))
        inner_slope = -f[0] / (2.0 * r_lo)
        u[-1], f[-1] = self.u[-1], self.f[-1]
        return self._of_spline(CubicSpline(s, u, bc_type=((1, inner_slope), (1, -f[-1] / (2.0 * self.cutoff)))))

    def write(self, path: str | Path, section: str, units: str, comment: str = "") -> Path:
        """Write a LAMMPS table file with this pair alone; see `write_tables`."""
        return write_tables(path, {section: self}, units, comment=comment)

    @classmethod
    def read(cls, path: str | Path, section: str | None = None, units: str | None = None) -> PairTable:
        """Read one section (the only one, if not named) of a LAMMPS table file; see `read_tables`."""
        tables = read_tables(path, units)
        if section is None and len(tables) == 1:
            return next(iter(tables.values()))
        if section not in tables:
            raise ValueError(f"section: {section!r} is not in {path}; it has {', '.join(tables)}")
        return tables[section]


def pair_section(first: int, second: int) -> str:
    """Section name of a pair of atomic numbers: the two chemical symbols in ascending order of number, `H_O`."""
    low, high = sorted((first, second))
    return f"{chemical_symbols[low]}_{chemical_symbols[high]}"


def spline_tables(spline: PairSpline, system: int = 0, *, refine: int = 1) -> dict[str, PairTable]:
    """The tables that one system of a batch uses, by section name, in the order 1-1, 1-2, .., 2-2, .. of its species.

    Args:
        spline: the pair potentials as they are simulated.
        system: index of the system in the batch.
        refine: points per interval of the spline.
    """
    species = [int(number) for number in spline.species]
    tables = {}
    for i, first in enumerate(species):
        for j in range(i, len(species)):
            coefficients = spline.coefficients[int(spline.table_index[system, i, j])]
            table = PairTable.from_coefficients(coefficients, spline.s_lo, spline.spacing, refine=refine)
            tables[pair_section(first, species[j])] = table
    return tables


def write_tables(path: str | Path, tables: Mapping[str, PairTable], units: str, *, comment: str = "") -> Path:
    """Write a LAMMPS table file, one section per pair, so that LAMMPS takes the points as they are.

    Use it with `pair_style table spline N`, N the number of points, and `pair_coeff i j file section`. Numbers have 17
    digits, the grid is RSQ, and the first line states the units, which LAMMPS checks.

    Args:
        path: file to write; replaced only when everything is in order.
        tables: section name -> table; equal numbers of points, since `pair_style` has one N.
        units: `lj`, `real` or `metal`.
        comment: one line for the head of the file.

    Returns:
        The path.

    Raises:
        ValueError: unknown units, unequal numbers of points, or a table that starts too far out.
    """
    style = LammpsUnits.named(units)
    if not tables:
        raise ValueError("tables: none given; a table file needs at least one pair")
    counts = {section: table.n_points for section, table in tables.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"tables: unequal numbers of points {counts}; pair_style table has one N, tabulate all alike")
    lines = [f"# UNITS: {units}", f"# {' '.join(comment.split()) or 'pair potentials written by asediff'}"]
    for section, table in tables.items():
        if not section or section.split() != [section] or section.startswith("#"):
            raise ValueError(f"section: {section!r} is not one word; LAMMPS finds a table by a single word")
        if table.r_lo > LARGEST_START * table.cutoff * (1 + 1e-9):
            raise ValueError(
                f"table {section}: starts at r = {table.r_lo:g}, above {LARGEST_START:g} of its cutoff "
                f"{table.cutoff:g}, and LAMMPS stops at the first closer pair; use table.extended()"
            )
        slopes = [value / style.energy for value in table.f_slopes]
        keys = f"RSQ {table.r_lo:.17g} {table.cutoff:.17g} FPRIME {slopes[0]:.17g} {slopes[1]:.17g}"
        rows = np.stack([table.r, table.u / style.energy, table.f / style.energy], axis=1)
        lines += ["", *section_lines(section, keys, rows)]
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return Path(path)


def section_lines(section: str, keys: str, rows: NDArray[np.float64], number: str = ".17g") -> list[str]:
    """The lines of one section: its name, its parameters, and rows `(n_rows, 3)` of r, u and f in LAMMPS' units."""
    body = [f"{k} {r:{number}} {u:{number}} {f:{number}}" for k, (r, u, f) in enumerate(rows.tolist(), start=1)]
    return [section, f"N {len(rows)} {keys}", "", *body]


def table_units(path: str | Path) -> str | None:
    """The units that the first line of a table file states (`# UNITS: real`), or None."""
    with Path(path).open() as file:
        words = file.readline().split()
    if words[:1] == ["#"] and "UNITS:" in words[:-1]:
        return words[words.index("UNITS:") + 1]
    return None


def read_tables(path: str | Path, units: str | None = None) -> dict[str, PairTable]:
    """Read every section of a LAMMPS table file, whatever its grid (RSQ, R or the listed distances).

    Points on an RSQ grid are taken as they are; others are splined onto one, with as many points, starting at the first
    distance of the file.

    Args:
        path: the file.
        units: `lj`, `real` or `metal`; by default the one that the file states.

    Returns:
        section name -> table in internal units.

    Raises:
        ValueError: no units known, or a file that cannot be read as LAMMPS tables; names the section and the line.
    """
    stated = table_units(path)
    if units is None and stated is None:
        raise ValueError(f"units: {path} does not state its units; say lj, real or metal")
    if units is not None and stated is not None and units != stated:
        raise ValueError(f"units: {units} was asked for but {path} states {stated}; leave units out")
    energy = LammpsUnits.named(str(units or stated)).energy
    tables: dict[str, PairTable] = {}
    for section, (line, keys, rows) in read_sections(path).items():
        try:
            tables[section] = _table_from_rows(rows, keys, energy)
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path}, section {section}, line {line}: {error}") from None
    return tables


def read_sections(path: str | Path) -> dict[str, tuple[int, list[str], NDArray[np.float64]]]:
    """Section name -> number and words of its parameter line, and its rows `(n_rows, 3)` in the units of the file.

    Raises:
        ValueError: no section, or a section that is cut short; names it and the line.
    """
    numbered = enumerate(Path(path).read_text().splitlines(), start=1)
    lines = [(k, words) for k, line in numbered if (words := line.split("#")[0].split())]
    sections: dict[str, tuple[int, list[str], NDArray[np.float64]]] = {}
    at = 0
    while at < len(lines):
        section = lines[at][1][0]
        if at + 1 == len(lines):
            raise ValueError(f"{path}: section {section} has no parameter line 'N ..'; the file is cut short")
        line, keys = lines[at + 1]
        try:
            n = int(keys[keys.index("N") + 1])
            rows = np.array([[float(x) for x in words[1:4]] for _, words in lines[at + 2 : at + 2 + n]])
            if rows.shape != (n, 3):
                raise ValueError(f"{len(rows)} of {n} complete rows 'index r u f'")
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path}, section {section}, line {line}: {error}") from None
        sections[section] = (line, keys, rows)
        at += 2 + n
    if not sections:
        raise ValueError(f"{path}: no table in it; expected a section name, a line 'N ..' and rows 'index r u f'")
    return sections


def _table_from_rows(rows: NDArray[np.float64], keys: list[str], energy: float) -> PairTable:
    r, u, f = rows[:, 0], rows[:, 1] * energy, rows[:, 2] * energy
    if "BITMAP" in keys:
        raise ValueError("BITMAP tables are not supported; write the table with R or RSQ")
    for name in ("RSQ", "R"):
        if name in keys:
            lo, hi = (float(x) for x in keys[keys.index(name) + 1 : keys.index(name) + 3])
            r = np.sqrt(np.linspace(lo**2, hi**2, len(r))) if name == "RSQ" else np.linspace(lo, hi, len(r))
    if "RSQ" not in keys:
        return PairTable.from_arrays(r, u, r_lo=float(r[0]), n_points=len(r))
    if "FPRIME" in keys:
        low, high = (float(x) * energy for x in keys[keys.index("FPRIME") + 1 : keys.index("FPRIME") + 3])
    else:
        low, high = (float((f[k + 1] - f[k]) / (r[k + 1] - r[k])) for k in (0, -2))
    return PairTable(r, u, f, (low, high))
