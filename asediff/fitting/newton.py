"""Newton-type updates of tables: inverse Monte Carlo and Gauss-Newton, with cross terms between all pairs of species.

Both solve H x = b for the changes x of the free rows of all tables, b ∝ <difference to the targets>:

- IMC (doi:10.1103/PhysRevE.52.3730): H = Σ_s w_s β_s² Cov(n, n), b = Σ_s w_s β_s (<n> - n*), n the numbers of pairs in
  the rows. It is also Newton's step of the relative entropy.
- Gauss-Newton: H = Σ_s w_s JᵀWJ, b = -Σ_s w_s JᵀW (g - g*), J = dg/du = -β Cov(g, n), W = 1/(error² + floor²).

A wanted pressure enters as a constraint (dP/du)ᵀ x = P* - P.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asediff.engines import Engine
from asediff.fitting.api import FitJob, Method
from asediff.fitting.averages import PairFunction, ideal_counts
from asediff.fitting.iterations import Iterations, comparison
from asediff.fitting.samples import Sample
from asediff.fitting.tabulated import (
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
from asediff.observables import RDF
from asediff.potentials.pair import PairPotential
from asediff.targets import StatePoint


class Regularization(ABC):
    """Keeps directions that the data do not determine from following the noise."""

    @abstractmethod
    def solve(self, matrix: FloatArray, right: FloatArray, blocks: Sequence[slice], step: float) -> FloatArray:
        """x of H x = b, regularised.

        Args:
            matrix: `(n, n)`, H, symmetric and not negative.
            right: `(n, m)`, one or several b.
            blocks: the rows of each pair.
            step: distance of the rows in units of the cutoff.
        """


@dataclass(frozen=True)
class Tikhonov(Regularization):
    """Add strength x mean(diag H) to the diagonal of H."""

    strength: float = 1e-2

    def solve(self, matrix: FloatArray, right: FloatArray, blocks: Sequence[slice], step: float) -> FloatArray:
        """See `Regularization.solve`."""
        scale = self.strength * float(np.diag(matrix).mean())
        return np.asarray(np.linalg.solve(matrix + scale * np.eye(len(matrix)), right), dtype=np.float64)


@dataclass(frozen=True)
class TruncatedSVD(Regularization):
    """Leave out the directions whose singular value is below `fraction` of the largest."""

    fraction: float = 1e-3

    def solve(self, matrix: FloatArray, right: FloatArray, blocks: Sequence[slice], step: float) -> FloatArray:
        """See `Regularization.solve`."""
        values, vectors = np.linalg.eigh(matrix)
        kept = values > self.fraction * values[-1]
        basis = vectors[:, kept]
        return np.asarray(basis @ ((basis.T @ right) / values[kept][:, None]))


@dataclass(frozen=True)
class Smoothness(Regularization):
    """Penalty on the curvature of the change, strength x mean(diag H) x ℓ⁴ (x'')², beside a small Tikhonov term.

    Args:
        strength: of the penalty.
        length: ℓ, as a fraction of the cutoff: changes that bend over shorter distances are suppressed.
        ridge: strength of the Tikhonov term.
    """

    strength: float = 3e-3
    length: float = 0.05
    ridge: float = 1e-3

    def solve(self, matrix: FloatArray, right: FloatArray, blocks: Sequence[slice], step: float) -> FloatArray:
        """See `Regularization.solve`; the last row of each block is followed by the zero at the cutoff."""
        scale = float(np.diag(matrix).mean())
        penalty = self.ridge * np.eye(len(matrix))
        for block in blocks:
            n = block.stop - block.start
            second = np.diff(np.eye(n + 1), n=2, axis=0)[:, :n]
            penalty[block, block] += self.strength * (self.length / step) ** 4 * second.T @ second
        return np.asarray(np.linalg.solve(matrix + scale * penalty, right), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class NewtonProblem:
    """The linear problem of one update.

    Attributes:
        pairs: targets of each pair.
        free: rows of each table that are updated.
        basis: cardinal functions of the free rows.
        samples: of each state point.
        state_points: conditions.
    """

    pairs: Sequence[PairTargets]
    free: Sequence[NDArray[np.int64]]
    basis: PairFunction
    samples: Sequence[Sample]
    state_points: Sequence[StatePoint]

    @property
    def blocks(self) -> list[slice]:
        """Rows of each pair in the solution."""
        ends = np.cumsum([0, *(len(rows) for rows in self.free)])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    @property
    def step(self) -> float:
        """Distance of the rows in units of the cutoff."""
        return self.pairs[0].spacing / self.pairs[0].cutoff

    def point_weight(self, s: int) -> float:
        """Share of a state point."""
        return self.state_points[s].weight / sum(p.weight for p in self.state_points)


@dataclass(frozen=True)
class NewtonMethod(Method):
    """What IMC and Gauss-Newton share; use one of these.

    Args:
        engine: samples the potential in each iteration.
        iterations: number of updates.
        regularization: of the linear problem.
        step_size: factor of the solution.
        trust_radius: the change is scaled down so that |du| min(1, g) exceeds this many kT in no row: the core may move
            further than the shells of the liquid, but not by more than four times as much.
        g_floor: rows where neither the target nor the run exceeds it belong to the core.
        core: continued anew in each iteration from the first sampled row.
        damp_noise: shorten the change by the share of D that is noise of the run, 1 - D_noise/D (at least 0.2): full
            steps far from the targets, averaging over runs close to them.
        cross_terms: let g(r) of one pair of species change the potential of another; without, every pair stands alone.
        cutoff: of the potential, length; default the last bin centre.
        stop_within_noise: end when all targets are met within the error bars of the runs.
    """

    engine: Engine
    iterations: int = 5
    regularization: Regularization = field(default_factory=Smoothness)
    step_size: float = 1.0
    trust_radius: float = 0.5
    g_floor: float = 0.02
    core: Core = field(default_factory=PowerCore)
    damp_noise: bool = True
    cross_terms: bool = True
    cutoff: float | None = None
    stop_within_noise: bool = False

    def __post_init__(self) -> None:
        for name in ("iterations", "step_size", "trust_radius", "g_floor"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive; give {name} > 0")

    @abstractmethod
    def equations(self, problem: NewtonProblem) -> tuple[FloatArray, FloatArray]:
        """H `(n, n)` and b `(n,)`."""

    def prepare(self, potential: PairPotential | None, state_points: Sequence[StatePoint]) -> PairPotential:
        """See `Method.prepare`."""
        pairs = pair_targets(state_points, self.cutoff if potential is None else potential.cutoff)
        tables = None if potential is None else given_tables(potential, pairs)
        if tables is None:
            tables = [boltzmann_start(pair, self.g_floor, self.core) for pair in pairs]
        return table_potential(pairs, tables)

    def run(self, job: FitJob) -> str:
        """See `Method.run`."""
        pairs = pair_targets(job.state_points, job.potential.cutoff)
        loop = Iterations(job, self.engine, self.iterations, stop_within_noise=self.stop_within_noise)

        def update(iteration: int, samples: list[Sample]) -> Mapping[str, float]:  # noqa: ARG001
            values = [s.measurement.values for s in samples]
            free = [free_rows(pair, pair.of(values), self.g_floor) for pair in pairs]
            problem = NewtonProblem(pairs, free, table_basis(pairs, free), samples, job.state_points)
            change = self._solve(problem)
            kT = min(float(p.kT) for p in job.state_points)
            weights = [np.clip(pair.g.max(0)[rows], 0.25, 1.0) for pair, rows in zip(pairs, free, strict=True)]
            largest = float((np.abs(change) * np.concatenate(weights)).max()) / kT
            shortened = min(1.0, self.trust_radius / largest) if largest > 0 else 1.0
            if self.damp_noise:
                row = comparison(job.state_points, [s.measurement for s in samples])
                shortened *= max(0.2, 1.0 - row["D_noise"] / max(row["D"], 1e-300))
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

    def _add(self, potential: PairPotential, pair: PairTargets, rows: NDArray[np.int64], change: FloatArray) -> None:
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

    Needs several times more frames than rows. See `NewtonMethod` for the arguments.
    """

    def equations(self, problem: NewtonProblem) -> tuple[FloatArray, FloatArray]:
        """See `NewtonMethod.equations`."""
        blocks = problem.blocks
        matrix = np.zeros((blocks[-1].stop, blocks[-1].stop))
        right = np.zeros(blocks[-1].stop)
        for s, (one, point) in enumerate(zip(problem.samples, problem.state_points, strict=True)):
            weight, beta = problem.point_weight(s), 1.0 / float(point.kT)
            matrix += weight * beta**2 * one.statistics.covariance(problem.basis).numpy()
            for pair, rows, block in zip(problem.pairs, problem.free, blocks, strict=True):
                for p, t in zip(pair.points, pair.targets, strict=True):
                    if p != s:
                        continue
                    target = point.targets[t]
                    assert isinstance(target.observable, RDF)
                    excess = (one.measurement.values[t] - target.reference) * ideal_counts(
                        target.observable, point.system
                    )
                    right[block] += weight * beta * excess.numpy()[rows]
        return matrix, right


