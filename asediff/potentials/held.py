"""Tables made once for several runs, which share the evaluation of the potential and the gradient through it."""

from __future__ import annotations

from torch import Tensor

from asediff.neighbors import Neighbors
from asediff.potentials.base import Potential
from asediff.potentials.splines import PairSpline
from asediff.system import System


def held(potential: Potential, system: System, kT: Tensor | float | None) -> Potential:
    """The potential with its tables for a batch made once; itself where its energy is not read from tables alone.

    Runs of a neural potential cost one evaluation of the network each, and gradients through each of them another;
    runs of what is returned share both.

    Args:
        potential: as it is now; changes of its parameters are not seen.
        system: the batch, as in `Potential.compiled`.
        kT: `(n_systems,)` or a number, energy.
    """
    tables = potential.compiled(system, kT)
    return potential if tables is None else HeldTables(tables)


class HeldTables(Potential):
    """The energy of pair tables of one batch, differentiable in whatever the tables were made from."""

    def __init__(self, tables: PairSpline) -> None:
        super().__init__()
        self.tables, self.cutoff = tables, tables.cutoff

    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        """Energy of the tables, `(n_systems,)`; see `Potential.energy`."""
        return self.tables.energy(system, neighbors)

    def compiled(self, system: System, kT: Tensor | float | None = None) -> PairSpline | None:
        """See `Potential.compiled`."""
        return self.tables

    def split(self) -> tuple[list[Potential], list[Potential]]:
        """See `Potential.split`."""
        return [self], []
