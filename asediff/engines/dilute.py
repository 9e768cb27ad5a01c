"""The limit of zero density in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from asediff.engines.base import Engine
from asediff.potentials.base import Potential
from asediff.potentials.pair import check_pairwise
from asediff.system import System
from asediff.targets.measurement import Measurement
from asediff.targets.target import StatePoint, check_distributions


@dataclass(frozen=True)
class DiluteEngine(Engine):
    """The limit of zero density, where g(r) = exp(-u(r)/kT) exactly: tests every inverse method in milliseconds."""

    def check(self, state_points: Sequence[StatePoint]) -> None:
        """See `Engine.check`: targets are the g(r) of pairs of atoms that belong to no molecule."""
        check_distributions(state_points, "DiluteEngine")
        for point in state_points:
            if point.system.exclusions() is not None:
                raise ValueError(
                    f"system: {point.name} has exclusions, and g(r) = exp(-u/kT) knows no molecules; give DiluteEngine "
                    "a system without them, or use TorchEngine"
                )

    def measure(
        self,
        potential: Potential,
        state_point: StatePoint,
        *,
        seed: int,
        start: System | None = None,
    ) -> Measurement:
        """The g(r) of each RDF target in closed form, with no error bar and the ideal-gas pressure.

        Raises:
            ValueError: a target is not an RDF, or the system has exclusions.
        """
        pairs = check_pairwise(potential, "DiluteEngine")
        self.check([state_point])
        values = []
        for _, _, rdf in state_point.distributions():
            with torch.no_grad():
                u = pairs.function(rdf.centers, rdf.pair, float(state_point.kT))
            values.append(torch.exp(-u / float(state_point.kT)))
        return Measurement(
            values=tuple(values),
            errors=tuple(torch.zeros_like(v) for v in values),
            pressure=state_point.density * float(state_point.kT),
            pressure_error=0.0,
            kT=float(state_point.kT),
            trajectory=None,
        )
