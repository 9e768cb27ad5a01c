"""The kernels of the GPU (Triton) as `asediff.kernels.backend` calls them.

Where there is no GPU they run in Triton's interpreter on CPU tensors, for tests, if the environment variable
TRITON_INTERPRET is 1 before this module is imported.

Sums over neighbors are taken in a fixed order in boxes of fewer than 4096 atoms; larger ones sort atoms into cells in
an order that varies, and derivatives of tables are added atomically, so both repeat to round-off only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asediff.kernels.arrays import FusedCall
from asediff.kernels.cuda import rollout as loops
from asediff.kernels.cuda.pool import release_memory
from asediff.kernels.cuda.rdf import pair_histograms, smeared_counts
from asediff.kernels.cuda.rollout import DeviceRollout
from asediff.kernels.cuda.static import pair_forces, pair_vjp

__all__ = [
    "outputs", "pair_forces", "pair_histograms", "pair_vjp", "release_memory", "rollout", "rollout_vjp",
    "smeared_counts",
]  # fmt: skip


def rollout(call: FusedCall, coefficients: Tensor, x: Tensor, v: Tensor, chain: Tensor) -> DeviceRollout:
    """See `asediff.kernels.backend.Backend`."""
    tables = call.tables._replace(coefficients=coefficients)
    with torch.cuda.device_of(x):
        return loops.rollout(
            x, v, chain, call.batch, tables, call.stepper, call.n_steps, call.save_every,
            snapshot_every=call.snapshot_every, skin=call.skin,
        )  # fmt: skip


def outputs(run: DeviceRollout) -> tuple[Tensor, ...]:
    """See `asediff.kernels.backend.Backend`."""
    return run.frame_positions, run.frame_velocities, run.positions, run.velocities, run.chain, run.thermo


def rollout_vjp(call: FusedCall, run: DeviceRollout, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """See `asediff.kernels.backend.Backend`.

    Both adjoints keep all states of one stretch of steps and take earlier stretches again from their snapshots, as many
    states as there are steps between snapshots and none that was computed backward: `call.mode` makes no difference.
    """
    assert call.snapshot_every > 0
    return tuple(loops.rollout_vjp(run, *gradients))
