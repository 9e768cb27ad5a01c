"""Which atoms are bonded, and which pairs of atoms interact in part or not at all."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from asediff.kernels.arrays import Exclusions

INFO, LABEL = "topology", "topology_atom"
"""Where `ase.Atoms` keep a topology: the terms in `info`, and in `arrays` the numbers from 1 by which they name atoms.
So terms follow their atoms through slices and sorting; 0 is an atom that came later and has no terms."""


@dataclass(frozen=True, eq=False, repr=False)
class Topology:
    """Bonds, angles and dihedrals of a batch of systems, and the pairs whose interaction they replace.

    Atoms are numbered as in the `System` that holds the topology, all systems concatenated. Terms are for potentials
    to read (`system.topology.bonds`); exclusions act on all pair potentials: the energy of the nearest image of such a
    pair is multiplied by its weight, and with weight 0 the pair is not counted in g(r) either, as in LAMMPS.

    Attributes:
        bonds: `(n, 2)` int64.
        angles: `(n, 3)` int64, the apex in the middle.
        dihedrals: `(n, 4)` int64, along the chain.
        bond_types: `(n_bonds,)` int64, from 0; angle_types and dihedral_types alike.
        angle_types: see bond_types.
        dihedral_types: see bond_types; one dihedral may have several terms of different types.
        exclusions: `(n, 2)` int64, the smaller number first, ascending.
        weights: `(n,)` float64 in [0, 1]: 0 leaves the pair out, 0.5 halves its energy.

    Args:
        bonds: tensors, arrays or nested sequences, here and below; none if not given.
        angles: see above.
        dihedrals: see above.
        bond_types: 0 for all if not given; angle_types and dihedral_types alike.
        angle_types: see above.
        dihedral_types: see above.
        exclusions: pairs in any order.
        weights: 0 for all if not given.

    Raises:
        ValueError: a negative number of an atom or type, an atom twice in a term, a term twice, a weight outside
            [0, 1], or shapes that do not fit.

    Example:
        >>> Topology.from_bonds([(0, 1), (1, 2), (2, 3)], exclude=2, weight_14=0.5)
        Topology(3 bonds, 2 angles, 1 dihedrals, 6 exclusions)
    """

    bonds: Tensor
    angles: Tensor
    dihedrals: Tensor
    bond_types: Tensor
    angle_types: Tensor
    dihedral_types: Tensor
    exclusions: Tensor
    weights: Tensor

    def __init__(
        self,
        bonds: Any = (),
        angles: Any = (),
        dihedrals: Any = (),
        bond_types: Any = None,
        angle_types: Any = None,
        dihedral_types: Any = None,
        exclusions: Any = (),
        weights: Any = None,
    ) -> None:
        values: dict[str, Tensor] = {}
        for name, width, atoms, attached, numbers in (
            ("bonds", 2, bonds, "bond_types", bond_types),
            ("angles", 3, angles, "angle_types", angle_types),
            ("dihedrals", 4, dihedrals, "dihedral_types", dihedral_types),
            ("exclusions", 2, exclusions, "weights", weights),
        ):
            rows = values[name] = _terms(name, atoms, width)
            real = rows.new_zeros(len(rows), dtype=torch.float64 if name == "exclusions" else torch.int64)
            values[attached] = real if numbers is None else torch.as_tensor(numbers).to(real)
            if values[attached].shape != real.shape:
                raise ValueError(
                    f"{attached}: shape {tuple(values[attached].shape)} for {len(rows)} {name}; give one for each"
                )
            low, high = (0.0, 1.0) if name == "exclusions" else (0, 2**31)
            bad = ~((values[attached] >= low) & (values[attached] <= high))
            if bool(bad.any()):
                value = values[attached][bad][0].item()
                raise ValueError(f"{attached}: {value} is out of range; give numbers from {low} to {high}")
            # a term is the same from either end; several dihedral terms of different types may act on the same atoms
            one_way = torch.where(rows[:, :1] > rows[:, -1:], rows.flip(1), rows)
            kinds = values[attached][:, None] if name == "dihedrals" else rows[:, :0]
            _, place, counts = torch.unique(
                torch.cat([one_way, kinds], 1), dim=0, return_inverse=True, return_counts=True
            )
            if bool((counts > 1).any()):
                again = rows[counts[place] > 1][-1].tolist()
                raise ValueError(f"{name}: {again} is there more than once; give each once")
        pairs = values["exclusions"].sort(1).values
        order = torch.argsort(pairs[:, 1], stable=True)
        order = order[torch.argsort(pairs[order, 0], stable=True)]
        values["exclusions"], values["weights"] = pairs[order], values["weights"][order]
        for field in fields(self):
            object.__setattr__(self, field.name, values[field.name])

    @classmethod
    def from_bonds(
        cls,
        bonds: Any,
        *,
        n_atoms: int | None = None,
        exclude: int = 2,
        weight_14: float = 1.0,
        bond_types: Any = None,
    ) -> Topology:
        """Derive angles, dihedrals and exclusions from the bonds.

        Distances are counted along the shortest way, so that atoms across a ring of four are two bonds apart. The
        defaults leave 1-2 and 1-3 pairs out and 1-4 pairs in.

        Args:
            bonds: `(n, 2)` numbers of atoms.
            n_atoms: if given, numbers from there on are refused.
            exclude: pairs up to so many bonds apart do not interact: 0, 1, 2 or 3.
            weight_14: of the pairs three bonds apart, unless they are excluded.
            bond_types: `(n,)`, 0 for all if not given.

        Raises:
            ValueError: what the constructor refuses, a number out of range, or exclude or weight_14 out of range.
        """
        if exclude not in (0, 1, 2, 3):
            raise ValueError(f"exclude: {exclude!r} is no number of bonds; give 0, 1, 2 or 3")
        if not 0 <= weight_14 <= 1:
            raise ValueError(f"weight_14: {weight_14} is no weight; give a number from 0 to 1")
        weights = [0.0 if distance <= exclude else full for distance, full in ((1, 1.0), (2, 1.0), (3, weight_14))]
        checked = cls(bonds, bond_types=bond_types)
        if n_atoms is not None:
            checked.check_range(n_atoms)
        pairs = checked.bonds.tolist()
        near = _neighbors(pairs)
        angles = [(i, j, k) for j in sorted(near) for i, k in itertools.combinations(sorted(near[j]), 2)]
        dihedrals = [
            (i, j, k, m) for j, k in pairs for i in sorted(near[j] - {k}) for m in sorted(near[k] - {j}) if i != m
        ]
        excluded, values = exclusions_of(pairs, weights)
        return cls(checked.bonds, angles, dihedrals, checked.bond_types, exclusions=excluded, weights=values).to(
            checked.bonds.device
        )

    # ---------------------------------------------------------------- parts and copies

    def tensors(self) -> dict[str, Tensor]:
        """Its fields by name; `Topology(**tensors)` is the same one."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device | str | None = None) -> Topology:
        """Move to a device."""
        return self._with({name: value.to(device=device) for name, value in self.tensors().items()})

    def same_as(self, other: Topology | None) -> bool:
        """Whether another one has the same terms and exclusions, in the same order."""
        return other is not None and all(
            a.shape == b.shape and torch.equal(a, b.to(a.device))
            for a, b in zip(self.tensors().values(), other.tensors().values(), strict=True)
        )

    def of_atoms(self, atoms: Tensor) -> Topology:
        """What is whole among some atoms, numbered as they stand there.

        Args:
            atoms: `(n,)` int64, different atoms.
        """
        size = 1 + max([int(atoms.max()), *(int(rows.max()) for rows, _ in self._parts() if len(rows))])
        number = atoms.new_full((size,), -1)
        number[atoms] = torch.arange(len(atoms), device=atoms.device)
        values = []
        for rows, attached in self._parts():
            moved = number[rows]
            whole = (moved >= 0).all(1)
            values.append((moved[whole], attached[whole]))
        return self._joined(values)

    @classmethod
    def concatenate(cls, topologies: Sequence[Topology | None], counts: Sequence[int]) -> Topology | None:
        """The topology of systems put side by side; None if none has one.

        Args:
            topologies: of each.
            counts: number of atoms of each.
        """
        offsets = np.cumsum([0, *counts]).tolist()
        shifted = [
            [(rows + offset, attached) for rows, attached in topology._parts()]
            for topology, offset in zip(topologies, offsets, strict=False)
            if topology is not None
        ]
        if not shifted:
            return None
        return cls._joined(
            [
                (torch.cat([rows for rows, _ in kind]), torch.cat([a for _, a in kind]))
                for kind in zip(*shifted, strict=True)
            ]
        )

    def _parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.bonds, self.bond_types
        yield self.angles, self.angle_types
        yield self.dihedrals, self.dihedral_types
        yield self.exclusions, self.weights

    @classmethod
    def _joined(cls, parts: Sequence[tuple[Tensor, Tensor]]) -> Topology:
        (bonds, of_bonds), (angles, of_angles), (dihedrals, of_dihedrals), (exclusions, weights) = parts
        return cls(bonds, angles, dihedrals, of_bonds, of_angles, of_dihedrals, exclusions, weights)

    @classmethod
    def _with(cls, values: dict[str, Tensor]) -> Topology:
        topology = object.__new__(cls)
        for name, value in values.items():
            object.__setattr__(topology, name, value)
        return topology

    # ---------------------------------------------------------------- use

    @property
    def partial(self) -> Tensor:
        """`(n_exclusions,)` bool, pairs that interact in part: of a weight that is neither 0 nor 1."""
        return (self.weights > 0.0) & (self.weights < 1.0)

    def rows(self, n_atoms: int) -> Exclusions | None:
        """The exclusions of each atom, both ways, for the kernels; None where every pair interacts in full."""
        acts = self.weights < 1.0
        if not bool(acts.any()):
            return None
        pairs, weights = self.exclusions[acts], self.weights[acts]
        owner, partner = torch.cat([pairs, pairs.flip(1)]).unbind(1)
        order = torch.argsort(owner * n_atoms + partner)
        first = torch.searchsorted(owner[order], torch.arange(n_atoms + 1, device=owner.device))
        return Exclusions(first, partner[order], weights.repeat(2)[order])

    def check_range(self, n_atoms: int) -> None:
        """Refuse numbers of atoms that are not there.

        Raises:
            ValueError: one of them.
        """
        for name, rows in self.tensors().items():
            if rows.ndim == 2 and len(rows) and int(rows.max()) >= n_atoms:
                raise ValueError(f"{name}: atom {int(rows.max())} is not among the {n_atoms}; use 0 ... {n_atoms - 1}")

    def check(self, system_idx: Tensor) -> None:
        """Refuse what does not fit a batch.

        Args:
            system_idx: `(n_atoms,)`, the system of each atom.

        Raises:
            ValueError: another device, a number of an atom that is not there, or a term across two systems.
        """
        if self.bonds.device != system_idx.device:
            raise ValueError(
                f"topology: on {self.bonds.device} while the system is on {system_idx.device}; use topology.to(device)"
            )
        self.check_range(len(system_idx))
        for name, rows in self.tensors().items():
            if rows.ndim == 2:
                across = (system_idx[rows] != system_idx[rows[:, :1]]).any(1)
                if bool(across.any()):
                    raise ValueError(
                        f"{name}: {rows[across][0].tolist()} are atoms of different systems; join atoms of one system"
                    )

    def __repr__(self) -> str:
        counts = (f"{len(rows)} {name}" for name, rows in self.tensors().items() if rows.ndim == 2)
        return f"Topology({', '.join(counts)})"

    # ---------------------------------------------------------------- ase.Atoms

    def put_into(self, atoms: Atoms) -> None:
        """Keep this topology in `ase.Atoms`, so that it survives copies, slices, sorting, and files of extxyz."""
        atoms.info[INFO] = {name: value.tolist() for name, value in self.tensors().items()}
        atoms.set_array(LABEL, np.arange(1, len(atoms) + 1))

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> Topology | None:
        """The topology that `put_into` has kept; None if there is none.

        Of a slice, it is what is whole in the slice. Atoms that came without a topology have no terms.

        Raises:
            ValueError: an atom is there twice, as after repeating the cell.
        """
        if INFO not in atoms.info:
            return None
        label = torch.as_tensor(np.asarray(atoms.arrays.get(LABEL, np.zeros(len(atoms))), dtype=np.int64))
        named = label.nonzero().squeeze(1)
        if not len(named) or len(label[named].unique()) < len(named):
            raise ValueError(
                f"atoms: arrays[{LABEL!r}] does not name each atom of info[{INFO!r}] once, as after repeating or "
                "joining atoms; join Systems by System.concatenate, or delete the entry of info"
            )
        local = cls(**atoms.info[INFO]).of_atoms(label[named] - 1)
        moved = [(named[rows], attached) for rows, attached in local._parts()]
        return cls._joined(moved)


