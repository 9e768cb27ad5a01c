"""Iterative hypernetted-chain inversion: one run per iteration, Newton-like convergence without covariances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.fft import dst

from asediff.engines import Engine
from asediff.fitting.api import FitJob, Method
from asediff.fitting.iterations import Iterations
from asediff.fitting.samples import Sample
from asediff.fitting.tabulated import (
    Core,
    FloatArray,
    PowerCore,
    boltzmann_start,
    first_sampled,
    get_table,
    given_tables,
    pair_targets,
    set_table,
    table_potential,
)
from asediff.observables import RDF
from asediff.potentials.pair import PairPotential
from asediff.targets import StatePoint


@dataclass(frozen=True)
class IHNC(Method):
    """du = kT [ln(g/g*) + (h* - h) - (c* - c)], c from the Ornstein-Zernike equation (arXiv:1806.11135).

    For one kind of atom at one state point. The RDF must reach well beyond the cutoff (about twice), since h(r) enters
    c(r) as a whole.

    Args:
        engine: samples the potential in each iteration.
        iterations: number of updates.
        step_size: factor of du.
        g_floor: g(r) below it enters the logarithm as the floor; rows where the target does not exceed it are the core.
        max_change: largest |du| of one iteration, kT.
        smallest_structure_factor: 1 + ρĥ(q) is not believed below this; noise at small q would make it negative.
        window_onset: h(r) is faded out from this fraction of the RDF's range to its end, where it would be cut off: the
            cut makes 1 + ρĥ(q) ring around its small true value at small q.
        smoothing: passes of the (1/4, 1/2, 1/4) filter over du.
        core: continued anew in each iteration.
        cutoff: of the potential, length; default half of the RDF's r_max.
        stop_within_noise: end when the target is met within the error bars of the run.
    """

    engine: Engine
    iterations: int = 5
    step_size: float = 1.0
    g_floor: float = 0.02
    max_change: float = 1.0
    smallest_structure_factor: float = 0.03
    window_onset: float = 0.5
    smoothing: int = 1
    core: Core = field(default_factory=PowerCore)
    cutoff: float | None = None
    stop_within_noise: bool = False

    def prepare(self, potential: PairPotential | None, state_points: Sequence[StatePoint]) -> PairPotential:
        """See `Method.prepare`."""
        if len(state_points) != 1 or len(state_points[0].targets) != 1:
            raise ValueError(
                "state_points: IHNC takes one state point with one RDF; use IMC or GaussNewton for several"
            )
        observable = state_points[0].targets[0].observable
        if len(state_points[0].system.numbers.unique()) != 1:
            raise ValueError("state_points: IHNC takes one kind of atom; use IMC or GaussNewton for mixtures")
        reach = getattr(observable, "r_max", 0.0)
        cutoff = self.cutoff if self.cutoff is not None else 0.5 * reach
        pairs = pair_targets(state_points, cutoff if potential is None else potential.cutoff)
        tables = None if potential is None else given_tables(potential, pairs)
        if tables is None:
            tables = [boltzmann_start(pairs[0], self.g_floor, self.core)]
        return table_potential(pairs, tables)

    def run(self, job: FitJob) -> str:
        """See `Method.run`."""
        (pair,) = pair_targets(job.state_points, job.potential.cutoff)
        point = job.state_points[0]
        if point.pressure is not None:
            job.notes.append("IHNC does not fit the pressure; use GaussNewton or IMC to reach it")
        target = point.targets[0]
        observable = target.observable
        assert isinstance(observable, RDF)
        centers = observable.centers.numpy()
        reference = target.reference.numpy()
        kT = float(point.kT)
        loop = Iterations(job, self.engine, self.iterations, stop_within_noise=self.stop_within_noise)
        first = first_sampled(pair.g, self.g_floor, pair.name)

        def update(iteration: int, samples: list[Sample]) -> Mapping[str, float]:  # noqa: ARG001
            g = samples[0].measurement.values[0].numpy()
            bridge = self._closure(centers, reference, point.density) - self._closure(centers, g, point.density)
            logarithm = np.log(np.maximum(g, self.g_floor) / np.maximum(reference, self.g_floor))
            change = kT * (logarithm + bridge)[: len(pair.r)]
            for _ in range(self.smoothing):
                change[1:-1] = 0.25 * change[:-2] + 0.5 * change[1:-1] + 0.25 * change[2:]
            change = np.clip(self.step_size * (change - change[-1]), -self.max_change * kT, self.max_change * kT)
            u = get_table(job.potential, pair) + change
            set_table(job.potential, pair, self.core.fill(pair.r, u - u[-1], first, kT))
            return {"largest_change": float(np.abs(change[first:]).max()) / kT}

        return loop.run(update)

    def _closure(self, r: FloatArray, g: FloatArray, density: float) -> FloatArray:
        """h - c on the given bins."""
        return total_minus_direct(r, g, density, self.smallest_structure_factor, onset=self.window_onset)


def total_minus_direct(
    r: FloatArray, g: FloatArray, density: float, smallest: float = 0.0, *, onset: float = 1.0
) -> FloatArray:
    """h(r) - c(r) of a g(r), by 3-D Fourier (sine) transforms: ĉ = ĥ/(1 + ρĥ).

    Args:
        r: `(n,)`, equidistant bin centres, length; g = 0 is assumed before the first.
        g: `(n,)`; it is taken to be 1 beyond the last.
        density: number density, 1/length³.
        smallest: lower bound of 1 + ρĥ.
        onset: h is multiplied by a cosine window that falls from 1 at this fraction of the last r to 0 there.

    Returns:
        `(n,)`.
    """
    step = float(r[-1] - r[0]) / (len(r) - 1)
    n_inside = round(r[-1] / step + 0.5)
    n = 3 * n_inside
    grid = (np.arange(n) + 0.5) * step
    h = np.where(grid <= grid[n_inside - 1], np.interp(grid, r, g, left=0.0) - 1.0, 0.0)
    if onset < 1.0:
        x = np.clip((grid / r[-1] - onset) / (1.0 - onset), 0.0, 1.0)
        h *= 0.5 * (1.0 + np.cos(np.pi * x))
    # r_k = (k + 1/2) Δr and q_j = (j + 1/2) π/(n Δr): the type-4 sine transform is its own inverse up to 2n.
    q = (np.arange(n) + 0.5) * np.pi / (n * step)
    h_q = 2.0 * np.pi * step / q * dst(h * grid, type=4)
    structure = np.maximum(1.0 + density * h_q, smallest)
    c_q = h_q / structure
    c = dst(c_q * q, type=4) * (np.pi / (n * step)) / (4.0 * np.pi**2 * grid)
    return np.asarray(np.interp(r, grid, h - c), dtype=np.float64)
