"""Long runs in asediff itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from asediff.checks.described import Doc
from asediff.dynamics.integrators import Integrator, NoseHooverChain
from asediff.engines.base import TrajectoryEngine
from asediff.potentials.pair import PairPotential
from asediff.simulate import simulate
from asediff.system import System
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory


@dataclass(frozen=True)
class TorchEngine(TrajectoryEngine):
    """Constant-temperature runs in asediff itself."""

    kind: ClassVar[str] = "torch"
    timestep: Annotated[float, Doc("length of a step", unit="time")]
    equilibration_steps: Annotated[int, Doc("steps before the first frame counts")] = 5_000
    steps: Annotated[int, Doc("production steps")] = 50_000
    save_every: Annotated[int, Doc("steps between frames")] = 100
    tdamp: Annotated[
        float | None, Doc("relaxation time of the Nosé-Hoover chain; default 100 timesteps", unit="time")
    ] = None
    integrator: Annotated[
        Integrator | None, Doc("moves the atoms in place of that chain; made without a temperature")
    ] = None
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
        chosen = NoseHooverChain(self.timestep, tdamp=tdamp) if self.integrator is None else self.integrator
        integrator = chosen.at(state_point.kT, seed=seed)
        system = (state_point.system if start is None else start).thermalized(kT=state_point.kT, seed=seed)
        with torch.no_grad():
            warm = simulate(system, potential, integrator, self.equilibration_steps)
            return simulate(warm, potential, integrator, self.steps, save_every=self.save_every)