def same_in(one: Atoms, two: Atoms) -> bool:
    """Whether two `ase.Atoms` of equal size keep the same topology."""
    a, b = one.info.get(INFO), two.info.get(INFO)
    if a is None or b is None:
        return a is b
    same = all(np.array_equal(a.get(name, ()), b.get(name, ())) for name in a.keys() | b.keys())
    return same and np.array_equal(one.arrays.get(LABEL, ()), two.arrays.get(LABEL, ()))


def _terms(name: str, atoms: Any, width: int) -> Tensor:
    """Numbers of atoms as `(n, width)` int64; refuses negative ones, and one twice in a row."""
    rows = torch.as_tensor(atoms)
    rows = rows.reshape(0, width) if rows.numel() == 0 else rows
    if rows.ndim != 2 or rows.shape[1] != width or (rows.is_floating_point() and rows.numel()):
        raise ValueError(f"{name}: {rows.dtype} of shape {tuple(rows.shape)}; give whole numbers of shape (n, {width})")
    rows = rows.to(torch.int64)
    if len(rows) and int(rows.min()) < 0:
        raise ValueError(f"{name}: atom {int(rows.min())} is not there; count atoms from 0")
    ordered = rows.sort(1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]).any(1)
    if bool(twice.any()):
        raise ValueError(f"{name}: {rows[twice][0].tolist()} names an atom twice; give different atoms")
    return rows


def _neighbors(bonds: Iterable[Sequence[int]]) -> dict[int, set[int]]:
    near: dict[int, set[int]] = defaultdict(set)
    for i, j in bonds:
        near[i].add(j)
        near[j].add(i)
    return near


def bond_distances(bonds: Iterable[Sequence[int]]) -> dict[tuple[int, int], int]:
    """Pairs of atoms, the smaller number first, that are 1, 2 or 3 bonds apart: how many."""
    near = _neighbors(bonds)
    found: dict[tuple[int, int], int] = {}
    for start in near:
        seen, shell = {start}, {start}
        for distance in (1, 2, 3):
            shell = {j for i in shell for j in near[i]} - seen
            seen |= shell
            found |= {(start, j): distance for j in shell if j > start}
    return found


def exclusions_of(
    bonds: Iterable[Sequence[int]], weights: Sequence[float]
) -> tuple[list[tuple[int, int]], list[float]]:
    """Pairs that are 1, 2 or 3 bonds apart and have a weight below 1, and the weights; `weights` gives one for each."""
    kept = [(pair, weights[d - 1]) for pair, d in bond_distances(bonds).items() if weights[d - 1] < 1]
    return [pair for pair, _ in kept], [weight for _, weight in kept]
