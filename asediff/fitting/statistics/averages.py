"""What is asked of a run: averages under other potentials, their derivatives, and the matrix of inverse Monte Carlo."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from asediff.potentials.base import Potential
from asediff.potentials.pair import check_pairwise
from asediff.targets.target import StatePoint

PairFunction = Callable[[Tensor, str], Tensor]
"""Values at distances r `(n,)` for a named pair: u(r) `(n,)`, or M basis functions `(n, M)`."""


def potential_curve(potential: Potential, kT: float) -> PairFunction:
    """u(r) of a potential as a `PairFunction`, differentiable in its parameters."""
    pairs = check_pairwise(potential, "a function of r")
    return lambda r, pair: pairs.function(r, pair, kT)


@dataclass(frozen=True, eq=False)
class Averages:
    """Averages under a potential.

    Attributes:
        values: one tensor per target of the state point.
        pressure: energy/length³.
        efficiency: effective number of frames divided by their number, exp(-Σ w ln w)/F.
    """

    values: tuple[Tensor, ...]
    pressure: Tensor
    efficiency: Tensor


@dataclass(frozen=True, eq=False)
class Response:
    """Derivatives of averages with respect to the amplitudes of M functions added to u(r).

    Attributes:
        values: `(n_values, M)` per target.
        pressure: `(M,)`, energy/length³ per energy.
    """

    values: tuple[Tensor, ...]
    pressure: Tensor


class Statistics(ABC):
    """What a run at one state point says about potentials close to the one that it used.

    Those are handed in as `view` makes them: as pair functions where pairs are all there is, as potentials elsewhere.
    """

    state_point: StatePoint
    of_pairs: ClassVar[bool] = False

    @abstractmethod
    def view(self, potential: Potential) -> Any:
        """A potential, with its parameters as they are now, as the other methods take it; differentiable in them."""

    @abstractmethod
    def averages(self, u: Any, *, linear: bool = False) -> Averages:
        """Averages under another potential, differentiable in the parameters of u.

        Args:
            u: the other potential.
            linear: first order in its change, <A> - β (<A ΔU> - <A><ΔU>), in place of exact weights: less exact close
                to the run's potential, but not ruined by few effective frames far from it.
        """

    @abstractmethod
    def change(self, u: Any) -> Tensor:
        """How far u is from the run's potential, kT, `(n,)`; of pairs β [u(r) - u_0(r)] at distances it visited."""

    @abstractmethod
    def log_partition(self, u: Any, *, linear: bool = False) -> Tensor:
        """ln of the configuration integral of u over that of the run's potential, `()`; linear: to second order."""

    @property
    @abstractmethod
    def independent_frames(self) -> float:
        """Number of frames, divided by their statistical inefficiency."""


class PairStatistics(Statistics):
    """Statistics of pairs, which know the response to functions of r as well."""

    of_pairs: ClassVar[bool] = True

    def view(self, potential: Potential) -> PairFunction:
        """See `Statistics.view`."""
        return potential_curve(potential, float(self.state_point.kT))

    @abstractmethod
    def response(self, basis: PairFunction) -> Response:
        """Derivatives of the averages at the potential of the run."""

    @abstractmethod
    def covariance(self, basis: PairFunction) -> Tensor:
        """Covariance of the energies of M functions of r, `(M, M)`: the matrix of inverse Monte Carlo."""
