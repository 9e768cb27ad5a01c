"""Iterative Boltzmann inversion in folders step_000, step_001, ..., with VOTCA's files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from asediff.host.locks import exclusive
from asediff.tabular.operators import FILE_DIGITS, add, given_potential, initial_potential, shift_nonbonded
from asediff.tabular.rows import Table, VotcaError
from asediff.tabular.tasks import is_on
from asediff.votca.mapping import Mapping as BeadMapping
from asediff.votca.mapping import map_frames, read_mapping
from asediff.votca.rdf import rdf
from asediff.votca.reading import draft_settings
from asediff.votca.refusals import Kind, Refusals
from asediff.votca.settings import Interaction, Settings
from asediff.votca.simulation import LammpsSimulation, Simulate, lammps_command
from asediff.votca.tables import read_table, write_table
from asediff.votca.tasks import measure_convergence, save, shell_number, target_table, update_of, write_table_of


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run has reached.

    Args:
        steps: folders of the complete iterations, from step_001 on.
        potentials: last potential of each interaction.
        convergence: value of each iteration by interaction; NaN where the task convergence is not listed.
        converged: the convergence check ended the run.
        notes: what was asked for and passed over, because no result depends on it.
    """

    steps: tuple[Path, ...]
    potentials: dict[str, Table]
    convergence: dict[str, list[float]] = field(default_factory=dict)
    converged: bool = False
    notes: tuple[str, ...] = ()


def run_ibi(
    settings: Settings | str | PathLike[str],
    workdir: str | PathLike[str] | None = None,
    simulate: Simulate | None = None,
    *,
    iterations: int | None = None,
) -> RunResult:
    """Run iterative Boltzmann inversion as VOTCA's `csg_inverse` does and leave its files behind.

    step_000 holds the starts: ``NAME.pot.in`` of the main folder where it exists, else the Boltzmann-inverted
    target. Each further step holds ``NAME.pot.cur``, ``NAME.dist.new``, ``NAME.dist.tgt``,
    ``NAME.dpot.pure_ibi``, ``NAME.dpot.new`` (and ``.dpot.k`` before each post_update task), ``NAME.pot.new``
    (and ``.pot.k``), ``NAME.conv``, the LAMMPS tables, and the file ``done`` when it is complete. A run goes on
    after the last complete step; an incomplete one is put aside as ``step_NNN.incomplete``.

    Args:
        settings: settings or their XML file.
        workdir: main folder with the targets; the folder of the XML file when omitted.
        simulate: `simulate(step_folder, potentials)` that returns frames or `(frames, pressure)`; runs the
            LAMMPS script of the settings when omitted. See `asediff.votca.simulation`.
        iterations: number of the last step; `iterations_max` when omitted (0 there is no end).

    Raises:
        VotcaError: all missing files and wrong options together, before anything is run; or a step that fails,
            which leaves the complete steps as they are.
        InUseError: another process works in the folder.
    """
    draft, refusals = _draft(settings)
    main = Path(draft.path.parent if workdir is None else workdir)
    mappings = _check_files(draft, main, refusals)
    if simulate is None and draft.program == "lammps":
        lammps_command(draft, refusals)
        _check_script(draft, main, refusals)
    refusals.check()
    run = _Run(draft, main, mappings, simulate or LammpsSimulation(draft))
    with exclusive(main):
        return run.until(draft.iterations_max if iterations is None else iterations)


def _draft(settings: Settings | str | PathLike[str]) -> tuple[Settings, Refusals]:
    if isinstance(settings, Settings):
        return settings, Refusals(settings.path.name)
    return draft_settings(Path(settings))


def _check_files(settings: Settings, main: Path, refusals: Refusals) -> list[BeadMapping]:
    """Collect files that are missing, and return the mappings."""
    needed = list(settings.filelist)
    if settings.initial_configuration != "nowhere" and settings.lammps.conf:
        needed.append(settings.lammps.conf)
    needed += [
        item.target
        for item in settings.interactions
        if item.target and (1 in item.do_potential or not _is_file(main / f"{item.name}.pot.in"))
    ]
    for name in (*needed, *settings.map):
        if not _is_file(main / name):
            refusals.add(Kind.FILE, f"file '{name}'", f"not in {main}; add or correct the settings")
    mappings: list[BeadMapping] = []
    for name in settings.map:
        try:
            mappings += [read_mapping(main / name)] if _is_file(main / name) else []
        except VotcaError as error:
            refusals.add(Kind.FILE, str(error))
    return mappings


