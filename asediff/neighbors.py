"""Pairs of atoms closer than a cutoff, batched, with a skin that keeps a list valid while the atoms move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import vesin
from torch import Tensor

from asediff.checks.systems import periodic_heights
from asediff.system import System


@dataclass(frozen=True, eq=False)
class Neighbors:
    """A half list: each pair of atoms (and each image of it) within cutoff + skin stands in it once.

    The displacement of a pair is `x[second] - x[first] + shifts @ cell`, so the list is valid for positions
    that were never wrapped. A pair may appear with several images when cutoff + skin exceeds half a cell
    height; each has its own shift. Whoever uses the list counts a pair only where its distance is below the
    cutoff.

    Attributes:
        first: `(n_pairs,)` int64, index of the first atom.
        second: `(n_pairs,)` int64, index of the second atom.
        shifts: `(n_pairs, 3)`, whole numbers in the type of the positions: multiples of the lattice vectors.
        cutoff: Distance below which the list is complete, length.
        skin: Further distance that was listed, length.
        reference_positions: `(n_atoms, 3)`, length: positions for which the list was made.
    """

    first: Tensor
    second: Tensor
    shifts: Tensor
    cutoff: float
    skin: float
    reference_positions: Tensor

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
        cutoff: Distance below which no pair may be missed, length.
        skin: Further distance that is listed, length; 0.12 cutoff if not given. A larger skin means longer
            lists that last for more steps.

    Raises:
        ValueError: If cutoff or skin is not a sensible length.
    """

    def __init__(self, cutoff: float, skin: float | None = None) -> None:
        cutoff = float(cutoff)
        skin = 0.12 * cutoff if skin is None else float(skin)
        if not (math.isfinite(cutoff) and cutoff > 0):
            raise ValueError(f"cutoff: {cutoff} is not a distance; give a finite length above zero")
        if not (math.isfinite(skin) and skin >= 0):
            raise ValueError(f"skin: {skin} is not a distance; give a finite length of at least zero")
        self.cutoff = cutoff
        self.skin = skin
        self.n_builds = 0
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
            ValueError: If a cell is shorter than twice the cutoff, or a position is not finite.
        """
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
        moved = system.positions.detach() - neighbors.reference_positions
        # "Not below" instead of "above": a position that is nan must reach the build, which refuses it.
        return not float(moved.square().sum(1).max()) <= (0.5 * self.skin) ** 2

    def _build(self, system: System) -> Neighbors:
        check_box(system.cell, system.pbc, self.cutoff)
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
        return Neighbors(
            first=both[:, 0].contiguous(),
            second=both[:, 1].contiguous(),
            shifts=torch.cat(shifts).to(device=system.device, dtype=system.dtype),
            cutoff=self.cutoff,
            skin=self.skin,
            reference_positions=positions.clone(),
        )


def check_box(cell: Tensor, pbc: Tensor, cutoff: float) -> None:
    """Refuse cells in which an atom could meet two images of another one within the cutoff.

    Args:
        cell: `(n_systems, 3, 3)`, length; rows are the lattice vectors.
        pbc: `(n_systems, 3)` bool.
        cutoff: Largest distance at which atoms interact, length.

    Raises:
        ValueError: If the distance between the lattice planes (volume / face area) along a periodic direction
            is shorter than twice the cutoff.
    """
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