@dataclass(frozen=True)
class GaussNewton(NewtonMethod):
    """Weighted least squares in g(r), linearised with J = dg/du; several state points, pressure constraint.

    Args:
        error_floor: smallest standard error of g(r) that is believed.

    See `NewtonMethod` for the other arguments. Unlike IMC it also uses bins beyond the cutoff.
    """

    error_floor: float = 0.02

    def equations(self, problem: NewtonProblem) -> tuple[FloatArray, FloatArray]:
        """See `NewtonMethod.equations`."""
        n = problem.blocks[-1].stop
        matrix, right = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        for s, (one, point) in enumerate(zip(problem.samples, problem.state_points, strict=True)):
            response = one.statistics.response(problem.basis)
            for t, target in enumerate(point.targets):
                weight = problem.point_weight(s) * target.weight / len(point.targets)
                precision = weight / self._variance(one, t, target.error)
                jacobian = response.values[t]
                matrix += jacobian.T @ (precision[:, None] * jacobian)
                right -= jacobian.T @ (precision * (one.measurement.values[t] - target.reference))
        return matrix.numpy(), right.numpy()

    def _variance(self, one: Sample, t: int, reference_error: Tensor | None) -> Tensor:
        variance = one.measurement.errors[t].to(torch.float64) ** 2 + self.error_floor**2
        return variance if reference_error is None else variance + reference_error**2
