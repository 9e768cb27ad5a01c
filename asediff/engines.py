"""Who runs the long simulations that sample a potential: torch, LAMMPS, or the dilute limit in closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from asediff.integrators import NoseHooverChain
from asediff.lammps import LammpsRun, find_lmp
from asediff.lammps_files import check_system
from asediff.measurement import Measurement, measure
from asediff.observables import RDF
from asediff.potentials.pair import PairPotential, check_pairwise
from asediff.simulate import simulate
from asediff.system import System
from asediff.tables import spline_tables
from asediff.targets import StatePoint
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
        self, potential: PairPotential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Measurement:
        """Values and error bars of the targets in an equilibrium run.

        Args:
            potential: what acts between the atoms.
            state_point: system, kT and targets.
            seed: of velocities and noise; another seed is an independent run.
            start: configuration to start from; default the state point's own.
        """

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
        self, potential: PairPotential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Trajectory:
        """The production frames."""

    def measure(
        self, potential: PairPotential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Measurement:
        """See `Engine.measure`."""
        return measure(self.run(potential, state_point, seed=seed, start=start), state_point)


@dataclass(frozen=True)
class TorchEngine(TrajectoryEngine):
    """Constant-temperature runs in asediff itself.

    Args:
        timestep: time unit.
        equilibration_steps: steps before the first frame counts.
        steps: production steps.
        save_every: steps between frames.
        tdamp: relaxation time of the Nosé-Hoover chain, time unit; default 100 timesteps.
    """

    timestep: float
    equilibration_steps: int = 5_000
    steps: int = 50_000
    save_every: int = 100
    tdamp: float | None = None
    reads_pairs = False

    def __post_init__(self) -> None:
        for name in ("equilibration_steps", "steps", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not a number of steps; give at least 1")

    @property
    def steps_per_run(self) -> int:  # type: ignore[override]
        """Equilibration and production steps."""
        return self.equilibration_steps + self.steps

    def run(
        self, potential: PairPotential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Trajectory:
        """The production frames, `(steps // save_every, n_atoms, 3)`."""
        tdamp = 100 * self.timestep if self.tdamp is None else self.tdamp
        integrator = NoseHooverChain(self.timestep, kT=state_point.kT, tdamp=tdamp)
        system = (state_point.system if start is None else start).thermalized(kT=state_point.kT, seed=seed)
        with torch.no_grad():
            warm = simulate(system, potential, integrator, self.equilibration_steps)
            return simulate(warm, potential, integrator, self.steps, save_every=self.save_every)


@dataclass(frozen=True)
class LammpsEngine(LammpsRun, TrajectoryEngine):
    """Constant-temperature runs in LAMMPS with the exported table; the arguments are those of `LammpsRun`."""

    @property
    def steps_per_run(self) -> int:  # type: ignore[override]
        """Equilibration and production steps."""
        return self.equilibration_steps + self.steps

    def check(self, state_points: Sequence[StatePoint]) -> None:
        """See `Engine.check`."""
        find_lmp()
        self.input_file()
        for point in state_points:
            check_system(point.system)

    def run(
        self, potential: PairPotential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Trajectory:
        """The production frames, `(steps // save_every, n_atoms, 3)`."""
        check_pairwise(potential, "LammpsEngine")
        system = state_point.system if start is None else start
        with torch.no_grad():
            tables = spline_tables(potential.tabulate(system, state_point.kT))
        return self.record(tables, system, state_point.kT, 1 + abs(seed) % 900_000_000)


@dataclass(frozen=True)
class DiluteEngine(Engine):
    """The limit of zero density, where g(r) = exp(-u(r)/kT) exactly: tests every inverse method in milliseconds."""

    def measure(
        self,
        potential: PairPotential,
        state_point: StatePoint,
        *,
        seed: int,
        start: System | None = None,
    ) -> Measurement:
        """The g(r) of each RDF target in closed form, with no error bar and the ideal-gas pressure.

        Raises:
            ValueError: a target is not an RDF.
        """
        check_pairwise(potential, "DiluteEngine")
        values = []
        for target in state_point.targets:
            observable = target.observable
            if not isinstance(observable, RDF):
                raise ValueError(f"targets: {type(observable).__name__} has no dilute limit here; give RDF targets")
            with torch.no_grad():
                u = potential.function(observable.centers, observable.pair, float(state_point.kT))
            values.append(torch.exp(-u / float(state_point.kT)))
        density = state_point.system.n_atoms / float(state_point.system.get_volume()[0])
        return Measurement(
            values=tuple(values),
            errors=tuple(torch.zeros_like(v) for v in values),
            pressure=density * float(state_point.kT),
            pressure_error=0.0,
            kT=float(state_point.kT),
            trajectory=None,
        )
