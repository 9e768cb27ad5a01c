"""A run of an engine together with what it says about nearby potentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asediff.engines import DiluteEngine, Engine
from asediff.fitting.statistics.dilute import DiluteStatistics
from asediff.fitting.statistics.energies import EnergyStatistics
from asediff.fitting.statistics.histograms import FrameStatistics
from asediff.potentials.base import Potential
from asediff.system import System
from asediff.targets.measurement import Measurement
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Sample:
    """One run at one state point: what it measured, and what it says about nearby potentials.

    `statistics` are `PairStatistics` for pair potentials, which are all that the table methods are given, and other
    `Statistics` for others.
    """

    measurement: Measurement
    statistics: Any

    @property
    def final(self) -> System | None:
        """The state that the run ended in."""
        trajectory = self.measurement.trajectory
        return None if trajectory is None else trajectory.system


def sample(
    engine: Engine,
    potential: Potential,
    state_point: StatePoint,
    *,
    seed: int,
    start: System | None = None,
    bins: int = 400,
) -> Sample:
    """Run an engine and keep what its frames say.

    Raises:
        ValueError: the engine returns no frames and is not the dilute limit.
    """
    measurement = engine.measure(potential, state_point, seed=seed, start=start)
    return sample_of(measurement, engine, potential, state_point, bins=bins)


def sample_of(
    measurement: Measurement, engine: Engine, potential: Potential, state_point: StatePoint, *, bins: int = 400
) -> Sample:
    """What a run of an engine says; see `sample`."""
    if isinstance(engine, DiluteEngine):
        return Sample(measurement, DiluteStatistics(state_point, measurement.values))
    if measurement.trajectory is None:
        raise ValueError(f"engine: {type(engine).__name__} returns no frames, so there is nothing to reweight")
    return Sample(measurement, statistics_of(measurement.trajectory, potential, state_point, bins=bins))


def statistics_of(
    trajectory: Trajectory, potential: Potential, state_point: StatePoint, *, bins: int = 400
) -> FrameStatistics | EnergyStatistics:
    """What frames say about nearby potentials: by their pair histograms where pairs are all there is, else by energies.

    Arguments and errors are those of `FrameStatistics.of`.
    """
    if potential.is_pairwise:
        return FrameStatistics.of(trajectory, potential, state_point, bins=bins)
    return EnergyStatistics.of(trajectory, potential, state_point)
