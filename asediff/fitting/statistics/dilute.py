"""The answers of the dilute limit, where g = exp(-u/kT), in closed form: they test every method in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from asediff.fitting.statistics.averages import Averages, PairFunction, PairStatistics, Response
from asediff.targets.target import StatePoint


@dataclass(frozen=True, eq=False)
class DiluteStatistics(PairStatistics):
    """Closed form at zero density: g = exp(-βu), dg_a/du_b = -β g_a δ_ab, every weight 1.

    Attributes:
        state_point: condition and targets.
        g: per target, g(r) of the potential that was measured.
    """

    state_point: StatePoint
    g: tuple[Tensor, ...]

    @property
    def beta(self) -> float:
        """1/kT."""
        return 1.0 / float(self.state_point.kT)

    def _places(self) -> list[tuple[Tensor, str, Tensor, Tensor]]:
        """Bin centres, pair, g(r) and mean numbers of pairs of an ideal gas in the bins, per target."""
        point = self.state_point
        return [
            (rdf.centers, rdf.pair_name, self.g[t], rdf.ideal_counts(point.system))
            for t, _, rdf in point.distributions()
        ]

    def averages(self, u: PairFunction, *, linear: bool = False) -> Averages:
        """See `Statistics.averages`."""
        if linear:
            values = tuple(g - torch.where(g > 0, g * c, 0.0) for (_, _, g, _), c in self._changes(u))
        else:
            values = tuple(torch.exp(-self.beta * u(r, name)) for r, name, _, _ in self._places())
        pressure = torch.tensor(self.state_point.density / self.beta, dtype=torch.float64)
        return Averages(values, pressure, torch.ones((), dtype=torch.float64))

    def _changes(self, u: PairFunction) -> list[tuple[tuple[Tensor, str, Tensor, Tensor], Tensor]]:
        places = self._places()
        return [(p, self.beta * u(p[0], p[1]) + p[2].clamp_min(1e-300).log()) for p in places]

    def change(self, u: PairFunction) -> Tensor:
        """See `Statistics.change`; where g exceeds 0.01."""
        return torch.cat([change[place[2] > 0.01] for place, change in self._changes(u)])

    def response(self, basis: PairFunction) -> Response:
        """See `Statistics.response`."""
        values = []
        for r, name, g, _ in self._places():
            values.append(-self.beta * g[:, None] * basis(r, name))
        return Response(tuple(values), torch.zeros(values[0].shape[1], dtype=torch.float64))

    def covariance(self, basis: PairFunction) -> Tensor:
        """See `Statistics.covariance`; numbers of pairs are Poisson variables here."""
        total = torch.zeros((), dtype=torch.float64)
        for r, name, g, ideal in self._places():
            b = basis(r, name)
            total = total + b.T @ ((ideal * g)[:, None] * b)
        return total

    def log_partition(self, u: PairFunction, *, linear: bool = False) -> Tensor:
        """See `Statistics.log_partition`."""
        total = torch.zeros((), dtype=torch.float64)
        for (r, name, g, ideal), change in self._changes(u):
            factor = torch.where(g > 0, g * (0.5 * change - 1.0) * change, 0.0)
            total = total + ideal @ (factor if linear else torch.exp(-self.beta * u(r, name)) - g)
        return total

    @property
    def independent_frames(self) -> float:
        """Infinite: there is no noise."""
        return float("inf")
