"""Pair forces and their reverse pass in plain torch, on any device: the definition that the fast kernels must meet.

With s = r², u(s) the energy of a pair and d = x_i - x_j its separation by the nearest image, the force of j on i is

    F_ij = a(s) d,    a = -2 u'(s),

and for a field w on the atoms (the adjoint of the forces) the reverse pass of sum_i w_i.F_i is, with w_ij = w_i - w_j,

    dL/dx_i = sum_j  a w_ij + 2 a' (w_ij.d) d,    a' = -2 u''(s),    dL/da of a pair = w_ij.d.

All pairs are examined, so the cost is quadratic in the number of atoms. Arrays are those of `asediff.kernels.arrays`,
as tensors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asediff.kernels.arrays import Batch, Exclusions, PairForces, SplineTables


class SplineValues(NamedTuple):
    """A spline and its derivatives with respect to s, and where in the table they come from; all `(...)`.

    The place in the interval is negative below s_lo and means nothing beyond the cutoff.
    """

    energy: Tensor
    slope: Tensor
    curvature: Tensor
    interval: Tensor
    fraction: Tensor


class PairGradient(NamedTuple):
    """Derivatives of a loss.

    Attributes:
        positions: `(n_atoms, 3)`.
        coefficients: `(n_tables, n_intervals, 4)`.
    """

    positions: Tensor
    coefficients: Tensor


def evaluate_spline(s: Tensor, table: Tensor, tables: SplineTables) -> SplineValues:
    """Energy, du/ds and d²u/ds² at squared distances.

    Args:
        s: `(...)`, length².
        table: `(...)` int64, table of each pair.
        tables: the splines.
    """
    inside = s < tables.cutoff**2
    place = torch.where(inside, (s - tables.s_lo) / tables.spacing, torch.zeros_like(s))
    interval = place.detach().floor().clamp(0, tables.coefficients.shape[1] - 1).to(torch.int64)
    t = place - interval
    c0, c1, c2, c3 = tables.coefficients[table, interval].unbind(-1)
    below = (place < 0).detach()
    c2, c3 = torch.where(below, torch.zeros_like(c2), c2), torch.where(below, torch.zeros_like(c3), c3)
    energy = c0 + t * (c1 + t * (c2 + t * c3))
    slope = (c1 + t * (2.0 * c2 + 3.0 * t * c3)) / tables.spacing
    curvature = (2.0 * c2 + 6.0 * t * c3) / tables.spacing**2
    zero = torch.zeros_like(energy)
    energy, slope, curvature = (torch.where(inside, value, zero) for value in (energy, slope, curvature))
    return SplineValues(energy, slope, curvature, interval, t)


def lattice_inverse(cell: Tensor, pbc: Tensor) -> Tensor:
    """Matrices that turn a vector into how many lattice vectors it spans, zero along directions that are not periodic.

    Args:
        cell: `(n_systems, 3, 3)`, rows are lattice vectors, length. Vectors of other directions are not looked at.
        pbc: `(n_systems, 3)` bool.

    Returns:
        `(n_systems, 3, 3)`: `d @ inverse[k]` are the components of d in system k, 1/length.
    """
    periodic = torch.where(pbc[:, :, None], cell, torch.zeros_like(cell))
    # a few small matrices: not worth a decomposition on a GPU
    return torch.linalg.pinv(periodic.detach().to("cpu", torch.float64)).to(cell)


def all_pairs(positions: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every pair of atoms of the same system once: first, second, system `(n_pairs,)` and x_first - x_second, nearest
    image, `(n_pairs, 3)`, differentiable."""
    inverse = lattice_inverse(batch.cell, batch.pbc)
    parts = []
    for k in range(batch.n_systems):
        begin, end = int(batch.offsets[k]), int(batch.offsets[k + 1])
        first, second = torch.triu_indices(end - begin, end - begin, 1, device=positions.device) + begin
        d = positions[first] - positions[second]
        d = d - torch.round(d.detach() @ inverse[k]) @ batch.cell[k]
        parts.append((first, second, torch.full_like(first, k), d))
    first, second, system, separation = (torch.cat(column) for column in zip(*parts, strict=True))
    return first, second, system, separation


def pair_weights(first: Tensor, second: Tensor, exclusions: Exclusions) -> Tensor:
    """What the energies of pairs `(n,)` and `(n,)` of atoms are multiplied with, by their nearest images: `(n,)`
    float64, 1 for a pair that is not among the exclusions."""
    n_atoms = len(exclusions.first) - 1
    owner = torch.repeat_interleave(torch.arange(n_atoms, device=first.device), exclusions.first.diff())
    keys = owner * n_atoms + exclusions.partner
    wanted = first * n_atoms + second
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[place] == wanted, exclusions.weight[place], 1.0)


