"""What a potential offers whose energy is read from tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from asediff.potentials.splines import PairSpline
from asediff.system import System


@dataclass(frozen=True)
class TabulationError:
    """How far the splines are from the functions they tabulate, where pairs can be (u - min u <= `accessible` kT).

    Attributes:
        energy: max |Δu| / kT.
        force: max |Δu'| / max |u'| over the same range, the largest thermal force.
        n_knots: number of knots between the core and the cutoff.
    """

    energy: float
    force: float
    n_knots: int

    def within(self, energy: float = 1e-4, force: float = 1e-3) -> bool:
        """Whether both errors are at or below the bounds."""
        return self.energy <= energy and self.force <= force


class Tabulated(ABC):
    """A potential, or a part of one, that `fit` keeps fine enough: checkpoints and files remember its knots.

    Attributes:
        n_knots: number of knots of its tables.
    """

    n_knots: int

    @abstractmethod
    def tabulate(self, system: System, kT: Tensor | float | None = None) -> PairSpline:
        """The tables for a batch of systems, differentiable in the parameters."""

    @abstractmethod
    def tabulation_error(self, kT: float, *, accessible: float = 20.0) -> TabulationError:
        """How far the tables are from what they tabulate."""

    @abstractmethod
    def refine(self, kT: float, *, energy: float = 1e-4, force: float = 1e-3) -> TabulationError:
        """More knots until the tables are as close as that; returns how close they are then."""
