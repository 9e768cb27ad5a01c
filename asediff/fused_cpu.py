"""The fused kernels of the CPU as `asediff.fused` calls them: tensors become numpy arrays of the same memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from asediff.kernels import arrays, cpu
from asediff.kernels.arrays import FusedCall


def rollout(call: FusedCall, coefficients: Tensor, x: Tensor, v: Tensor, chain: Tensor) -> arrays.Rollout:
    """See `asediff.fused.Backend.rollout`."""
    batch, tables, stepper = call.batch, call.tables, call.stepper
    masses = _array(batch.masses)
    return cpu.rollout(
        _array(x),
        _array(v),
        _array(chain),
        arrays.Batch(
            masses,
            _array(batch.offsets),
            _array(batch.cell),
            _array(batch.pbc),
            _array(batch.types).astype(np.int32),
        ),
        tables._replace(coefficients=_array(coefficients), table_index=_array(tables.table_index).astype(np.int32)),
        stepper._replace(
            kT=_array(stepper.kT).astype(masses.dtype),
            n_dof=_array(stepper.n_dof),
            chain_masses=_array(stepper.chain_masses).astype(masses.dtype),
            friction=_array(stepper.friction).astype(masses.dtype),
            seeds=_array(stepper.seeds).astype(np.uint64),
        ),
        call.n_steps,
        call.save_every,
        snapshot_every=call.snapshot_every,
        skin=call.skin,
    )


def outputs(run: arrays.Rollout) -> tuple[Tensor, ...]:
    """See `asediff.fused.Backend.outputs`."""
    found = (run.frame_positions, run.frame_velocities, run.positions, run.velocities, run.chain, run.thermo)
    return tuple(torch.from_numpy(a) for a in found)


def rollout_vjp(call: FusedCall, run: arrays.Rollout, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """See `asediff.fused.Backend.rollout_vjp`."""
    result = cpu.rollout_vjp(run, *(_array(g) for g in gradients), mode=call.mode)
    return tuple(torch.from_numpy(a) for a in result)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(tensor.detach().numpy())
