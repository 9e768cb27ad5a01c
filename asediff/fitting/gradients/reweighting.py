"""Reweighting: many optimiser steps per MD run, for any potential, by the covariance formula.

Frames of one run get the weights w_f ∝ exp(-β [U_θ(x_f) - U_0(x_f)]); averages under them, and their gradients in θ,
are exact for the frames at hand. A new run is made when the effective number of frames exp(-Σ w ln w) falls
(doi:10.1038/s41467-021-27241-4). For pair potentials U is Σ_b n_b u(r_b) of stored pair histograms, which costs
nothing; for others it is the energy of each frame, evaluated at every step.
"""

from __future__ import annotations

import copy
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from asediff.checks.described import Doc
from asediff.engines import Engine
from asediff.fitting.api import FitJob, Method, trainable
from asediff.fitting.gradients.pretrain import BoltzmannPretraining
from asediff.fitting.iterations import Iterations, run_lengths, worth_of_signal
from asediff.fitting.statistics.averages import Averages, Statistics
from asediff.fitting.statistics.frames import check_single_frames
from asediff.fitting.statistics.samples import Sample, statistics_of
from asediff.fitting.tables.hypernetted import ClosureChange, check_prior, closure_share, untargeted_pairs
from asediff.potentials.base import Potential
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory

View = Any
"""The potential as the statistics of a state point take it (`Statistics.view`): u(r), or the energies of frames."""
Objective = Callable[[Sequence[Averages], Sequence[View]], Tensor]
"""What the inner steps minimise: a function of the reweighted averages and of the potential's views, `()`."""

MAX_HALVINGS = 4


class Expansion(ABC):
    """How averages under the changed potential follow from the frames of the last run."""

    linear: bool

    @abstractmethod
    def averages(self, one: Sample, u0: View) -> Callable[[View], Averages]:
        """Averages of a run's targets as a function of the potential; `u0` is that of the run."""

    def keeps(self, efficiency: float) -> bool:
        """Whether the frames still count; a new run is due when not."""
        return True

    def penalty(self, statistics: Sequence[Statistics], curves: Sequence[View]) -> Tensor:
        """Added to the objective, `()`."""
        return torch.zeros((), dtype=torch.float64)


@dataclass(frozen=True)
class ExactWeights(Expansion):
    """Weights exp(-β ΔU): exact, until few frames carry all the weight.

    ln N_eff falls with the variance of βΔU, which grows with the number of atoms: steps are short in large systems.

    Args:
        min_efficiency: effective number of frames over their number at which a new run is due.
    """

    min_efficiency: float = 0.5
    linear = False

    def __post_init__(self) -> None:
        if not 0 < self.min_efficiency < 1:
            raise ValueError(f"min_efficiency: {self.min_efficiency} is not a fraction; give 0 < min_efficiency < 1")

    def averages(self, one: Sample, u0: View) -> Callable[[View], Averages]:
        """See `Expansion.averages`."""
        statistics: Statistics = one.statistics
        return statistics.averages

    def keeps(self, efficiency: float) -> bool:
        """See `Expansion.keeps`."""
        return efficiency >= self.min_efficiency


@dataclass(frozen=True)
class LinearResponse(Expansion):
    """First order in the change of the potential, by the same covariances: the steps of Gauss-Newton for any potential.

    Args:
        trust_radius: changes of u(r) beyond it are penalised, kT; of a potential that is not pairwise, changes of each
            frame's energy about their mean, over the root of the number of atoms.
        prior_frames_per_row: see `NewtonMethod`; it concerns RDF targets of pair potentials.
    """

    trust_radius: float = 0.5
    prior_frames_per_row: float = 4.0
    linear = True

    def __post_init__(self) -> None:
        if not self.trust_radius > 0:
            raise ValueError(f"trust_radius: {self.trust_radius} is not positive; give trust_radius > 0")
        check_prior(self.prior_frames_per_row)

    def averages(self, one: Sample, u0: View) -> Callable[[View], Averages]:
        """See `Expansion.averages`."""
        statistics: Statistics = one.statistics
        share, change = 0.0, None
        closed = statistics.of_pairs and not untargeted_pairs(statistics.state_point)
        if closed and self.prior_frames_per_row > 0.0:
            change = ClosureChange(statistics.state_point, one.measurement.values, u0)
            share = closure_share(one, self.prior_frames_per_row, change.n_rows)

        def averages(u: View) -> Averages:
            measured = statistics.averages(u, linear=True)
            if change is None:
                return measured
            values = [
                value if by_closure is None else (1.0 - share) * value + share * (before + by_closure)
                for value, before, by_closure in zip(measured.values, one.measurement.values, change(u), strict=True)
            ]
            return replace(measured, values=tuple(values))

        return averages

    def penalty(self, statistics: Sequence[Statistics], curves: Sequence[View]) -> Tensor:
        """Mean of (|βΔu|/radius - 1)² where it exceeds the radius."""
        excess = [
            (one.change(u).abs() / self.trust_radius - 1.0).clamp_min(0.0).square().mean()
            for one, u in zip(statistics, curves, strict=True)
        ]
        return torch.stack(excess).mean()


