"""Settings of VOTCA's `csg_inverse`, read from XML: iterative Boltzmann inversion with LAMMPS."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from xml.etree.ElementTree import Element

from asediff.votca.options import Options, parse_xml
from asediff.votca.tables import FloatArray, VotcaError, grid_points

POST_UPDATE_TASKS = ("scale", "smooth", "splinesmooth", "extrapolate", "pressure", "shift", "dummy")
POST_ADD_TASKS = ("convergence", "acc_convergence", "shift", "overwrite", "copyback", "dummy")
EXTRAPOLATIONS = ("constant", "linear", "quadratic", "exponential", "sasha")


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


GLOBAL_REASONS = {
    "gromacs": "options of a program other than LAMMPS; remove them",
    "espresso": "options of a program other than LAMMPS; remove them",
    "espressopp": "options of a program other than LAMMPS; remove them",
    "hoomd-blue": "options of a program other than LAMMPS; remove them",
    "dlpoly": "options of a program other than LAMMPS; remove them",
    "imc": "only the method ibi is read from a settings file",
    "iie": "only the method ibi is read from a settings file",
    "re": "only the method ibi is read from a settings file",
    "optimizer": "only the method ibi is read from a settings file",
    "scriptpath": "user scripts are not run; remove it",
    "average": "averaging tables over steps is not done; remove it",
    "lammps.rdf.with_errors": "g(r) is written without errors; set it to no",
    "lammps.equi_time": "LAMMPS dumps carry no time; use first_frame",
}
INTERACTION_REASONS = {
    "fmatch": "force matching is not done; remove it",
    "re": "only the method ibi is read from a settings file",
    "inverse.imc": "only the method ibi is read from a settings file",
    "inverse.optimizer": "only the method ibi is read from a settings file",
    "inverse.gromacs": "options of a program other than LAMMPS; remove them",
    "inverse.espresso": "options of a program other than LAMMPS; remove them",
    "inverse.dlpoly": "options of a program other than LAMMPS; remove them",
    "dlpoly": "options of a program other than LAMMPS; remove them",
    "inverse.post_update_options": "its task is not available",
    "inverse.post_add_options": "its task is not available",
}


def read_settings(path: str | PathLike[str]) -> Settings:
    """Read a VOTCA settings file: non-bonded interactions, method ibi, program lammps.

    Args:
        path: XML file with the root element ``cg``.

    Raises:
        VotcaError: one line that names the file and the path of an option that is missing, wrong, unknown or
            not supported. No option is ignored, except ``cg.nbsearch`` and ``cg.inverse.simulation.tasks``,
            which have no influence on results.
    """
    path = Path(path)
    root = parse_xml(path)
    if root.tag != "cg":
        raise VotcaError(f"{path.name}: the root element is '{root.tag}', not 'cg'; is this a settings file?")
    elements = {child.tag: child for child in root}
    for tag, element in elements.items():
        if tag not in ("non-bonded", "inverse", "nbsearch") and ((element.text or "").strip() or len(element)):
            reason = {
                "bonded": "bonded interactions are not supported",
                "fmatch": "force matching is not supported",
            }.get(tag, "unknown section; check its spelling or remove it")
            raise VotcaError(f"{path.name}: cg.{tag}: {reason}")
    program = (root.findtext("inverse/program") or "").strip()
    if program != "lammps":
        raise VotcaError(
            f"{path.name}: cg.inverse.program is {program or 'missing (gromacs by default)'}; only lammps is supported"
        )
    interactions = tuple(_interaction(element, path.name) for element in root.findall("non-bonded"))
    if not interactions:
        raise VotcaError(f"{path.name}: cg.non-bonded is missing; add at least one interaction")
    names = [interaction.name for interaction in interactions]
    if len(set(names)) < len(names):
        raise VotcaError(f"{path.name}: cg.non-bonded.name: names {', '.join(names)} are not unique; rename one")
    if "inverse" not in elements:
        raise VotcaError(f"{path.name}: cg.inverse is missing; add kBT, program, method and iterations_max")
    settings = _globals(elements["inverse"], path, interactions)
    _check(settings)
    return settings


def _globals(element: Element, path: Path, interactions: tuple[Interaction, ...]) -> Settings:
    options = Options(element, "cg.inverse", path.name)
    options.text("simulation.tasks")
    options.text("restart_file")
    if (options.text("simulation.background") or "no") != "no":
        raise options.error("simulation.background", "is not supported; set it to no")
    for key in ("lammps.rdf.with_errors", "lammps.equi_time"):
        if options.values.get(key) in ("no", "0", "0.0"):
            options.values.pop(key)
    lammps = LammpsOptions(
        command=options.text("lammps.command") or "lmp",
        script=options.text("lammps.script"),
        opts=options.text("lammps.opts") or "-in ${script}",
        conf=options.text("lammps.conf"),
        conf_out=options.text("lammps.conf_out"),
        topol=_either(options, "lammps.rdf.topol", "lammps.topol"),
        traj=_either(options, "lammps.rdf.traj", "lammps.traj"),
        first_frame=options.integer("lammps.first_frame", 0),
        pressure_file=options.text("lammps.pressure_file"),
    )
    settings = Settings(
        path=path,
        interactions=interactions,
        program=options.choice("program", ("lammps",)),
        method=options.choice("method", ("ibi",)),
        kBT=options.number("kBT"),
        iterations_max=options.integer("iterations_max"),
        lammps=lammps,
        initial_configuration=options.choice("initial_configuration", ("maindir", "laststep", "nowhere"), "maindir"),
        convergence_check=options.choice("convergence_check.type", ("none", "default"), "none"),
        convergence_limit=options.number("convergence_check.limit", 0.0),
        dist_min=options.number("dist_min", 1e-10),
        filelist=options.words("filelist"),
        cleanlist=options.words("cleanlist"),
        map=tuple((_either(options, "lammps.rdf.map", "map") or "").split()),
        log_file=options.text("log_file") or "inverse.log",
    )
    options.refuse_rest(GLOBAL_REASONS)
    if not settings.kBT > 0:
        raise options.error("kBT", f"= {settings.kBT:g} must be positive")
    if settings.initial_configuration == "laststep" and not (lammps.conf and lammps.conf_out):
        raise options.error("initial_configuration", "= laststep needs lammps.conf and lammps.conf_out")
    return settings


def _interaction(element: Element, file: str) -> Interaction:
    options = Options(element, "cg.non-bonded", file)
    name = options.required("name")
    options.prefix = f"cg.non-bonded[{name}]"
    if options.values.get("bondtype") == "non-bonded":
        options.values.pop("bondtype")
    interaction = Interaction(
        name=name,
        type1=options.required("type1"),
        type2=options.required("type2"),
        min=options.number("min"),
        max=options.number("max"),
        step=options.number("step"),
        target=options.required("inverse.target"),
        do_potential=options.cycle("inverse.do_potential"),
        p_target=options.optional_number("inverse.p_target"),
        particle_dens=options.optional_number("inverse.particle_dens"),
        lammps=_lammps_table_options(options),
        post_update=_tasks(options, "inverse.post_update", POST_UPDATE_TASKS),
        post_add=_tasks(options, "inverse.post_add", POST_ADD_TASKS),
        scale=options.number("inverse.post_update_options.scale", 1.0),
        smooth_iterations=options.integer("inverse.post_update_options.smooth.iterations", 1),
        splinesmooth_step=options.optional_number("inverse.post_update_options.splinesmooth.step"),
        extrapolate_points=options.integer("inverse.post_update_options.extrapolate.points", 5),
        pressure=_pressure(options),
        convergence=_convergence(options),
        overwrite_do=options.cycle("inverse.post_add_options.overwrite.do"),
        copyback_filelist=options.words("inverse.post_add_options.copyback.filelist"),
    )
    options.refuse_rest(INTERACTION_REASONS)
    if not interaction.max > interaction.min >= 0 or not 0 < interaction.step < interaction.max - interaction.min:
        raise options.error(
            "min, max, step", f"= {interaction.min:g}, {interaction.max:g}, {interaction.step:g} hold no grid"
        )
    return interaction


def _either(options: Options, special: str, general: str) -> str | None:
    """Take both options; the special one has precedence."""
    values = options.text(special), options.text(general)
    return values[0] or values[1]


def _lammps_table_options(options: Options) -> LammpsTableOptions:
    start = "inverse.lammps."
    return LammpsTableOptions(
        table=options.text(start + "table"),
        table_begin=options.optional_number(start + "table_begin"),
        table_end=options.optional_number(start + "table_end"),
        table_bins=options.optional_number(start + "table_bins"),
        table_left_extrapolation=options.choice(start + "table_left_extrapolation", EXTRAPOLATIONS, "exponential"),
        table_right_extrapolation=options.choice(start + "table_right_extrapolation", EXTRAPOLATIONS, "constant"),
        scale=options.number(start + "scale", 1.0),
        y_scale=options.number(start + "y_scale", 1.0),
    )


def _tasks(options: Options, path: str, known: tuple[str, ...]) -> tuple[str, ...]:
    tasks = options.words(path)
    for task in tasks:
        if task not in known:
            raise options.error(path, f"task '{task}' is not supported; use {', '.join(known)}")
    return tasks


def _pressure(options: Options) -> PressureCorrection:
    start = "inverse.post_update_options.pressure."
    kind = options.choice(start + "type", ("simple", "wjk"), "simple")
    other = "wjk" if kind == "simple" else "simple"
    options.text(f"{start}{other}.scale")
    options.text(f"{start}{other}.max_A")
    return PressureCorrection(
        type=kind,
        do=options.cycle(start + "do"),
        scale=options.optional_number(start + "simple.scale")
        if kind == "simple"
        else options.number(start + "wjk.scale", 1.0),
        max_A=options.number(f"{start}{kind}.max_A", 0.1),
    )


def _convergence(options: Options) -> ConvergenceOptions:
    start = "inverse.post_add_options.convergence."
    result = ConvergenceOptions(
        what=options.words(start + "what", ("dist",)),
        base=options.words(start + "base", ("tgt",)),
        norm=options.numbers(start + "norm", (1.0,)),
        weight=options.numbers(start + "weight", (1.0,)),
    )
    if not len(result.what) == len(result.base) == len(result.norm) == len(result.weight):
        raise options.error(start + "what", "base, norm and weight must be lists of one length")
    for pair in zip(result.what, result.base, strict=True):
        if pair not in (("dist", "tgt"), ("pot", "cur")):
            raise options.error(
                start + "what", f"= {pair[0]} with base {pair[1]} is not supported; use dist with tgt or pot with cur"
            )
    if any(norm not in (1.0, 2.0) for norm in result.norm):
        raise options.error(start + "norm", "must be 1 (absolute values) or 2 (squares)")
    return result


def _check(settings: Settings) -> None:
    """Options that one task needs from another place."""
    file = settings.path.name
    for item in settings.interactions:
        where = f"{file}: cg.non-bonded[{item.name}].inverse"
        if "splinesmooth" in item.post_update and item.splinesmooth_step is None:
            raise VotcaError(f"{where}.post_update_options.splinesmooth.step is missing; add it")
        if "overwrite" in item.post_add[:-1]:
            raise VotcaError(f"{where}.post_add: overwrite must be the last task; move it to the end")
        if "copyback" in item.post_add and not item.copyback_filelist:
            raise VotcaError(f"{where}.post_add_options.copyback.filelist is missing; add it")
        if "pressure" in item.post_update:
            if item.p_target is None:
                raise VotcaError(f"{where}.p_target is missing; the task pressure needs it")
            if item.pressure.scale is None:
                raise VotcaError(f"{where}.post_update_options.pressure.simple.scale is missing; add it")
            if item.pressure.type == "wjk" and item.particle_dens is None:
                raise VotcaError(f"{where}.particle_dens is missing; the pressure correction wjk needs it")
            if item.pressure.type == "wjk" and item.min != 0:
                raise VotcaError(
                    f"{file}: cg.non-bonded[{item.name}].min = {item.min:g}: the pressure correction wjk reads "
                    "g(r) at wrong distances unless min = 0; set min to 0 or use type simple"
                )
    needs_convergence = settings.convergence_check == "default"
    tasks = {task for item in settings.interactions for task in item.post_add}
    if needs_convergence and not tasks & {"convergence", "acc_convergence"}:
        raise VotcaError(
            f"{file}: cg.inverse.convergence_check.type = default needs the task convergence in "
            "cg.non-bonded.inverse.post_add of an interaction; add it"
        )