def _check_script(settings: Settings, main: Path, refusals: Refusals) -> None:
    """Refuse a LAMMPS script that no step's folder would have."""
    lammps, script = settings.lammps, settings.lammps.script
    if script is None or "${script}" not in lammps.opts:
        return
    copied = [Path(name).name for name in settings.filelist] + [str(lammps.conf)]
    seen_from_step = Path(os.path.normpath(main / "step_001" / script))
    if script not in copied and not _is_file(seen_from_step):
        reason = "not among the files that each step gets; add it to cg.inverse.filelist"
        refusals.add(Kind.FILE, "cg.inverse.lammps.script", reason, value=script)


def _is_file(path: Path) -> bool:
    """Whether there is such a file; no error for a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


@contextmanager
def _named(item: Interaction) -> Iterator[None]:
    """Put the interaction's name before the message of an error."""
    try:
        yield
    except VotcaError as error:
        raise VotcaError(f"{item.name}: {error}") from None


class _Run:
    def __init__(self, settings: Settings, main: Path, mappings: list[BeadMapping], simulate: Simulate) -> None:
        self.settings, self.main, self.mappings, self.simulate = settings, main, mappings, simulate

    def until(self, last: int) -> RunResult:
        """Do the steps up to `last` (0: no end) and collect what all steps have written."""
        self.prepare()
        step = 1
        while self.is_done(step):
            step += 1
        converged = step > 1 and self.is_converged(step - 1)
        while not converged and (last == 0 or step <= last):
            self.iterate(step)
            converged = self.is_converged(step)
            step += 1
        (self.main / "done").touch()
        folders = tuple(self.folder(k) for k in range(1, step))
        names = [item.name for item in self.settings.interactions]
        potentials = {name: read_table(self.folder(step - 1) / f"{name}.pot.new") for name in names}
        values = {name: [self.convergence(folder, name) for folder in folders] for name in names}
        drawn = [item.name for item in self.settings.interactions if "plot" in item.post_add]
        notes = (f"the task plot of {', '.join(drawn)} is passed over: nothing is drawn",) if drawn else ()
        return RunResult(folders, potentials, values, converged, notes)

    def folder(self, step: int) -> Path:
        return self.main / f"step_{step:03d}"

    def is_done(self, step: int) -> bool:
        return (self.folder(step) / "done").is_file()

    def log(self, text: str) -> None:
        with (self.main / self.settings.log_file).open("a") as handle:
            handle.write(text + "\n")

    def new_folder(self, step: int) -> Path:
        folder = self.folder(step)
        if folder.exists():
            aside, k = folder.with_suffix(".incomplete"), 1
            while aside.exists():
                aside, k = folder.with_suffix(f".incomplete.{k}"), k + 1
            folder.rename(aside)
            self.log(f"{folder.name}: incomplete, put aside as {aside.name}")
        folder.mkdir(parents=True)
        for name in self.settings.filelist:
            shutil.copy(self.main / name, folder / Path(name).name)
        return folder

    def prepare(self) -> None:
        """Step 0: the starts."""
        if self.is_done(0):
            return
        folder = self.new_folder(0)
        for item in self.settings.interactions:
            given = self.main / f"{item.name}.pot.in"
            if given.is_file():
                start = given_potential(read_table(given, uniform=False), item.grid)
            else:
                target = target_table(item, self.main, folder)
                with _named(item):
                    start = initial_potential(target, self.settings.kBT, dist_min=self.settings.dist_min)
            save(folder, f"{item.name}.pot.new", start)
            self.log(f"step_000: {item.name}: start from {given.name if given.is_file() else item.target}")
        (folder / "done").touch()

    def iterate(self, step: int) -> None:
        """One iteration: simulate, measure, update, add."""
        settings, last = self.settings, self.folder(step - 1)
        folder = self.new_folder(step)
        current = {item.name: read_table(last / f"{item.name}.pot.new") for item in settings.interactions}
        for item in settings.interactions:
            shutil.copy(last / f"{item.name}.pot.new", folder / f"{item.name}.pot.cur")
            with _named(item):
                write_table_of(item, folder, current[item.name])
        self.copy_configuration(step, folder, last)
        new, pressure = self.measure(folder, current)
        pots: dict[str, Table] = {}
        for item in settings.interactions:
            name = item.name
            with _named(item):
                update = update_of(item, self.main, folder, step, new[name], current[name], pressure, settings.kBT)
            pots[name] = save(folder, f"{name}.pot.new", add(current[name], update))
        self.post_add(step, folder, last, pots)
        for pattern in settings.cleanlist:
            for path in folder.glob(pattern):
                path.unlink()
        (folder / "done").touch()

    def copy_configuration(self, step: int, folder: Path, last: Path) -> None:
        lammps, source = self.settings.lammps, self.settings.initial_configuration
        if source == "nowhere" or lammps.conf is None:
            return
        if source == "maindir" or step == 1:
            shutil.copy(self.main / lammps.conf, folder / lammps.conf)
            return
        previous = last / str(lammps.conf_out)
        if not previous.is_file():
            raise VotcaError(f"{last.name}: configuration '{lammps.conf_out}' is missing; let the script write it")
        shutil.copy(previous, folder / lammps.conf)

    def measure(self, folder: Path, current: Mapping[str, Table]) -> tuple[dict[str, Table], float | None]:
        """Simulate and return g(r) of each interaction, and the pressure."""
        result, pressure = self.simulate(folder, current), None
        if isinstance(result, tuple) and len(result) == 2 and (result[1] is None or np.ndim(result[1]) == 0):
            result, pressure = result
        new: dict[str, Table] = {}
        if not isinstance(result, Mapping) and self.mappings:
            result = map_frames(result, self.mappings)
        for item in self.settings.interactions:
            if isinstance(result, Mapping):
                if item.name not in result:
                    raise VotcaError(f"simulate returned no g(r) of '{item.name}'; there is {', '.join(result)}")
                table = result[item.name]
            else:
                with _named(item):
                    table = rdf(result, item.grid, item.type1, item.type2)
            write_table(folder / f"{item.name}.dist.new", table, digits=FILE_DIGITS)
            new[item.name] = table.rounded(FILE_DIGITS)
        return new, None if pressure is None else float(pressure)

    def post_add(self, step: int, folder: Path, last: Path, pots: dict[str, Table]) -> None:
        """Apply the post_add tasks of each interaction in turn, then a shift."""
        overwritten: set[str] = set()
        for item in self.settings.interactions:
            if item.name in overwritten:
                continue
            for k, task in enumerate((*item.post_add, "shift"), start=1):
                pot = save(folder, f"{item.name}.pot.{k}", pots[item.name])
                if task == "shift":
                    pots[item.name] = shift_nonbonded(pot)
                elif task == "convergence":
                    with _named(item):
                        measure_convergence(item, self.main, folder, pot)
                elif task == "acc_convergence":
                    self.accumulate(item, step, folder, last, pot)
                elif task == "copyback":
                    for name in item.copyback_filelist:
                        shutil.copy(folder / name, self.main / name)
                elif task == "overwrite" and is_on(item.overwrite_do, step - 1):
                    others = [other.name for other in self.settings.interactions if other.name != item.name]
                    overwritten |= set(others)
                    for name in others:
                        pots[name] = save(folder, f"{name}.pot.new", pot)
                save(folder, f"{item.name}.pot.new", pots[item.name])
            self.log(f"{folder.name}: {item.name}: convergence {self.convergence(folder, item.name):g}")

    def accumulate(self, item: Interaction, step: int, folder: Path, last: Path, pot: Table) -> None:
        path, name = folder / f"{item.name}.conv", f"{item.name}.aconv"
        if not path.is_file():
            with _named(item):
                measure_convergence(item, self.main, folder, pot)
        earlier = (last / name).read_text() if (last / name).is_file() else ""
        (folder / name).write_text(f"{earlier}{step} {path.read_text().strip()}\n")

    @staticmethod
    def convergence(folder: Path, name: str) -> float:
        path = folder / f"{name}.conv"
        return float(path.read_text()) if path.is_file() else float("nan")

    def is_converged(self, step: int) -> bool:
        if self.settings.convergence_check != "default":
            return False
        total = "0"
        for item in self.settings.interactions:
            value = self.convergence(self.folder(step), item.name)
            if np.isfinite(value):
                total = shell_number(float(total) + value)
        return not float(total) > self.settings.convergence_limit
