"""VOTCA's settings files: iterative Boltzmann inversion of pair interactions with LAMMPS."""

from __future__ import annotations

import math
from collections import Counter
from os import PathLike
from pathlib import Path, PurePath
from xml.etree.ElementTree import Element

from asediff.tabular.rows import VotcaError
from asediff.votca.options import Options, parse_xml
from asediff.votca.refusals import Kind, Refusals
from asediff.votca.settings import POST_ADD, ConvergenceOptions, Interaction, Settings, taken

MAX_ROWS = 1_000_000
"""Rows of a table beyond which its step is taken for a mistake."""

OTHER_PROGRAM = "not supported: for a program other than lammps"
OTHER_METHOD = "not supported: for a method other than ibi"
NO_TASK = "not supported: for a task that is not available"
GLOBAL_REASONS = {
    **dict.fromkeys(("gromacs", "espresso", "espressopp", "hoomd-blue", "dlpoly"), OTHER_PROGRAM),
    **dict.fromkeys(("imc", "iie", "re", "optimizer", "scale"), OTHER_METHOD),
    "scriptpath": "not supported: user scripts are not run; remove",
    "average": NO_TASK,
    "lammps.rdf.with_errors": "not supported: g(r) is written without errors; set to no",
    "lammps.equi_time": "not supported: LAMMPS dumps carry no time; use first_frame",
}
INTERACTION_REASONS = {
    "fmatch": OTHER_METHOD,
    "re": OTHER_METHOD,
    "inverse.imc": OTHER_METHOD,
    "inverse.optimizer": OTHER_METHOD,
    **dict.fromkeys(("threebody", "type3"), "not supported: only pairs are"),
    **dict.fromkeys(
        [f"inverse.{name}" for name in ("gromacs", "espresso", "espressopp", "hoomd-blue", "dlpoly")], OTHER_PROGRAM
    ),
    "dlpoly": OTHER_PROGRAM,
    "inverse.post_update_options": NO_TASK,
    "inverse.post_add_options": NO_TASK,
}


def read_settings(path: str | PathLike[str]) -> Settings:
    """Read a VOTCA settings file: pair interactions, method ibi, program lammps.

    Args:
        path: XML file with the root element ``cg``.

    Raises:
        VotcaError: one line that names the file and every reason why it cannot be run, the method first: options
            that are not supported, unknown, missing or wrong. Only what has no influence on results is passed over:
            ``cg.nbsearch``, ``cg.inverse.restart_file``, ``cg.inverse.simulation.tasks`` and the task ``plot``.
    """
    settings, refusals = draft_settings(Path(path))
    refusals.check()
    return settings


def draft_settings(path: Path) -> tuple[Settings, Refusals]:
    """Return what a settings file says, with placeholders for what is wrong, and all that is wrong.

    Raises:
        VotcaError: it is no settings file at all.
    """
    root = parse_xml(path)
    if root.tag != "cg":
        raise VotcaError(f"{path.name}: the root element is '{root.tag[:40]}', not 'cg'; is this a settings file?")
    refusals = Refusals(path.name)
    _sections(root, refusals)
    elements = root.findall("non-bonded")
    interactions = tuple(_interaction(element, f"#{k}", refusals) for k, element in enumerate(elements, start=1))
    if not interactions:
        refusals.add(Kind.MISSING, "cg.non-bonded", "missing; give at least one interaction")
    for name, count in Counter(interaction.name for interaction in interactions).items():
        if name and count > 1:
            refusals.add(Kind.VALUE, "cg.non-bonded.name", "given to several interactions; rename", value=name)
    inverse = root.find("inverse")
    settings = _globals(Element("inverse") if inverse is None else inverse, path, interactions, refusals)
    return settings, refusals


def _sections(root: Element, refusals: Refusals) -> None:
    """Refuse what lies beside ``non-bonded`` and ``inverse``."""
    if root.find("fmatch") is not None:
        refusals.add(Kind.METHOD, "cg.fmatch", "not supported: force matching; only the method ibi is")
    for k, element in enumerate(root.findall("bonded"), start=1):
        name = " ".join((element.findtext("name") or f"#{k}").split())
        reason = "not supported: bonded interactions; only pair interactions are"
        refusals.add(Kind.BONDED, "cg.bonded[]", reason, owner=name)
    for element in root:
        known = element.tag in ("non-bonded", "inverse", "nbsearch", "fmatch", "bonded")
        if not known and ((element.text or "").strip() or len(element)):
            refusals.add(Kind.OPTION, f"cg.{element.tag}", "not a known section; check the spelling or remove")
        if (element.tail or "").strip():
            refusals.add(
                Kind.OPTION, "text in cg", "not inside a tag; remove", value=" ".join(str(element.tail).split())
            )
    if len(root.findall("inverse")) > 1:
        refusals.add(Kind.VALUE, "cg.inverse", "given twice; join the sections")


