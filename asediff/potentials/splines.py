"""Cubic C2 splines in the squared distance: the form in which a pair potential is simulated and exported.

A pair potential is a function of one variable, so it is evaluated once on a grid of knots and every force, energy
and gradient of a run is computed from the spline through them. The variable is s = r², which needs no square root,
and the spline is linear in the knot values, so dL/d(knots) follows exactly from dL/d(coefficients).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import solveh_banded
from torch import Tensor

from asediff.checks.systems import periodic_heights
from asediff.kernels.arrays import Batch, Exclusions, SplineTables
from asediff.kernels.reference.pair import evaluate_spline
from asediff.neighbors import Neighbors
from asediff.system import System


class _SlopeSystem(torch.autograd.Function):
    """Solve the tridiagonal system [1 4 1] x = b along the last axis; symmetric, so it is its own adjoint."""

    @staticmethod
    def forward(ctx: Any, right_hand_side: Tensor) -> Tensor:  # noqa: ARG004
        b = right_hand_side.detach().to("cpu", torch.float64).numpy()
        n = b.shape[-1]
        if n == 1:
            return right_hand_side / 4.0
        bands = np.empty((2, n))
        bands[0] = 1.0
        bands[1] = 4.0
        x = solveh_banded(bands, b.reshape(-1, n).T, check_finite=False).T.reshape(b.shape)
        return torch.from_numpy(np.ascontiguousarray(x)).to(right_hand_side)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return _SlopeSystem.apply(gradient)


def clamped_spline(values: Tensor, first_slope: Tensor, last_slope: Tensor, spacing: float) -> Tensor:
    """Coefficients of the C2 cubic spline through equidistant knots with given slopes at both ends.

    Args:
        values: `(..., n_knots)`, the function at the knots; n_knots >= 3.
        first_slope: `(...)`, its derivative at the first knot.
        last_slope: `(...)`, its derivative at the last knot.
        spacing: distance between knots.

    Returns:
        `(..., n_knots - 1, 4)`: c0..c3 of u = c0 + t (c1 + t (c2 + t c3)), t in [0, 1) inside each interval.
        Differentiable with respect to values and slopes.
    """
    n_knots = values.shape[-1]
    if n_knots < 3:
        raise ValueError(f"values: {n_knots} knots are too few for a clamped cubic spline; give at least 3")
    right = 3.0 * (values[..., 2:] - values[..., :-2])
    ends = torch.zeros_like(right)
    ends[..., 0] = spacing * first_slope
    ends[..., -1] = ends[..., -1] + spacing * last_slope
    interior = _SlopeSystem.apply(right - ends)
    slopes = torch.cat([(spacing * first_slope)[..., None], interior, (spacing * last_slope)[..., None]], dim=-1)
    rise = values[..., 1:] - values[..., :-1]
    left, righter = slopes[..., :-1], slopes[..., 1:]
    return torch.stack([values[..., :-1], left, 3 * rise - 2 * left - righter, left + righter - 2 * rise], dim=-1)


@dataclass(frozen=True, eq=False)
class PairSpline:
    """The pair potentials of a batch of systems as splines in s = r² on one uniform grid.

    Below `s_lo` the first interval is continued linearly in s (a wall whose force is linear in r); at and beyond
    `cutoff`² energy and force are zero.

    Attributes:
        coefficients: `(n_tables, n_intervals, 4)`, energy unit; see `clamped_spline`.
        table_index: `(n_systems, n_types, n_types)` int64, the table that a pair of types uses in a system.
        species: `(n_types,)` int64 ascending atomic numbers; type k of `table_index` is `species[k]`.
        s_lo: s at the first knot, length².
        spacing: distance of the knots in s, length².
        cutoff: length.
    """

    coefficients: Tensor
    table_index: Tensor
    species: Tensor
    s_lo: float
    spacing: float
    cutoff: float

    @property
    def n_intervals(self) -> int:
        """Number of intervals between knots."""
        return self.coefficients.shape[-2]

    @property
    def knots(self) -> Tensor:
        """`(n_intervals + 1,)`, s of the knots, length²."""
        k = torch.arange(self.n_intervals + 1, dtype=self.coefficients.dtype, device=self.coefficients.device)
        return self.s_lo + self.spacing * k

    def types(self, system: System) -> Tensor:
        """`(n_atoms,)` int64, index of each atom's species.

        Raises:
            ValueError: an atom of a species that the potential does not know.
        """
        position = torch.searchsorted(self.species, system.numbers).clamp(max=len(self.species) - 1)
        unknown = self.species[position] != system.numbers
        if bool(unknown.any()):
            number = int(system.numbers[unknown][0])
            raise ValueError(
                f"system: atomic number {number} has no pair potential (known: {self.species.tolist()}); "
                "add its pairs to the potential"
            )
        return position

    def evaluate(self, s: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Energy u and du/ds at squared distances, differentiable twice in s and once in the coefficients.

        Args:
            s: `(...)`, length².
            table: `(...)` int64, table of each pair.

        Returns:
            u `(...)`, energy; du/ds `(...)`, energy/length².
        """
        tables = SplineTables(self.coefficients, self.table_index, self.s_lo, self.spacing, self.cutoff)
        values = evaluate_spline(s, table, tables)
        return values.energy, values.slope

    def pairs(self, system: System, neighbors: Neighbors) -> tuple[Tensor, Tensor, Tensor]:
        """Displacements `(n_pairs, 3)`, squared distances `(n_pairs,)` and tables `(n_pairs,)` of a half list."""
        displacement = neighbors.displacements(system)
        types = self.types(system)
        table = self.table_index[system.system_idx[neighbors.first], types[neighbors.first], types[neighbors.second]]
        return displacement, (displacement * displacement).sum(-1), table

    def weighted_pairs(self, system: System, neighbors: Neighbors) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Displacements `(n_pairs, 3)`, energies u, slopes du/ds, both by their weights, and s, `(n_pairs,)` each."""
        displacement, s, table = self.pairs(system, neighbors)
        u, slope = self.evaluate(s, table)
        if neighbors.weights is not None:
            u, slope = neighbors.weights * u, neighbors.weights * slope
        return displacement, u, slope, s

    def energy(self, system: System, neighbors: Neighbors) -> Tensor:
        """Potential energy `(n_systems,)`, energy unit; differentiable in positions, cell and coefficients."""
        _, u, _, _ = self.weighted_pairs(system, neighbors)
        total = torch.zeros(system.n_systems, dtype=u.dtype, device=u.device)
        return total.index_add(0, system.system_idx[neighbors.first], u)

    def energy_forces(self, system: System, neighbors: Neighbors) -> tuple[Tensor, Tensor, Tensor]:
        """Energy `(n_systems,)`, forces `(n_atoms, 3)` and virial sum of r·F over pairs `(n_systems,)`.

        Forces are -2 (du/ds) d from the spline itself, so one more derivative (a vector-Jacobian product) is first
        order for autograd.
        """
        displacement, u, slope, s = self.weighted_pairs(system, neighbors)
        on_second = -2.0 * slope[:, None] * displacement
        forces = torch.zeros_like(system.positions)
        forces = forces.index_add(0, neighbors.second, on_second).index_add(0, neighbors.first, -on_second)
        owner = system.system_idx[neighbors.first]
        zeros = torch.zeros(system.n_systems, dtype=u.dtype, device=u.device)
        virial = zeros.index_add(0, owner, -2.0 * slope * s)
        return zeros.index_add(0, owner, u), forces, virial

    def fits_kernels(self, system: System) -> bool:
        """Whether the compiled loops can take a system: they see the nearest image of each pair only."""
        heights = periodic_heights(system.cell, system.pbc)
        real = system.dtype in (torch.float32, torch.float64)
        return real and bool((heights >= 2.0 * self.cutoff * (1.0 - 1e-12)).all())

    def arrays(self, system: System) -> tuple[Batch, SplineTables]:
        """A batch on the CPU and these tables as numpy arrays, in the system's floating-point type, for the kernels."""
        exclusions = system.exclusions()
        batch = Batch(
            masses=_array(system.masses),
            offsets=_array(system.offsets),
            cell=_array(system.cell),
            pbc=_array(system.pbc),
            types=_array(self.types(system).to(torch.int32)),
            exclusions=None if exclusions is None else Exclusions(*(_array(values) for values in exclusions)),
        )
        coefficients, index = _array(self.coefficients.to(system.dtype)), _array(self.table_index.to(torch.int32))
        return batch, SplineTables(coefficients, index, self.s_lo, self.spacing, self.cutoff)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PairSpline:
        """The same splines on another device or in another floating-point type."""
        return PairSpline(
            self.coefficients.to(device=device, dtype=dtype),
            self.table_index.to(device=device),
            self.species.to(device=device),
            self.s_lo,
            self.spacing,
            self.cutoff,
        )


def _array(tensor: Tensor) -> Any:
    return np.ascontiguousarray(tensor.detach().numpy())
