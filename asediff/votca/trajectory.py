"""Frames and pressures that LAMMPS leaves behind, read as VOTCA reads them."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from asediff.fitting.tables.rows import FloatArray, VotcaError


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
        frames = list(_dump_frames(path))
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


def _dump_frames(path: Path) -> Iterator[Atoms]:
    lines = path.read_text().splitlines()
    at, types = 0, None
    while at < len(lines):
        try:
            step, n_atoms, bounds_head, columns, body = _dump_block(lines, at)
        except (IndexError, ValueError):
            raise VotcaError(
                f"{path.name}, line {at + 1}: not a complete LAMMPS dump frame; check that the run ended normally"
            ) from None
        cell, origin = _dump_cell(bounds_head, lines[at + 5 : at + 8])
        at += 9 + n_atoms
        data = np.array([row.split() for row in body], dtype=object)
        table = {name: data[:, k] for k, name in enumerate(columns)}
        if "id" in table:
            order = np.argsort(table["id"].astype(np.int64), kind="stable")
            table = {name: column[order] for name, column in table.items()}
        positions = _dump_positions(table, cell, origin, path.name)
        atoms = Atoms(numbers=np.ones(n_atoms, dtype=int), positions=positions, cell=cell, pbc=True)
        if "type" in table:
            types = table["type"].astype(np.int64)
            atoms.numbers = types
            atoms.set_array("type", types)
        if "element" in table:
            atoms.set_chemical_symbols([str(symbol) for symbol in table["element"]])
        if "mol" in table:
            atoms.set_array("mol", table["mol"].astype(np.int64))
        atoms.info["step"] = step
        yield atoms


def _dump_block(lines: list[str], at: int) -> tuple[int, int, list[str], list[str], list[str]]:
    heads = (lines[at], lines[at + 2], lines[at + 4], lines[at + 8])
    tags = ("ITEM: TIMESTEP", "ITEM: NUMBER OF ATOMS", "ITEM: BOX BOUNDS", "ITEM: ATOMS")
    if any(not head.startswith(tag) for head, tag in zip(heads, tags, strict=True)):
        raise ValueError
    n_atoms = int(lines[at + 3])
    body = lines[at + 9 : at + 9 + n_atoms]
    columns = heads[3].split()[2:]
    if len(body) != n_atoms or any(len(row.split()) != len(columns) for row in body):
        raise ValueError
    return int(lines[at + 1]), n_atoms, heads[2].split()[3:], columns, body


def _dump_cell(head: list[str], rows: list[str]) -> tuple[FloatArray, FloatArray]:
    """Lattice vectors and origin; the bounds of an oblique box are those of the box around it."""
    values = np.array([[float(word) for word in row.split()] for row in rows])
    low, high = values[:, 0].copy(), values[:, 1].copy()
    xy = xz = yz = 0.0
    if "xy" in head:
        xy, xz, yz = values[:, 2]
        low[0] -= min(0.0, xy, xz, xy + xz)
        high[0] -= max(0.0, xy, xz, xy + xz)
        low[1] -= min(0.0, yz)
        high[1] -= max(0.0, yz)
    edges = high - low
    return np.array([[edges[0], 0, 0], [xy, edges[1], 0], [xz, yz, edges[2]]]), low


def _dump_positions(table: dict[str, np.ndarray], cell: FloatArray, origin: FloatArray, name: str) -> FloatArray:
    for suffix in ("", "u", "s", "su"):
        keys = [axis + suffix for axis in "xyz"]
        if all(key in table for key in keys):
            values = np.stack([table[key].astype(np.float64) for key in keys], axis=1)
            return values @ cell if suffix in ("s", "su") else values - origin
    raise VotcaError(f"{name}: the dump has no positions; dump x y z (or xu, xs)")


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
