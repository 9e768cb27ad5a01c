"""Mapping of molecules to one bead each, from VOTCA mapping files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from asediff.tabular.rows import FloatArray, VotcaError
from asediff.votca.options import Options, parse_xml
from asediff.votca.refusals import Kind, Refusals


@dataclass(frozen=True)
class Mapping:
    """One molecule type that becomes one bead.

    Args:
        name: of the molecule after mapping.
        ident: of the molecule in the trajectory (its residue name).
        bead: name of the bead.
        bead_type: type of the bead, as interactions name it.
        atoms: names of the atoms in the order of the molecule.
        weights: one for each atom; they are normalised.
        residue: residue name of the atoms in the mapping file, accepted in place of `ident`.
        file: where it was read, for messages.
    """

    name: str
    ident: str
    bead: str
    bead_type: str
    atoms: tuple[str, ...]
    weights: tuple[float, ...]
    residue: str = ""
    file: str = "mapping"

    def __post_init__(self) -> None:
        if not self.atoms:
            raise VotcaError(f"{self.file}: bead '{self.bead}' has no atoms; list them as RESID:RESNAME:ATOM")
        if len(self.weights) != len(self.atoms):
            raise VotcaError(
                f"{self.file}: bead '{self.bead}' has {len(self.atoms)} atoms and {len(self.weights)} weights; "
                "give one weight for each atom"
            )
        if sum(self.weights) == 0:
            raise VotcaError(f"{self.file}: the weights of bead '{self.bead}' sum to zero; use masses")


def read_mapping(path: str | PathLike[str]) -> Mapping:
    """Read a VOTCA mapping file with one bead for the molecule.

    Raises:
        VotcaError: one line with all that is wrong: more than one bead, bonded entries, a map that does not exist,
            unknown or missing options.
    """
    path = Path(path)
    root = parse_xml(path)
    file = path.name
    if root.tag != "cg_molecule":
        raise VotcaError(f"{file}: the root element is '{root.tag}', not 'cg_molecule'; is this a mapping file?")
    refusals = Refusals(file)
    options = Options(root, "cg_molecule", refusals, skip=("topology", "maps"))
    name, ident = options.required("name"), options.required("ident")
    options.refuse_rest({})
    topology = root.find("topology")
    beads = [] if topology is None else topology.findall("cg_beads/cg_bead")
    if len(beads) != 1 or topology is None:
        place = f"cg_molecule.topology.cg_beads has {len(beads)} beads; one bead per molecule is supported"
        refusals.add(Kind.BONDED, place)
        refusals.check()
    bonded = None if topology is None else topology.find("cg_bonded")
    if bonded is not None and len(bonded):
        refusals.add(Kind.BONDED, "cg_molecule.topology.cg_bonded", "not supported with one bead; remove")
    bead = Options(beads[0], "cg_molecule.topology.cg_beads.cg_bead", refusals)
    bead_name, bead_type = bead.required("name"), bead.required("type")
    mapping, entries = bead.required("mapping"), bead.words("beads")
    symmetry = bead.text("symmetry")
    if symmetry not in (None, "1"):
        bead.refuse("symmetry", "not supported; beads are spheres", symmetry)
    bead.refuse_rest({})
    parts = [_entry(entry, refusals) for entry in entries]
    weights = _weights(root, mapping, refusals)
    refusals.check()
    return Mapping(
        name=name,
        ident=ident,
        bead=bead_name,
        bead_type=bead_type,
        atoms=tuple(part[2] for part in parts),
        weights=weights,
        residue=parts[0][1] if parts else "",
        file=file,
    )


def _entry(entry: str, refusals: Refusals) -> list[str]:
    parts = entry.split(":")
    if len(parts) != 3:
        refusals.add(Kind.VALUE, f"bead entry '{entry}'", "not of the form RESID:RESNAME:ATOM")
        return ["", "", ""]
    return parts


def _weights(root: Element, wanted: str, refusals: Refusals) -> tuple[float, ...]:
    for element in root.findall("maps/map"):
        options = Options(element, "cg_molecule.maps.map", refusals)
        if options.required("name") == wanted:
            weights = options.numbers("weights", ())
            options.refuse_rest({"d": "not supported: separate force weights; remove"})
            return weights
    if wanted:
        refusals.add(Kind.MISSING, f"cg_molecule.maps has no map '{wanted}'; the bead asks for it")
    return ()


def map_frames(
    frames: Atoms | Iterable[Atoms],
    mappings: Mapping | str | PathLike[str] | Iterable[Mapping | str | PathLike[str]],
) -> list[Atoms]:
    """Return frames of beads at the weighted centres of the molecules.

    Molecules are the runs of equal residue number (array ``residuenumbers``) or molecule number (``mol-id``,
    ``mol``, ``molecule-id``); without such an array and with one mapping, blocks of as many atoms as the
    mapping lists. A molecule is made whole around its first atom, with periodic images. Beads carry the array
    ``bead_type``, the sum of their atoms' masses, and the type's position in the mappings, from 1, as number.

    Args:
        frames: all-atom frames.
        mappings: one mapping or its file for each kind of molecule, told apart by ``ident`` (array
            ``residuenames``).

    Raises:
        VotcaError: counts or names of molecules and atoms differ from the mapping, or a molecule is larger
            than half of the box.
    """
    given = [mappings] if isinstance(mappings, (Mapping, str, PathLike)) else list(mappings)
    kinds = [kind if isinstance(kind, Mapping) else read_mapping(kind) for kind in given]
    single = [frames] if isinstance(frames, Atoms) else list(frames)
    if not single:
        raise VotcaError("mapping: no frames; check the trajectory and first_frame")
    return [_map_frame(kinds, atoms, k + 1) for k, atoms in enumerate(single)]


def _map_frame(kinds: Sequence[Mapping], atoms: Atoms, number: int) -> Atoms:
    starts = _molecule_starts(kinds, atoms, number)
    ends = np.append(starts[1:], len(atoms))
    kind_of = [_kind(kinds, atoms, int(s), int(e), number) for s, e in zip(starts, ends, strict=True)]
    positions, masses = np.zeros((len(starts), 3)), np.zeros(len(starts))
    all_positions, all_masses = atoms.get_positions(), atoms.get_masses()
    for k, kind in enumerate(kinds):
        chosen = np.flatnonzero(np.array(kind_of) == k)
        if len(chosen):
            rows = starts[chosen][:, None] + np.arange(len(kind.atoms))
            positions[chosen] = _centres(kind, atoms, all_positions[rows], number)
            masses[chosen] = all_masses[rows].sum(axis=1)
    mapped = Atoms(numbers=np.array(kind_of) + 1, positions=positions, masses=masses, cell=atoms.cell, pbc=atoms.pbc)
    mapped.set_array("bead_type", np.array([kinds[k].bead_type for k in kind_of]))
    mapped.info.update(atoms.info)
    return mapped


def _molecule_starts(kinds: Sequence[Mapping], atoms: Atoms, number: int) -> NDArray[np.int64]:
    for key in ("residuenumbers", "mol-id", "mol", "molecule-id"):
        if key in atoms.arrays:
            ids = atoms.arrays[key]
            return np.append([0], np.flatnonzero(ids[1:] != ids[:-1]) + 1).astype(np.int64)
    if len(kinds) > 1:
        raise VotcaError(
            f"mapping: frame {number} names no molecules and there are {len(kinds)} mappings; set the arrays "
            "residuenumbers and residuenames"
        )
    size = len(kinds[0].atoms)
    if len(atoms) % size:
        raise VotcaError(
            f"{kinds[0].file}: frame {number} has {len(atoms)} atoms, which is no multiple of the {size} atoms of "
            f"'{kinds[0].ident}'; check the mapping and the trajectory"
        )
    return np.arange(0, len(atoms), size, dtype=np.int64)


def _kind(kinds: Sequence[Mapping], atoms: Atoms, start: int, end: int, number: int) -> int:
    """Index of the mapping of one molecule, after comparing names and counts."""
    k = 0
    if "residuenames" in atoms.arrays:
        name = str(atoms.arrays["residuenames"][start]).strip()
        matching = [j for j, kind in enumerate(kinds) if name in (kind.ident, kind.residue)]
        if not matching:
            idents = ", ".join(kind.ident for kind in kinds)
            raise VotcaError(
                f"mapping: frame {number} has a molecule '{name}' at atom {start + 1}; the mappings are for {idents}"
            )
        k = matching[0]
    elif len(kinds) > 1:
        fitting = [j for j, kind in enumerate(kinds) if len(kind.atoms) == end - start]
        if len(fitting) != 1:
            raise VotcaError(
                f"mapping: frame {number}: {len(fitting)} mappings fit the molecule of {end - start} atoms at atom "
                f"{start + 1}; set the array residuenames"
            )
        k = fitting[0]
    kind = kinds[k]
    if end - start != len(kind.atoms):
        raise VotcaError(
            f"{kind.file}: frame {number}: the molecule at atom {start + 1} has {end - start} atoms, the mapping of "
            f"'{kind.ident}' lists {len(kind.atoms)}; check the mapping and the trajectory"
        )
    _check_names(kind, atoms, start, number)
    return k


def _check_names(kind: Mapping, atoms: Atoms, start: int, number: int) -> None:
    given = atoms.arrays.get("atomtypes")
    symbols = atoms.symbols
    for offset, wanted in enumerate(kind.atoms):
        if given is not None:
            found = str(given[start + offset]).strip()
            matches = found == wanted
        else:
            found = symbols[start + offset]
            matches = found == "X" or "type" in atoms.arrays or wanted.upper().startswith(found.upper())
        if not matches:
            raise VotcaError(
                f"{kind.file}: frame {number}: atom {start + offset + 1} is '{found}', the mapping of "
                f"'{kind.ident}' expects '{wanted}' there; check the order of atoms"
            )


def _centres(kind: Mapping, atoms: Atoms, positions: FloatArray, number: int) -> FloatArray:
    """Weighted centres `(n_molecules, 3)` of positions `(n_molecules, n_atoms, 3)`, whole around the first atom."""
    shifts = positions - positions[:, :1]
    if atoms.pbc.any():
        cell = atoms.cell.array
        fractional = shifts @ np.linalg.inv(cell)
        shifts = shifts - np.where(atoms.pbc, np.round(fractional), 0.0) @ cell
        if (np.abs(fractional - np.round(fractional)) > 0.45)[..., atoms.pbc].any():
            raise VotcaError(
                f"{kind.file}: frame {number}: a molecule '{kind.ident}' reaches over about half of the box; check "
                "the mapping, or use a larger box"
            )
    weights = np.array(kind.weights) / sum(kind.weights)
    return np.asarray(positions[:, 0] + np.einsum("a,mad->md", weights, shifts), dtype=np.float64)
