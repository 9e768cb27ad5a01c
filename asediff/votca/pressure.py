"""Pressure corrections dU = A (1 - r/max), added to an update so that the pressure moves to its target."""

from __future__ import annotations

import numpy as np

from asediff.votca.tables import Grid, Table, VotcaError, as_grid

BAR_TO_KJ_PER_MOL_NM3 = 0.06022
VOTCA_PI = 3.14159265


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
    sign = -1.0 if pressure > target else 1.0
    prefactor = sign * max_A * kT
    fraction = abs((pressure - target) * scale)
    if fraction < 1:
        prefactor *= fraction
    return _ramp(grid, prefactor)


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
    kJ/mol (1 bar = 0.06022 kJ/mol/nm^3).

    VOTCA takes row k of g(r) for r = k step. That holds only for grids that start at 0; for others the result
    equals VOTCA's, in which g(r) is read at the wrong distances.

    Args:
        pressure: of the simulation, bar.
        target: pressure aimed at, bar.
        kT: thermal energy, kJ/mol.
        grid: ``(min, step, max)`` of the interaction, its points, or a table on them, nm.
        density: number of beads per nm^3.
        rdf: current g(r).
        scale: factor applied last.
        max_A: largest |A| in units of kT, before `scale`.

    Raises:
        VotcaError: density or integral is not positive.
    """
    minimum, step, maximum = _range(grid)
    del minimum
    end = maximum / step
    if not density > 0:
        raise VotcaError(f"pressure_wjk: density = {density:g} must be positive; give the number of beads per nm^3")
    integral = 0.0
    k = 1
    while k < end:
        r = k * step
        integral += r * r * r * step * _row(rdf, k)
        k += 1
    integral += step / 2 * _row(rdf, int(end)) * maximum * maximum * maximum
    if integral == 0:
        raise VotcaError("pressure_wjk: the integral of r^3 g(r) is zero (all-zero histogram?); check g(r)")
    prefactor = -3 * maximum * (pressure - target) * BAR_TO_KJ_PER_MOL_NM3
    prefactor /= 2 * VOTCA_PI * density * density * integral
    prefactor = float(np.clip(prefactor, -max_A * kT, max_A * kT))
    return _ramp(grid, prefactor * scale)


def _row(rdf: Table, k: int) -> float:
    return float(rdf.y[k]) if k < len(rdf) else 0.0


def _range(grid: Grid | Table) -> tuple[float, float, float]:
    if isinstance(grid, str):
        minimum, step, maximum = (float(part) for part in grid.split(":"))
        return minimum, step, maximum
    if isinstance(grid, (tuple, list)) and len(grid) == 3:
        return float(grid[0]), float(grid[1]), float(grid[2])
    x = as_grid(grid)
    step = (x[-1] - x[0]) / (len(x) - 1)
    return float(x[0]), float(f"{step:.10g}"), float(x[-1])


def _ramp(grid: Grid | Table, prefactor: float) -> Table:
    x = as_grid(grid)
    return Table(x, prefactor * (1 - x / x[-1]))
