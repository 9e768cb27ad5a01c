"""VOTCA's pressure corrections dU = A (1 - r/max) by themselves: `SimplePressure` and `VirialPressure`."""

from __future__ import annotations

import numpy as np

from asediff.tabular.rows import Grid, Table, as_grid
from asediff.tabular.tasks import BAR, Conditions, SimplePressure, VirialPressure


def pressure_simple(
    pressure: float, target: float, kT: float, grid: Grid | Table, scale: float, max_A: float = 0.1
) -> Table:
    """Return the ramp of `SimplePressure` on a grid, for pressures in one unit and `scale` in its inverse."""
    nothing = _nothing(grid)
    conditions = Conditions(0, kT, np.nan, pressure, target, nothing.y)
    return SimplePressure(scale, max_A).apply(nothing, conditions)


def pressure_wjk(
    pressure: float,
    target: float,
    kT: float,
    grid: Grid | Table,
    density: float,
    rdf: Table,
    scale: float = 1.0,
    max_A: float = 0.1,
) -> Table:
    """Return the ramp of `VirialPressure` on a grid, in VOTCA's units: bar, nm, kJ/mol and beads per nm^3.

    The integral over `rdf`, the current g(r) on the grid, is one of trapezoids. VOTCA takes row k of g(r) for r = k
    step, which is wrong for grids that do not start at 0; here each row has its own distance.

    Raises:
        VotcaError: density or integral is not positive.
    """
    conditions = Conditions(0, kT, density, pressure, target, rdf.y)
    return VirialPressure(scale, max_A, pressure_unit=BAR).apply(_nothing(grid), conditions)


def _nothing(grid: Grid | Table) -> Table:
    x = as_grid(grid)
    return Table(x, np.zeros(len(x)))
