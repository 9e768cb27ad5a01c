"""The Triton engine against the definition in torch and against the numba engine.

On a GPU where there is one, else in Triton's interpreter, with systems small enough for it.
"""

from dataclasses import replace

import brute_force
import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="the GPU kernels need triton (pip install asediff[gpu])")

from asediff.dynamics import fused_cuda
from asediff.dynamics.adjoints import CheckpointAdjoint, DirectAdjoint, ReversibleAdjoint
from asediff.dynamics.fused import FusedFailure, FusedForm, fused_run
from asediff.dynamics.general import general_run
from asediff.dynamics.integrators import Langevin, NoseHooverChain, State, VelocityVerlet
from asediff.kernels.arrays import LANGEVIN, NOSE_HOOVER, NVE
from asediff.kernels.cpu import backend as cpu
from asediff.kernels.cuda import backend as cuda
from asediff.kernels.cuda import pool as cuda_pool
from asediff.kernels.reference import pair as reference
from asediff.potentials import Potential
from asediff.potentials.splines import PairSpline
from asediff.system import System

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SKEWED = [[1, 0, 0], [0.3, 1, 0], [0.1, -0.2, 1]]
CUTOFF = 1.5


def fused(system, spline, stepper, state, n_steps, save_every, first_step, adjoint, skin, *, backend=None):
    """A run in the kernels, given what `general_run` takes."""
    form = FusedForm(spline, stepper.compiled(first_step), adjoint.compiled(n_steps, state))
    return fused_run(system, form, stepper, state, n_steps, save_every, skin, backend=backend)


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


def tensor(array):
    return torch.from_numpy(np.array(array, dtype=np.int64 if array.dtype == np.uint64 else None)).to(DEVICE)


def on_device(arrays):
    """The same arrays as tensors."""
    return type(arrays)(*(tensor(a) if isinstance(a, np.ndarray) else a for a in arrays))


def configuration(case="mixed", dtype=np.float64, n=3):
    """Positions, velocities, systems and tables: one box, two with two types, or a skewed one with two types."""
    shapes = {"one": [None], "mixed": [None, None], "skewed": [SKEWED]}[case]
    parts = [brute_force.lattice(n, 0.8 - 0.1 * k, shape, seed=k) for k, shape in enumerate(shapes)]
    counts = [len(x) for x, _ in parts]
    rng = np.random.default_rng(3)
    types = np.zeros(sum(counts), int) if case == "one" else rng.integers(0, 2, sum(counts))
    batch = brute_force.batch([c for _, c in parts], counts, types=types, masses=1 + 0.7 * types, dtype=dtype)
    index = ((0,),) if case == "one" else ((0, 1), (1, 2))
    tables = brute_force.tables(
        1 if case == "one" else 3, table_index=index, n_systems=len(parts), cutoff=CUTOFF, dtype=dtype
    )
    x = np.concatenate([x + k * c[0] for k, (x, c) in enumerate(parts)])
    v = rng.normal(size=x.shape)
    for s in range(len(parts)):
        inside = slice(batch.offsets[s], batch.offsets[s + 1])
        v[inside] -= np.average(v[inside], axis=0, weights=batch.masses[inside])
    batch = batch._replace(cell=batch.cell.astype(dtype))
    return x.astype(dtype), v.astype(dtype), batch, tables


def close(value, exact, tolerance):
    """Within a fraction of the largest element."""
    exact = torch.as_tensor(exact).to(DEVICE, torch.float64)
    if exact.numel():
        scale = max(float(exact.abs().max()), 1e-30)
        torch.testing.assert_close(value.to(torch.float64), exact, rtol=0.0, atol=tolerance * scale)


@pytest.mark.parametrize("case", ["one", "mixed", "skewed"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-4)])
def test_forces_and_their_reverse_pass_equal_the_definition(case, dtype, tolerance):
    x, v, batch, tables = configuration(case)
    exact = on_device(batch), on_device(tables)
    expected = reference.pair_forces(tensor(x), *exact)
    gradient = reference.pair_vjp(tensor(x), *exact, tensor(v))
    x, v, batch, tables = configuration(case, dtype)
    given = on_device(batch), on_device(tables)
    for value, number in zip(cuda.pair_forces(tensor(x), *given, skin=0.1), expected, strict=True):
        assert value.dtype == tensor(x).dtype
        close(value, number, tolerance)
    # the place in an interval, (s - s_lo)/spacing - k, has lost three digits, and c3 weighs its square
    for value, number in zip(cuda.pair_vjp(tensor(x), *given, tensor(v)), gradient, strict=True):
        close(value, number, 100 * tolerance)


