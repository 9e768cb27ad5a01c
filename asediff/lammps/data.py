"""Read LAMMPS' data files, molecules included."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from ase.data import atomic_numbers

from asediff.lammps.molecules import KINDS
from asediff.lammps.units import LammpsUnits
from asediff.system import System
from asediff.topology import Topology, exclusions_of

COLUMNS = {"atomic": 1, "bond": 2, "angle": 2, "molecular": 2}
"""Atom styles, and where the type stands in a row of the section Atoms."""


def read_data(
    path: str | Path,
    units: str,
    *,
    symbols: Sequence[str] | None = None,
    special: Sequence[float] = (0.0, 0.0, 0.0),
) -> System:
    """Read a data file of `atom_style` atomic, bond, angle or molecular as a batch of one.

    Args:
        path: the file. Masses, atoms, velocities, bonds, angles and dihedrals are read, other sections are not.
        units: `lj`, `real` or `metal`; velocities are converted, as by `asediff.lammps.files.write_data`.
        symbols: chemical symbol of each type of atoms; by default those in the comments of the section Masses.
        special: weights of pairs 1, 2 and 3 bonds apart, as of the command `special_bonds lj`; its defaults are these.

    Returns:
        Periodic, in LAMMPS' frame of reference, with the lower corner of the box at zero, atoms in the order of their
        ids; with a topology if there are bonds, angles or dihedrals.

    Raises:
        ValueError: another style, a type without a symbol, or a file that is cut short.
    """
    sections, comments = _sections(path)
    style = LammpsUnits.named(units)
    if comments.get("Atoms") not in COLUMNS:
        raise ValueError(
            f"{path}: section 'Atoms # {comments.get('Atoms', '')}' is of no style that is read; write one of "
            f"{', '.join(COLUMNS)} behind the #"
        )
    head = {" ".join(words[len(n) :]): n for words in sections[""] if (n := list(takewhile(_is_number, words)))}
    try:
        rows = sorted(sections["Atoms"], key=lambda row: int(row[0]))
        if len(rows) != int(head["atoms"][0]):
            raise IndexError
        low, high = np.array([head[f"{a}lo {a}hi"] for a in "xyz"], dtype=np.float64).T
        lattice = np.diag(high - low)
        lattice[[1, 2, 2], [0, 0, 1]] = [float(tilt) for tilt in head.get("xy xz yz", (0, 0, 0))]
        first = COLUMNS[comments["Atoms"]]
        types = np.array([row[first] for row in rows], dtype=np.int64)
        positions = np.array([row[first + 1 : first + 4] for row in rows], dtype=np.float64) - low
        images = np.array([row[first + 4 :] or (0, 0, 0) for row in rows], dtype=np.float64)
        masses = {int(row[0]): float(row[1]) for row in sections["Masses"]}
        named = {int(row[0]): row[2] for row in sections["Masses"] if len(row) > 2}
        velocities = np.zeros_like(positions)
        moving = sorted(sections.get("Velocities", []), key=lambda row: int(row[0]))
        if moving:
            velocities[:] = np.array([row[1:4] for row in moving], dtype=np.float64) * style.velocity
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path}: head, Masses, Atoms or Velocities are not complete ({error}); write it again"
        ) from None
    named = named if symbols is None else dict(enumerate(symbols, 1))
    unknown = [k for k in np.unique(types).tolist() if named.get(k) not in atomic_numbers]
    if unknown:
        raise ValueError(
            f"symbols: type {unknown[0]} of {path} has no chemical symbol; give one for each type, such as ('O', 'H')"
        )
    numbers = [int(row[0]) for row in rows]
    place = {number: k for k, number in enumerate(numbers)}
    terms: dict[str, list[list[int]] | list[int]] = {}
    for kind, section in KINDS.items():
        found = [[int(word) for word in row] for row in sections.get(section, [])]
        terms[f"{kind}s"] = [[place[atom] for atom in row[2:]] for row in found]
        terms[f"{kind}_types"] = [row[1] - 1 for row in found]
    topology = None
    if any(terms.values()):
        excluded, weights = exclusions_of(terms["bonds"], special)  # type: ignore[arg-type]
        topology = Topology(**terms, exclusions=excluded, weights=weights)
    return System(
        positions=torch.from_numpy(positions + images @ lattice),
        velocities=torch.from_numpy(velocities),
        masses=torch.tensor([masses[k] for k in types.tolist()], dtype=torch.float64),
        numbers=torch.tensor([atomic_numbers[named[k]] for k in types.tolist()]),
        cell=torch.from_numpy(lattice)[None],
        pbc=torch.ones(1, 3, dtype=torch.bool),
        system_idx=torch.zeros(len(rows), dtype=torch.int64),
        topology=topology,
    )


def _sections(path: str | Path) -> tuple[dict[str, list[list[str]]], dict[str, str]]:
    """The words of each line by section (the head is ""), and the comments behind the names of the sections."""
    found: dict[str, list[list[str]]] = {"": []}
    comments, name = {}, ""
    for line in Path(path).read_text().splitlines()[1:]:
        words, comment = (part.split() for part in line.partition("#")[::2])
        if words and words[0][0].isalpha():
            name = " ".join(words)
            found[name], comments[name] = [], " ".join(comment)
        elif words:
            found[name].append([*words, *comment] if name == "Masses" else words)
    return found, comments


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
