"""What the kernels of a kind of device offer, on torch tensors of that device, and who has them.

A backend is a module: `asediff.kernels.cpu.backend` and `asediff.kernels.cuda.backend`. One suite of tests,
`tests/kernels/test_conformance.py`, holds each to the same results.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from asediff.kernels.arrays import Batch, Exclusions, FusedCall, PairForces, SplineTables
from asediff.kernels.devices import runs_triton
from asediff.kernels.shells import ShellGrid


class Backend(Protocol):
    """The kernels of one kind of device."""

    def rollout(self, call: FusedCall, coefficients: Tensor, x: Tensor, v: Tensor, chain: Tensor) -> Any:
        """Take the steps of a run from positions and velocities `(n_atoms, 3)` and a chain `(n_systems, 2, tchain)`.

        Args:
            call: the run; its tables have no coefficients.
            coefficients: `(n_tables, n_intervals, 4)`, energy.
            x: `(n_atoms, 3)`, length.
            v: `(n_atoms, 3)`, length/time.
            chain: `(n_systems, 2, tchain)`, positions and rates of the thermostats.

        Returns:
            The run; its `failed_step` is the first that left a state not finite, or -1.
        """

    def outputs(self, run: Any) -> tuple[Tensor, ...]:
        """Positions and velocities of the frames, then of the last state, its chain, and the energies."""

    def rollout_vjp(self, call: FusedCall, run: Any, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Gradients in coefficients, x, v and chain, from those of all outputs but the energies."""

    def pair_forces(self, positions: Tensor, batch: Batch, tables: SplineTables) -> PairForces:
        """Energy, forces and virial of one configuration `(n_atoms, 3)`, length."""

    def pair_vjp(
        self, positions: Tensor, batch: Batch, tables: SplineTables, w_forces: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Derivatives of sum_i w_i.F_i with respect to positions and coefficients; `w_forces` is `(n_atoms, 3)`."""

    def smeared_counts(
        self, positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, grid: ShellGrid,
        exclusions: Exclusions | None = None,
    ) -> Tensor:  # fmt: skip
        """Sum of w_k(r) over unordered pairs; see `asediff.kernels.cpu.rdf.smeared_counts`."""

    def pair_histograms(
        self, positions: Tensor, cell: Tensor, offsets: Tensor, types: Tensor, channels: Tensor, *, lower: float,
        upper: float, bins: int, exclusions: Exclusions | None = None,
    ) -> Tensor:  # fmt: skip
        """Number of unordered pairs in each bin; see `asediff.kernels.cpu.rdf.pair_histograms`."""


def backend_of(device: torch.device) -> Backend | None:
    """The kernels that run on a device, or None; compilers take seconds to load, so ask when they are needed."""
    if runs_triton(device):
        from asediff.kernels.cuda import backend as cuda

        return cuda
    if device.type == "cpu":
        from asediff.kernels.cpu import backend as cpu

        return cpu
    return None