def _pairs_within(positions: Tensor, batch: Batch, tables: SplineTables) -> tuple[Tensor, ...]:
    """As `all_pairs`, of those within the cutoff that interact; then their tables and weights `(n_pairs,)`."""
    first, second, system, d = all_pairs(positions, batch)
    close = (d.detach() ** 2).sum(-1) < tables.cutoff**2
    weight = torch.ones_like(close, dtype=positions.dtype)
    if batch.exclusions is not None:
        weight = pair_weights(first, second, batch.exclusions).to(positions.dtype)
        close &= weight > 0.0
    first, second, system, d, weight = first[close], second[close], system[close], d[close], weight[close]
    types = batch.types.to(torch.int64)
    table = tables.table_index.to(torch.int64)[system, types[first], types[second]]
    return first, second, system, d, table, weight


def _weighted(values: SplineValues, weight: Tensor) -> SplineValues:
    return values._replace(
        energy=weight * values.energy, slope=weight * values.slope, curvature=weight * values.curvature
    )


def pair_forces(positions: Tensor, batch: Batch, tables: SplineTables) -> PairForces:
    """Energy, forces and virial of one configuration of a batch.

    Args:
        positions: `(n_atoms, 3)`, length; need not be wrapped.
        batch: the systems; every periodic height is at least twice the cutoff. Exclusions, if any, are tensors.
        tables: the pair potentials.

    Returns:
        energy `(n_systems,)`, forces `(n_atoms, 3)`, virial `(n_systems, 3, 3)`.
    """
    first, second, system, d, table, weight = _pairs_within(positions, batch, tables)
    values = _weighted(evaluate_spline((d * d).sum(-1), table, tables), weight)
    on_first = -2.0 * values.slope[:, None] * d
    forces = torch.zeros_like(positions).index_add(0, first, on_first).index_add(0, second, -on_first)
    n = batch.n_systems
    energy = positions.new_zeros(n).index_add(0, system, values.energy)
    virial = positions.new_zeros(n, 3, 3).index_add(0, system, d[:, :, None] * on_first[:, None, :])
    return PairForces(energy, forces, virial)


def pair_vjp(
    positions: Tensor,
    batch: Batch,
    tables: SplineTables,
    w_forces: Tensor,
    w_energy: Tensor | None = None,
    w_virial: Tensor | None = None,
) -> PairGradient:
    """Reverse pass of `pair_forces`.

    Args:
        positions: `(n_atoms, 3)`, length.
        batch: the systems.
        tables: the pair potentials.
        w_forces: `(n_atoms, 3)`, dL/dforces; the result is then a Hessian-vector product.
        w_energy: `(n_systems,)`, dL/denergy; default zero.
        w_virial: `(n_systems, 3, 3)`, dL/dvirial; default zero.
    """
    first, second, system, d, table, weight = _pairs_within(positions, batch, tables)
    values = _weighted(evaluate_spline((d * d).sum(-1), table, tables), weight)
    by_energy = positions.new_zeros(batch.n_systems) if w_energy is None else w_energy
    by_virial = positions.new_zeros(batch.n_systems, 3, 3) if w_virial is None else w_virial
    by_energy, by_virial = by_energy[system], by_virial[system]

    # a pair adds by_energy u + a phi to the loss, with a = -2 u' and phi = w_ij.d + d.B.d
    difference = w_forces[first] - w_forces[second]
    phi = (difference * d).sum(-1) + torch.einsum("pa,pab,pb->p", d, by_virial, d)
    by_phi = difference + torch.einsum("pab,pb->pa", by_virial + by_virial.transpose(1, 2), d)
    along = 2.0 * by_energy * values.slope - 4.0 * values.curvature * phi
    on_first = along[:, None] * d - 2.0 * values.slope[:, None] * by_phi
    by_positions = torch.zeros_like(positions).index_add(0, first, on_first).index_add(0, second, -on_first)

    # u = sum_k c_k t^k, and u' is its derivative; the continuation below s_lo knows c0 and c1 only
    t, zero = values.fraction, torch.zeros_like(phi)
    curved = torch.where(t >= 0, t, zero)
    by_slope = -2.0 / tables.spacing * phi
    parts = weight[:, None] * torch.stack(
        [
            by_energy,
            by_energy * t + by_slope,
            by_energy * curved**2 + 2.0 * curved * by_slope,
            by_energy * curved**3 + 3.0 * curved**2 * by_slope,
        ],
        dim=-1,
    )
    n_intervals = tables.coefficients.shape[1]
    by_coefficients = torch.zeros_like(tables.coefficients).reshape(-1, 4)
    by_coefficients = by_coefficients.index_add(0, table * n_intervals + values.interval, parts)
    return PairGradient(by_positions, by_coefficients.reshape(tables.coefficients.shape))
