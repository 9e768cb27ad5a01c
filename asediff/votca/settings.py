"""Settings of VOTCA's `csg_inverse`: what `asediff.votca.reading` finds in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from asediff.fitting.tables.rows import FloatArray, VotcaError, grid_points
from asediff.fitting.tables.tasks import (
    BAR,
    Extrapolate,
    Scale,
    Shift,
    SimplePressure,
    Smooth,
    SplineSmooth,
    Task,
    VirialPressure,
)


@dataclass(frozen=True)
class PressureCorrection:
    """Options of the post_update task ``pressure``: type, cycle, scale and largest factor in kBT."""

    type: str = "simple"
    do: tuple[int, ...] = (1,)
    scale: float | None = None
    max_A: float = 0.1


@dataclass(frozen=True)
class ConvergenceOptions:
    """Options of the post_add task ``convergence``: four lists of one length."""

    what: tuple[str, ...] = ("dist",)
    base: tuple[str, ...] = ("tgt",)
    norm: tuple[float, ...] = (1,)
    weight: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class LammpsTableOptions:
    """How the potential is written for LAMMPS; lengths before scaling."""

    table: str | None = None
    table_begin: float | None = None
    table_end: float | None = None
    table_bins: float | None = None
    table_left_extrapolation: str = "exponential"
    table_right_extrapolation: str = "constant"
    scale: float = 1.0
    y_scale: float = 1.0


@dataclass(frozen=True)
class Interaction:
    """One non-bonded pair interaction; lengths in nm, energies in kJ/mol, or reduced units throughout."""

    name: str
    type1: str
    type2: str
    min: float
    max: float
    step: float
    target: str
    do_potential: tuple[int, ...] = (1,)
    p_target: float | None = None
    particle_dens: float | None = None
    lammps: LammpsTableOptions = field(default_factory=LammpsTableOptions)
    post_update: tuple[str, ...] = ()
    post_add: tuple[str, ...] = ()
    scale: float = 1.0
    smooth_iterations: int = 1
    splinesmooth_step: float | None = None
    extrapolate_points: int = 5
    pressure: PressureCorrection = field(default_factory=PressureCorrection)
    convergence: ConvergenceOptions = field(default_factory=ConvergenceOptions)
    overwrite_do: tuple[int, ...] = (1,)
    copyback_filelist: tuple[str, ...] = ()

    @property
    def grid(self) -> tuple[float, float, float]:
        """``(min, step, max)``."""
        return (self.min, self.step, self.max)

    @property
    def x(self) -> FloatArray:
        """`(n_rows,)`, the points of the grid."""
        return grid_points(*self.grid)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of ``post_update`` as those of `IBI`."""
        pressure = self.pressure
        available: dict[str, Task] = {
            "scale": Scale(self.scale),
            "smooth": Smooth(self.smooth_iterations),
            "splinesmooth": SplineSmooth(self.splinesmooth_step or 0.0),
            "extrapolate": Extrapolate(self.extrapolate_points),
            "shift": Shift(),
            "dummy": Scale(1.0),
            "pressure": SimplePressure(pressure.scale or 0.0, pressure.max_A, pressure.do)
            if pressure.type == "simple"
            else VirialPressure(1.0 if pressure.scale is None else pressure.scale, pressure.max_A, pressure.do, BAR),
        }
        return tuple(available[name] for name in self.post_update)


@dataclass(frozen=True)
class LammpsOptions:
    """How LAMMPS is run and what it leaves behind."""

    command: str = "lmp"
    script: str | None = None
    opts: str = "-in ${script}"
    conf: str | None = None
    conf_out: str | None = None
    topol: str | None = None
    traj: str | None = None
    first_frame: int = 0
    pressure_file: str | None = None


@dataclass(frozen=True)
class Settings:
    """All settings of a run; `path` is the XML file, in whose folder targets and inputs lie."""

    path: Path
    interactions: tuple[Interaction, ...]
    kBT: float
    iterations_max: int
    lammps: LammpsOptions = field(default_factory=LammpsOptions)
    program: str = "lammps"
    method: str = "ibi"
    initial_configuration: str = "maindir"
    convergence_check: str = "none"
    convergence_limit: float = 0.0
    dist_min: float = 1e-10
    filelist: tuple[str, ...] = ()
    cleanlist: tuple[str, ...] = ()
    map: tuple[str, ...] = ()
    log_file: str = "inverse.log"

    def interaction(self, name: str) -> Interaction:
        """Return an interaction by name."""
        for interaction in self.interactions:
            if interaction.name == name:
                return interaction
        raise VotcaError(f"no interaction '{name}'; there are {', '.join(i.name for i in self.interactions)}")
