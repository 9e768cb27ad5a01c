"""Settings of VOTCA's `csg_inverse`: each field, its default, and where `asediff.votca.reading` finds it in a file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from asediff.tabular.rows import FloatArray, VotcaError, grid_points
from asediff.tabular.tasks import (
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
from asediff.votca.options import Options
from asediff.votca.refusals import Kind

POST_UPDATE_TASKS = ("scale", "smooth", "splinesmooth", "extrapolate", "pressure", "shift", "dummy")
POST_ADD_TASKS = ("convergence", "acc_convergence", "shift", "overwrite", "copyback", "plot", "dummy")
CONFIGURATIONS = ("maindir", "laststep", "nowhere")
EXTRAPOLATIONS = ("constant", "linear", "quadratic", "exponential", "sasha")
TABLE, POST_UPDATE, POST_ADD = "inverse.lammps.", "inverse.post_update_options.", "inverse.post_add_options."
T = TypeVar("T")


def _from(take: Callable[..., Any], path: str, default: Any = MISSING, **limits: Any) -> Any:
    """A field that a method of `Options` takes from a path, with the default where there is one."""
    own = {} if default is MISSING else {"default": default}
    return field(**own, metadata={"read": lambda options: take(options, path, *own.values(), **limits)})


def taken(kind: type[T], options: Options, **given: Any) -> T:
    """An object of which every field that says where it is found, or is made of such, is taken from the options."""
    for f in fields(kind):  # type: ignore[arg-type]
        if "read" in f.metadata:
            given[f.name] = f.metadata["read"](options)
        elif is_dataclass(f.default_factory):
            given[f.name] = taken(f.default_factory, options)
    return kind(**given)


def _either(options: Options, path: str, default: str | None = None) -> str | None:
    """Take an option and its like for g(r) alone, which has precedence."""
    values = options.text("lammps.rdf." + path.removeprefix("lammps.")), options.text(path)
    return values[0] or values[1] or default


def _maps(options: Options, path: str, default: tuple[str, ...]) -> tuple[str, ...]:
    return tuple((_either(options, path) or "").split()) or default


def _tasks(options: Options, path: str, default: tuple[str, ...], *, known: tuple[str, ...]) -> tuple[str, ...]:
    tasks = options.words(path, default)
    for task in tasks:
        if task not in known:
            options.refuse(path, f"not supported; use {', '.join(known)}", task, Kind.OPTION)
    return tasks


@dataclass(frozen=True)
class PressureCorrection:
    """Options of the post_update task ``pressure``: type, cycle, scale and largest factor in kBT."""

    type: str = "simple"
    do: tuple[int, ...] = (1,)
    scale: float | None = None
    max_A: float = 0.1

    @classmethod
    def taken(cls, options: Options) -> PressureCorrection:
        """Take the options of the type that is asked for; those of the other are read over."""
        start = POST_UPDATE + "pressure."
        kind = options.choice(start + "type", "simple", allowed=("simple", "wjk"))
        scales = {
            "simple": options.optional_number(start + "simple.scale"),
            "wjk": options.number(start + "wjk.scale", 1.0),
        }
        limits = {name: options.number(f"{start}{name}.max_A", 0.1) for name in scales}
        return cls(kind, options.cycle(start + "do", (1,)), scales.get(kind, math.nan), limits.get(kind, math.nan))


@dataclass(frozen=True)
class ConvergenceOptions:
    """Options of the post_add task ``convergence``: four lists of one length."""

    what: tuple[str, ...] = _from(Options.words, POST_ADD + "convergence.what", ("dist",))
    base: tuple[str, ...] = _from(Options.words, POST_ADD + "convergence.base", ("tgt",))
    norm: tuple[float, ...] = _from(Options.numbers, POST_ADD + "convergence.norm", (1.0,))
    weight: tuple[float, ...] = _from(Options.numbers, POST_ADD + "convergence.weight", (1.0,))


@dataclass(frozen=True)
class LammpsTableOptions:
    """How the potential is written for LAMMPS; lengths before scaling."""

    table: str | None = _from(Options.text, TABLE + "table", None)
    table_begin: float | None = _from(Options.optional_number, TABLE + "table_begin", None)
    table_end: float | None = _from(Options.optional_number, TABLE + "table_end", None)
    table_bins: float | None = _from(Options.optional_number, TABLE + "table_bins", None, above=0.0)
    table_left_extrapolation: str = _from(
        Options.choice, TABLE + "table_left_extrapolation", "exponential", allowed=EXTRAPOLATIONS
    )
    table_right_extrapolation: str = _from(
        Options.choice, TABLE + "table_right_extrapolation", "constant", allowed=EXTRAPOLATIONS
    )
    scale: float = _from(Options.number, TABLE + "scale", 1.0, above=0.0)
    y_scale: float = _from(Options.number, TABLE + "y_scale", 1.0)


@dataclass(frozen=True)
class Interaction:
    """One non-bonded pair interaction; lengths in nm, energies in kJ/mol, or reduced units throughout."""

    name: str = _from(Options.required, "name")
    type1: str = _from(Options.required, "type1")
    type2: str = _from(Options.required, "type2")
    min: float = _from(Options.number, "min")
    max: float = _from(Options.number, "max")
    step: float = _from(Options.number, "step")
    target: str = _from(Options.required, "inverse.target")
    do_potential: tuple[int, ...] = _from(Options.cycle, "inverse.do_potential", (1,))
    p_target: float | None = _from(Options.optional_number, "inverse.p_target", None)
    particle_dens: float | None = _from(Options.optional_number, "inverse.particle_dens", None, above=0.0)
    lammps: LammpsTableOptions = field(default_factory=LammpsTableOptions)
    post_update: tuple[str, ...] = _from(_tasks, "inverse.post_update", (), known=POST_UPDATE_TASKS)
    post_add: tuple[str, ...] = _from(_tasks, "inverse.post_add", (), known=POST_ADD_TASKS)
    scale: float = _from(Options.number, POST_UPDATE + "scale", 1.0)
    smooth_iterations: int = _from(Options.integer, POST_UPDATE + "smooth.iterations", 1, least=0)
    splinesmooth_step: float | None = _from(Options.optional_number, POST_UPDATE + "splinesmooth.step", None, above=0.0)
    extrapolate_points: int = _from(Options.integer, POST_UPDATE + "extrapolate.points", 5, least=1)
    pressure: PressureCorrection = field(
        default_factory=PressureCorrection, metadata={"read": PressureCorrection.taken}
    )
    convergence: ConvergenceOptions = field(default_factory=ConvergenceOptions)
    overwrite_do: tuple[int, ...] = _from(Options.cycle, POST_ADD + "overwrite.do", (1,))
    copyback_filelist: tuple[str, ...] = _from(Options.words, POST_ADD + "copyback.filelist", ())

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

    command: str = _from(Options.text, "lammps.command", "lmp")
    script: str | None = _from(Options.text, "lammps.script", None)
    opts: str = _from(Options.text, "lammps.opts", "-in ${script}")
    conf: str | None = _from(Options.text, "lammps.conf", None)
    conf_out: str | None = _from(Options.text, "lammps.conf_out", None)
    topol: str | None = _from(_either, "lammps.topol", None)
    traj: str | None = _from(_either, "lammps.traj", None)
    first_frame: int = _from(Options.integer, "lammps.first_frame", 0, least=0)
    pressure_file: str | None = _from(Options.text, "lammps.pressure_file", None)


@dataclass(frozen=True)
class Settings:
    """All settings of a run; `path` is the XML file, in whose folder targets and inputs lie."""

    path: Path
    interactions: tuple[Interaction, ...]
    kBT: float = _from(Options.number, "kBT", above=0.0)
    iterations_max: int = _from(Options.integer, "iterations_max", least=0)
    lammps: LammpsOptions = field(default_factory=LammpsOptions)
    program: str = "lammps"
    method: str = "ibi"
    initial_configuration: str = _from(Options.choice, "initial_configuration", "maindir", allowed=CONFIGURATIONS)
    convergence_check: str = _from(Options.choice, "convergence_check.type", "none", allowed=("none", "default"))
    convergence_limit: float = _from(Options.number, "convergence_check.limit", 0.0)
    dist_min: float = _from(Options.number, "dist_min", 1e-10)
    filelist: tuple[str, ...] = _from(Options.words, "filelist", ())
    cleanlist: tuple[str, ...] = _from(Options.words, "cleanlist", ())
    map: tuple[str, ...] = _from(_maps, "map", ())
    log_file: str = _from(Options.text, "log_file", "inverse.log")

    def interaction(self, name: str) -> Interaction:
        """Return an interaction by name."""
        for interaction in self.interactions:
            if interaction.name == name:
                return interaction
        raise VotcaError(f"no interaction '{name}'; there are {', '.join(i.name for i in self.interactions)}")
