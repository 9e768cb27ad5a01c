"""Tasks: what is done to an update du(r) before it is added, one after the other, in VOTCA's order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from asediff.tabular.operators import (
    add,
    extrapolate_potential,
    scale,
    shift_nonbonded,
    smooth,
    splinesmooth,
)
from asediff.tabular.rows import FloatArray, Table, VotcaError

Record = Callable[[str | None, Table], Table]
"""Called with the name of each intermediate table, or None for one without; what it returns is gone on with: the table
as a file would hold it, where one is written."""

BAR = 0.06022 * np.pi / 3.14159265
"""1 bar in kJ/mol/nm³ as VOTCA's wjk correction counts it, whose pi has nine digits."""


def unrecorded(_name: str | None, table: Table) -> Table:
    """The table, of which nothing is kept."""
    return table


@dataclass(frozen=True)
class Conditions:
    """What a task may need to know of the iteration.

    Attributes:
        iteration: number of updates before this one.
        kT: energy.
        density: of all atoms, 1/length³.
        pressure: measured, energy/length³ (or the unit that the tasks are told).
        pressure_target: the same unit, or None.
        g: measured g(r) on the rows of the table.
        record: is told each intermediate table.
    """

    iteration: int
    kT: float
    density: float
    pressure: float
    pressure_target: float | None
    g: FloatArray
    record: Record = unrecorded


def is_on(cycle: Sequence[int], iteration: int) -> bool:
    """Whether a repeating pattern such as ``1 0 0`` holds 1 in an iteration, counted from 0."""
    return cycle[iteration % len(cycle)] == 1


class Task(ABC):
    """A step that changes an update du(r) before it is added, in the order in which tasks are listed."""

    @abstractmethod
    def apply(self, update: Table, conditions: Conditions) -> Table:
        """The changed update."""


def apply_tasks(tasks: Sequence[Task], update: Table, conditions: Conditions) -> Table:
    """The update after all tasks, and a last shift to zero at its last row.

    Told to `conditions.record`: ``dpot.k`` before the k-th task, counted from 1, and ``dpot.new`` after it.
    """
    for k, task in enumerate((*tasks, Shift()), start=1):
        conditions.record(f"dpot.{k}", update)
        update = conditions.record("dpot.new", task.apply(update, conditions))
    return update


@dataclass(frozen=True)
class Shift(Task):
    """Subtract the last row, which becomes zero; done after all other tasks in any case."""

    def apply(self, update: Table, conditions: Conditions) -> Table:
        """See `operators.shift_nonbonded`."""
        return shift_nonbonded(update)


@dataclass(frozen=True)
class Scale(Task):
    """Multiply the update by a factor: the step size."""

    factor: float

    def apply(self, update: Table, conditions: Conditions) -> Table:
        """See `operators.scale`."""
        return scale(update, self.factor)


@dataclass(frozen=True)
class Smooth(Task):
    """Passes of the (1/4, 1/2, 1/4) filter over the sampled rows."""

    passes: int = 1

    def apply(self, update: Table, conditions: Conditions) -> Table:
        """See `operators.smooth`."""
        for _ in range(self.passes):
            update = conditions.record(None, smooth(update))
        return update


@dataclass(frozen=True)
class SplineSmooth(Task):
    """Replace the update by a least-squares cubic spline with knots every `step` (length)."""

    step: float

    def apply(self, update: Table, conditions: Conditions) -> Table:
        """See `operators.splinesmooth`."""
        return splinesmooth(update, self.step)


@dataclass(frozen=True)
class Extrapolate(Task):
    """Continue the update exponentially into the core, and as a constant to the right."""

    points: int = 5

    def apply(self, update: Table, conditions: Conditions) -> Table:
        """See `operators.extrapolate_potential`."""
        return extrapolate_potential(update, self.points)


class _PressureTask(Task):
    """Add A (1 - r/r_c) in the iterations where `cycle` holds 1."""

    cycle: tuple[int, ...]

    @abstractmethod
    def height(self, r: FloatArray, excess: float, conditions: Conditions) -> float:
        """A, for a pressure that is too large by `excess`."""

    def apply(self, update: Table, conditions: Conditions) -> Table:
        """See the class."""
        if not is_on(self.cycle, conditions.iteration):
            return update
        if conditions.pressure_target is None:
            raise ValueError("tasks: a pressure correction needs a target; give StatePoint(pressure=...)")
        excess, r = conditions.pressure - conditions.pressure_target, update.x
        ramp = Table(r, self.height(r, excess, conditions) * (1.0 - r / r[-1]))
        return add(update, conditions.record("pressure_correction", ramp))


@dataclass(frozen=True)
class SimplePressure(_PressureTask):
    """Add A (1 - r/r_c) with A = -sign(ΔP) max_A kT min(1, scale |ΔP|); needs `StatePoint(pressure=...)`.

    Args:
        scale: inverse of the pressure difference at which A is largest, length³/energy.
        max_A: largest |A|, in kT.
        cycle: the correction is made in iterations where this repeating pattern holds 1.
    """

    scale: float
    max_A: float = 0.1
    cycle: tuple[int, ...] = (1,)

    def height(self, r: FloatArray, excess: float, conditions: Conditions) -> float:
        """See the class."""
        return -float(np.sign(excess)) * self.max_A * conditions.kT * min(1.0, abs(self.scale * excess))


@dataclass(frozen=True)
class VirialPressure(_PressureTask):
    """Add A (1 - r/r_c), A from the virial (H. Wang, C. Junghans, K. Kremer, doi:10.1140/epje/i2008-10413-5).

    A = -3 r_c ΔP / (2π ρ² ∫ r³ g dr), limited to max_A kT, times `scale`. This is VOTCA's wjk, in the units of the
    potential.

    Args:
        scale: factor applied last.
        max_A: largest |A|, in kT, before `scale`.
        cycle: the correction is made in iterations where this repeating pattern holds 1.
        pressure_unit: of the pressures, energy/length³.
    """

    scale: float = 1.0
    max_A: float = 0.1
    cycle: tuple[int, ...] = (1,)
    pressure_unit: float = 1.0

    def height(self, r: FloatArray, excess: float, conditions: Conditions) -> float:
        """See the class.

        Raises:
            VotcaError: density or integral is not positive.
        """
        density, limit = conditions.density, self.max_A * conditions.kT
        if not density > 0:
            raise VotcaError(f"density = {density:g} must be positive; give the number of beads per volume")
        integral = float(np.trapezoid(r**3 * conditions.g, r))
        if integral == 0:
            raise VotcaError("g: the integral of r³ g(r) is zero (all-zero histogram?); check g(r)")
        height = -3.0 * r[-1] * excess * self.pressure_unit / (2.0 * np.pi * density**2 * integral)
        return self.scale * float(np.clip(height, -limit, limit))
