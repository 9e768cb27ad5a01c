"""Pair tables that are laid once for each epoch, and what comes back to each: the gradient, system by system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from asediff.neighbors import Neighbors
from asediff.potentials.base import Potential
from asediff.potentials.splines import PairSpline
from asediff.system import System

Piece = tuple[list[int], Tensor]
"""Numbers of tables, and the gradient of these, `(n, n_intervals, 4)`, on the CPU."""


class Laid(Potential):
    """The pair tables of a batch as a potential of their own, whose coefficients are the end of a graph.

    Attributes:
        spline: of the systems that it is used for; see `PairSpline`.
    """

    spline: PairSpline

    def compiled(self, system: System, kT: Tensor | float | None = None) -> PairSpline:
        """See `Potential.compiled`."""
        return self.spline

    def split(self) -> tuple[list[Potential], list[Potential]]:
        """See `Potential.split`."""
        return [self], []

    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        """See `Potential.energy`."""
        return self.spline.energy(system, neighbors)

    def energy_forces(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `Potential.energy_forces`."""
        energy, forces, _ = self.spline.energy_forces(system, neighbors)
        return energy, forces


class LaidTables:
    """Tables of some systems of a batch, copied so that the gradient of each system is known by itself.

    Sums of such gradients in the order of the systems do not depend on who computed which. On a GPU, whose sums depend
    on chance anyway, the systems share their tables.

    Attributes:
        together: for all these systems in one batch.
        single: for each of them alone.
    """

    def __init__(self, systems: range, cutoff: float, *, shared: bool) -> None:
        """Of systems with these numbers; `shared` leaves the copies out."""
        self.systems = systems
        self.together, self.single = Laid(), [Laid() for _ in systems]
        for laid in (self.together, *self.single):
            laid.cutoff = cutoff
        groups = [list(systems)] if shared else [[s] for s in systems]
        self.groups = [group for group in groups if group]
        self.leaves: list[tuple[Tensor, Tensor]] = []

    def lay(self, spline: PairSpline) -> None:
        """Take over the tables of the whole batch."""
        self.leaves = []
        index, begin = [], 0
        for group in self.groups:
            used, own = torch.unique(spline.table_index[group], return_inverse=True)
            leaf = spline.coefficients.detach()[used].requires_grad_()
            self.leaves.append((used, leaf))
            index.append(own + begin)
            begin += len(used)
            for s, rows in zip(group, own, strict=True):
                laid = self.single[s - self.systems.start]
                laid.spline = replace(spline, coefficients=leaf, table_index=rows[None])
        coefficients = torch.cat([leaf for _, leaf in self.leaves])
        self.together.spline = replace(spline, coefficients=coefficients, table_index=torch.cat(index))

    def pieces(self) -> list[Piece]:
        """The gradients since the tables were laid, in the order of the systems."""
        return [
            (used.tolist(), (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).cpu())
            for used, leaf in self.leaves
        ]


def joined(coefficients: Tensor, pieces: Sequence[Piece]) -> Tensor:
    """The gradient of all tables, shaped and placed like their coefficients, from pieces added in their order."""
    total = torch.zeros(coefficients.shape, dtype=coefficients.dtype)
    for used, part in pieces:
        total[used] += part
    return total.to(coefficients.device)
