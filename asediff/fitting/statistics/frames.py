"""What the frames of a run, under any potential that is close to the run's, have in common: weights and averages."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from asediff.fitting.statistics.averages import Averages, Statistics
from asediff.targets.target import StatePoint, block_average_error
from asediff.trajectory import Trajectory


class WeightedFrames(Statistics):
    """Frames of one run and their weights w_f ∝ exp(-β ΔU_f).

    Attributes:
        state_point: condition and targets.
        values: per target `(n_frames, n_values)`.
        pressure: `(n_frames,)`, kinetic part at kT, energy/length³.
    """

    values: tuple[Tensor, ...]
    pressure: Tensor

    @abstractmethod
    def exponents(self, u: Any) -> Tensor:
        """-β ΔU of each frame, `(n_frames,)`, differentiable in the parameters of u."""

    @abstractmethod
    def pressures(self, u: Any) -> Tensor:
        """Pressure of each frame under u, `(n_frames,)`, energy/length³; differentiable as the exponents are."""

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.pressure)

    @property
    def beta(self) -> float:
        """1/kT."""
        return 1.0 / float(self.state_point.kT)

    def averages(self, u: Any, *, linear: bool = False) -> Averages:
        """See `Statistics.averages`; the pressure is that of the reweighted frames under u."""
        exponents = self.exponents(u)
        log_weights = torch.log_softmax(exponents, 0)
        weights = (1.0 + exponents - exponents.mean()) / self.n_frames if linear else log_weights.exp()
        pressures = self.pressure if self.state_point.pressure is None else self.pressures(u)
        return Averages(
            values=tuple(weights @ v for v in self.values),
            pressure=weights @ pressures,
            efficiency=torch.exp(-(log_weights.exp() * log_weights).sum()).detach() / self.n_frames,
        )

    def log_partition(self, u: Any, *, linear: bool = False) -> Tensor:
        """See `Statistics.log_partition`; ln <exp(-β ΔU)> or its first two cumulants."""
        exponents = self.exponents(u)
        if linear:
            return exponents.mean() + 0.5 * exponents.var(correction=0)
        return torch.logsumexp(exponents, 0) - math.log(self.n_frames)

    @property
    def independent_frames(self) -> float:
        """See `Statistics.independent_frames`; from the error bars of the first target."""
        values = self.values[0]
        naive = (values.var(0) / self.n_frames).sum()
        blocked = (block_average_error(values) ** 2).sum()
        ratio = float(blocked / naive) if float(naive) > 0 else 1.0
        return max(1.0, self.n_frames / max(1.0, ratio))


def frame_values(trajectory: Trajectory, state_point: StatePoint) -> tuple[tuple[Tensor, ...], Tensor]:
    """Values of the targets, and the pressure with its kinetic part at kT, of each frame of one system.

    Raises:
        ValueError: fewer than two frames, or a target that no single frame has.
    """
    check_single_frames([state_point])
    if len(trajectory) < 2:
        raise ValueError(f"trajectory: {len(trajectory)} frames have no covariance; save at least 2")
    values = tuple(t.observable.per_frame(trajectory)[:, 0].to(torch.float64) for t in state_point.targets)
    expected = 3.0 * (trajectory.n_atoms - 1) * float(state_point.kT)
    change = (expected - 2.0 * trajectory.kinetic_energy[:, 0]) / (3.0 * float(trajectory.system.get_volume()[0]))
    return values, (trajectory.pressure[:, 0] + change).to(torch.float64)


def check_single_frames(state_points: Sequence[StatePoint]) -> None:
    """Refuse targets that are not averages over single frames, to which reweighting could give weights.

    Raises:
        ValueError: there is one.
    """
    for point in state_points:
        for target in point.targets:
            observable = target.observable
            if not observable.of_single_frames:
                raise ValueError(
                    f"targets: {target.name} of {point.name} is a {type(observable).__name__}, which is no function "
                    "of one configuration, and reweighting needs observables of single frames; use DiffSim with an "
                    "adjoint"
                )
