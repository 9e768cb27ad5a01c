"""Relative entropy: make the coarse ensemble the most likely source of mapped frames (doi:10.1063/1.2992060)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from asediff.fitting.api import FitJob
from asediff.fitting.gradients.reweighting import Expansion, LinearResponse, Objective, ReweightedMethod
from asediff.fitting.statistics.averages import PairFunction, Statistics
from asediff.fitting.statistics.histograms import count_pairs
from asediff.potentials.base import Potential
from asediff.potentials.pair import PairPotential, check_pairwise
from asediff.targets.target import StatePoint, check_distributions
from asediff.trajectory import Trajectory


@dataclass(frozen=True)
class RelativeEntropy(ReweightedMethod):
    """Minimise S_rel(θ) = β<U_θ>_reference + ln Z_θ + constant, whose gradient is β(<∂U/∂θ>_reference - <∂U/∂θ>).

    For potentials that are linear in θ it has one minimum. For tables its Newton step is that of `IMC`. The reference
    enters through its pair histograms only, so mapped frames of an all-atom run of the same number of beads in the same
    volume are needed; see `ReweightedMethod` for the other arguments. It does not fit a state point's pressure, and its
    notes say so when one is given.

    Args:
        expansion: `LinearResponse(prior_frames_per_row=0)` or `ExactWeights()`; the prior concerns g(r) only.
        frames: mapped reference frames, one `Trajectory` per state point. Without them the targets' g(r) take their
            place, which is exact for RDFs of width 0 with fine bins.
    """

    kind: ClassVar[str] = "relative_entropy"
    expansion: Expansion = field(default_factory=lambda: LinearResponse(prior_frames_per_row=0.0))
    frames: tuple[Trajectory, ...] | None = None
    cautious = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.expansion, LinearResponse) and self.expansion.prior_frames_per_row > 0.0:
            raise ValueError(
                f"expansion: prior_frames_per_row={self.expansion.prior_frames_per_row:g} concerns g(r), which "
                "RelativeEntropy does not fit; give LinearResponse(prior_frames_per_row=0)"
            )

    def prepare(self, potential: Potential | None, state_points: Sequence[StatePoint]) -> Potential:
        """See `Method.prepare`."""
        if self.frames is None:
            check_distributions(state_points, "RelativeEntropy without frames")
        return super().prepare(potential, state_points)

    def objective(self, job: FitJob, statistics: Sequence[Statistics]) -> Objective:
        """See `ReweightedMethod.objective`."""
        if self.frames is not None and len(self.frames) != len(job.state_points):
            raise ValueError(
                f"frames: {len(self.frames)} trajectories for {len(job.state_points)} state points; give one each"
            )
        if any(point.pressure is not None for point in job.state_points):
            job.notes.append(
                "RelativeEntropy does not fit the pressure; use GaussNewton, IMC or Reweighting to reach it"
            )
        potential = check_pairwise(job.potential, "RelativeEntropy")
        energies = [
            frames_energy(self.frames[k], potential, point, self.bins)
            if self.frames is not None
            else target_energy(point, potential)
            for k, point in enumerate(job.state_points)
        ]
        share = sum(p.weight for p in job.state_points)

        def relative_entropy(averages: object, curves: Sequence[PairFunction]) -> Tensor:  # noqa: ARG001
            total = torch.zeros((), dtype=torch.float64)
            for point, energy, one, u in zip(job.state_points, energies, statistics, curves, strict=True):
                entropy = energy(u) / float(point.kT) + one.log_partition(u, linear=self.expansion.linear)
                total = total + point.weight / share * entropy / point.system.n_atoms
            return total

        return relative_entropy


def frames_energy(
    frames: Trajectory, potential: PairPotential, point: StatePoint, bins: int
) -> Callable[[PairFunction], Tensor]:
    """Mean energy of frames as a function of u(r).

    Raises:
        ValueError: the frames are not of the state point's system.
    """
    if not torch.equal(frames.system.numbers, point.system.numbers):
        raise ValueError(
            f"frames: {frames.n_atoms} beads that are not those of {point.name} ({point.system.n_atoms} beads, other "
            "species or order); map the reference to the same beads"
        )
    counts = count_pairs(frames, potential, bins).mean(0)
    spacing = potential.cutoff / bins
    used = counts.sum(0) > 0
    r = (spacing * (torch.arange(bins, dtype=torch.float64) + 0.5))[used]

    def energy(u: PairFunction) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for name, numbers in zip(potential.pair_names(), counts[:, used], strict=True):
            total = total + numbers @ u(r, name)
        return total

    return energy


def target_energy(point: StatePoint, potential: PairPotential) -> Callable[[PairFunction], Tensor]:
    """Mean energy of a system with the g(r) of the targets, as a function of u(r)."""
    places = []
    for _, target, rdf in point.distributions():
        used = (target.reference > 0) & (rdf.centers < potential.cutoff)
        numbers = rdf.ideal_counts(point.system) * target.reference
        places.append((rdf.centers[used], rdf.pair_name, numbers[used]))

    def energy(u: PairFunction) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for r, name, numbers in places:
            total = total + numbers @ u(r, name)
        return total

    return energy
