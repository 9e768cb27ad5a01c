"""Iterative Boltzmann inversion: du = kT ln(g/g_target), for one or several state points (doi:10.1002/jcc.10307)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from asediff import votca
from asediff.checks.described import Doc
from asediff.engines import Engine
from asediff.fitting.api import FitJob, Method
from asediff.fitting.iterations import Iterations
from asediff.fitting.statistics.samples import Sample
from asediff.fitting.tables.tabulated import (
    Core,
    FloatArray,
    PairTargets,
    PowerCore,
    boltzmann_start,
    first_sampled,
    get_table,
    given_tables,
    pair_targets,
    set_table,
    table_potential,
)
from asediff.potentials.pair import PairPotential
from asediff.targets.target import StatePoint


@dataclass(frozen=True)
class Conditions:
    """What a task may need to know of the iteration.

    Attributes:
        iteration: number of updates before this one.
        kT: energy.
        density: of all atoms, 1/length³.
        pressure: measured, energy/length³.
        pressure_target: energy/length³, or None.
        g: measured g(r) on the rows of the table.
    """

    iteration: int
    kT: float
    density: float
    pressure: float
    pressure_target: float | None
    g: FloatArray


class Task(ABC):
    """A step that changes an update du(r) before it is added, in the order in which tasks are listed."""

    @abstractmethod
    def apply(self, update: votca.Table, conditions: Conditions) -> votca.Table:
        """The changed update."""


@dataclass(frozen=True)
class Scale(Task):
    """Multiply the update by a factor: the step size."""

    factor: float

    def apply(self, update: votca.Table, conditions: Conditions) -> votca.Table:
        """See `votca.scale`."""
        return votca.scale(update, self.factor)


@dataclass(frozen=True)
class Smooth(Task):
    """Passes of the (1/4, 1/2, 1/4) filter over the sampled rows."""

    passes: int = 1

    def apply(self, update: votca.Table, conditions: Conditions) -> votca.Table:
        """See `votca.smooth`."""
        return votca.smooth(update, self.passes)


@dataclass(frozen=True)
class SplineSmooth(Task):
    """Replace the update by a least-squares cubic spline with knots every `step` (length)."""

    step: float

    def apply(self, update: votca.Table, conditions: Conditions) -> votca.Table:
        """See `votca.splinesmooth`."""
        return votca.splinesmooth(update, self.step)


@dataclass(frozen=True)
class Extrapolate(Task):
    """Continue the update exponentially into the core, and as a constant to the right."""

    points: int = 5

    def apply(self, update: votca.Table, conditions: Conditions) -> votca.Table:
        """See `votca.extrapolate`."""
        left = votca.extrapolate(update, "exponential", "left", self.points)
        return votca.extrapolate(left, "constant", "right", self.points)


@dataclass(frozen=True)
class SimplePressure(Task):
    """Add A (1 - r/r_c) with A = -sign(ΔP) max_A kT min(1, scale |ΔP|); needs `StatePoint(pressure=...)`.

    Args:
        scale: inverse of the pressure difference at which A is largest, length³/energy.
        max_A: largest |A|, in kT.
        cycle: the correction is made in iterations where this repeating pattern holds 1.
    """

    scale: float
    max_A: float = 0.1
    cycle: tuple[int, ...] = (1,)

    def apply(self, update: votca.Table, conditions: Conditions) -> votca.Table:
        """See `votca.pressure_simple`."""
        if not self.cycle[conditions.iteration % len(self.cycle)]:
            return update
        target = _wanted_pressure(conditions)
        ramp = votca.pressure_simple(conditions.pressure, target, conditions.kT, update, self.scale, self.max_A)
        return votca.add(update, ramp)


@dataclass(frozen=True)
class VirialPressure(Task):
    """Add A (1 - r/r_c), A from the virial (H. Wang, C. Junghans, K. Kremer, doi:10.1140/epje/i2008-10413-5).

    A = -3 r_c ΔP / (2π ρ² ∫ r³ g dr), limited to max_A kT, times `scale`. Like `votca.pressure_wjk`, in the units
    of the potential and with g(r) read at its own distances.
    """

    scale: float = 1.0
    max_A: float = 0.1
    cycle: tuple[int, ...] = (1,)

    def apply(self, update: votca.Table, conditions: Conditions) -> votca.Table:
        """See the class."""
        if not self.cycle[conditions.iteration % len(self.cycle)]:
            return update
        excess = conditions.pressure - _wanted_pressure(conditions)
        r = update.x
        integral = float(np.trapezoid(r**3 * conditions.g, r))
        height = -3.0 * r[-1] * excess / (2.0 * np.pi * conditions.density**2 * integral)
        limit = self.max_A * conditions.kT
        ramp = votca.Table(r, self.scale * float(np.clip(height, -limit, limit)) * (1.0 - r / r[-1]))
        return votca.add(update, ramp)


def _wanted_pressure(conditions: Conditions) -> float:
    if conditions.pressure_target is None:
        raise ValueError("tasks: a pressure correction needs a target; give StatePoint(pressure=...)")
    return conditions.pressure_target


class UpdateRule(ABC):
    """How a table follows from the measured and the wanted g(r)."""

    @abstractmethod
    def start(self, pair: PairTargets) -> FloatArray:
        """First table, zero at the last row."""

    @abstractmethod
    def raw(self, pair: PairTargets, g: FloatArray, u: FloatArray) -> votca.Table:
        """Update du from the measured g `(n_points, n_rows)`; sampled rows are flagged i."""

    @abstractmethod
    def finish(self, pair: PairTargets, u: FloatArray) -> FloatArray:
        """The table after the update was added."""


@dataclass(frozen=True)
class VotcaUpdate(UpdateRule):
    """The rule of VOTCA 2022.1, to the last digit.

    Rows count as sampled where both g(r) exceed 1e-10; other rows take the du of their neighbour on the side of the
    peak, so the core is lifted or lowered rigidly and its shape stays that of the Boltzmann inversion. With fine bins
    the few pairs of the innermost bin move the whole core: `SafeUpdate` avoids that. One state point only.
    """

    kind: ClassVar[str] = "votca"

    def start(self, pair: PairTargets) -> FloatArray:
        """See `votca.initial_potential`."""
        self._check(pair)
        return votca.initial_potential(votca.Table(pair.r, pair.g[0]), float(pair.kT[0])).y

    def raw(self, pair: PairTargets, g: FloatArray, u: FloatArray) -> votca.Table:
        """See `votca.update_ibi_pot`."""
        self._check(pair)
        target, current = votca.Table(pair.r, pair.g[0]), votca.Table(pair.r, g[0])
        update = votca.update_ibi_pot(target, current, votca.Table(pair.r, u), float(pair.kT[0]))
        return votca.shift_nonbonded(update)

    def finish(self, pair: PairTargets, u: FloatArray) -> FloatArray:
        """Unchanged."""
        return u

    def _check(self, pair: PairTargets) -> None:
        if len(pair.points) != 1:
            raise ValueError(
                f"state_points: {len(pair.points)} of them, but VOTCA's rule knows one; use IBI(update=SafeUpdate())"
            )


@dataclass(frozen=True)
class SafeUpdate(UpdateRule):
    """du = Σ_s w_s α(r) kT_s ln(g_s/g_s*), for any number of state points, robust against empty bins."""

    kind: ClassVar[str] = "safe"
    step_size: Annotated[float, Doc("factor of du")] = 1.0
    g_floor: Annotated[
        float, Doc("g(r) below it enters as the floor; rows where neither curve exceeds it are the core")
    ] = 0.02
    max_change: Annotated[float, Doc("largest |du| of one iteration, kT")] = 1.0
    smoothing: Annotated[int, Doc("passes of the (1/4, 1/2, 1/4) filter over du")] = 1
    taper: Annotated[bool, Doc("let the step fall linearly to zero at the cutoff, as in multistate IBI")] = False
    core: Annotated[Core, Doc("continued anew in each iteration from the first sampled row")] = field(
        default_factory=PowerCore
    )

    def __post_init__(self) -> None:
        for name in ("step_size", "g_floor", "max_change"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive; give {name} > 0")

    def start(self, pair: PairTargets) -> FloatArray:
        """Weighted mean of -kT ln g, with the core."""
        return boltzmann_start(pair, self.g_floor, self.core)

    def raw(self, pair: PairTargets, g: FloatArray, u: FloatArray) -> votca.Table:
        """See the class."""
        measured, wanted = np.maximum(g, self.g_floor), np.maximum(pair.g, self.g_floor)
        change = (pair.weights[:, None] * pair.kT[:, None] * np.log(measured / wanted)).sum(0)
        limit = self.max_change * float(pair.kT.max())
        change = np.clip(self.step_size * change, -limit, limit)
        if self.taper:
            change *= 1.0 - pair.r / pair.cutoff
        first = first_sampled(pair.g, self.g_floor, pair.name)
        flags = np.where(np.arange(len(pair.r)) >= first, "i", "o")
        return votca.smooth(votca.Table(pair.r, change, flags), self.smoothing)

    def finish(self, pair: PairTargets, u: FloatArray) -> FloatArray:
        """Continue the core from the first sampled row."""
        first = first_sampled(pair.g, self.g_floor, pair.name)
        return self.core.fill(pair.r, u - u[-1], first, float(pair.kT.max()))


@dataclass(frozen=True)
class IBI(Method):
    """Iterative Boltzmann inversion of tables whose rows are the bins of the target g(r).

    Starts from the Boltzmann inversion of the targets, or from the given potential when it is tabulated.
    """

    kind: ClassVar[str] = "ibi"
    engine: Annotated[Engine, Doc("samples the potential in each iteration")]
    iterations: Annotated[int, Doc("number of updates")] = 10
    update: Annotated[
        UpdateRule,
        Doc("`SafeUpdate()`, or `VotcaUpdate()` with `RDF(..., width=0)` whose bin centres are VOTCA's grid"),
    ] = field(default_factory=SafeUpdate)
    tasks: Annotated[
        tuple[Task, ...],
        Doc("changes of du before it is added, in this order: `Scale`, `Smooth`, `SimplePressure`, ..."),
    ] = ()
    do_potential: Annotated[
        Mapping[str, Sequence[int]] | None,
        Doc("pair name -> repeating pattern of 1 and 0: iterations in which its table is updated"),
    ] = None
    cutoff: Annotated[float | None, Doc("of the potential; default the last bin centre", unit="length")] = None
    stop_within_noise: Annotated[bool, Doc("end when all targets are met within the error bars of the runs")] = False

    def prepare(self, potential: PairPotential | None, state_points: Sequence[StatePoint]) -> PairPotential:
        """See `Method.prepare`."""
        pairs = pair_targets(state_points, self.cutoff if potential is None else potential.cutoff)
        for name in self.do_potential or {}:
            if name not in {p.name for p in pairs}:
                raise ValueError(f"do_potential: no pair {name}; choose from {', '.join(p.name for p in pairs)}")
        for target in (t for point in state_points for t in point.targets):
            if isinstance(self.update, VotcaUpdate) and getattr(target.observable, "width", 0) != 0:
                raise ValueError(
                    f"targets: {target.name} is smeared by a kernel, whose tails VOTCA's rule takes for samples; use "
                    "RDF(..., width=0)"
                )
        tables = None if potential is None else given_tables(potential, pairs)
        return table_potential(pairs, [self.update.start(p) for p in pairs] if tables is None else tables)

    def run(self, job: FitJob) -> str:
        """See `Method.run`."""
        pairs = pair_targets(job.state_points, job.potential.cutoff)
        loop = Iterations(job, self.engine, self.iterations, stop_within_noise=self.stop_within_noise)

        def update(iteration: int, samples: list[Sample]) -> Mapping[str, float]:
            values = [s.measurement.values for s in samples]
            point, measurement = job.state_points[0], samples[0].measurement
            largest = 0.0
            for pair in pairs:
                pattern = (self.do_potential or {}).get(pair.name, (1,))
                if not pattern[iteration % len(pattern)]:
                    continue
                g, u = pair.of(values), get_table(job.potential, pair)
                change = self.update.raw(pair, g, u)
                conditions = Conditions(
                    iteration, float(point.kT), point.density, measurement.pressure, point.pressure, g[0]
                )
                for task in self.tasks:
                    change = task.apply(change, conditions)
                change = votca.shift_nonbonded(change)
                updated = votca.add(votca.Table(pair.r, u), change).y
                set_table(job.potential, pair, self.update.finish(pair, updated))
                largest = max(largest, float(np.abs(change.y[change.flag == "i"] / pair.kT.max()).max()))
            return {"largest_change": largest}

        return loop.run(update)
