"""What an equilibrium run says about a state point: values, error bars, and how far they are from the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from asediff.observables.deviation import Deviation
from asediff.targets.target import StatePoint, Target, block_average_error
from asediff.trajectory import Trajectory

__all__ = ["Deviation", "Measurement", "deviation", "joined", "measure"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """Averages of one equilibrium run at one state point.

    Attributes:
        values: one tensor per target.
        errors: standard error of each value, block-averaged over the frames.
        pressure: energy/length³.
        pressure_error: its standard error.
        kT: mean kinetic temperature, energy.
        trajectory: the frames, when there are any.
    """

    values: tuple[Tensor, ...]
    errors: tuple[Tensor, ...]
    pressure: float
    pressure_error: float
    kT: float
    trajectory: Trajectory | None

    def deviations(self, state_point: StatePoint) -> list[Deviation]:
        """One `Deviation` per target of the state point."""
        return [
            deviation(target, state_point, value, error)
            for target, value, error in zip(state_point.targets, self.values, self.errors, strict=True)
        ]

    def to(self, device: torch.device | str) -> Measurement:
        """The same on a device."""
        return replace(
            self,
            values=tuple(value.to(device) for value in self.values),
            errors=tuple(error.to(device) for error in self.errors),
            trajectory=None if self.trajectory is None else self.trajectory.to(device),
        )


def joined(runs: Sequence[Measurement], state_point: StatePoint) -> Measurement:
    """What several runs of one state point say together.

    Raises:
        ValueError: one of several has no frames.
    """
    if len(runs) == 1:
        return runs[0]
    frames = [run.trajectory for run in runs]
    known = [trajectory for trajectory in frames if trajectory is not None]
    if len(known) < len(frames):
        raise ValueError("replicas: runs without frames cannot be joined; give replicas=1")
    return measure(Trajectory.concatenate(known), state_point)


def measure(trajectory: Trajectory, state_point: StatePoint) -> Measurement:
    """Evaluate the targets of a state point on a trajectory of its system (one system).

    Raises:
        ValueError: fewer than two frames, so that no error bar exists.
    """
    if len(trajectory) < 2:
        raise ValueError(f"trajectory: {len(trajectory)} frames are too few for an error bar; save at least 2")
    values, errors = [], []
    with torch.no_grad():
        for target in state_point.targets:
            per_frame = target.observable.per_frame(trajectory)[:, 0]
            values.append(per_frame.mean(0))
            errors.append(block_average_error(per_frame))
        pressure = trajectory.pressure[:, 0]
        degrees = 3.0 * trajectory.n_atoms - 3.0
        kinetic = 2.0 * trajectory.kinetic_energy[:, 0] / degrees
    return Measurement(
        values=tuple(values),
        errors=tuple(errors),
        pressure=float(pressure.mean()),
        pressure_error=float(block_average_error(pressure[:, None])[0]),
        kT=float(kinetic.mean()),
        trajectory=trajectory,
    )


def deviation(target: Target, state_point: StatePoint, value: Tensor, error: Tensor) -> Deviation:
    """Compare a measured value with its target; see `Observable.deviation`."""
    return target.observable.deviation(value, error, target.reference.to(value), state_point.system)
