"""What is the GPU engine's own: rows, memory, the order of atoms; and the boundary to autograd.

On a GPU where there is one, else in Triton's interpreter, with systems small enough for it.
"""

from dataclasses import replace

import brute_force
import numpy as np
import pytest
import torch
from brute_force import close, configuration

pytest.importorskip("triton", reason="the GPU kernels need triton (pip install asediff[gpu])")

from asediff.dynamics import Langevin, NoseHooverChain, State, VelocityVerlet
from asediff.dynamics.adjoints import CheckpointAdjoint, DirectAdjoint, ReversibleAdjoint
from asediff.dynamics.fused import FusedFailure, FusedForm, fused_run
from asediff.dynamics.general import general_run
from asediff.kernels.arrays import LANGEVIN, NOSE_HOOVER, NVE
from asediff.kernels.backend import backend_of
from asediff.kernels.cuda import backend as cuda
from asediff.kernels.cuda import pool as cuda_pool
from asediff.kernels.cuda import rollout as cuda_rollout
from asediff.potentials import Potential
from asediff.potentials.splines import PairSpline
from asediff.system import System

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def on_device(arrays):
    return brute_force.given("cuda", arrays, np.float64)


def fused(system, spline, stepper, state, n_steps, save_every, first_step, adjoint, skin, *, backend=cuda):
    """A run in the kernels, given what `general_run` takes."""
    form = FusedForm(spline, stepper.compiled(first_step), adjoint.compiled(n_steps, state), backend)
    return fused_run(system, form, stepper, state, n_steps, save_every, skin)


class Tabled(Potential):
    """Tables for every atom of a system, and nothing else."""

    def __init__(self, spline):
        super().__init__()
        self.spline, self.cutoff = spline, spline.cutoff

    def energy(self, system, neighbors, kT=None):
        return self.spline.energy(system, neighbors)

    def compiled(self, system, kT=None):
        return self.spline

    def split(self):
        return [self], []


@pytest.mark.parametrize("case", ["mixed", "skewed"])
def test_rows_from_cells_equal_rows_from_all_pairs(case, monkeypatch):
    x, _, batch, tables = map(on_device, configuration(case, n=5, bonded=True))
    expected = cuda.pair_forces(x, batch, tables, skin=0.1)
    monkeypatch.setattr(cuda_pool, "CELLS_FROM", 1)
    shape, _ = cuda_pool.choose_shape(x, batch, tables, stepper_of(NVE, batch), 0.1, 0)
    assert shape.grids is not None
    for value, number in zip(cuda.pair_forces(x, batch, tables, skin=0.1), expected, strict=True):
        close(value, number.cpu(), 1e-12)


def test_rows_grow_when_they_are_too_short(monkeypatch):
    x, _, batch, tables = configuration("one", bonded=True)
    monkeypatch.setattr(cuda_pool, "SPARE", 0.0)
    monkeypatch.setattr(cuda_pool, "ROW_MULTIPLE", 1)
    monkeypatch.setattr(cuda_pool, "_known", {})
    monkeypatch.setattr(cuda_pool, "_idle", {})
    found = cuda.pair_forces(*map(on_device, (x, batch, tables)))
    close(found.forces, brute_force.forces(x, batch, tables)[1], 1e-12)
    assert len(cuda_pool._known) == 1


def stepper_of(kind, batch):
    counts = brute_force.batch(batch.cell.cpu().numpy(), np.diff(batch.offsets.cpu().numpy()))
    return on_device(brute_force.stepper(kind, counts, tchain=2, first_step=2**32 - 2))


OUTPUTS = ("frame_positions", "frame_velocities", "positions", "velocities", "chain")


def run_of(kind, case, *, n_steps=4, **options):
    """A run with exclusions, and weights of all of its outputs."""
    x, v, batch, tables = map(on_device, configuration(case, bonded=True))
    stepper = stepper_of(kind, batch)
    chain = x.new_zeros(batch.n_systems, 2, stepper.chain_masses.shape[-1])
    run = cuda_rollout.rollout(x, v, chain, batch, tables, stepper, n_steps, 2, snapshot_every=2, skin=0.05, **options)
    rng = np.random.default_rng(4)
    return run, [on_device(rng.normal(size=tuple(getattr(run, name).shape))) for name in OUTPUTS]


def test_a_gradient_can_be_asked_for_twice_and_after_other_runs():
    run, weights = run_of(NOSE_HOOVER, "one")
    first = cuda_rollout.rollout_vjp(run, *weights)
    run_of(NOSE_HOOVER, "one")
    for value, number in zip(cuda_rollout.rollout_vjp(run, *weights), first, strict=True):
        close(value, number.cpu(), 1e-12)


def test_rows_may_grow_in_the_reverse_pass():
    run, weights = run_of(LANGEVIN, "one")
    expected = cuda_rollout.rollout_vjp(run, *weights)
    crowded = cuda_pool.acquire(run.space[0].shape._replace(capacity=1))
    crowded.load(run.inputs)
    run.space[0] = crowded
    for value, number in zip(cuda_rollout.rollout_vjp(run, *weights), expected, strict=True):
        close(value, number.cpu(), 1e-9)


