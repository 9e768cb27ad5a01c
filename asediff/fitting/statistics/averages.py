"""What is asked of a run: averages under other potentials, their derivatives, and the matrix of inverse Monte Carlo."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from asediff.potentials.pair import PairPotential
from asediff.targets.target import StatePoint

PairFunction = Callable[[Tensor, str], Tensor]
"""Values at distances r `(n,)` for a named pair: u(r) `(n,)`, or M basis functions `(n, M)`."""


def potential_curve(potential: PairPotential, kT: float) -> PairFunction:
    """u(r) of a potential as a `PairFunction`, differentiable in its parameters."""
    return lambda r, pair: potential.function(r, pair, kT)


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
    """What a run at one state point says about potentials close to the one that it used."""

    state_point: StatePoint

    @abstractmethod
    def averages(self, u: PairFunction, *, linear: bool = False) -> Averages:
        """Averages under another potential, differentiable in the parameters of u.

        Args:
            u: the other potential.
            linear: first order in its change, <A> - β (<A ΔU> - <A><ΔU>), in place of exact weights: less exact close
                to the run's potential, but not ruined by few effective frames far from it.
        """

    @abstractmethod
    def change(self, u: PairFunction) -> Tensor:
        """β [u(r) - u_0(r)] at the distances that the run visited, `(n,)`."""

    @abstractmethod
    def response(self, basis: PairFunction) -> Response:
        """Derivatives of the averages at the potential of the run."""

    @abstractmethod
    def covariance(self, basis: PairFunction) -> Tensor:
        """Covariance of the energies of M functions of r, `(M, M)`: the matrix of inverse Monte Carlo."""

    @abstractmethod
    def log_partition(self, u: PairFunction, *, linear: bool = False) -> Tensor:
        """ln of the configuration integral of u over that of the run's potential, `()`; linear: to second order."""

    @property
    @abstractmethod
    def independent_frames(self) -> float:
        """Number of frames, divided by their statistical inefficiency."""
