"""Long runs in LAMMPS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from asediff.engines import TrajectoryEngine
from asediff.lammps.files import check_system
from asediff.lammps.run import LammpsRun, find_lmp
from asediff.lammps.tables import spline_tables
from asediff.potentials.base import Potential
from asediff.potentials.pair import check_pairwise
from asediff.system import System
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory


@dataclass(frozen=True)
class LammpsEngine(LammpsRun, TrajectoryEngine):
    """Constant-temperature runs in LAMMPS with the exported table; the arguments are those of `LammpsRun`."""

    kind: ClassVar[str] = "lammps"

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
        self, potential: Potential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Trajectory:
        """The production frames, `(steps // save_every, n_atoms, 3)`."""
        pairs = check_pairwise(potential, "LammpsEngine")
        system = state_point.system if start is None else start
        with torch.no_grad():
            tables = spline_tables(pairs.tabulate(system, state_point.kT))
        return self.record(tables, system, state_point.kT, 1 + abs(seed) % 900_000_000)
