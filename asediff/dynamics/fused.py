"""The boundary between torch and the fused kernels: one autograd node for a whole run of a pair potential."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from asediff.dynamics.adjoints import Adjoint, Schedule
from asediff.dynamics.reverse import refuse_second_derivative
from asediff.dynamics.steppers import State, Stepper
from asediff.kernels import arrays
from asediff.kernels.backend import Backend, backend_of
from asediff.potentials.base import Potential
from asediff.potentials.splines import PairSpline
from asediff.system import System


class FusedFailure(ArithmeticError):  # noqa: N818
    """A step of a fused run left a state that is not finite; `step` is its number in the run."""

    def __init__(self, step: int) -> None:
        super().__init__(f"step {step} left a state that is not finite")
        self.step = step


class FusedForm(NamedTuple):
    """What the kernels need to know of a run besides its state.

    Attributes:
        tables: the pair potential.
        stepper: the integrator.
        schedule: the adjoint.
        backend: the kernels of the system's device.
    """

    tables: PairSpline
    stepper: arrays.Stepper
    schedule: Schedule
    backend: Backend


def fused_form(
    system: System, potential: Potential, stepper: Stepper, state: State, n_steps: int, first_step: int,
    adjoint: Adjoint,
) -> FusedForm | None:  # fmt: skip
    """The compiled form of a run, or None when potential, stepper, adjoint, number type or device have none."""
    form, schedule = stepper.compiled(first_step), adjoint.compiled(n_steps, state)
    if form is None or schedule is None:
        return None
    tables = potential.compiled(system, stepper.kT)
    backend = None if tables is None or not tables.fits_kernels(system) else backend_of(system.device)
    if tables is None or backend is None:
        return None
    return FusedForm(tables, form, schedule, backend)


def fused_run(
    system: System,
    form: FusedForm,
    stepper: Stepper,
    start: State,
    n_steps: int,
    save_every: int,
    skin: float | None,
) -> tuple[State, State, Tensor, Tensor, Tensor]:
    """Take the steps in one compiled call.

    Args:
        system: one or many systems; the state is that of `start`.
        form: of `fused_form`.
        stepper: the integrator.
        start: state to start from.
        n_steps: number of steps.
        save_every: steps between frames.
        skin: of the neighbor lists, length; None for 12 % of the cutoff.

    Returns:
        Frames (each field with a leading n_frames; they carry no thermostat), the last state, and potential energy,
        pressure and conserved quantity of each frame, `(n_frames, n_systems)`.

    Raises:
        FusedFailure: the atoms blew up.
    """
    spline, (snapshot_every, backwards) = form.tables, form.schedule
    inputs = (spline.coefficients.to(system.dtype), *start)
    needs_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    call = arrays.FusedCall(
        arrays.Batch(system.masses, system.offsets, system.cell, system.pbc, spline.types(system), system.exclusions()),
        arrays.SplineTables(None, spline.table_index, spline.s_lo, spline.spacing, spline.cutoff),
        form.stepper,
        n_steps,
        save_every,
        snapshot_every if needs_gradient else 0,
        0.12 * spline.cutoff if skin is None else skin,
        "reverse" if backwards else "stored" if snapshot_every == 1 else "replay",
    )
    x, v, final_x, final_v, final_chain, thermo = _FusedRun.apply(call, form.backend, *inputs)
    energy, virial, conserved = thermo.unbind(-1)
    twice_kinetic = torch.stack([stepper.twice_kinetic(frame) for frame in v.detach()])
    pressure = (twice_kinetic + virial) / (3.0 * system.get_volume())
    frames = State(x, v, x.new_zeros(len(x), system.n_systems, 2, 0))
    return frames, State(final_x, final_v, final_chain), energy, pressure, conserved


class _FusedRun(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, call: arrays.FusedCall, kernels: Backend, coefficients: Tensor, x: Tensor, v: Tensor, chain: Tensor
    ) -> Any:
        run = kernels.rollout(call, coefficients.detach(), x.detach(), v.detach(), chain.detach())
        if run.failed_step >= 0:
            raise FusedFailure(run.failed_step)
        ctx.call, ctx.kernels, ctx.run = call, kernels, run
        out = kernels.outputs(run)
        ctx.mark_non_differentiable(out[-1])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        refuse_second_derivative()
        if ctx.call.snapshot_every == 0:
            raise RuntimeError("simulate ran without snapshots because nothing required a gradient then")
        return None, None, *ctx.kernels.rollout_vjp(ctx.call, ctx.run, gradients[:5])