def _globals(element: Element, path: Path, interactions: tuple[Interaction, ...], refusals: Refusals) -> Settings:
    options = Options(element, "cg.inverse", refusals)
    options.text("simulation.tasks")
    options.text("restart_file")
    options.choice("simulation.background", "no", allowed=("no",))
    for key in ("lammps.rdf.with_errors", "lammps.equi_time"):
        if options.values.get(key) in ("no", "0", "0.0"):
            options.values.pop(key)
    if refusals.has(Kind.METHOD):
        method = options.text("method") or "fmatch"
    else:
        method = options.choice("method", allowed=("ibi",), kind=Kind.METHOD)
    program = options.choice("program", allowed=("lammps",), kind=Kind.PROGRAM)
    settings = taken(Settings, options, path=path, interactions=interactions, program=program, method=method)
    options.refuse_rest(GLOBAL_REASONS)
    if settings.initial_configuration == "laststep" and not (settings.lammps.conf and settings.lammps.conf_out):
        options.refuse("initial_configuration", "in need of lammps.conf and lammps.conf_out; give both", "laststep")
    for pattern in settings.cleanlist:
        if PurePath(pattern).is_absolute() or ".." in PurePath(pattern).parts:
            options.refuse("cleanlist", "outside the step's folder; give patterns of files in it", pattern)
    tasks = {task for item in interactions for task in item.post_add}
    if settings.convergence_check == "default" and not tasks & {"convergence", "acc_convergence"}:
        reason = "in need of the task convergence in cg.non-bonded.inverse.post_add of an interaction; add it"
        options.refuse("convergence_check.type", reason, "default")
    return settings


def _interaction(element: Element, owner: str, refusals: Refusals) -> Interaction:
    options = Options(element, "cg.non-bonded[]", refusals, owner=owner)
    name = options.values.get("name", "")
    options.owner = name or owner
    if "/" in name or name in (".", ".."):
        options.refuse("name", "not usable in names of files; leave out '/'", name)
    if options.values.get("bondtype") == "non-bonded":
        options.values.pop("bondtype")
    interaction = taken(Interaction, options)
    for key in ("script", "kill", "gnuplot_opts"):
        options.text(f"inverse.post_add_options.plot.{key}")
    options.refuse_rest(INTERACTION_REASONS)
    _check_grids(options, interaction)
    _check_convergence(options, interaction.convergence)
    _check_tasks(options, interaction)
    return interaction


def _check_convergence(options: Options, result: ConvergenceOptions) -> None:
    """Refuse lists of different lengths, and what no convergence is measured of."""
    start = POST_ADD + "convergence."
    if not len(result.what) == len(result.base) == len(result.norm) == len(result.weight):
        options.refuse(start + "what", ": base, norm and weight must be lists of the same length as what")
    for pair in zip(result.what, result.base, strict=False):
        if pair not in (("dist", "tgt"), ("pot", "cur")):
            options.refuse(
                start + "what", "not supported; use dist with base tgt, or pot with base cur", " ".join(pair)
            )
    for norm in result.norm:
        if norm not in (1.0, 2.0) and not math.isnan(norm):
            options.refuse(start + "norm", "unknown; use 1 (absolute values) or 2 (squares)", f"{norm:g}")


def _check_grids(options: Options, item: Interaction) -> None:
    """Refuse ranges without rows, or with more than `MAX_ROWS`; comparisons with NaN, which was refused, are false."""
    lammps = item.lammps
    begin, end = lammps.table_begin, lammps.table_end
    tables = (
        ("min, max, step", item.min, item.max, item.step),
        (
            "inverse.lammps.table_begin, table_end, table_bins",
            item.min if begin is None else begin,
            item.max if end is None else end,
            item.step if lammps.table_bins is None else lammps.table_bins,
        ),
    )
    for path, low, high, step in tables:
        value = f"{low:g}, {high:g}, {step:g}"
        if low < 0 or high <= low or step <= 0 or step >= high - low:
            options.refuse(path, "no grid; give 0 <= begin < end and 0 < step < end - begin", value)
            return
        if (high - low) / step > MAX_ROWS:
            options.refuse(path, f"a grid of more than {MAX_ROWS} rows; give a larger step", value)
            return


def _check_tasks(options: Options, item: Interaction) -> None:
    """Refuse tasks without the options that they need."""

    def need(path: str, task: str) -> None:
        options.refuse(path, f"missing; the task {task} needs a value", kind=Kind.MISSING)

    if "splinesmooth" in item.post_update and item.splinesmooth_step is None:
        need("inverse.post_update_options.splinesmooth.step", "splinesmooth")
    if "overwrite" in item.post_add[:-1]:
        options.refuse("inverse.post_add", ": overwrite must be the last task; move it to the end")
    if "copyback" in item.post_add and not item.copyback_filelist:
        need("inverse.post_add_options.copyback.filelist", "copyback")
    if "pressure" in item.post_update:
        if item.p_target is None:
            need("inverse.p_target", "pressure")
        if item.pressure.scale is None:
            need("inverse.post_update_options.pressure.simple.scale", "pressure")
        if item.pressure.type == "wjk" and item.particle_dens is None:
            need("inverse.particle_dens", "pressure of type wjk")
        if item.pressure.type == "wjk" and abs(item.min) > 0:
            reason = ": the pressure correction wjk reads wrong distances unless min = 0; give 0 or use type simple"
            options.refuse("min", reason, f"{item.min:g}")
