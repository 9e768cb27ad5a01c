"""The distribution of angles between neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from asediff.checks.described import Doc
from asediff.neighbors import NeighborList
from asediff.observables.base import Observable, frames_of
from asediff.system import System
from asediff.trajectory import Trajectory

SUPPORT = 7.0
FINE = 20
"""Points per bin that a curve is integrated on."""


@dataclass(frozen=True)
class ADF(Observable):
    """Angular distribution function: angles i-j-k of all pairs of neighbours i, k of every atom j, as a density.

        p(theta_m) = sum over triples of f(r_ij) f(r_jk) w_m(theta) / (D sum over triples of f(r_ij) f(r_jk)),

    with bins of width D over 0..180 degrees and the Gaussian weights w of `RDF`. The neighbour weight f is one up to
    `onset` and falls as a half cosine to zero at the cutoff, so that p is differentiable when neighbours come and go.
    Each frame is normalised by itself. Random directions give sin(theta)/2 per radian.
    """

    kind: ClassVar[str] = "adf"
    abscissa: ClassVar[str] = "theta"
    ordinate: ClassVar[str] = "p"
    abscissa_unit: ClassVar[str] = "°"
    ordinate_unit: ClassVar[str] = "1/°"
    peaked: ClassVar[bool] = True

    cutoff: Annotated[float, Doc("no neighbours beyond it", unit="length")]
    bins: Annotated[int, Doc("number of bins")]
    onset: Annotated[float | None, Doc("where f begins to fall; 0.9 cutoff if None", unit="length")] = None
    width: Annotated[float | None, Doc("standard deviation of the kernel; the bin width if None", unit="degrees")] = (
        None
    )

    def __post_init__(self) -> None:
        if not self.bins >= 1:
            raise ValueError(f"bins={self.bins}: a histogram needs at least one bin; give bins >= 1")
        if not self.cutoff > 0.0:
            raise ValueError(f"cutoff={self.cutoff}: no neighbours; give cutoff > 0")
        if self.onset is not None and not 0.0 < self.onset < self.cutoff:
            raise ValueError(f"onset={self.onset}: not inside the cutoff {self.cutoff}; give 0 < onset < cutoff")
        if self.width is not None and not self.width > 0.0:
            raise ValueError(f"width={self.width}: the kernel has no width; give width > 0 degrees")

    @property
    def centers(self) -> Tensor:
        """Centres of the bins, `(bins,)` float64, degrees."""
        return (torch.arange(self.bins, dtype=torch.float64) + 0.5) * (180.0 / self.bins)

    def project(self, x: ArrayLike, values: ArrayLike) -> Tensor:
        """What this observable would measure if p(theta) were a curve: integral of p w_m over the angles, divided by D.

        A curve that begins a bin (its own, or one of these) above 0 or ends one below 180 degrees falls to zero there
        in a straight line, as sin(theta) does.

        Args:
            x: `(n,)`, ascending angles, degrees.
            values: `(n,)`, 1/degree.
        """
        x, values = self.check_curve(x, values, fewest=4)
        self.check_range(x, 0.0, 180.0, slack=max(180.0 / self.bins, float(np.diff(x).max())))
        if x[0] > 0.0:
            x, values = np.append(0.0, x), np.append(0.0, values)
        if x[-1] < 180.0:
            x, values = np.append(x, 180.0), np.append(values, 0.0)
        n = FINE * self.bins
        theta = (np.arange(n) + 0.5) * (180.0 / n)
        p = torch.from_numpy(np.interp(theta, x, values))
        bins, weights = self._local_weights(torch.from_numpy(theta))
        kept = (bins >= 0) & (bins < self.bins)
        sums = torch.zeros(self.bins, dtype=torch.float64)
        return sums.index_add(0, bins[kept], (p[:, None] * weights)[kept]) / FINE

    def check_reference(self, reference: Tensor) -> None:
        """See `Observable.check_reference`: not negative, and not zero everywhere."""
        self.refuse_negative(reference, "a density of angles")
        if not bool((reference > 0).any()):
            raise ValueError("reference: all values are zero; give a density of angles")

    def density_weights(self) -> Tensor:
        """See `Observable.density_weights`: in units of a uniform density."""
        return torch.full((self.bins,), 180.0, dtype=torch.float64)

    def per_frame(self, trajectory: Trajectory | System) -> Tensor:
        """p(theta) of each frame, `(n_frames, n_systems, bins)`, 1/degree.

        Raises:
            ValueError: If a system has no triple of neighbours, or the cutoff does not fit the box.
        """
        positions, system = frames_of(trajectory)
        neighbor_list = NeighborList(self.cutoff)
        return torch.stack([self._of_frame(system.replace(positions=x), neighbor_list) for x in positions])

    def _of_frame(self, frame: System, neighbor_list: NeighborList) -> Tensor:
        neighbors = neighbor_list.update(frame.detach())
        d = neighbors.displacements(frame)
        centre = torch.cat([neighbors.first, neighbors.second])
        bond = torch.cat([d, -d])
        inside = (bond.detach().square().sum(-1) < self.cutoff**2).nonzero().squeeze(-1)
        order = inside[torch.argsort(centre[inside], stable=True)]
        centre, bond = centre[order], bond[order]
        one, two = _pairs_of_equal(centre)
        weight = self._window(torch.linalg.vector_norm(bond, dim=-1))
        theta = _angle(bond[one], bond[two])
        triple_weight = weight[one] * weight[two]
        owner = frame.system_idx[centre[one]]
        total = triple_weight.new_zeros(frame.n_systems).index_add(0, owner, triple_weight)
        if bool((total == 0).any()):
            k = int((total == 0).nonzero()[0])
            raise ValueError(f"cutoff={self.cutoff}: no atom of system {k} has two neighbours; give a larger cutoff")
        bins, weights = self._local_weights(theta)
        values = weights * triple_weight[:, None]
        kept = (bins >= 0) & (bins < self.bins)
        place = (owner[:, None] * self.bins + bins)[kept]
        sums = values.new_zeros(frame.n_systems * self.bins).index_add(0, place, values[kept])
        return sums.reshape(frame.n_systems, self.bins) / (total[:, None] * (180.0 / self.bins))

    def _window(self, r: Tensor) -> Tensor:
        onset = 0.9 * self.cutoff if self.onset is None else self.onset
        x = ((r - onset) / (self.cutoff - onset)).clamp(0.0, 1.0)
        return 0.5 + 0.5 * torch.cos(math.pi * x)

    def _local_weights(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Bins `(n, m)` around each angle and the kernel weights there, which sum to one over all bins."""
        bin_width = 180.0 / self.bins
        sigma = 1.0 if self.width is None else self.width / bin_width
        x = theta / bin_width - 0.5
        nearest = torch.round(x.detach())
        offset = x - nearest
        half = math.ceil(SUPPORT * sigma) + 1
        m = torch.arange(-half, half + 1, dtype=x.dtype, device=x.device)
        weights = torch.exp((offset[:, None] * m - 0.5 * m**2) / sigma**2)
        return (nearest[:, None] + m).to(torch.int64), weights / weights.sum(-1, keepdim=True)


def _pairs_of_equal(sorted_values: Tensor) -> tuple[Tensor, Tensor]:
    """Index pairs (a, b), a < b, of equal entries of an ascending sequence."""
    n = len(sorted_values)
    end = torch.searchsorted(sorted_values, sorted_values, right=True)
    index = torch.arange(n, device=sorted_values.device)
    later = end - index - 1
    first = torch.repeat_interleave(index, later)
    begin = torch.cumsum(later, 0) - later
    return first, first + 1 + torch.arange(len(first), device=first.device) - begin[first]


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle between vectors `(n, 3)`, degrees; its gradient is zero rather than infinite at 0 and 180 degrees."""
    cross = torch.linalg.cross(a, b)
    sine = torch.sqrt(cross.square().sum(-1) + 1e-24)
    return torch.rad2deg(torch.atan2(sine, (a * b).sum(-1)))
