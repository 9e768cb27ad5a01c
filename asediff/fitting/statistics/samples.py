"""A run of an engine together with what it says about nearby potentials."""

from __future__ import annotations

from dataclasses import dataclass

from asediff.engines import DiluteEngine, Engine
from asediff.fitting.statistics.averages import Statistics
from asediff.fitting.statistics.dilute import DiluteStatistics
from asediff.fitting.statistics.histograms import FrameStatistics
from asediff.potentials.pair import PairPotential
from asediff.system import System
from asediff.targets.measurement import Measurement
from asediff.targets.target import StatePoint


@dataclass(frozen=True, eq=False)
class Sample:
    """One run at one state point: what it measured, and what it says about nearby potentials."""

    measurement: Measurement
    statistics: Statistics

    @property
    def final(self) -> System | None:
        """The state that the run ended in."""
        trajectory = self.measurement.trajectory
        return None if trajectory is None else trajectory.system


def sample(
    engine: Engine,
    potential: PairPotential,
    state_point: StatePoint,
    *,
    seed: int,
    start: System | None = None,
    bins: int = 400,
) -> Sample:
    """Run an engine and keep the pair histograms of its frames.

    Raises:
        ValueError: the engine returns no frames and is not the dilute limit.
    """
    measurement = engine.measure(potential, state_point, seed=seed, start=start)
    if isinstance(engine, DiluteEngine):
        return Sample(measurement, DiluteStatistics(state_point, measurement.values))
    if measurement.trajectory is None:
        raise ValueError(f"engine: {type(engine).__name__} returns no frames, so there is nothing to reweight")
    return Sample(measurement, FrameStatistics.of(measurement.trajectory, potential, state_point, bins=bins))
