"""Boltzmann inversion as the start of a fit: u(r) close to -kT ln g(r), so that the first runs sample sensibly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from asediff.checks.described import Doc
from asediff.potentials.base import Potential
from asediff.potentials.pair import check_pairwise
from asediff.targets.target import StatePoint


@dataclass(frozen=True)
class BoltzmannPretraining:
    """Least-squares fit of the radial functions to -kT ln g(r) of the targets, before any simulation.

    Points with g below `g_floor` are left out: there the prior decides. Each state point counts with its weight. Other
    targets than g(r) say nothing about -kT ln g: without one, or for a potential that is more than its pair
    functions, the fit starts from the potential as it is.
    """

    kind: ClassVar[str] = "boltzmann"
    steps: Annotated[int, Doc("Adam steps")] = 1000
    learning_rate: Annotated[float, Doc("of Adam, halved twice on the way")] = 2e-3
    g_floor: Annotated[float, Doc("smallest g(r) that counts")] = 0.02

    def start(self, potential: Potential, state_points: Sequence[StatePoint]) -> str:
        """Train the potential in place where there is a g(r); returns a remark for the notes of the fit.

        Raises:
            ValueError: see `apply`.
        """
        if not potential.is_pairwise:
            return f"{type(potential).__name__} is not pairwise: Boltzmann pre-training was left out"
        if not any(point.distributions() for point in state_points):
            return "no target is a g(r): Boltzmann pre-training was left out, the fit started from the potential given"
        return f"Boltzmann pre-training ended {self.apply(potential, state_points):.3g} kT (rms) from -kT ln g"

    def apply(self, potential: Potential, state_points: Sequence[StatePoint]) -> float:
        """Train the potential in place; returns the root-mean-square misfit in kT.

        Raises:
            ValueError: no g(r) among the targets has a point above `g_floor` within the cutoff.
        """
        potential, terms = check_pairwise(potential, "BoltzmannPretraining"), []
        for point in state_points:
            for _, target, rdf in point.distributions():
                r, g = rdf.centers, target.reference.to(torch.float64)
                use = (g > self.g_floor) & (r < potential.cutoff)
                if bool(use.any()):
                    goal = -float(point.kT) * g[use].log()
                    terms.append((r[use], goal, rdf.pair, float(point.kT), float(point.weight)))
        if not terms:
            raise ValueError(
                f"state_points: no g(r) above {self.g_floor} within the cutoff {potential.cutoff}; check the targets"
            )
        parameters = [p for p in potential.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(1, self.steps // 3), 0.5)
        loss = torch.tensor(0.0)
        for _ in range(self.steps):
            optimizer.zero_grad()
            loss = torch.stack(
                [w * (((potential.function(r, pair, kT) - goal) / kT) ** 2).mean() for r, goal, pair, kT, w in terms]
            ).mean()
            loss.backward()
            optimizer.step()
            schedule.step()
        return float(loss.detach().sqrt())