@pytest.mark.parametrize("kind", [NVE, LANGEVIN], ids=["nve", "langevin"])
def test_the_order_of_atoms_in_memory_changes_nothing(kind):
    (plain, weights), (ordered, _) = (run_of(kind, "mixed", n_steps=3, sort=sort) for sort in (False, True))
    assert ordered.order is not None
    for name in (*OUTPUTS, "thermo"):
        close(getattr(ordered, name), getattr(plain, name).cpu(), 1e-12)
    both = (cuda_rollout.rollout_vjp(run, *weights) for run in (ordered, plain))
    for value, number in zip(*both, strict=True):
        close(value, number.cpu(), 1e-10)


def torch_system(case, n=3):
    x, v, batch, tables = map(on_device, configuration(case, n=n))
    idx = torch.repeat_interleave(torch.arange(batch.n_systems, device=DEVICE), batch.offsets[1:] - batch.offsets[:-1])
    numbers = batch.types.to(torch.int64) + 1
    system = System(x, v, batch.masses, numbers, batch.cell, batch.pbc, idx)
    species = torch.arange(1, 1 + tables.table_index.shape[-1], device=DEVICE)
    spline = PairSpline(tables.coefficients.requires_grad_(), tables.table_index.to(torch.int64), species, *tables[2:])
    return system, spline


@pytest.mark.parametrize(
    ("case", "integrator", "adjoint"),
    [
        ("mixed", VelocityVerlet(0.004), ReversibleAdjoint()),
        ("skewed", NoseHooverChain(0.004, kT=1.2, tdamp=0.1), CheckpointAdjoint(2)),
        ("mixed", NoseHooverChain(0.004, kT=torch.tensor([1.0, 1.3]), tdamp=0.1, tchain=1), CheckpointAdjoint(1)),
        ("one", Langevin(0.004, kT=1.0, friction=2.0, seed=7), ReversibleAdjoint(3, keep=0)),
    ],
    ids=["nve", "chain", "one thermostat", "langevin"],
)
def test_the_boundary_to_autograd_equals_plain_torch(case, integrator, adjoint):
    system, spline = torch_system(case)
    stepper = integrator.stepper(system, None)
    leaves = [system.positions.clone(), system.velocities.clone(), stepper.start(system).thermostat + 0.1]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    settings = stepper, State(*leaves), 4, 2, 3
    runs = (
        general_run(system, Tabled(spline), *settings, DirectAdjoint(), 0.1),
        fused(system, spline, *settings, adjoint, 0.1),
    )
    results = []
    for frames, final, *thermo in runs:
        x, v = frames[:2]
        loss = (x**3).sum() + (v[0] ** 2).sum() + (final.velocities**3).sum() + (final.thermostat**2).sum()
        gradient = torch.autograd.grad(loss, [spline.coefficients, *leaves], allow_unused=True)
        results.append([x, v, *thermo, *final, *(g for g in gradient if g is not None and g.numel())])
    for value, exact in zip(results[1], results[0], strict=True):
        close(value, exact.cpu(), 1e-10)


def test_a_step_that_throws_atoms_apart_is_named():
    system, spline = torch_system("one")
    stepper = VelocityVerlet(5.0).stepper(system, None)
    with pytest.raises(FusedFailure, match="step 1 "):
        fused(system, spline, stepper, stepper.start(system), 2, 1, 0, ReversibleAdjoint(), 0.1)


def test_too_many_types_are_refused():
    x, _, batch, tables = map(on_device, configuration("one"))
    n = cuda_pool.MAX_TYPES + 1
    tables = tables._replace(table_index=torch.zeros(1, n, n, dtype=torch.int32))
    with pytest.raises(ValueError, match=f"tables: {n} types are too many"):
        cuda.pair_forces(x, batch, tables)


@pytest.mark.gpu
@pytest.mark.parametrize("sort", [False, True], ids=["all pairs", "cells"])
def test_a_run_on_a_gpu_equals_one_on_the_cpu_again_and_again(sort, monkeypatch):
    # the first call runs as it stands, the second records graphs, the third replays them
    monkeypatch.setattr(cuda_pool, "CELLS_FROM", 1 if sort else 10**9)
    results = []
    for device, times in (("cpu", 1), ("cuda", 3)):
        system, spline = torch_system("mixed", n=6)
        system = system.to(device)
        for _ in range(times):
            coefficients = spline.coefficients.detach().to(device).requires_grad_()
            local = replace(spline.to(device), coefficients=coefficients)
            stepper = NoseHooverChain(0.004, kT=1.2, tdamp=0.1).stepper(system, None)
            frames, _, *thermo = fused(
                system, local, stepper, stepper.start(system), 40, 10, 0, CheckpointAdjoint(15), 0.1,
                backend=backend_of(system.device),
            )  # fmt: skip
            (gradient,) = torch.autograd.grad((frames.positions**2).mean(), coefficients)
            results.append([t.detach().cpu() for t in (frames.positions, *thermo, gradient)])
    for again in results[1:]:
        # 40 steps of a liquid amplify round-off by a factor of order 100
        for value, exact in zip(again, results[0], strict=True):
            torch.testing.assert_close(value, exact, rtol=0.0, atol=1e-9 * float(exact.abs().max()))