def test_pairs_below_the_first_knot_and_directions_without_periods():
    x, v, batch, tables = configuration("mixed")
    batch = batch._replace(pbc=np.array([[True, False, True], [False, False, False]]))
    tables = brute_force.tables(3, table_index=((0, 1), (1, 2)), n_systems=2, cutoff=CUTOFF, s_lo=1.2)
    given = on_device(batch), on_device(tables)
    expected = reference.pair_forces(tensor(x), *given)
    for value, number in zip(cuda.pair_forces(tensor(x), *given), expected, strict=True):
        close(value, number, 1e-12)
    expected = reference.pair_vjp(tensor(x), *given, tensor(v))
    for value, number in zip(cuda.pair_vjp(tensor(x), *given, tensor(v)), expected, strict=True):
        close(value, number, 1e-11)


@pytest.mark.parametrize("case", ["mixed", "skewed"])
def test_rows_from_cells_equal_rows_from_all_pairs(case, monkeypatch):
    x, _, batch, tables = configuration(case, n=5)
    given = on_device(batch), on_device(tables)
    expected = cuda.pair_forces(tensor(x), *given, skin=0.1)
    monkeypatch.setattr(cuda_pool, "CELLS_FROM", 1)
    shape, _ = cuda_pool.choose_shape(tensor(x), *given, stepper_of(NVE, batch), 0.1, 0)
    assert shape.grids is not None
    for value, number in zip(cuda.pair_forces(tensor(x), *given, skin=0.1), expected, strict=True):
        close(value, number, 1e-12)


def test_rows_grow_when_they_are_too_short(monkeypatch):
    x, _, batch, tables = configuration("one")
    given = on_device(batch), on_device(tables)
    expected = reference.pair_forces(tensor(x), *given)
    monkeypatch.setattr(cuda_pool, "SPARE", 0.0)
    monkeypatch.setattr(cuda_pool, "ROW_MULTIPLE", 1)
    monkeypatch.setattr(cuda_pool, "_known", {})
    monkeypatch.setattr(cuda_pool, "_idle", {})
    close(cuda.pair_forces(tensor(x), *given).forces, expected.forces, 1e-12)
    assert len(cuda_pool._known) == 1


def stepper_of(kind, batch, *, dtype=np.float64):
    return on_device(brute_force.stepper(kind, batch, tchain=2, dtype=dtype, first_step=2**32 - 2))


def both_runs(kind, case, *, n_steps=5, save_every=2, snapshot_every=3, dtype=np.float64):
    """The same run by numba and by Triton, and gradients of the same loss by both; it needs every output."""
    x, v, batch, tables = configuration(case)
    step = brute_force.stepper(kind, batch, tchain=2, first_step=2**32 - 2)
    rng = np.random.default_rng(4)
    chain = 0.3 * rng.normal(size=(batch.n_systems, 2, step.chain_masses.shape[1]))
    exact = cpu.rollout(x, v, chain, batch, tables, step, n_steps, save_every, snapshot_every=snapshot_every, skin=0.05)
    shapes = [exact.frame_positions, exact.frame_velocities, exact.positions, exact.velocities, exact.chain]
    weights = [rng.normal(size=a.shape) for a in shapes]
    gradient = cpu.rollout_vjp(exact, *weights, mode="replay")

    x, v, batch, tables = configuration(case, dtype)
    start = (tensor(a.astype(dtype)) for a in (x, v, chain))
    run = cuda.rollout(
        *start,
        on_device(batch),
        on_device(tables),
        stepper_of(kind, batch, dtype=dtype),
        n_steps,
        save_every,
        snapshot_every=snapshot_every,
        skin=0.05,
    )
    return exact, gradient, run, [tensor(a.astype(dtype)) for a in weights]


OUTPUTS = ("frame_positions", "frame_velocities", "thermo", "positions", "velocities", "chain")


@pytest.mark.parametrize("case", ["mixed", "skewed"])
@pytest.mark.parametrize("kind", [NVE, NOSE_HOOVER, LANGEVIN], ids=["nve", "chain", "langevin"])
def test_runs_and_gradients_equal_those_of_the_numba_engine(kind, case):
    exact, gradient, run, weights = both_runs(kind, case)
    assert run.failed_step == -1
    for name in OUTPUTS:
        close(getattr(run, name), getattr(exact, name), 1e-12)
    for value, number in zip(cuda.rollout_vjp(run, *weights), gradient, strict=True):
        close(value, number, 1e-9)


@pytest.mark.parametrize("kind", [NOSE_HOOVER, LANGEVIN], ids=["chain", "langevin"])
def test_single_precision_agrees(kind):
    exact, gradient, run, weights = both_runs(kind, "mixed", snapshot_every=5, dtype=np.float32)
    for name in OUTPUTS:
        assert getattr(run, name).dtype == torch.float32
        close(getattr(run, name), getattr(exact, name), 1e-4)
    for value, number in zip(cuda.rollout_vjp(run, *weights), gradient, strict=True):
        close(value, number, 1e-3)


