"""The fused kernels of the GPU as `asediff.dynamics.fused` calls them."""

from __future__ import annotations

import torch
from torch import Tensor

from asediff.kernels.arrays import FusedCall
from asediff.kernels.cuda import backend as cuda


def rollout(call: FusedCall, coefficients: Tensor, x: Tensor, v: Tensor, chain: Tensor) -> cuda.DeviceRollout:
    """See `asediff.dynamics.fused.Backend.rollout`."""
    with torch.cuda.device_of(x):
        return cuda.rollout(
            x,
            v,
            chain,
            call.batch,
            call.tables._replace(coefficients=coefficients),
            call.stepper,
            call.n_steps,
            call.save_every,
            snapshot_every=call.snapshot_every,
            skin=call.skin,
        )


def outputs(run: cuda.DeviceRollout) -> tuple[Tensor, ...]:
    """See `asediff.dynamics.fused.Backend.outputs`."""
    return run.frame_positions, run.frame_velocities, run.positions, run.velocities, run.chain, run.thermo


def rollout_vjp(call: FusedCall, run: cuda.DeviceRollout, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """See `asediff.dynamics.fused.Backend.rollout_vjp`.

    Both adjoints keep all states of one stretch of steps and take earlier stretches again from their snapshots, as many
    states as there are steps between snapshots and none that was computed backward: `call.mode` makes no difference.
    """
    assert call.snapshot_every > 0
    return tuple(cuda.rollout_vjp(run, *gradients))
