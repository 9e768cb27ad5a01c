"""Frames and pressures that LAMMPS leaves behind, read as VOTCA reads them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from asediff.tabular.rows import VotcaError

ARRAYS = ("type", "mol", "element")
"""Columns of a dump that frames carry."""


def read_frames(path: str | PathLike[str], *, first_frame: int = 0, length_scale: float = 0.1) -> list[Atoms]:
    """Read the frames of a trajectory.

    LAMMPS text dumps are read here; other formats by ASE. VOTCA takes positions as Å and multiplies them by 0.1.

    Args:
        path: the file.
        first_frame: number of the first frame, counted from 1; 0 and 1 both keep all.
        length_scale: factor applied to positions and cells.

    Raises:
        VotcaError: the file is missing, broken, or has fewer frames.
    """
    path = Path(path)
    if not path.is_file():
        raise VotcaError(f"{path.name}: no such trajectory in {path.parent}; check the dump of the LAMMPS script")
    with path.open() as handle:
        is_dump = handle.readline().startswith("ITEM: TIMESTEP")
    if is_dump:
        frames = _dump_frames(path)
    else:
        try:
            read = ase.io.read(path, index=":")
        except Exception as error:
            raise VotcaError(f"{path.name}: ASE cannot read it ({error}); write a LAMMPS text dump") from None
        frames = read if isinstance(read, list) else [read]
    kept = frames[max(first_frame - 1, 0) :]
    if not kept:
        raise VotcaError(f"{path.name}: {len(frames)} frame(s), first_frame = {first_frame} leaves none; reduce it")
    for atoms in kept:
        atoms.set_cell(atoms.cell.array * length_scale)
        atoms.positions *= length_scale
    return kept


def _dump_frames(path: Path) -> list[Atoms]:
    from asediff.lammps.files import read_dump  # imports torch, which a file that is refused need not wait for

    try:
        dump = read_dump(path)
        positions = dump.positions()
    except ValueError as error:
        raise VotcaError(str(error)) from None
    columns = {name: column.astype(np.int64) for name, column in dump.columns.items() if name in ARRAYS}
    frames = []
    for k, step in enumerate(dump.steps):
        own = {name: column[k] for name, column in columns.items()}
        numbers = own.pop("element", own.get("type", np.ones(len(positions[k]), dtype=np.int64)))
        atoms = Atoms(
            numbers=numbers, positions=positions[k], cell=dump.lattices[k], pbc=True, info={"step": int(step)}
        )
        atoms.arrays.update(own)
        frames.append(atoms)
    return frames


def read_pressure(path: str | PathLike[str]) -> float:
    """Return the mean of the first column of a `fix print` file; its first line is a title.

    Raises:
        VotcaError: the file is missing or holds no number.
    """
    path = Path(path)
    if not path.is_file():
        raise VotcaError(f"{path.name}: no such pressure file in {path.parent}; add fix print to the LAMMPS script")
    rows = [line.split() for line in path.read_text().splitlines()[1:]]
    try:
        values = [float(row[0]) for row in rows if row]
    except ValueError:
        raise VotcaError(f"{path.name}: the first column holds no numbers; check fix print") from None
    if not values:
        raise VotcaError(f"{path.name}: no pressure below the title line; check fix print")
    return float(f"{sum(values) / len(values):.16f}")
