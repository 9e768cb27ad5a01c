"""The pair engine on the GPU (Triton): forces, runs of many steps, and their exact reverse passes.

The same operations as `kernels.reference.pair` and `kernels.cpu.backend`, on torch tensors. Device functions live in
`math`, `lists` (neighbor rows), `pair` (sums over rows), `step` (kicks and drift) and `chain` (thermostats);
`space` holds the memory and launches, `pool` chooses its sizes, `rollout` makes runs of steps.
Where there is no GPU they run in Triton's interpreter on CPU tensors, for tests, if the environment variable
TRITON_INTERPRET is 1 before this module is imported.

Sums over neighbors are taken in a fixed order in boxes of fewer than 4096 atoms; larger ones sort atoms into cells in
an order that varies, and derivatives of tables are added atomically, so both repeat to round-off only.
"""

from __future__ import annotations

from asediff.kernels.cuda.pool import release_memory
from asediff.kernels.cuda.rollout import DeviceRollout, rollout, rollout_vjp
from asediff.kernels.cuda.static import pair_forces, pair_vjp

__all__ = ["DeviceRollout", "pair_forces", "pair_vjp", "release_memory", "rollout", "rollout_vjp"]
