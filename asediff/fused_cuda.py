"""The boundary between torch and the fused GPU kernels: one autograd node for a whole run of a pair potential."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from asediff.adjoints import Adjoint, CheckpointAdjoint, Recording, ReversibleAdjoint
from asediff.integrators import ChainStepper, LangevinStepper, State, Stepper
from asediff.kernels import arrays
from asediff.splines import PairSpline
from asediff.system import System


class FusedFailure(ArithmeticError):  # noqa: N818
    """A step of a fused run left a state that is not finite; `step` is its number in the run."""

    def __init__(self, step: int) -> None:
        super().__init__(f"step {step} left a state that is not finite")
        self.step = step


def cuda_run(
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
    """Take the steps on the GPU; arguments, returns and errors as `asediff.fused.fused_run`.

    Both adjoints keep all states of one stretch of steps and take earlier stretches again from their snapshots: as many
    states as there are steps between snapshots, and none that was computed backward.
    """
    assert isinstance(adjoint, CheckpointAdjoint | ReversibleAdjoint)
    snapshot_every = adjoint.schedule(n_steps, start).every
    inputs = (spline.coefficients.to(system.dtype), *start)
    needs_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    call = _Call(
        arrays.Batch(system.masses, system.offsets, system.cell, system.pbc, spline.types(system)),
        spline,
        _stepper(system, stepper, first_step),
        n_steps,
        save_every,
        snapshot_every if needs_gradient else 0,
        0.12 * spline.cutoff if skin is None else skin,
    )
    x, v, final_x, final_v, final_chain, thermo = _CudaRun.apply(call, *inputs)
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
        skin: float,
    ) -> None:
        self.batch, self.spline, self.stepper = batch, spline, stepper
        self.n_steps, self.save_every, self.snapshot_every, self.skin = n_steps, save_every, snapshot_every, skin

    def tables(self, coefficients: Tensor) -> arrays.SplineTables:
        spline = self.spline
        return arrays.SplineTables(coefficients, spline.table_index, spline.s_lo, spline.spacing, spline.cutoff)


class _CudaRun(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, coefficients: Tensor, x: Tensor, v: Tensor, chain: Tensor) -> Any:
        from asediff.kernels import cuda

        with torch.cuda.device_of(x):
            run = cuda.rollout(
                x,
                v,
                chain,
                call.batch,
                call.tables(coefficients),
                call.stepper,
                call.n_steps,
                call.save_every,
                snapshot_every=call.snapshot_every,
                skin=call.skin,
            )
        if run.failed_step >= 0:
            raise FusedFailure(run.failed_step)
        ctx.call, ctx.run = call, run
        out = (run.frame_positions, run.frame_velocities, run.positions, run.velocities, run.chain, run.thermo)
        ctx.mark_non_differentiable(out[-1])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        from asediff.kernels import cuda

        if ctx.call.snapshot_every == 0:
            raise RuntimeError("simulate ran without snapshots because nothing required a gradient then")
        return None, *cuda.rollout_vjp(ctx.run, *gradients[:5])


def _stepper(system: System, stepper: Stepper, first_step: int) -> arrays.Stepper:
    n = system.n_systems
    zero = torch.zeros(n, dtype=torch.float64, device=system.device)
    kind, friction, seeds, chain_masses = arrays.NVE, 0.0, zero.to(torch.int64), zero[:, None][:, :0]
    if isinstance(stepper, ChainStepper):
        kind, chain_masses = arrays.NOSE_HOOVER, stepper.chain_masses
    elif isinstance(stepper, LangevinStepper):
        kind, friction, seeds = arrays.LANGEVIN, stepper.friction, stepper.seeds
    return arrays.Stepper(
        kind=kind,
        timestep=stepper.timestep,
        kT=zero if stepper.kT is None else stepper.kT,
        n_dof=stepper.n_dof,
        chain_masses=chain_masses,
        friction=zero + friction,
        seeds=seeds,
        first_step=first_step,
    )
