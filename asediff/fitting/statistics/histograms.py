"""What one run knows about other potentials: per-frame pair histograms, reweighted averages and their derivatives.

For potentials that are sums over pairs of u(r), the energy of a frame under any u is Σ_b n_b u(r_b), n_b the number of
pairs in bin b of a fine histogram. So the histograms of one run, once stored, give every average under a nearby
potential (weights w_f ∝ exp(-β ΔU_f)) and its derivative dA/du = -β (<A n> - <A><n>), whatever made the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from asediff.fitting.statistics.averages import PairFunction, PairStatistics, Response, potential_curve
from asediff.fitting.statistics.frames import WeightedFrames, frame_values
from asediff.kernels.cpu.rdf import pair_histograms
from asediff.potentials.base import Potential
from asediff.potentials.pair import PairPotential, check_pairwise
from asediff.potentials.truncation import value_and_slope
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class FrameStatistics(WeightedFrames, PairStatistics):
    """Statistics of a trajectory.

    Attributes:
        state_point: condition and targets.
        names: pairs of species that have a histogram.
        r: `(n_bins,)`, centres of the fine bins, length; empty bins at short distance are left out.
        counts: `(n_frames, n_names, n_bins)`, numbers of pairs.
        values: per target `(n_frames, n_values)`.
        pressure: `(n_frames,)`, kinetic part at kT, energy/length³.
        energy: `(n_names, n_bins)`, u(r) of the run's potential.
        slope: `(n_names, n_bins)`, its derivative.
    """

    state_point: StatePoint
    names: tuple[str, ...]
    r: Tensor
    counts: Tensor
    values: tuple[Tensor, ...]
    pressure: Tensor
    energy: Tensor
    slope: Tensor

    @classmethod
    def of(
        cls, trajectory: Trajectory, potential: Potential, state_point: StatePoint, *, bins: int = 400
    ) -> FrameStatistics:
        """Histogram the frames of a run with `potential`, from 0 to its cutoff.

        Args:
            trajectory: frames of one system, in equilibrium.
            potential: the one that moved the atoms.
            state_point: condition and targets.
            bins: number of fine bins; energies are taken at their centres.

        Raises:
            ValueError: fewer than two frames, or a target that no single frame has.
        """
        potential = check_pairwise(potential, "a histogram of pairs")
        kT = float(state_point.kT)
        names = tuple(potential.pair_names())
        with torch.no_grad():
            values, pressure = frame_values(trajectory, state_point)
            counts = count_pairs(trajectory, potential, bins)
            spacing = potential.cutoff / bins
            first = max(0, int(counts.sum((0, 1)).nonzero()[:1].sum()) - 1)
            r = spacing * (torch.arange(first, bins, dtype=torch.float64) + 0.5)
            u = potential_curve(potential, kT)
            curves = [value_and_slope(lambda x, n=name: u(x, n), r) for name in names]  # type: ignore[misc]
        return cls(
            state_point=state_point,
            names=names,
            r=r,
            counts=counts[:, :, first:],
            values=values,
            pressure=pressure,
            energy=torch.stack([c[0].detach() for c in curves]),
            slope=torch.stack([c[1].detach() for c in curves]),
        )

    @cached_property
    def _flat(self) -> Tensor:
        return self.counts.reshape(self.n_frames, -1)

    @property
    def _volume(self) -> float:
        return float(self.state_point.system.get_volume()[0])

    def frames(self, chosen: slice | Tensor) -> FrameStatistics:
        """The same with some of the frames."""
        return FrameStatistics(
            self.state_point, self.names, self.r, self.counts[chosen], tuple(v[chosen] for v in self.values),
            self.pressure[chosen], self.energy, self.slope,
        )  # fmt: skip

    def joined(self, other: FrameStatistics) -> FrameStatistics:
        """Frames of two runs of the same potential together.

        Raises:
            ValueError: the potentials or pairs differ.
        """
        first = round(float(other.r[0] - self.r[0]) / float(self.r[1] - self.r[0]))
        a, b = (self, other) if first >= 0 else (other, self)
        first = abs(first)
        same = a.names == b.names and len(a.r) - first == len(b.r)
        if not same or not torch.allclose(a.energy[:, first:], b.energy, rtol=1e-9, atol=1e-9 / self.beta):
            raise ValueError("other: frames of another potential; join runs of one potential")
        counts = torch.cat([a.counts, torch.nn.functional.pad(b.counts, (first, 0))])
        values = tuple(torch.cat(v) for v in zip(a.values, b.values, strict=True))
        return FrameStatistics(
            a.state_point, a.names, a.r, counts, values, torch.cat([a.pressure, b.pressure]), a.energy, a.slope
        )

    def energies(self, u: PairFunction) -> Tensor:
        """Energy of each frame under u, `(n_frames,)`."""
        return self._flat @ torch.cat([u(self.r, name) for name in self.names])

    def pressures(self, u: PairFunction) -> Tensor:
        """See `WeightedFrames.pressures`; the virial of the run with the change of r u'(r) added."""
        slopes = torch.cat([value_and_slope(lambda x, n=name: u(x, n), self.r)[1] for name in self.names])  # type: ignore[misc]
        change = (slopes - self.slope.reshape(-1)) * self.r.repeat(len(self.names))
        return self.pressure - self._flat @ change / (3.0 * self._volume)

    def change(self, u: PairFunction) -> Tensor:
        """See `Statistics.change`; where a pair is found in one frame of ten at least."""
        change = torch.cat([u(self.r, name) for name in self.names]) - self.energy.reshape(-1)
        return self.beta * change[self._flat.mean(0) >= 0.1]

    def exponents(self, u: PairFunction) -> Tensor:
        """See `WeightedFrames.exponents`."""
        change = torch.cat([u(self.r, name) for name in self.names]) - self.energy.reshape(-1)
        return -self.beta * (self._flat @ change)

    def _projected(self, basis: PairFunction) -> Tensor:
        """Energy of each basis function in each frame, `(n_frames, M)`."""
        return self._flat @ torch.cat([basis(self.r, name) for name in self.names])

    def response(self, basis: PairFunction) -> Response:
        """See `Statistics.response`."""
        phi = self._projected(basis)
        phi = phi - phi.mean(0)
        scale = -self.beta / self.n_frames
        values = tuple(scale * ((v - v.mean(0)).T @ phi) for v in self.values)
        h = 1e-3 * float(self.r[1] - self.r[0])
        virials = []
        for name in self.names:
            slopes = (basis(self.r + h, name) - basis(self.r - h, name)) / (2.0 * h)
            virials.append(self.r[:, None] * slopes)
        direct = -(self._flat.mean(0) @ torch.cat(virials)) / (3.0 * self._volume)
        return Response(values, scale * ((self.pressure - self.pressure.mean()) @ phi) + direct)

    def covariance(self, basis: PairFunction) -> Tensor:
        """See `Statistics.covariance`."""
        phi = self._projected(basis)
        phi = phi - phi.mean(0)
        return phi.T @ phi / self.n_frames


def count_pairs(trajectory: Trajectory, potential: PairPotential, bins: int) -> Tensor:
    """Numbers of pairs of each kind between 0 and the cutoff, `(n_frames, n_names, bins)` float64."""
    system = trajectory.system
    if potential.species is None:
        types = torch.zeros_like(system.numbers)
        channels = torch.zeros(1, 1, dtype=torch.int64)
    else:
        species = torch.tensor(potential.species, dtype=torch.int64)
        types = torch.searchsorted(species, system.numbers.cpu())
        first, second = torch.triu_indices(len(species), len(species))
        channels = torch.zeros(len(species), len(species), dtype=torch.int64)
        channels[first, second] = torch.arange(len(first))
        channels[second, first] = channels[first, second]
    counts = pair_histograms(
        trajectory.positions.detach().cpu(), system.cell.cpu(), system.offsets.cpu(), types.cpu(), channels,
        lower=0.0, upper=potential.cutoff, bins=bins,
    )  # fmt: skip
    return counts[:, 0].to(torch.float64)
