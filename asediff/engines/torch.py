"""Long runs in asediff itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from asediff.checks.described import Doc
from asediff.dynamics.choice import chosen_integrator
from asediff.dynamics.integrators import Integrator
from asediff.engines.base import TrajectoryEngine
from asediff.potentials.base import Potential
from asediff.simulate import simulate
from asediff.system import System
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory


@dataclass(frozen=True)
class TorchEngine(TrajectoryEngine):
    """Constant-temperature runs in asediff itself."""

    kind: ClassVar[str] = "torch"
    timestep: Annotated[float, Doc("length of a step; may be left out beside an `integrator`", unit="time")] = None  # type: ignore[assignment]
    equilibration_steps: Annotated[int, Doc("steps before the first frame counts")] = 5_000
    steps: Annotated[int, Doc("production steps")] = 50_000
    save_every: Annotated[int, Doc("steps between frames")] = 100
    tdamp: Annotated[
        float | None, Doc("relaxation time of the Nosé-Hoover chain; default 100 timesteps", unit="time")
    ] = None
    integrator: Annotated[
        Integrator | None,
        Doc(
            "moves the atoms in place of that chain, such as `Langevin(timestep, friction=...)`; made without a "
            "temperature, which the state points say"
        ),
    ] = None
    reads_pairs = False

    def __post_init__(self) -> None:
        chosen = chosen_integrator(self.integrator, self.timestep, self.tdamp)
        object.__setattr__(self, "timestep", chosen.timestep)
        for name in ("equilibration_steps", "steps", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not a number of steps; give at least 1")

    @property
    def steps_per_run(self) -> int:  # type: ignore[override]
        """Equilibration and production steps."""
        return self.equilibration_steps + self.steps

    def run(
        self, potential: Potential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Trajectory:
        """The production frames, `(steps // save_every, n_atoms, 3)`."""
        kT = state_point.kT
        integrator = chosen_integrator(self.integrator, self.timestep, self.tdamp).at(kT, seed=seed)
        system = (state_point.system if start is None else start).thermalized(kT=kT, seed=seed)
        with torch.no_grad():
            warm = simulate(system, potential, integrator, self.equilibration_steps, kT=kT)
            return simulate(warm, potential, integrator, self.steps, save_every=self.save_every, kT=kT)
