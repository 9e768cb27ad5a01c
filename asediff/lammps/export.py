"""A learned potential as files that LAMMPS runs as they are, and independent runs with exactly those files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from asediff.dynamics.defaults import relaxation_time
from asediff.engines import TrajectoryEngine
from asediff.host.files import check_names, file_name
from asediff.lammps.files import Box, check_system, read_dump, species_of, write_data
from asediff.lammps.run import LammpsRun, find_lmp, read_trajectory, run_lammps, tables_of_system
from asediff.lammps.tables import spline_tables, write_tables
from asediff.lammps.units import LammpsUnits
from asediff.lammps.verify import VerifyReport, verify_export
from asediff.potentials.base import Potential
from asediff.potentials.pair import check_pairwise
from asediff.system import System
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory

TABLE, DATA, INPUT = "cg.table", "cg.data", "cg_nvt.lmp"
LARGEST_SEED = 900_000_000


@dataclass(frozen=True, eq=False)
class Exported:
    """LAMMPS files of a potential at one state point.

    Attributes:
        folder: where they are; `lmp -in cg_nvt.lmp` runs there.
        table: the pair tables.
        data: the atoms.
        input: the input file, with every number filled in.
        box: leads from LAMMPS' frame of reference to the system's.
    """

    folder: Path
    table: Path
    data: Path
    input: Path
    box: Box


def export_lammps(
    potential: Potential,
    state_point: StatePoint,
    folder: str | Path,
    run: LammpsRun,
    *,
    refine: int = 8,
    seed: int = 1,
    start: System | None = None,
) -> Exported:
    """Write cg.table, cg.data and cg_nvt.lmp for a state point.

    Args:
        potential: what acts between the atoms.
        state_point: system and kT.
        folder: made if need be.
        run: lengths, time step and units of the run that the input describes.
        refine: points of the table per knot interval; see `PairTable.from_coefficients`.
        seed: of the initial velocities, at least 1.
        start: configuration to start from; default the state point's own.
    """
    potential = check_pairwise(potential, "LAMMPS")
    system = state_point.system if start is None else start
    check_system(system)
    text = run.input_text(system.topology)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    style = LammpsUnits.named(run.units)
    with torch.no_grad():
        spline = potential.tabulate(system, state_point.kT)
    tables = tables_of_system(spline_tables(spline, refine=refine), system)
    table = write_tables(
        folder / TABLE, tables, run.units, comment=f"asediff, {state_point.name}, cutoff {potential.cutoff:g}"
    )
    box = write_data(folder / DATA, system, run.units)
    tdamp = relaxation_time(run.timestep, run.tdamp)
    values: dict[str, str | int | float] = {
        "data": DATA,
        "table": TABLE,
        "section": " ".join(tables),
        "types": len(species_of(system)),
        "points": next(iter(tables.values())).n_points,
        "units": run.units,
        "temperature": style.temperature(float(state_point.kT)),
        "timestep": run.timestep / style.time,
        "tdamp": tdamp / style.time,
        "equilibration": run.equilibration_steps,
        "steps": run.steps,
        "every": run.save_every,
        "seed": seed,
        "skin": 0.1 * potential.cutoff if run.skin is None else run.skin,
        "dump": "cg.dump",
    }
    input_file = folder / INPUT
    input_file.write_text(_filled_in(text, values))
    return Exported(folder, table, folder / DATA, input_file, box)


def _filled_in(text: str, values: Mapping[str, str | int | float]) -> str:
    """An input file with its `variable NAME index DEFAULT` lines set to values, without notes on how to set them."""

    def line(match: re.Match[str]) -> str:
        name = match[1]
        return f"variable {name:<13} index {values[name]}" if name in values else match[0]

    body = re.sub(r"^variable\s+(\w+)\s+index\b.*$", line, text, flags=re.MULTILINE)
    first, _, rest = body.partition("\n")
    notes, blank, code = rest.partition("\n\n")
    kept = notes if blank and not all(row.startswith("#") for row in notes.splitlines()) else ""
    return f"{first}\n# Written by asediff; run it here:  lmp -in {INPUT}\n{kept}\n{code}" if blank else body


@dataclass(frozen=True, eq=False)
class ExportedEngine(TrajectoryEngine):
    """Independent runs by LAMMPS with the exported files, each state point in its own folder.

    Args:
        settings: lengths, time step and units of the runs.
        folder: parent of the folders.
        refine: points of the table per knot interval.
        exported: filled by the runs: state point's name -> its files.
    """

    settings: LammpsRun
    folder: Path
    refine: int = 8
    exported: dict[str, Exported] = field(default_factory=dict)

    @property
    def steps_per_run(self) -> int:  # type: ignore[override]
        """Equilibration and production steps."""
        return self.settings.equilibration_steps + self.settings.steps

    def check(self, state_points: Sequence[StatePoint]) -> None:
        """See `Engine.check`; names that would share a folder are refused, too."""
        find_lmp()
        check_names("state_points", [point.name for point in state_points])
        for point in state_points:
            check_system(point.system)
            self.settings.input_text(point.system.topology)

    def folder_of(self, state_point: StatePoint) -> Path:
        """Where the files of a state point are."""
        return self.folder / file_name(state_point.name)

    def run(
        self, potential: Potential, state_point: StatePoint, *, seed: int, start: System | None = None
    ) -> Trajectory:
        """Export, run the exported input, and return its frames; the dump itself is not kept.

        Raises:
            ValueError: another state point's files are in the folder that goes with the name.
            LammpsError: the run failed; see `run_lammps`.
        """
        others = [name for name in self.exported if name != state_point.name]
        check_names("state_points", [*others, state_point.name])
        folder = self.folder_of(state_point)
        files = export_lammps(
            potential,
            state_point,
            folder,
            self.settings,
            refine=self.refine,
            seed=1 + abs(seed) % LARGEST_SEED,
            start=start,
        )
        log = run_lammps(files.input, {}, folder, threads=self.settings.threads, timeout=self.settings.timeout)
        dump = folder / "cg.dump"
        trajectory = read_trajectory(
            read_dump(dump), log, state_point.system, files.box, self.settings.units, self.settings.timestep
        )
        dump.unlink()
        self.exported[state_point.name] = files
        return trajectory


def verified(
    table: Path,
    potential: Potential,
    state_point: StatePoint,
    frames: Trajectory,
    n: int,
    *,
    workdir: Path | None = None,
) -> VerifyReport:
    """Compare LAMMPS with asediff on n frames spread over a trajectory; see `asediff.lammps.verify.verify_export`."""
    stride = max(1, len(frames) // n)
    return verify_export(table, potential, frames[stride - 1 :: stride], kT=float(state_point.kT), workdir=workdir)
