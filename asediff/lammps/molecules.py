"""Topologies as LAMMPS has them: sections of data files, and `special_bonds` for pairs that interact in part."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from asediff.topology import Topology, bond_distances

KINDS = {"bond": "Bonds", "angle": "Angles", "dihedral": "Dihedrals"}
"""Terms of a data file, and their sections; those of a topology are called `bonds`, `bond_types` and so on."""


def special_bonds(topology: Topology) -> str:
    """The `special_bonds` command that does in LAMMPS what the exclusions do here.

    Raises:
        ValueError: LAMMPS knows one weight each for pairs 1, 2 and 3 bonds apart, and the exclusions are others.
    """
    given = dict(zip(map(tuple, topology.exclusions.tolist()), topology.weights.tolist(), strict=True))
    distances = bond_distances(topology.bonds.tolist())
    for pair, weight in given.items():
        if weight < 1.0 and pair not in distances:
            raise ValueError(
                f"exclusions: {list(pair)} are not within three bonds of each other, and LAMMPS weighs no other pairs; "
                "bond them, or let them interact"
            )
    found: dict[int, set[float]] = defaultdict(set)
    for pair, distance in distances.items():
        found[distance].add(given.get(pair, 1.0))
    for distance, weights in found.items():
        if len(weights) > 1:
            raise ValueError(
                f"weights: pairs {distance} bonds apart have {min(weights):g} to {max(weights):g}, and LAMMPS has one "
                "weight for all of them; see Topology.from_bonds"
            )
    return "special_bonds   lj/coul " + " ".join(f"{max(found[distance] or {1.0}):.17g}" for distance in (1, 2, 3))


def with_topology(text: str, topology: Topology | None, name: str) -> str:
    """An input file for a data file with a topology: `atom_style molecular`, and the weights of special bonds.

    Args:
        text: of the input file, which says `atom_style atomic`.
        topology: None leaves the text as it is.
        name: of the input file, for messages.

    Raises:
        ValueError: the input says no such thing, or LAMMPS has no such exclusions.
    """
    if topology is None:
        return text
    style = f"atom_style      molecular\n{special_bonds(topology)}"
    changed, n = re.subn(r"^atom_style\s+atomic\b.*$", style, text, flags=re.MULTILINE)
    if n != 1:
        raise ValueError(
            f"input: {name} has {n} lines 'atom_style atomic' to put the topology's special_bonds after; give it one"
        )
    return changed


def input_for(path: Path, topology: Topology | None, folder: Path) -> Path:
    """An input file, or what `with_topology` makes of it in a folder."""
    if topology is None:
        return path
    text = with_topology(path.read_text(), topology, path.name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / path.name).write_text(text)
    return folder / path.name


def counts(topology: Topology | None) -> list[str]:
    """Lines of a data file's head."""
    found = []
    for kind in KINDS if topology is not None else ():
        types = getattr(topology, f"{kind}_types")
        if len(types):
            found += [f"{len(types)} {kind}s", f"{int(types.max()) + 1} {kind} types"]
    return found


def sections(topology: Topology | None) -> list[str]:
    """Lines of a data file's sections Bonds, Angles and Dihedrals; numbers of types and atoms count from 1."""
    lines = []
    for kind, section in KINDS.items() if topology is not None else ():
        rows, types = getattr(topology, f"{kind}s").tolist(), getattr(topology, f"{kind}_types").tolist()
        if rows:
            lines += ["", section, ""]
        for k, (atoms, number) in enumerate(zip(rows, types, strict=True), 1):
            lines.append(f"{k} {number + 1} " + " ".join(str(atom + 1) for atom in atoms))
    return lines


def molecules(topology: Topology, n_atoms: int) -> NDArray[np.int64]:
    """`(n_atoms,)`, from 1: atoms that bonds connect have the same number."""
    i, j = topology.bonds.cpu().numpy().T
    _, number = connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(n_atoms, n_atoms)), directed=False)
    return np.asarray(number, dtype=np.int64) + 1
