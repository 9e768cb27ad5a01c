"""The numba histograms against the plain torch definition, against brute force, and their gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asediff.kernels.cpu import rdf as cpu_rdf
from asediff.kernels.cpu.team import set_num_threads
from asediff.kernels.reference import rdf as reference_rdf
from asediff.kernels.shells import ShellGrid, moment_expansion

ONE_TYPE = torch.zeros(1, 1, dtype=torch.int64)
CELLS = {
    "cubic": [[7.0, 0, 0], [0, 7.0, 0], [0, 0, 7.0]],
    "orthorhombic": [[6.8, 0, 0], [0, 9.0, 0], [0, 0, 15.0]],
    "triclinic": [[8.0, 0, 0], [2.5, 7.5, 0], [-1.0, 1.3, 8.0]],
    "rotated": [[5.0, 5.0, 1.0], [-5.5, 5.0, 0.4], [0.3, 1.0, -8.0]],
}


def gas(cell, n_atoms=60, n_frames=2, seed=0):
    """Positions in and around the cell, so that wrapping is tested as well."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.tensor(cell, dtype=torch.float64)
    scaled = 3.0 * torch.rand(n_frames, n_atoms, 3, generator=generator, dtype=torch.float64) - 1.0
    return scaled @ vectors, vectors[None]


def one_system(n_atoms):
    return torch.tensor([0, n_atoms]), torch.zeros(n_atoms, dtype=torch.int64)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
@pytest.mark.parametrize("relative_width", [0.1, 0.3, 1.0, 2.5])
def test_counts_and_gradient_equal_the_reference(cell, relative_width):
    positions, vectors = gas(cell)
    positions.requires_grad_()
    grid = ShellGrid(0.5, 3.3, 20, relative_width * 2.8 / 20)
    offsets, types = one_system(positions.shape[1])
    fast = cpu_rdf.smeared_counts(positions, vectors, offsets, types, ONE_TYPE, grid)
    slow = reference_rdf.smeared_counts(positions, vectors, offsets, types, ONE_TYPE, grid)
    # counts are about 100 per bin; the polynomial is exact to 1e-13 per pair
    assert torch.allclose(fast, slow, rtol=0, atol=1e-10)
    weights = torch.randn(fast.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (fast_gradient,) = torch.autograd.grad((fast * weights).sum(), positions)
    (slow_gradient,) = torch.autograd.grad((slow * weights).sum(), positions)
    assert float((fast_gradient - slow_gradient).abs().max()) <= 1e-10 * float(slow_gradient.abs().max())


def test_batch_equals_its_members():
    one, cell_one = gas(CELLS["cubic"], 40, 3, seed=1)
    two, cell_two = gas(CELLS["triclinic"], 55, 3, seed=2)
    grid = ShellGrid(0.4, 3.2, 25, 0.1)
    both = cpu_rdf.smeared_counts(
        torch.cat([one, two], 1),
        torch.cat([cell_one, cell_two]),
        torch.tensor([0, 40, 95]),
        torch.zeros(95, dtype=torch.int64),
        ONE_TYPE,
        grid,
    )
    for k, (positions, cell) in enumerate([(one, cell_one), (two, cell_two)]):
        alone = cpu_rdf.smeared_counts(positions, cell, *one_system(positions.shape[1]), ONE_TYPE, grid)
        assert torch.equal(both[:, k], alone[:, 0])


def test_gradcheck():
    positions, vectors = gas(CELLS["triclinic"], n_atoms=12, n_frames=2)
    offsets, types = one_system(12)
    grid = ShellGrid(0.5, 3.5, 12, 0.25)
    positions.requires_grad_()

    def counts(x):
        return cpu_rdf.smeared_counts(x, vectors, offsets, types, ONE_TYPE, grid)

    assert torch.autograd.gradcheck(counts, positions, eps=1e-5, atol=1e-6, rtol=1e-6)


def test_counts_do_not_depend_on_threads():
    positions, vectors = gas(CELLS["cubic"], n_atoms=100, n_frames=5)
    offsets, types = one_system(100)
    grid = ShellGrid(0.5, 3.3, 30, 0.1)
    results = []
    for n_threads in (1, 2, 2):
        set_num_threads(n_threads)
        results.append(cpu_rdf.smeared_counts(positions, vectors, offsets, types, ONE_TYPE, grid))
    set_num_threads(None)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[1], results[2])


