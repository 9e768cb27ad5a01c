"""The definition itself: against plain numpy, autograd and PairSpline."""

import brute_force
import numpy as np
import pytest
import torch

from asediff.kernels.reference.pair import pair_forces, pair_vjp
from asediff.neighbors import NeighborList
from asediff.potentials.splines import PairSpline
from asediff.system import System

SKEWED = [[1, 0, 0], [0.4, 1, 0], [0.1, -0.3, 1]]


def arrays():
    """A cubic and a skewed box, two types, a few pairs below the first knot."""
    parts = [brute_force.lattice(4, 0.7, noise=0.2), brute_force.lattice(4, 0.6, SKEWED, seed=1)]
    counts = [len(x) for x, _ in parts]
    types = np.random.default_rng(3).integers(0, 2, sum(counts))
    batch = brute_force.batch([cell for _, cell in parts], counts, types=types)
    tables = brute_force.tables(3, table_index=((0, 1), (1, 2)), n_systems=2, cutoff=2.0, s_lo=0.8)
    return np.concatenate([x for x, _ in parts]), batch, tables


def tensors(batch, tables):
    return (brute_force.given("reference", a, np.float64) for a in (batch, tables))


@pytest.mark.parametrize("inputs", ["forces", "all"])
def test_the_reverse_pass_equals_autograd(inputs):
    x, batch, tables = arrays()
    batch, tables = tensors(batch, tables)
    positions = torch.from_numpy(x).requires_grad_()
    tables = tables._replace(coefficients=tables.coefficients.requires_grad_())
    out = pair_forces(positions, batch, tables)
    generator = torch.Generator().manual_seed(2)
    w_energy, w_forces, w_virial = (torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in out)
    if inputs == "forces":
        w_energy, w_virial = torch.zeros_like(w_energy), torch.zeros_like(w_virial)
    loss = (out.energy * w_energy).sum() + (out.forces * w_forces).sum() + (out.virial * w_virial).sum()
    expected = torch.autograd.grad(loss, [positions, tables.coefficients])
    with torch.no_grad():
        extra = () if inputs == "forces" else (w_energy, w_virial)
        result = pair_vjp(positions, batch, tables, w_forces, *extra)
    for value, exact in zip(result, expected, strict=True):
        torch.testing.assert_close(value, exact, rtol=1e-11, atol=1e-12 * float(exact.abs().max()))


def test_a_pair_spline_gives_the_same_forces():
    x, batch, tables = arrays()
    numbers = torch.from_numpy(batch.types.astype(np.int64)) + 1
    batch, tables = tensors(batch, tables)
    positions = torch.from_numpy(x)
    idx = torch.repeat_interleave(torch.arange(2), batch.offsets[1:] - batch.offsets[:-1])
    system = System(positions, torch.zeros_like(positions), batch.masses, numbers, batch.cell, batch.pbc, idx)
    spline = PairSpline(tables.coefficients, tables.table_index.to(torch.int64), torch.tensor([1, 2]), *tables[2:])
    energy, forces, virial = spline.energy_forces(system, NeighborList(tables.cutoff, 0.1).update(system))
    expected = pair_forces(positions, batch, tables)
    torch.testing.assert_close(energy, expected.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(forces, expected.forces, rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(virial, expected.virial.diagonal(dim1=1, dim2=2).sum(-1), rtol=1e-12, atol=1e-12)
