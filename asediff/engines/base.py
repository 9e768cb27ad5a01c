"""Who runs the long simulations that sample a potential: torch, LAMMPS, or the dilute limit in closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from asediff.potentials.base import Potential
from asediff.potentials.pair import check_pairwise
from asediff.system import System
from asediff.targets.measurement import Measurement, measure
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory


class Engine(ABC):
    """Samples a potential at a state point and measures the point's targets.

    `steps_per_run` is the number of MD steps that one call costs, equilibration included; `reads_pairs` says that the
    engine works with the potential's pair functions alone and would miss any other energy.
    """

    steps_per_run: int = 0
    reads_pairs = True

    @abstractmethod
    def measure(
        self, potential: Potential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Measurement:
        """Values and error bars of the targets in an equilibrium run.

        Args:
            potential: what acts between the atoms.
            state_point: system, kT and targets.
            seed: of velocities and noise; another seed is an independent run.
            start: configuration to start from; default the state point's own.
        """

    def check_potential(self, potential: Potential) -> None:
        """Refuse, before any work, a potential that is more than this engine sees of it.

        Raises:
            ValueError: naming engine and potential.
        """
        if self.reads_pairs:
            check_pairwise(potential, type(self).__name__)

    def scaled(self, factor: float) -> Engine:
        """The same with `factor` times as many production steps; itself where runs have no length."""
        return self

    def check(self, state_points: Sequence[StatePoint]) -> None:  # noqa: B027 -- nothing to refuse is an answer
        """Refuse, before any work, state points that `measure` could not run.

        Raises:
            ValueError: one of them, with the reason.
            LammpsError: there is no LAMMPS where it is needed.
        """


class TrajectoryEngine(Engine):
    """An engine that moves atoms: equilibration, then production frames."""

    steps: int
    save_every: int

    def scaled(self, factor: float) -> Engine:
        """See `Engine.scaled`; whole frames, at least ten of them unless there were fewer before."""
        frames = self.steps // self.save_every
        wanted = max(round(factor * frames), min(frames, 10))
        return replace(self, steps=wanted * self.save_every)  # type: ignore[type-var]

    @abstractmethod
    def run(
        self, potential: Potential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Trajectory:
        """The production frames."""

    def measure(
        self, potential: Potential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Measurement:
        """See `Engine.measure`."""
        return measure(self.run(potential, state_point, seed=seed, start=start), state_point)
