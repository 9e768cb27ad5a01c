"""Pairs of atoms closer than a cutoff, batched, with a skin that keeps a list valid while the atoms move."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import vesin
from torch import Tensor

from asediff.checks.systems import periodic_heights
from asediff.kernels.arrays import Exclusions
from asediff.kernels.reference.pair import lattice_inverse, pair_weights
from asediff.system import System


@dataclass(frozen=True, eq=False)
class Neighbors:
    """A half list: each pair of atoms (and each image of it) within cutoff + skin stands in it once.

    The displacement of a pair is `x[second] - x[first] + shifts @ cell`, so the list is valid for positions
    that were never wrapped. A pair may appear with several images when cutoff + skin exceeds half a cell
    height; each has its own shift. Whoever uses the list counts a pair only where its distance is below the
    cutoff. Pairs that the system's topology excludes are not there, as long as their nearest image is meant.

    Attributes:
        first: `(n_pairs,)` int64, index of the first atom.
        second: `(n_pairs,)` int64, index of the second atom.
        shifts: `(n_pairs, 3)`, whole numbers in the type of the positions: multiples of the lattice vectors.
        cutoff: Distance below which the list is complete, length.
        skin: Further distance that was listed, length.
        reference_positions: `(n_atoms, 3)`, length: positions for which the list was made.
        weights: `(n_pairs,)` in the type of the positions, what a pair potential multiplies each pair's energy with;
            None where that is 1 for all.
    """

    first: Tensor
    second: Tensor
    shifts: Tensor
    cutoff: float
    skin: float
    reference_positions: Tensor
    weights: Tensor | None = None

    @property
    def n_pairs(self) -> int:
        """Number of listed pairs, those between cutoff and cutoff + skin included."""
        return self.first.shape[0]

    def __len__(self) -> int:
        return self.n_pairs

    def displacements(self, system: System) -> Tensor:
        """Return the vector from the first to the second atom of each pair.

        Args:
            system: The system the list was made for, with its atoms moved by no more than skin / 2.

        Returns:
            `(n_pairs, 3)`, length; differentiable with respect to `system.positions` and `system.cell`.
        """
        between = system.positions[self.second] - system.positions[self.first]
        if system.n_systems == 1:
            return between + self.shifts @ system.cell[0]
        cell = system.cell[system.system_idx[self.first]]
        return between + (self.shifts[:, None, :] @ cell)[:, 0]


class NeighborList:
    """Makes `Neighbors` and remakes them when an atom has moved by more than half the skin.

    Args:
        cutoff: Distance below which no pair may be missed, length; None for a list without pairs, which potentials that
            need none are given.
        skin: Further distance that is listed, length; 0.12 cutoff if not given. A larger skin means longer
            lists that last for more steps.

    Raises:
        ValueError: If cutoff or skin is not a sensible length.
    """

    def __init__(self, cutoff: float | None, skin: float | None = None) -> None:
        self.lists_pairs = cutoff is not None
        cutoff = 0.0 if cutoff is None else float(cutoff)
        skin = 0.12 * cutoff if skin is None else float(skin)
        if self.lists_pairs and not (math.isfinite(cutoff) and cutoff > 0):
            raise ValueError(f"cutoff: {cutoff} is not a distance; give a finite length above zero")
        if not (math.isfinite(skin) and skin >= 0):
            raise ValueError(f"skin: {skin} is not a distance; give a finite length of at least zero")
        self.cutoff = cutoff
        self.skin = skin
        self.n_builds = 0
        self._reach = 0.5 * skin
        self._neighbors: Neighbors | None = None
        self._made_for: System | None = None

    def __repr__(self) -> str:
        return f"NeighborList(cutoff={self.cutoff:g}, skin={self.skin:g})"

    def update(self, system: System) -> Neighbors:
        """Return a list that is complete below the cutoff, the last one if it still is.

        Args:
            system: Systems whose atoms are listed. Another cell, other boundary conditions, another number of
                atoms, type or device than last time make a new list.

        Raises:
            ValueError: If a position is not finite.
        """
        if not self.lists_pairs:
            none = torch.zeros(0, dtype=torch.int64, device=system.device)
            return Neighbors(none, none, system.positions.new_zeros(0, 3), 0.0, 0.0, system.positions.detach())
        if self._neighbors is None or self._outdated(system):
            self._neighbors = self._build(system)
            self._made_for = system.detach()
            self.n_builds += 1
        return self._neighbors

    def _outdated(self, system: System) -> bool:
        last, neighbors = self._made_for, self._neighbors
        assert last is not None
        assert neighbors is not None
        same = system.dtype == last.dtype and system.device == last.device and system.n_atoms == last.n_atoms
        if not same or system.n_systems != last.n_systems:
            return True
        for now, then in (
            (system.system_idx, last.system_idx),
            (system.cell, last.cell),
            (system.pbc, last.pbc),
        ):
            if now is not then and not torch.equal(now, then):
                return True
        if system.topology is not last.topology:
            return True
        moved = system.positions.detach() - neighbors.reference_positions
        # "Not below" instead of "above": a position that is nan must reach the build, which refuses it.
        return not float(moved.square().sum(1).max()) <= self._reach**2

    def _build(self, system: System) -> Neighbors:
        positions = system.positions.detach()
        finite = torch.isfinite(positions).all(1)
        if not bool(finite.all()):
            atom = int((~finite).nonzero()[0])
            raise ValueError(
                f"positions: atom {atom} is at {positions[atom].tolist()}, not finite; "
                "use a shorter timestep or a start without overlaps"
            )
        points = positions.double().cpu().numpy()
        cells = system.cell.detach().double().cpu().numpy()
        periodic = system.pbc.cpu().numpy()
        offsets = system.offsets.tolist()
        search = vesin.NeighborList(cutoff=self.cutoff + self.skin, full_list=False)
        pairs, shifts = [], []
        for k in range(system.n_systems):
            found, images = search.compute(
                points=points[offsets[k] : offsets[k + 1]],
                box=cells[k],
                periodic=periodic[k],
                quantities="PS",
                copy=True,
            )
            pairs.append(torch.from_numpy(found.astype("int64")) + offsets[k])
            shifts.append(torch.from_numpy(images))
        both = torch.cat(pairs).to(system.device)
        neighbors = Neighbors(
            first=both[:, 0].contiguous(),
            second=both[:, 1].contiguous(),
            shifts=torch.cat(shifts).to(device=system.device, dtype=system.dtype),
            cutoff=self.cutoff,
            skin=self.skin,
            reference_positions=positions.clone(),
        )
        self._reach = 0.5 * self.skin
        exclusions = system.exclusions()
        return neighbors if exclusions is None else self._weighed(neighbors, system, exclusions)

    def _weighed(self, neighbors: Neighbors, system: System, exclusions: Exclusions) -> Neighbors:
        """The list without excluded pairs and with the weights of others.

        In cells of at least twice the cutoff every image within the cutoff is the nearest one. In others it is looked
        up; where another one could become it while the atoms move, the list holds for these positions only.
        """
        first, second = neighbors.first, neighbors.second
        weights = pair_weights(first, second, exclusions)
        small = (periodic_heights(system.cell, system.pbc) < 2.0 * self.cutoff * (1.0 - 1e-12)).any(1)
        rows = (small[system.system_idx[first]] & (weights < 1.0)).nonzero().squeeze(1)
        if len(rows):
            low, high = torch.minimum(first[rows], second[rows]), torch.maximum(first[rows], second[rows])
            distance = neighbors.displacements(system.detach()).norm(dim=1)[rows]
            order = torch.argsort(distance)
            order = order[torch.argsort((low * system.n_atoms + high)[order], stable=True)]
            rows, distance, pair = rows[order], distance[order], (low * system.n_atoms + high)[order]
            farther = torch.cat([pair.new_zeros(1, dtype=torch.bool), pair[1:] == pair[:-1]])
            weights[rows[farther]] = 1.0
            # the second image of a pair stands just behind its nearest one, if it is within cutoff + skin at all
            gap = (distance[1:] - distance[:-1])[farther[1:] & ~farther[:-1]]
            if len(gap) and float(gap.min()) <= 2.0 * self.skin:
                self._reach = 0.0
        kept = weights > 0.0
        weights = weights[kept].to(system.dtype)
        return replace(
            neighbors,
            first=first[kept],
            second=second[kept],
            shifts=neighbors.shifts[kept],
            weights=weights if bool((weights < 1.0).any()) else None,
        )


def nearest_vectors(system: System, first: Tensor, second: Tensor) -> Tensor:
    """Vectors from the first to the second atoms of pairs, by their nearest images: what bonded terms are made of.

    Args:
        system: the batch.
        first: `(n,)` int64, such as `system.topology.bonds[:, 0]`.
        second: `(n,)` int64, each in the system of its partner.

    Returns:
        `(n, 3)`, length; differentiable in positions and cell. Vectors longer than half the smallest height of the cell
        may be those of other images.
    """
    between = system.positions[second] - system.positions[first]
    owner = system.system_idx[first]
    images = torch.round((between.detach()[:, None] @ lattice_inverse(system.cell, system.pbc)[owner])[:, 0])
    return between - (images[:, None] @ system.cell[owner])[:, 0]


def check_box(cell: Tensor, pbc: Tensor, cutoff: float | None) -> None:
    """Refuse cells in which an atom could meet two images of another one within the cutoff, for what sees but one.

    Args:
        cell: `(n_systems, 3, 3)`, length; rows are the lattice vectors.
        pbc: `(n_systems, 3)` bool.
        cutoff: Largest distance at which atoms interact, length; None, if they do not, fits any cell.

    Raises:
        ValueError: If the distance between the lattice planes (volume / face area) along a periodic direction
            is shorter than twice the cutoff.
    """
    if cutoff is None:
        return
    heights = periodic_heights(cell, pbc)
    short = heights < 2.0 * cutoff * (1.0 - 1e-12)
    if bool(short.any()):
        k, axis = (int(value) for value in short.nonzero()[0])
        height = float(heights[k, axis])
        raise ValueError(
            f"cell: system {k} is {height:.6g} high along lattice vector {'abc'[axis]}, less than twice the "
            f"cutoff {cutoff:.6g}; repeat the cell {math.ceil(2.0 * cutoff / height)} times along it "
            f"or use a cutoff of at most {0.5 * height:.6g}"
        )