@dataclass(frozen=True)
class ReweightedMethod(Method, ABC):
    """What `Reweighting` and `RelativeEntropy` share; use one of these."""

    engine: Annotated[
        Engine, Doc("samples the potential; `LammpsEngine` makes production runs and leaves the gradient to asediff")
    ]
    iterations: Annotated[int, Doc("number of MD runs per state point")] = 10
    inner_steps: Annotated[int, Doc("largest number of Adam steps per run; `ExactWeights` may end them earlier")] = 400
    learning_rate: Annotated[
        float, Doc("of Adam at the first step after each run; it falls to 2 % of that as a cosine")
    ] = 2e-3
    expansion: Annotated[Expansion, Doc("`LinearResponse()`, which reaches far with each run, or `ExactWeights()`")] = (
        field(default_factory=LinearResponse)
    )
    pretraining: Annotated[
        BoltzmannPretraining | None, Doc("start from Boltzmann inversion; None starts from the potential as it is")
    ] = field(default_factory=BoltzmannPretraining)
    stop_within_noise: Annotated[bool, Doc("end when all targets are met within the error bars of the runs")] = False
    replicas: Annotated[int, Doc("runs of each state point side by side, whose frames are joined")] = 1
    bins: Annotated[int, Doc("of the fine pair histograms between 0 and the cutoff")] = 400
    growth: Annotated[
        float, Doc("each run is this many times longer than the one before, with `engine.steps` their mean")
    ] = 2.0
    cautious: ClassVar[bool]
    """Whether D tells that a step was bad; see `Iterations`."""

    def __post_init__(self) -> None:
        for name in ("iterations", "inner_steps", "learning_rate", "replicas", "bins"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive; give {name} > 0")
        run_lengths(self.iterations, self.growth)

    @abstractmethod
    def objective(self, job: FitJob, statistics: Sequence[Statistics]) -> Objective:
        """The function to minimise with the frames of this iteration."""

    def kept(self, job: FitJob, samples: Sequence[Sample], loss: float) -> float:
        """Share of the change that the inner steps found which is made; `loss` is the objective before them."""
        return 1.0

    def prepare(self, potential: Potential | None, state_points: Sequence[StatePoint]) -> Potential:
        """See `Method.prepare`."""
        check_single_frames(state_points)
        start = super().prepare(potential, state_points)
        self.engine.check_potential(start)
        trainable(start)
        return start

    def run(self, job: FitJob) -> str:
        """See `Method.run`."""
        parameters = trainable(job.potential)
        if self.pretraining is not None and not job.continues:
            job.notes.append(self.pretraining.start(job.potential, job.state_points))
        job.refine()
        loop = Iterations(
            job,
            self.engine,
            self.iterations,
            stop_within_noise=self.stop_within_noise,
            growth=self.growth,
            cautious=self.cautious,
            bins=self.bins,
            replicas=self.replicas,
        )

        def update(iteration: int, samples: list[Sample]) -> Mapping[str, float]:  # noqa: ARG001
            told = descend(self, job, samples, parameters)
            loop.steps.shorten(self.kept(job, samples, told["loss"]))
            job.refine()
            return told

        return loop.run(update)


def descend(
    method: ReweightedMethod, job: FitJob, samples: Sequence[Sample], parameters: Sequence[torch.nn.Parameter]
) -> dict[str, float]:
    """Adam steps on stored frames until they are used up; the potential ends inside the trust region."""
    statistics: list[Statistics] = [s.statistics for s in samples]
    objective, expansion = method.objective(job, statistics), method.expansion
    expanded = [expansion.averages(one, one.statistics.view(job.potential)) for one in samples]
    rate = method.learning_rate
    optimizer = torch.optim.Adam(parameters, lr=rate)
    good = [p.detach().clone() for p in parameters]
    state = copy.deepcopy(optimizer.state_dict())
    first = last = efficiency = float("nan")
    steps = halvings = 0
    while True:
        curves = [one.view(job.potential) for one in statistics]
        averages = [at(u) for at, u in zip(expanded, curves, strict=True)]
        now = min(float(a.efficiency) for a in averages)
        if expansion.keeps(now):
            efficiency = now
            good = [p.detach().clone() for p in parameters]
            state = copy.deepcopy(optimizer.state_dict())
        else:
            _restore(parameters, good)
            halvings += 1
            rate *= 0.5
            optimizer.load_state_dict(copy.deepcopy(state))
            curves = [one.view(job.potential) for one in statistics]
            averages = [at(u) for at, u in zip(expanded, curves, strict=True)]
        if steps == method.inner_steps or halvings > MAX_HALVINGS:
            break
        loss = objective(averages, curves)
        last = float(loss.detach())
        first = last if steps == 0 else first
        for group in optimizer.param_groups:
            group["lr"] = rate * max(0.02, 0.5 * (1.0 + math.cos(math.pi * steps / method.inner_steps)))
        optimizer.zero_grad()
        (loss + expansion.penalty(statistics, curves)).backward()
        optimizer.step()
        steps += 1
    return {"loss": first, "loss_reweighted": last, "inner_steps": float(steps), "efficiency": efficiency}


def _restore(parameters: Sequence[torch.nn.Parameter], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


@dataclass(frozen=True)
class Reweighting(ReweightedMethod):
    """Fit any potential to the targets with reweighted averages and their gradients.

    Minimises Σ_s w_s Σ_t weight x loss(<A_t>), plus pressure_weight [(P - P*)/ρkT]² where a state point has a pressure.
    See `ReweightedMethod` for the other arguments.
    """

    kind: ClassVar[str] = "reweighting"
    pressure_weight: Annotated[float, Doc("of the pressure terms")] = 0.1
    damp_noise: Annotated[
        bool, Doc("move the parameters only by the share of the loss that is no noise of the runs (at least 0.2)")
    ] = True
    cautious = True
    reads_pairs = False

    def objective(self, job: FitJob, statistics: Sequence[Statistics]) -> Objective:
        """See `ReweightedMethod.objective`."""
        return lambda averages, curves: matching_loss(job.state_points, averages, self.pressure_weight)  # noqa: ARG005

    def kept(self, job: FitJob, samples: Sequence[Sample], loss: float) -> float:
        """See `ReweightedMethod.kept`; the noise is the loss that the error bars of the runs alone would give."""
        if not self.damp_noise:
            return 1.0
        noisy = []
        for point, one in zip(job.state_points, samples, strict=True):
            errors = one.measurement.errors
            values = tuple(t.reference + e for t, e in zip(point.targets, errors, strict=True))
            pressure = torch.tensor((point.pressure or 0.0) + one.measurement.pressure_error, dtype=torch.float64)
            noisy.append(Averages(values, pressure, torch.ones(())))
        return worth_of_signal(loss, float(matching_loss(job.state_points, noisy, self.pressure_weight)))


def matching_loss(state_points: Sequence[StatePoint], averages: Sequence[Averages], pressure_weight: float) -> Tensor:
    """Weighted mean over state points of the targets' losses and the pressure term, `()`."""
    total = torch.zeros((), dtype=torch.float64)
    for point, average in zip(state_points, averages, strict=True):
        loss = torch.zeros((), dtype=torch.float64)
        for target, value in zip(point.targets, average.values, strict=True):
            loss = loss + target.weight * target(value)
        if point.pressure is not None:
            scale = point.density * float(point.kT)
            loss = loss + pressure_weight * ((average.pressure - point.pressure) / scale) ** 2
        total = total + point.weight * loss / len(state_points)
    return total


def reweighted_gradient(
    potential: Potential,
    state_points: Sequence[StatePoint],
    statistics: Sequence[Statistics],
    *,
    pressure_weight: float = 0.1,
) -> tuple[float, list[Tensor]]:
    """Loss and gradient in the trainable parameters, from the frames of a run with this very potential."""
    parameters = trainable(potential)
    averages = [one.averages(one.view(potential)) for one in statistics]
    loss = matching_loss(state_points, averages, pressure_weight)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    filled = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    return float(loss.detach()), filled


@dataclass(frozen=True)
class ReweightedGradient:
    """Gradient of `DiffSim` by the covariance formula: frames are reweighted, the dynamics is not differentiated.

    No chaos, so `DiffSim(steps=...)` may be long (thousands; the covariance needs many frames). Static observables.
    """

    kind: ClassVar[str] = "reweighted"

    def loss(
        self,
        trajectory: Trajectory,
        potential: Potential,
        state_points: Sequence[StatePoint],
        replicas: int,
        pressure_weight: float,
    ) -> Tensor:
        """Loss of the frames, whose gradient is the reweighted one.

        Args:
            trajectory: a batch: `replicas` systems of each state point, one after another.
            potential: with which the frames were made.
            state_points: conditions and targets.
            replicas: of each state point.
            pressure_weight: see `Reweighting`.
        """
        averages = []
        for k, point in enumerate(state_points):
            parts: list[Any] = [
                statistics_of(trajectory.select([k * replicas + j]), potential, point) for j in range(replicas)
            ]
            joined = functools.reduce(lambda one, other: one.joined(other), parts)
            averages.append(joined.averages(joined.view(potential)))
        return matching_loss(state_points, averages, pressure_weight)
