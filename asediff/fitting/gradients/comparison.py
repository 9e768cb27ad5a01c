"""Two estimates of the same gradient, side by side: through the dynamics, and by reweighting."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asediff.dynamics.adjoints import Adjoint
from asediff.engines import TrajectoryEngine
from asediff.fitting.api import trainable
from asediff.fitting.gradients.batch import Batch
from asediff.fitting.gradients.diffsim import DiffSim
from asediff.fitting.gradients.reweighting import reweighted_gradient
from asediff.fitting.gradients.windows import in_windows, window_lengths
from asediff.fitting.statistics.samples import statistics_of
from asediff.potentials.base import Potential
from asediff.potentials.held import held
from asediff.simulate import simulate
from asediff.targets.target import StatePoint


@dataclass(frozen=True, eq=False)
class GradientComparison:
    """Gradients of one loss by two estimators, from independent repetitions.

    Attributes:
        dynamics: `(n_repeats, n_parameters)`, through the MD steps.
        reweighted: `(n_repeats, n_parameters)`, by the covariance formula.
    """

    dynamics: Tensor
    reweighted: Tensor

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two means."""
        a, b = self.dynamics.mean(0), self.reweighted.mean(0)
        return float(a @ b / (a.norm() * b.norm()))

    @property
    def length_ratio(self) -> float:
        """Norm of the mean gradient through the dynamics over that of the reweighted one."""
        return float(self.dynamics.mean(0).norm() / self.reweighted.mean(0).norm())

    @property
    def dynamics_noise(self) -> float:
        """Standard deviation of one gradient through the dynamics, relative to its mean."""
        return relative_noise(self.dynamics)

    @property
    def reweighted_noise(self) -> float:
        """Standard deviation of one reweighted gradient, relative to its mean."""
        return relative_noise(self.reweighted)

    def summary(self) -> str:
        """One line of plain text."""
        return (
            f"gradients from {len(self.dynamics)} repetitions: cosine {self.cosine:.3f}, lengths "
            f"{self.length_ratio:.3f} : 1, noise of one estimate {self.dynamics_noise:.2f} (through the dynamics) and "
            f"{self.reweighted_noise:.2f} (reweighted) of its mean"
        )


def relative_noise(gradients: Tensor) -> float:
    """Root of the summed variances over the norm of the mean."""
    return float(gradients.var(0).sum().sqrt() / gradients.mean(0).norm())


def compare_gradients(
    potential: Potential,
    state_points: Sequence[StatePoint],
    method: DiffSim,
    engine: TrajectoryEngine,
    *,
    repeats: int = 8,
    seed: int = 0,
) -> GradientComparison:
    """Estimate dL/dθ at one potential `repeats` times in both ways.

    Args:
        potential: where the gradient is taken.
        state_points: with the targets that make the loss.
        method: its timestep, steps, window, frames, replicas, thermostat and adjoint.
        engine: makes the frames that are reweighted.
        repeats: independent estimates of each kind.
        seed: of velocities.

    Raises:
        ValueError: fewer than two repeats, or a method whose gradient is no adjoint.
    """
    if repeats < 2:
        raise ValueError(f"repeats: {repeats} gives no noise; give at least 2")
    if not isinstance(method.gradient, Adjoint):
        raise ValueError("method: its gradient is no adjoint; give DiffSim(gradient=ReversibleAdjoint(), ...)")
    parameters = trainable(potential)
    batch = Batch.of(state_points, method.replicas)
    dynamics, reweighted = [], []
    lengths = window_lengths(method.window, method.steps, method.save_every, state_points)
    starts = [p.system for p in state_points]
    state = batch.system
    for k in range(repeats):
        integrator = method.dynamics(batch.kT, seed + 1000 * k)
        with torch.no_grad():
            state = state.thermalized(kT=batch.kT, seed=seed + 1000 * k)
            warm = simulate(state, potential, integrator, method.equilibration_steps, kT=batch.kT)
        run = functools.partial(
            simulate,
            potential=held(potential, batch.system, batch.kT),
            integrator=integrator,
            save_every=method.save_every,
            adjoint=method.gradient,
            kT=batch.kT,
        )
        trajectory = in_windows(lambda start, steps: run(start, steps=steps), warm, lengths)  # noqa: B023 -- at once
        gradients = torch.autograd.grad(batch.loss(trajectory), parameters, allow_unused=True)
        dynamics.append(_flat(gradients, parameters))
        state = trajectory.detach().system
        statistics = []
        for s, point in enumerate(state_points):
            frames = engine.run(potential, point, seed=seed + 1 + 1000 * k + s, start=starts[s])
            statistics.append(statistics_of(frames, potential, point))
            starts[s] = frames.system
        reweighted.append(_flat(reweighted_gradient(potential, state_points, statistics)[1], parameters))
    return GradientComparison(torch.stack(dynamics), torch.stack(reweighted))


def _flat(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    filled = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]
    return torch.cat([g.detach().to(torch.float64).reshape(-1) for g in filled])
