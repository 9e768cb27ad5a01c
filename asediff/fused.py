"""The boundary between torch and the fused kernels: one autograd node for a whole run of a pair potential."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from asediff.adjoints import Adjoint, CheckpointAdjoint, Recording, ReversibleAdjoint, refuse_second_derivative
from asediff.fused_cuda import FusedFailure, cuda_run
from asediff.integrators import ChainStepper, LangevinStepper, State, Stepper
from asediff.kernels import arrays
from asediff.kernels.devices import runs_triton
from asediff.splines import PairSpline
from asediff.system import System

__all__ = ["FusedFailure", "fused_run", "is_fused"]


def is_fused(system: System, adjoint: Adjoint) -> bool:
    """Whether a pair potential on this system, differentiated this way, runs in the fused kernels."""
    floating = system.dtype in (torch.float32, torch.float64)
    fitting = floating and isinstance(adjoint, CheckpointAdjoint | ReversibleAdjoint)
    return fitting and (system.device.type == "cpu" or runs_triton(system.device))


def fused_run(
    system: System,
    spline: PairSpline,
    stepper: Stepper,
    start: State,
    n_steps: int,
    save_every: int,
    first_step: int,
    adjoint: Adjoint,
    skin: float | None,
) -> tuple[Recording, Tensor, Tensor, Tensor]:
    """Take the steps in one compiled call.

    Returns:
        The recording (its frames carry no thermostat), and potential energy, pressure and conserved quantity of each
        frame, `(n_frames, n_systems)`.

    Raises:
        FusedFailure: the atoms blew up.
    """
    if system.device.type == "cuda":
        return cuda_run(system, spline, stepper, start, n_steps, save_every, first_step, adjoint, skin)
    assert isinstance(adjoint, CheckpointAdjoint | ReversibleAdjoint)
    snapshot_every, backwards = adjoint.schedule(n_steps, start)
    mode = "reverse" if backwards else "stored" if snapshot_every == 1 else "replay"
    inputs = (spline.coefficients.to(system.dtype), *start)
    needs_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    call = _Call(
        _batch(system, spline),
        spline,
        _stepper_arrays(system, stepper, first_step),
        n_steps,
        save_every,
        snapshot_every if needs_gradient else 0,
        skin,
        mode,
    )
    x, v, final_x, final_v, final_chain, thermo = _FusedRun.apply(call, *inputs)
    energy, virial, conserved = thermo.unbind(-1)
    twice_kinetic = torch.stack([stepper.twice_kinetic(frame) for frame in v.detach()])
    pressure = (twice_kinetic + virial) / (3.0 * system.get_volume())
    frames = State(x, v, x.new_zeros(len(x), system.n_systems, 2, 0))
    return Recording(frames, State(final_x, final_v, final_chain)), energy, pressure, conserved


class _Call:
    """Everything of a run but the tensors it is differentiated in."""

    def __init__(
        self,
        batch: arrays.Batch,
        spline: PairSpline,
        stepper: arrays.Stepper,
        n_steps: int,
        save_every: int,
        snapshot_every: int,
        skin: float | None,
        mode: str,
    ) -> None:
        self.batch, self.spline, self.stepper = batch, spline, stepper
        self.n_steps, self.save_every, self.snapshot_every = n_steps, save_every, snapshot_every
        self.skin = 0.12 * spline.cutoff if skin is None else skin
        self.mode = mode

    def tables(self, coefficients: Tensor) -> arrays.SplineTables:
        spline = self.spline
        index = spline.table_index.numpy().astype(np.int32)
        return arrays.SplineTables(_array(coefficients), index, spline.s_lo, spline.spacing, spline.cutoff)


class _FusedRun(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, coefficients: Tensor, x: Tensor, v: Tensor, chain: Tensor) -> Any:
        from asediff.kernels import cpu

        rollout = cpu.rollout(
            _array(x),
            _array(v),
            _array(chain),
            call.batch,
            call.tables(coefficients),
            call.stepper,
            call.n_steps,
            call.save_every,
            snapshot_every=call.snapshot_every,
            skin=call.skin,
        )
        if rollout.failed_step >= 0:
            raise FusedFailure(rollout.failed_step)
        ctx.call, ctx.rollout = call, rollout
        out = tuple(
            torch.from_numpy(a)
            for a in (
                rollout.frame_positions,
                rollout.frame_velocities,
                rollout.positions,
                rollout.velocities,
                rollout.chain,
                rollout.thermo,
            )
        )
        ctx.mark_non_differentiable(out[-1])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        refuse_second_derivative()
        from asediff.kernels import cpu

        if ctx.call.snapshot_every == 0:
            raise RuntimeError("simulate ran without snapshots because nothing required a gradient then")
        result = cpu.rollout_vjp(ctx.rollout, *(_array(g) for g in gradients[:5]), mode=ctx.call.mode)
        return None, *(torch.from_numpy(a) for a in result)


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy())


def _batch(system: System, spline: PairSpline) -> arrays.Batch:
    return arrays.Batch(
        masses=_array(system.masses),
        offsets=_array(system.offsets),
        cell=_array(system.cell),
        pbc=_array(system.pbc),
        types=_array(spline.types(system)).astype(np.int32),
    )


def _stepper_arrays(system: System, stepper: Stepper, first_step: int) -> arrays.Stepper:
    n = system.n_systems
    kind, friction, seeds = arrays.NVE, 0.0, np.zeros(n, dtype=np.uint64)
    chain_masses = torch.zeros(n, 0, dtype=system.dtype)
    if isinstance(stepper, ChainStepper):
        kind, chain_masses = arrays.NOSE_HOOVER, stepper.chain_masses
    elif isinstance(stepper, LangevinStepper):
        kind, friction, seeds = arrays.LANGEVIN, stepper.friction, stepper.seeds.numpy().astype(np.uint64)
    kT = torch.zeros(n) if stepper.kT is None else stepper.kT
    return arrays.Stepper(
        kind=kind,
        timestep=stepper.timestep,
        kT=_array(kT.to(system.dtype)),
        n_dof=_array(stepper.n_dof),
        chain_masses=_array(chain_masses.to(system.dtype)),
        friction=np.full(n, friction, dtype=_array(system.masses).dtype),
        seeds=seeds,
        first_step=first_step,
    )
