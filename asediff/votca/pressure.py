"""VOTCA's pressure corrections dU = A (1 - r/max) by themselves; see `SimplePressure` and `VirialPressure`."""

from __future__ import annotations

import numpy as np

from asediff.tabular.rows import Grid, Table, as_grid
from asediff.tabular.tasks import BAR, Conditions, SimplePressure, VirialPressure


def pressure_simple(
    pressure: float, target: float, kT: float, grid: Grid | Table, scale: float, max_A: float = 0.1
) -> Table:
    """Return dU = A (1 - r/max) with A = -sign(P - P_target) max_A kT min(1, scale |P - P_target|).

    Args:
        pressure: of the simulation.
        target: pressure aimed at, same unit.
        kT: thermal energy.
        grid: ``(min, step, max)`` of the interaction, its points, or a table on them.
        scale: inverse of the pressure difference at which the correction reaches its largest value.
        max_A: largest |A| in units of kT.
    """
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
    """Return the correction of H. Wang, C. Junghans, K. Kremer, Eur. Phys. J. E 28, 221 (2009).

    A = -3 max (P - P_target) / (2 pi density^2 I), I the integral of r^3 g(r) up to max by trapezoids, limited
    to +-max_A kT and then multiplied by `scale`. doi:10.1140/epje/i2008-10413-5. Units are fixed: bar, nm, and
    kJ/mol (1 bar = 0.06022 kJ/mol/nm^3). VOTCA takes row k of g(r) for r = k step, which is wrong for grids that do not
    start at 0; here each row has its own distance.

    Args:
        pressure: of the simulation, bar.
        target: pressure aimed at, bar.
        kT: thermal energy, kJ/mol.
        grid: ``(min, step, max)`` of the interaction, its points, or a table on them, nm.
        density: number of beads per nm^3.
        rdf: current g(r) on the grid.
        scale: factor applied last.
        max_A: largest |A| in units of kT, before `scale`.

    Raises:
        VotcaError: density or integral is not positive.
    """
    conditions = Conditions(0, kT, density, pressure, target, rdf.y)
    return VirialPressure(scale, max_A, pressure_unit=BAR).apply(_nothing(grid), conditions)


def _nothing(grid: Grid | Table) -> Table:
    x = as_grid(grid)
    return Table(x, np.zeros(len(x)))