def test_all_images_are_counted_beyond_half_the_box():
    positions = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]], dtype=torch.float64)
    cell = 4.0 * torch.eye(3, dtype=torch.float64)[None]
    counts = cpu_rdf.pair_histograms(positions, cell, *one_system(2), ONE_TYPE, lower=0.5, upper=3.5, bins=3)
    # the partner stands at a distance of 1, and its image on the other side at 3
    assert counts.flatten().tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="an atom meets its own image"):
        cpu_rdf.pair_histograms(positions, cell, *one_system(2), ONE_TYPE, lower=0.5, upper=4.5, bins=4)


def test_dilute_and_crowded_boxes():
    offsets, types = one_system(30)
    grid = ShellGrid(0.0, 2.0, 10, 0.1)
    vectors = 200.0 * torch.eye(3, dtype=torch.float64)[None]
    clustered = torch.rand(1, 30, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    fast = cpu_rdf.smeared_counts(clustered, vectors, offsets, types, ONE_TYPE, grid)
    slow = reference_rdf.smeared_counts(clustered, vectors, offsets, types, ONE_TYPE, grid)
    assert torch.allclose(fast, slow, rtol=0, atol=1e-10)
    no_atoms = cpu_rdf.smeared_counts(
        clustered[:, :1], vectors, torch.tensor([0, 1]), torch.tensor([-1]), ONE_TYPE, grid
    )
    assert float(no_atoms.abs().max()) == 0.0


def test_coinciding_atoms_give_no_gradient_instead_of_nan():
    positions = torch.zeros(1, 2, 3, dtype=torch.float64, requires_grad=True)
    cell = 10.0 * torch.eye(3, dtype=torch.float64)[None]
    counts = cpu_rdf.smeared_counts(positions, cell, *one_system(2), ONE_TYPE, ShellGrid(0.0, 2.0, 10, 0.2))
    (gradient,) = torch.autograd.grad(counts.sum(), positions)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("sigma", [0.1, 0.2, 0.5, 0.99, 1.0, 2.0])
def test_moment_expansion_is_the_kernel_to_round_off(sigma):
    expansion = moment_expansion(sigma)
    grid = ShellGrid(1.0, 2.0, 10, 0.1 * sigma)
    r = np.random.default_rng(0).uniform(0.9, 2.1, 3000)
    place = (r - 1.0) / 0.1 * expansion.subdivision
    sub_bin = np.floor(place).astype(int)
    powers = (2.0 * (place - sub_bin) - 1.0)[:, None] ** np.arange(expansion.table.shape[1])
    for k in range(10):
        row = sub_bin - expansion.subdivision * k + expansion.padding
        near = (row >= 0) & (row < len(expansion.table))
        weights = np.zeros_like(r)
        weights[near] = (expansion.table[row[near]] * powers[near]).sum(1)
        assert np.abs(weights - grid.weights(r)[:, k]).max() < 5e-14


def test_weights_of_a_pair_add_to_one_inside_and_fade_at_the_ends():
    grid = ShellGrid(1.0, 3.0, 40, 0.05)
    assert grid.weights(np.array([2.0])).sum() == pytest.approx(1.0, abs=1e-12)
    # at an end of the window the kernel is symmetric about the edge: half of the weight is lost
    assert grid.weights(np.array([3.0])).sum() == pytest.approx(0.5, abs=1e-8)
    assert grid.weights(np.array([3.5])).sum() < 1e-15


def test_narrow_kernel_counts_the_nearest_centre():
    grid, plain = ShellGrid(1.0, 3.0, 40, 0.05 * 0.1), ShellGrid(1.0, 3.0, 40, 0.0)
    r = np.random.default_rng(0).uniform(1.0, 3.0, 500)
    edge = np.abs((r - 1.0) / 0.05 - np.rint((r - 1.0) / 0.05)) < 0.15
    assert np.allclose(grid.weights(r[~edge]), plain.weights(r[~edge]), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 3.0, 0, 0.1), "bins=0"),
        ((-0.1, 3.0, 10, 0.1), "r_min=-0.1"),
        ((3.0, 3.0, 10, 0.1), "r_max=3.0"),
        ((0.0, float("nan"), 10, 0.1), "r_max=nan"),
        ((0.0, 3.0, 10, -0.1), "width=-0.1"),
        ((0.0, 3.0, 10, 1e-4), "width=0.0001: narrower"),
    ],
)
def test_bad_grids_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShellGrid(*arguments)
