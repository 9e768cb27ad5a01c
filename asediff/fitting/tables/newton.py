"""Newton-type updates of tables: inverse Monte Carlo and Gauss-Newton, with cross terms between all pairs of species.

Both solve H x = b for the changes x of the free rows of all tables, b ∝ <difference to the targets>:

- IMC (doi:10.1103/PhysRevE.52.3730): H = Σ_s w_s β_s² Cov(n, n), b = Σ_s w_s β_s (<n> - n*), n the numbers of pairs in
  the rows. It is also Newton's step of the relative entropy.
- Gauss-Newton: H = Σ_s w_s JᵀWJ, b = -Σ_s w_s JᵀW (g - g*), J = dg/du = -β Cov(g, n), W = 1/(error² + floor²).

A wanted pressure enters as a constraint (dP/du)ᵀ x = P* - P.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asediff.checks.described import Doc
from asediff.engines import Engine
from asediff.fitting.api import FitJob, Method
from asediff.fitting.iterations import Iterations, comparison, run_lengths, worth_of_signal
from asediff.fitting.statistics.averages import PairFunction
from asediff.fitting.statistics.samples import Sample
from asediff.fitting.tables.hypernetted import check_prior, closure_response, closure_share, untargeted_pairs
from asediff.fitting.tables.regularization import Regularization, Smoothness
from asediff.fitting.tables.secant import Experience, Visit
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
    table_basis,
    table_potential,
)
from asediff.potentials.base import Potential
from asediff.potentials.pair import PairPotential
from asediff.targets.target import StatePoint


@dataclass(frozen=True, eq=False)
class NewtonProblem:
    """The linear problem of one update.

    Attributes:
        pairs: targets of each pair.
        free: rows of each table that are updated.
        basis: cardinal functions of the free rows.
        samples: of each state point.
        state_points: conditions.
        tables: u at the rows of all pairs, `(n_rows,)`; None where nothing is to be learnt from earlier steps.
        experience: of earlier steps.
    """

    pairs: Sequence[PairTargets]
    free: Sequence[NDArray[np.int64]]
    basis: PairFunction
    samples: Sequence[Sample]
    state_points: Sequence[StatePoint]
    tables: FloatArray | None = None
    experience: Experience | None = None

    @property
    def blocks(self) -> list[slice]:
        """Rows of each pair in the solution."""
        ends = np.cumsum([0, *(len(rows) for rows in self.free)])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    @property
    def columns(self) -> NDArray[np.int64]:
        """The free rows among the rows of all pairs, `(n,)`."""
        starts = np.cumsum([0, *(len(pair.r) for pair in self.pairs)])
        return np.concatenate([start + rows for start, rows in zip(starts, self.free, strict=False)])

    @property
    def step(self) -> float:
        """Distance of the rows in units of the cutoff."""
        return self.pairs[0].spacing / self.pairs[0].cutoff

    def point_weight(self, s: int) -> float:
        """Share of a state point."""
        return self.state_points[s].weight / sum(p.weight for p in self.state_points)


@dataclass(frozen=True)
class NewtonMethod(Method):
    """What IMC and Gauss-Newton share; use one of these."""

    engine: Annotated[Engine, Doc("samples the potential in each iteration")]
    iterations: Annotated[int, Doc("number of updates")] = 5
    regularization: Annotated[Regularization, Doc("of the linear problem")] = field(default_factory=Smoothness)
    step_size: Annotated[float, Doc("factor of the solution")] = 1.0
    trust_radius: Annotated[
        float, Doc("|du| min(1, g) exceeds this many kT in no row, and |du| four times as many in none")
    ] = 0.5
    g_floor: Annotated[float, Doc("rows where neither the target nor the run exceeds it belong to the core")] = 0.02
    core: Annotated[Core, Doc("continued anew in each iteration from the first sampled row")] = field(
        default_factory=PowerCore
    )
    damp_noise: Annotated[
        bool, Doc("shorten the change by the share of D that is noise of the run, 1 - D_noise/D (at least 0.2)")
    ] = True
    cross_terms: Annotated[
        bool, Doc("let g(r) of one pair of species change the potential of another; without, every pair stands alone")
    ] = True
    cutoff: Annotated[float | None, Doc("of the potential; default the last bin centre", unit="length")] = None
    stop_within_noise: Annotated[bool, Doc("end when all targets are met within the error bars of the runs")] = False
    growth: Annotated[
        float, Doc("each run is this many times longer than the one before, with `engine.steps` their mean")
    ] = 2.0
    prior_frames_per_row: Annotated[
        float, Doc("independent frames per row that the closure's response, which has no noise, counts for")
    ] = 4.0

    def __post_init__(self) -> None:
        for name in ("iterations", "step_size", "trust_radius", "g_floor"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive; give {name} > 0")
        run_lengths(self.iterations, self.growth)
        check_prior(self.prior_frames_per_row)

    @abstractmethod
    def equations(self, problem: NewtonProblem) -> tuple[FloatArray, FloatArray]:
        """H `(n, n)` and b `(n,)`."""

    def prior(self, problem: NewtonProblem, s: int) -> tuple[float, list[FloatArray]]:
        """Share of the closure in the response at state point s, and its dg/dx of each target, `(bins, n)`."""
        point, one = problem.state_points[s], problem.samples[s]
        share = closure_share(one, self.prior_frames_per_row, problem.blocks[-1].stop)
        if share == 0.0:
            return 0.0, []
        response = closure_response(point, [v.numpy() for v in one.measurement.values])
        jacobians = []
        for value, of in zip(one.measurement.values, response, strict=True):
            jacobian = np.zeros((len(value), problem.blocks[-1].stop))
            for pair, rows, block in zip(problem.pairs, problem.free, problem.blocks, strict=True):
                if pair.name in of:
                    jacobian[:, block] = of[pair.name][:, rows]
            jacobians.append(jacobian)
        return share, jacobians

    def jacobians(self, problem: NewtonProblem, s: int) -> list[FloatArray]:
        """dg/dx of each target of state point s, measured and by the closure, `(bins, n)`."""
        share, closure = self.prior(problem, s)
        if share == 1.0:
            return closure
        measured = [j.numpy() for j in problem.samples[s].statistics.response(problem.basis).values]
        if share == 0.0:
            return measured
        return [share * c + (1.0 - share) * m for c, m in zip(closure, measured, strict=True)]

    def prepare(self, potential: Potential | None, state_points: Sequence[StatePoint]) -> PairPotential:
        """See `Method.prepare`."""
        pairs = pair_targets(state_points, self.cutoff if potential is None else potential.cutoff)
        for point in state_points:
            missing = untargeted_pairs(point)
            if math.isinf(self.prior_frames_per_row) and missing:
                raise ValueError(
                    f"targets: {point.name} has no RDF of {', '.join(missing)}, which the closure needs; give one for "
                    "every pair of species there, or use GaussNewton"
                )
        tables = None if potential is None else given_tables(potential, pairs)
        if tables is None:
            tables = [boltzmann_start(pair, self.g_floor, self.core) for pair in pairs]
        return table_potential(pairs, tables)

    def run(self, job: FitJob) -> str:
        """See `Method.run`."""
        pairs = pair_targets(job.state_points, job.potential.cutoff)
        loop = Iterations(
            job,
            self.engine,
            self.iterations,
            stop_within_noise=self.stop_within_noise,
            growth=self.growth,
            cautious=True,
        )

        def update(iteration: int, samples: list[Sample]) -> Mapping[str, float]:  # noqa: ARG001
            values = [s.measurement.values for s in samples]
            free = [free_rows(pair, pair.of(values), self.g_floor) for pair in pairs]
            tables = np.concatenate([get_table(job.potential, pair) for pair in pairs])
            experience = Experience(loop.memory.get("experience"))
            basis = table_basis(pairs, free)
            problem = NewtonProblem(pairs, free, basis, samples, job.state_points, tables, experience)
            change = self._solve(problem)
            loop.memory["experience"] = experience.state()
            kT = min(float(p.kT) for p in job.state_points)
            weights = [np.clip(pair.g.max(0)[rows], 0.25, 1.0) for pair, rows in zip(pairs, free, strict=True)]
            largest = float((np.abs(change) * np.concatenate(weights)).max()) / kT
            shortened = min(1.0, self.trust_radius / largest) if largest > 0 else 1.0
            if self.damp_noise:
                row = comparison(job.state_points, [s.measurement for s in samples])
                shortened *= worth_of_signal(row["D"], row["D_noise"])
            for pair, rows, block in zip(pairs, free, problem.blocks, strict=True):
                self._add(job.potential, pair, rows, shortened * self.step_size * change[block])
            return {"largest_change": largest, "shortened": shortened}

        return loop.run(update)

    def _solve(self, problem: NewtonProblem) -> FloatArray:
        matrix, right = self.equations(problem)
        if not np.trace(matrix) > 0:
            raise ValueError(
                "potential: no pair was found at any distance that the targets allow, so the runs tell nothing; "
                "check the start potential and the targets"
            )
        if not self.cross_terms:
            matrix = _block_diagonal(matrix, problem.blocks)
        constraints = [
            (s.statistics.response(problem.basis).pressure.numpy(), float(p.pressure) - s.measurement.pressure)
            for s, p in zip(problem.samples, problem.state_points, strict=True)
            if p.pressure is not None
        ]
        columns = np.stack([right, *(c for c, _ in constraints)], axis=1)
        solved = self.regularization.solve(matrix, columns, problem.blocks, problem.step)
        change = solved[:, 0]
        if constraints:
            directions = np.stack([c for c, _ in constraints])
            missing = np.array([d for _, d in constraints]) - directions @ change
            change = change + solved[:, 1:] @ np.linalg.lstsq(directions @ solved[:, 1:], missing, rcond=1e-10)[0]
        return np.asarray(change)

    def _add(self, potential: Potential, pair: PairTargets, rows: NDArray[np.int64], change: FloatArray) -> None:
        u = get_table(potential, pair)
        u[rows] += change
        u[: rows[0]] += change[0]
        set_table(potential, pair, self.core.fill(pair.r, u, int(rows[0]), float(pair.kT.max())))


def _block_diagonal(matrix: FloatArray, blocks: Sequence[slice]) -> FloatArray:
    kept = np.zeros_like(matrix)
    for block in blocks:
        kept[block, block] = matrix[block, block]
    return kept


def free_rows(pair: PairTargets, g: FloatArray, floor: float) -> NDArray[np.int64]:
    """Rows from the first sampled one to the last but one; the last row is zero by definition."""
    first = first_sampled(np.concatenate([pair.g, g]), floor, pair.name)
    return np.arange(first, len(pair.r) - 1)


@dataclass(frozen=True)
class IMC(NewtonMethod):
    """Inverse Monte Carlo: Newton's method with the covariance of the numbers of pairs, cross terms included.

    Bins beyond the cutoff, which no row stands for, enter as Σ (n - n*)²/(2 n_ideal), their Poisson likelihood, beside
    the relative entropy. See `NewtonMethod` for the other arguments.
    """

    kind: ClassVar[str] = "imc"
    beyond_cutoff: Annotated[bool, Doc("let the bins beyond the cutoff count")] = True

    def equations(self, problem: NewtonProblem) -> tuple[FloatArray, FloatArray]:
        """See `NewtonMethod.equations`."""
        n = problem.blocks[-1].stop
        matrix, right = np.zeros((n, n)), np.zeros(n)
        for s, (one, point) in enumerate(zip(problem.samples, problem.state_points, strict=True)):
            weight, beta = problem.point_weight(s), 1.0 / float(point.kT)
            share, closure = self.prior(problem, s)
            inner = np.zeros((n, n))
            if share < 1.0:
                inner += (1.0 - share) * beta**2 * one.statistics.covariance(problem.basis).numpy()
            jacobians = self.jacobians(problem, s) if self.beyond_cutoff else []
            known = {t: (target, rdf.ideal_counts(point.system).numpy()) for t, target, rdf in point.distributions()}
            for pair, rows, block in zip(problem.pairs, problem.free, problem.blocks, strict=True):
                for t in (t for p, t in zip(pair.points, pair.targets, strict=True) if p == s):
                    target, ideal = known[t]
                    difference = (one.measurement.values[t] - target.reference).numpy()
                    right[block] += weight * beta * (ideal * difference)[rows]
                    if share > 0.0:
                        by_closure = -beta * ideal[rows, None] * closure[t][rows]
                        inner[block] += 0.5 * share * by_closure
                        inner[:, block] += 0.5 * share * by_closure.T
                    if self.beyond_cutoff:
                        outer = jacobians[t][len(pair.r) :]
                        weighted = weight * ideal[len(pair.r) :, None] * outer
                        matrix += weighted.T @ outer
                        right -= weighted.T @ difference[len(pair.r) :]
            matrix += weight * inner
        return matrix, right


@dataclass(frozen=True)
class GaussNewton(NewtonMethod):
    """Weighted least squares in g(r), linearised with J = dg/du; several state points, pressure constraint.

    See `NewtonMethod` for the other arguments. Like the bins within, those beyond the cutoff count.
    """

    kind: ClassVar[str] = "gauss_newton"
    error_floor: Annotated[float, Doc("smallest standard error of g(r) that is believed")] = 0.02
    secant: Annotated[
        bool, Doc("correct J by how g(r) changed before (Broyden): the closure is poor, a measured J noisy")
    ] = True

    def equations(self, problem: NewtonProblem) -> tuple[FloatArray, FloatArray]:
        """See `NewtonMethod.equations`."""
        n = problem.blocks[-1].stop
        matrix, right = np.zeros((n, n)), np.zeros(n)
        jacobians = [self.jacobians(problem, s) for s in range(len(problem.samples))]
        if self.secant:
            jacobians = self._instructed(problem, jacobians)
        for s, (one, point) in enumerate(zip(problem.samples, problem.state_points, strict=True)):
            for t, (target, jacobian) in enumerate(zip(point.targets, jacobians[s], strict=True)):
                weight = problem.point_weight(s) * target.weight / len(point.targets)
                precision = (weight / self._variance(one, t, target.error)).numpy()
                matrix += jacobian.T @ (precision[:, None] * jacobian)
                right -= jacobian.T @ (precision * (one.measurement.values[t] - target.reference).numpy())
        return matrix, right

    def _instructed(self, problem: NewtonProblem, jacobians: list[list[FloatArray]]) -> list[list[FloatArray]]:
        """The response corrected by the experience of earlier steps, to which the last one is added."""
        if problem.experience is None or problem.tables is None:
            return jacobians
        measured = [one.measurement for one in problem.samples]
        columns = torch.from_numpy(problem.columns)
        here = Visit(
            tables=torch.from_numpy(problem.tables),
            columns=columns,
            values=[[v.to(torch.float64) for v in m.values] for m in measured],
            errors=[[e.to(torch.float64) for e in m.errors] for m in measured],
            jacobians=[[torch.from_numpy(j) for j in of] for of in jacobians],
        )
        problem.experience.learn(here)
        return [
            [j.numpy() for j in problem.experience.corrected(of, columns, s, self.error_floor)]
            for s, of in enumerate(here.jacobians)
        ]

    def _variance(self, one: Sample, t: int, reference_error: Tensor | None) -> Tensor:
        variance = one.measurement.errors[t].to(torch.float64) ** 2 + self.error_floor**2
        return variance if reference_error is None else variance + reference_error**2
