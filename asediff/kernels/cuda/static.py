"""Forces of single configurations on the device, and their reverse pass."""

from __future__ import annotations

import torch
from torch import Tensor

from asediff.kernels.arrays import Batch, PairForces, SplineTables, Stepper
from asediff.kernels.cuda.pool import acquire, choose_shape, larger_shape, make_inputs, release
from asediff.kernels.cuda.space import Space
from asediff.kernels.reference.pair import PairGradient


def pair_forces(positions: Tensor, batch: Batch, tables: SplineTables, *, skin: float = 0.0) -> PairForces:
    """Energy, forces and virial of one configuration; see `asediff.kernels.reference.pair.pair_forces`."""
    space = _at_rest(positions, None, batch, tables, skin)
    sums = torch.zeros(space.n_blocks, 7, dtype=torch.float64, device=positions.device)
    space.sum_energies(sums)
    total = space.sum_blocks(sums).to(positions.dtype)
    virial = total[:, [[1, 6, 5], [6, 2, 4], [5, 4, 3]]]
    result = PairForces(total[:, 0].clone(), space.forces.clone(), virial)
    release(space)
    return result


def pair_vjp(
    positions: Tensor, batch: Batch, tables: SplineTables, w_forces: Tensor, *, skin: float = 0.0
) -> PairGradient:
    """Derivatives of sum_i w_i.F_i; see `asediff.kernels.reference.pair.pair_vjp`."""
    space = _at_rest(positions, w_forces, batch, tables, skin)
    space.reverse_forces(drift=False)
    result = PairGradient(space.by_positions.clone(), space.coefficient_gradient())
    release(space)
    return result


def _at_rest(positions: Tensor, weights: Tensor | None, batch: Batch, tables: SplineTables, skin: float) -> Space:
    """A space with rows and forces for given positions, and gradients set to zero if there are weights."""
    n_systems, x = batch.n_systems, positions.detach()
    zero, none = torch.zeros(n_systems, device=x.device), torch.zeros(n_systems, 0, device=x.device)
    stepper = Stepper(0, 0.0, zero, zero, none, zero, zero.to(torch.int64), 0)
    shape, skin = choose_shape(x, batch, tables, stepper, skin, 0 if weights is None else 1)
    while True:
        space = acquire(shape)
        space.load(make_inputs(batch, tables, stepper, skin, None))
        space.start(x, torch.zeros_like(x), space.chain, 0, 0)
        larger = larger_shape(space)
        if larger is None:
            break
        shape = larger
    if weights is not None:
        space.weights.copy_(weights)
        space.by_positions.zero_()
        space.by_table.zero_()
    return space