def test_a_gradient_can_be_asked_for_twice_and_after_other_runs():
    _, _, run, weights = both_runs(NOSE_HOOVER, "one", n_steps=4, snapshot_every=2)
    first = cuda.rollout_vjp(run, *weights)
    both_runs(NOSE_HOOVER, "one", n_steps=4, snapshot_every=2)
    for value, number in zip(cuda.rollout_vjp(run, *weights), first, strict=True):
        close(value, number, 1e-12)


def test_rows_may_grow_in_the_reverse_pass():
    _, gradient, run, weights = both_runs(LANGEVIN, "one", snapshot_every=2)
    crowded = cuda_pool.acquire(run.space[0].shape._replace(capacity=1))
    crowded.load(run.inputs)
    run.space[0] = crowded
    for value, number in zip(cuda.rollout_vjp(run, *weights), gradient, strict=True):
        close(value, number, 1e-9)


@pytest.mark.parametrize("kind", [NVE, LANGEVIN], ids=["nve", "langevin"])
def test_the_order_of_atoms_in_memory_changes_nothing(kind):
    x, v, batch, tables = configuration("mixed")
    chain = torch.zeros(2, 2, 0, dtype=torch.float64, device=DEVICE)
    given = (tensor(x), tensor(v), chain, on_device(batch), on_device(tables), stepper_of(kind, batch), 3, 1)
    plain, ordered = (cuda.rollout(*given, snapshot_every=2, skin=0.05, sort=sort) for sort in (False, True))
    assert ordered.order is not None
    for name in OUTPUTS:
        close(getattr(ordered, name), getattr(plain, name), 1e-12)
    weights = [torch.ones_like(getattr(plain, name)) for name in OUTPUTS if name != "thermo"]
    weights[0] = tensor(np.random.default_rng(0).normal(size=weights[0].shape))
    for value, number in zip(cuda.rollout_vjp(ordered, *weights), cuda.rollout_vjp(plain, *weights), strict=True):
        close(value, number, 1e-10)


def torch_system(case, n=3):
    x, v, batch, tables = configuration(case, n=n)
    batch, tables = on_device(batch), on_device(tables)
    idx = torch.repeat_interleave(torch.arange(batch.n_systems, device=DEVICE), batch.offsets[1:] - batch.offsets[:-1])
    numbers = batch.types.to(torch.int64) + 1
    system = System(tensor(x), tensor(v), batch.masses, numbers, batch.cell, batch.pbc, idx)
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
        fused(system, spline, *settings, adjoint, 0.1, backend=fused_cuda),
    )
    results = []
    for frames, final, *thermo in runs:
        x, v = frames[:2]
        loss = (x**3).sum() + (v[0] ** 2).sum() + (final.velocities**3).sum() + (final.thermostat**2).sum()
        gradient = torch.autograd.grad(loss, [spline.coefficients, *leaves], allow_unused=True)
        results.append([x, v, *thermo, *final, *(g for g in gradient if g is not None and g.numel())])
    for value, exact in zip(results[1], results[0], strict=True):
        close(value.detach(), exact.detach(), 1e-10)


def test_a_step_that_throws_atoms_apart_is_named():
    system, spline = torch_system("one")
    stepper = VelocityVerlet(5.0).stepper(system, None)
    with pytest.raises(FusedFailure, match="step 1 "):
        fused(system, spline, stepper, stepper.start(system), 2, 1, 0, ReversibleAdjoint(), 0.1, backend=fused_cuda)


def test_too_many_types_are_refused():
    x, _, batch, tables = configuration("one")
    n = cuda_pool.MAX_TYPES + 1
    tables = tables._replace(table_index=np.zeros((1, n, n), np.int32))
    with pytest.raises(ValueError, match=f"tables: {n} types are too many"):
        cuda.pair_forces(tensor(x), on_device(batch), on_device(tables))


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
                system, local, stepper, stepper.start(system), 40, 10, 0, CheckpointAdjoint(15), 0.1
            )
            (gradient,) = torch.autograd.grad((frames.positions**2).mean(), coefficients)
            results.append([t.detach().cpu() for t in (frames.positions, *thermo, gradient)])
    for again in results[1:]:
        # 40 steps of a liquid amplify round-off by a factor of order 100
        for value, exact in zip(again, results[0], strict=True):
            torch.testing.assert_close(value, exact, rtol=0.0, atol=1e-9 * float(exact.abs().max()))
