"""The radial distribution function g(r), differentiable with respect to the positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
import torch
from ase.data import atomic_numbers
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from asediff.checks.described import Doc
from asediff.checks.species import pair_name
from asediff.checks.systems import periodic_heights
from asediff.kernels.backend import backend_of
from asediff.kernels.reference import torch_rdf
from asediff.kernels.shells import ShellGrid, per_pair, shell_quadrature
from asediff.observables.base import Observable, frames_of
from asediff.observables.deviation import Deviation, structural_deviation
from asediff.system import System
from asediff.trajectory import Trajectory


@dataclass(frozen=True)
class RDF(Observable):
    """Radial distribution function on uniform bins between r_min and r_max.

    With bins of width D and centres mu_k = r_min + (k + 1/2) D,

        g_k = V / (N_a N_b) < sum over ordered pairs (i in a, j in b, i != j) of w_k(r_ij) > / V_k,
        w_k(r) = exp(-(r - mu_k)² / 2w²) / sum_m exp(-(r - mu_m)² / 2w²),
        V_k = integral of 4 pi r² w_k(r) dr.

    The sum over m runs over an infinite grid of centres: each pair weighs one in total, and no weight piles up at the
    ends of the window. So g_k is the mean of g(r) over shell k seen through the kernel. With w = 0 it is the ordinary
    histogram: w_k is one inside the bin and V_k = 4/3 pi (r_hi³ - r_lo³). `project` smears a reference curve
    in the same way, so that the two can be compared bin by bin.

    The normalisation is the standard one to the ideal gas at the density of the box, so coordination numbers are kept.
    For like pairs N_a N_b is N_a², and an ideal gas of N atoms gives 1 - 1/N in every bin (with N (N - 1), as in
    LAMMPS, it would give 1). Pairs that the topology excludes with weight 0 are not counted, as in LAMMPS.

    Example:
        >>> rdf = RDF(r_max=3.0, bins=100)
        >>> g = rdf(trajectory)  # (n_systems, 100)  # doctest: +SKIP
    """

    kind: ClassVar[str] = "rdf"
    abscissa: ClassVar[str] = "r"
    ordinate: ClassVar[str] = "g"
    abscissa_unit: ClassVar[str] = "length"
    uncorrelated: ClassVar[float | None] = 1.0
    peaked: ClassVar[bool] = True

    r_max: Annotated[
        float, Doc("upper edge of the last bin. At most half the smallest height of the box", unit="length")
    ]
    bins: Annotated[int, Doc("number of bins K")]
    r_min: Annotated[float, Doc("lower edge of the first bin", unit="length")] = 0.0
    pair: Annotated[
        tuple[str, str] | None, Doc("two chemical symbols, or None for all atoms irrespective of their type")
    ] = None
    width: Annotated[
        float | None,
        Doc(
            "standard deviation w of the kernel; None: the bin width; 0: a plain histogram, without gradient",
            unit="length",
        ),
    ] = None

    def __init__(
        self,
        r_max: float,
        bins: int,
        *,
        r_min: float = 0.0,
        pair: tuple[str, str] | None = None,
        width: float | None = None,
    ) -> None:
        for name, value in {"r_max": r_max, "bins": bins, "r_min": r_min, "width": width}.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "pair", None if pair is None else tuple(pair))
        if self.pair is not None:
            if len(self.pair) != 2:
                raise ValueError(f"pair={pair!r}: not two symbols; give for example ('O', 'O')")
            for symbol in self.pair:
                if symbol not in atomic_numbers:
                    raise ValueError(f"pair={pair!r}: {symbol!r} is not a chemical symbol; give for example ('O', 'O')")
        if width is not None and width > 0.25 * r_max:
            raise ValueError(f"width={width}: wider than a quarter of r_max={r_max}; give a narrower kernel")
        _ = self.grid

    @cached_property
    def grid(self) -> ShellGrid:
        """Bins and kernel."""
        width = (self.r_max - self.r_min) / self.bins if self.width is None and self.bins else self.width or 0.0
        return ShellGrid(float(self.r_min), float(self.r_max), int(self.bins), float(width))

    @property
    def bin_width(self) -> float:
        """Width D of a bin, length."""
        return self.grid.bin_width

    @property
    def centers(self) -> Tensor:
        """Centres of the bins, `(bins,)` float64, length."""
        return torch.from_numpy(self.grid.centers)

    @property
    def default_name(self) -> str:
        """See `Observable.default_name`; with the pair."""
        return self.kind if self.pair is None else f"{self.kind}_{'-'.join(self.pair)}"

    @property
    def pair_name(self) -> str:
        """Name of the potential that the g(r) belongs to: `all`, or such as `Ar-Kr`."""
        return "all" if self.pair is None else pair_name(*self.pair)

    def pair_distribution(self) -> RDF:
        """See `Observable.pair_distribution`."""
        return self

    def shell_weights(self) -> Tensor:
        """See `Observable.shell_weights`: r²."""
        return self.centers**2

    def density_weights(self) -> Tensor:
        """See `Observable.density_weights`: (r/r_K)², for a shell holds pairs in proportion to r² g."""
        return (self.centers / self.centers.max()) ** 2

    @property
    def edges(self) -> Tensor:
        """Edges of the bins, `(bins + 1,)` float64, length."""
        return torch.from_numpy(self.grid.edges)

    @property
    def shell_volumes(self) -> Tensor:
        """Exact volumes of the shells, 4/3 pi (r_hi³ - r_lo³), `(bins,)` float64, length³."""
        return torch.from_numpy(self.grid.shell_volumes)

    @property
    def volumes(self) -> Tensor:
        """Volumes V_k that g(r) is normalised with, `(bins,)` float64, length³; shell_volumes when width is 0."""
        return torch.from_numpy(self.grid.volumes.copy())

    def per_frame(self, trajectory: Trajectory | System) -> Tensor:
        """g(r) of each frame, `(n_frames, n_systems, bins)`, differentiable with respect to the positions.

        Raises:
            ValueError: If r_max does not fit the box, the box is not periodic, or a system lacks the pair.
        """
        positions, system = frames_of(trajectory)
        normalisation = self._normalisation(system).to(positions)
        types, channels = self._selection(system)
        counts = _smeared(positions, system, types, channels, self.grid)
        return counts[:, :, 0] * normalisation

    def counts(self, trajectory: Trajectory | System) -> Tensor:
        """Numbers of unordered pairs with a distance in each bin, `(n_frames, n_systems, bins)` int64 on the CPU."""
        positions, system = frames_of(trajectory)
        self._normalisation(system)
        types, channels = self._selection(system)
        device = positions.device if backend_of(positions.device) is not None else torch.device("cpu")
        backend, system = backend_of(device), system.to(device)
        assert backend is not None
        counts = backend.pair_histograms(
            positions.detach().to(device), system.cell, system.offsets, types.to(device), channels.to(device),
            lower=self.grid.r_min, upper=self.grid.r_max, bins=self.bins, exclusions=system.exclusions(),
        )  # fmt: skip
        return counts[:, :, 0].cpu()

    def from_counts(self, counts: Tensor, system: System) -> Tensor:
        """g(r) from numbers of unordered pairs `(..., n_systems, bins)` of frames of the given system."""
        to_g = self._normalisation(system) * (self.volumes / self.shell_volumes).to(system.device)
        return counts.to(torch.float64) * to_g.to(counts.device)

    def project(self, r: ArrayLike, g: ArrayLike) -> Tensor:
        """What this observable would measure in a system whose true g(r) is the given curve.

        g_k = integral of g(r) 4 pi r² w_k(r) dr / V_k, the curve being interpolated by monotone cubics. Below its first
        point g is zero; above its last it keeps its value (that concerns the kernel's tail only).

        Args:
            r: `(n,)`, ascending distances, length.
            g: `(n,)`, g(r).

        Returns:
            `(bins,)` float64.

        Raises:
            ValueError: If the curve does not cover r_min..r_max.
        """
        radii, values = self.check_curve(r, g, fewest=4)
        self._check_range(radii, values)
        curve = PchipInterpolator(radii, values)
        x, measure = shell_quadrature(self.grid)
        density = np.where(x < radii[0], 0.0, curve(np.clip(x, radii[0], radii[-1])))
        return torch.from_numpy((measure * density).sum(1) / measure.sum(1))

    def check_reference(self, reference: Tensor) -> None:
        """See `Observable.check_reference`: not negative, and not zero everywhere."""
        self.refuse_negative(reference, "a radial distribution function")
        if not bool((reference > 0).any()):
            raise ValueError("reference: all values are zero; give a g(r) with a peak inside the window")

    def compared(self, reference: Tensor) -> slice:
        """See `Observable.compared`: from the first bin in which the reference exceeds a hundredth of its maximum."""
        return slice(int((reference > 0.01 * reference.max()).nonzero()[0]), None)

    def deviation(self, values: Tensor, errors: Tensor, reference: Tensor, system: System) -> Deviation:
        """See `Observable.deviation`."""
        r = self.centers.to(values)
        density = system.n_atoms / float(system.get_volume()[0])
        outside = (values - reference).abs()[self.compared(reference)]
        return replace(
            super().deviation(values, errors, reference, system),
            structural=float(structural_deviation(r, values, reference, density)),
            structural_noise=float(structural_deviation(r, reference + errors, reference, density)),
            peak=float(values.max() / reference.max() - 1.0),
            outside_core=float(outside.mean()),
        )

    def ideal_counts(self, system: System) -> Tensor:
        """Mean number of pairs in each bin where g(r) = 1, `(bins,)`, in a frame of one system."""
        ones = torch.ones(1, self.bins, dtype=torch.float64)
        return 1.0 / self.from_counts(ones, system)[0]

    def coordination_number(self, g: Tensor, density: float) -> Tensor:
        """Running number of neighbours within the upper edge of each bin, `(..., bins)`.

        Args:
            g: `(..., bins)`, starting where g is still zero (r_min inside the core).
            density: number density of the second species of the pair, 1/length³.
        """
        return density * torch.cumsum(g * self.volumes.to(g), dim=-1)

    def _check_range(self, radii: np.ndarray, values: np.ndarray) -> None:
        slack = self.bin_width
        if radii[-1] < self.r_max - slack:
            raise ValueError(
                f"r: the curve ends at {radii[-1]:.6g}, inside r_max={self.r_max:.6g}; "
                "lower r_max or give a longer curve"
            )
        if radii[0] > self.r_min + slack and values[0] > 0.05 * values.max():
            raise ValueError(
                f"r: the curve starts at {radii[0]:.6g} with g={values[0]:.4g} and does not reach down to "
                f"r_min={self.r_min:.6g}; raise r_min or give the curve from where g is zero"
            )

    def _selection(self, system: System) -> tuple[Tensor, Tensor]:
        """Type codes of the atoms (-1: left out) and the histogram that each pair of codes goes to."""
        numbers = system.numbers
        if self.pair is None:
            return torch.zeros_like(numbers), numbers.new_zeros(1, 1)
        a, b = (atomic_numbers[symbol] for symbol in self.pair)
        types = torch.full_like(numbers, -1)
        types[numbers == a] = 0
        if a == b:
            return types, numbers.new_zeros(1, 1)
        types[numbers == b] = 1
        return types, torch.tensor([[-1, 0], [0, -1]], device=numbers.device)

    def _normalisation(self, system: System) -> Tensor:
        """Factor `(n_systems, bins)` float64 that makes g(r) out of numbers of unordered pairs."""
        heights = periodic_heights(system.cell, system.pbc).to(torch.float64)
        if not bool(system.pbc.all()):
            k = int((~system.pbc).any(-1).nonzero()[0])
            raise ValueError(
                f"pbc: system {k} is not periodic in every direction, so it has no density to compare with; "
                "set pbc=True, or look at the bare `counts` of a periodic copy in a large box"
            )
        lowest = heights.amin(-1)
        index = int(lowest.argmin())
        shortest = float(lowest[index])
        if self.r_max > 0.5 * shortest * (1.0 + 1e-12):
            raise ValueError(
                f"r_max={self.r_max}: more than half the height {shortest:.6g} of system {index}, where "
                "periodic images are counted as neighbours; "
                f"lower r_max to {0.5 * shortest:.6g} or repeat the cell"
            )
        one, two = self._numbers(system)
        volume = torch.linalg.det(system.cell.to(torch.float64)).abs()
        factor = per_pair(volume, one, two, like=self.pair is None or self.pair[0] == self.pair[1])
        return factor[:, None] / self.volumes.to(factor)

    def _numbers(self, system: System) -> tuple[Tensor, Tensor]:
        """N_a and N_b of each system, `(n_systems,)` float64."""
        if self.pair is None:
            count = system.counts.to(torch.float64)
            return count, count
        result = []
        for symbol in self.pair:
            match = (system.numbers == atomic_numbers[symbol]).to(torch.float64)
            count = torch.zeros(system.n_systems, dtype=torch.float64, device=match.device)
            count = count.index_add(0, system.system_idx, match)
            if bool((count == 0).any()):
                k = int((count == 0).nonzero()[0])
                raise ValueError(
                    f"pair={self.pair!r}: system {k} has no {symbol!r} atoms; give symbols that are present "
                    f"({', '.join(sorted(set(system[k].get_chemical_symbols())))})"
                )
            result.append(count)
        return result[0], result[1]


def _smeared(positions: Tensor, system: System, types: Tensor, channels: Tensor, grid: ShellGrid) -> Tensor:
    """Numbers of pairs in shells, `(n_frames, n_systems, n_channels, bins)`, without those that do not interact."""
    return (backend_of(positions.device) or torch_rdf).smeared_counts(
        positions, system.cell, system.offsets, types, channels, grid, system.exclusions()
    )
