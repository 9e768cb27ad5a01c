"""Iterative Boltzmann inversion: du = kT ln(g/g_target), for one or several state points (doi:10.1002/jcc.10307)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

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
from asediff.potentials.base import Potential
from asediff.potentials.pair import PairPotential
from asediff.tabular.operators import add, initial_potential, shift_nonbonded, smooth, update_ibi_pot
from asediff.tabular.rows import Table
from asediff.tabular.tasks import Conditions, Task, apply_tasks, is_on
from asediff.targets.target import StatePoint


class UpdateRule(ABC):
    """How a table follows from the measured and the wanted g(r)."""

    @abstractmethod
    def start(self, pair: PairTargets) -> FloatArray:
        """First table, zero at the last row."""

    @abstractmethod
    def raw(self, pair: PairTargets, g: FloatArray, u: FloatArray) -> Table:
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
        """See `operators.initial_potential`."""
        self._check(pair)
        return initial_potential(Table(pair.r, pair.g[0]), float(pair.kT[0])).y

    def raw(self, pair: PairTargets, g: FloatArray, u: FloatArray) -> Table:
        """See `operators.update_ibi_pot`."""
        self._check(pair)
        target, current = Table(pair.r, pair.g[0]), Table(pair.r, g[0])
        update = update_ibi_pot(target, current, Table(pair.r, u), float(pair.kT[0]))
        return shift_nonbonded(update)

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

    def raw(self, pair: PairTargets, g: FloatArray, u: FloatArray) -> Table:
        """See the class."""
        measured, wanted = np.maximum(g, self.g_floor), np.maximum(pair.g, self.g_floor)
        change = (pair.weights[:, None] * pair.kT[:, None] * np.log(measured / wanted)).sum(0)
        limit = self.max_change * float(pair.kT.max())
        change = np.clip(self.step_size * change, -limit, limit)
        if self.taper:
            change *= 1.0 - pair.r / pair.cutoff
        first = first_sampled(pair.g, self.g_floor, pair.name)
        flags = np.where(np.arange(len(pair.r)) >= first, "i", "o")
        return smooth(Table(pair.r, change, flags), self.smoothing)

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

    def prepare(self, potential: Potential | None, state_points: Sequence[StatePoint]) -> PairPotential:
        """See `Method.prepare`."""
        pairs = pair_targets(state_points, self.cutoff if potential is None else potential.cutoff)
        for name in self.do_potential or {}:
            if name not in {p.name for p in pairs}:
                raise ValueError(f"do_potential: no pair {name}; choose from {', '.join(p.name for p in pairs)}")
        for _, target, rdf in (found for point in state_points for found in point.distributions()):
            if isinstance(self.update, VotcaUpdate) and rdf.grid.width != 0.0:
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
                if not is_on((self.do_potential or {}).get(pair.name, (1,)), iteration):
                    continue
                g, u = pair.of(values), get_table(job.potential, pair)
                conditions = Conditions(
                    iteration, float(point.kT), point.density, measurement.pressure, point.pressure, g[0]
                )
                change = apply_tasks(self.tasks, self.update.raw(pair, g, u), conditions)
                updated = add(Table(pair.r, u), change).y
                set_table(job.potential, pair, self.update.finish(pair, updated))
                largest = max(largest, float(np.abs(change.y[change.flag == "i"] / pair.kT.max()).max()))
            return {"largest_change": largest}

        return loop.run(update)
