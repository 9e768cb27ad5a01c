"""Splines in r²: exact where they must be, the same as scipy, and consistent derivatives."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from asediff.lattices import fcc, mixture
from asediff.neighbors import NeighborList
from asediff.potentials import LennardJones, PairPotential
from asediff.potentials.splines import PairSpline, clamped_spline
from asediff.system import System


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def _evaluate(coefficients: torch.Tensor, spacing: float, x: torch.Tensor) -> torch.Tensor:
    k = (x / spacing).floor().clamp(0, len(coefficients) - 1).long()
    t = x / spacing - k
    c0, c1, c2, c3 = coefficients[k].unbind(-1)
    return c0 + t * (c1 + t * (c2 + t * c3))


def test_cubics_are_reproduced_exactly():
    spacing, knots = 0.3, torch.arange(12, dtype=torch.float64) * 0.3

    def cubic(x):
        return 1.0 - 2.0 * x + 0.5 * x**2 - 0.7 * x**3

    def slope(x):
        return -2.0 + x - 2.1 * x**2

    coefficients = clamped_spline(cubic(knots), slope(knots[0]), slope(knots[-1]), spacing)
    x = torch.linspace(0.0, 3.3, 101, dtype=torch.float64)
    # A dozen round-offs of values up to 20.
    torch.testing.assert_close(_evaluate(coefficients, spacing, x), cubic(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("n_knots", [3, 4, 50])
def test_equals_the_clamped_spline_of_scipy(n_knots: int):
    values, spacing = _random(n_knots), 0.17
    first, last = torch.tensor(0.4, dtype=torch.float64), torch.tensor(-1.3, dtype=torch.float64)
    ours = clamped_spline(values, first, last, spacing)
    x = np.arange(n_knots) * spacing
    theirs = CubicSpline(x, values.numpy(), bc_type=((1, 0.4), (1, -1.3)))
    scaled = theirs.c[::-1].T * spacing ** np.arange(4)
    np.testing.assert_allclose(ours.numpy(), scaled, rtol=0, atol=1e-12)


def test_a_stack_of_splines_equals_its_members():
    values, first, last = _random(2, 3, 20), _random(2, 3), _random(3, 2).T
    together = clamped_spline(values, first, last, 0.5)
    for i in range(2):
        for j in range(3):
            alone = clamped_spline(values[i, j], first[i, j], last[i, j], 0.5)
            torch.testing.assert_close(together[i, j], alone, rtol=0, atol=1e-14)


def test_first_and_second_derivatives_of_the_coefficients():
    values = _random(3, 9).requires_grad_()
    first, last = _random(3).requires_grad_(), _random(3).sin().detach().requires_grad_()

    def squares(v, f, s):
        return clamped_spline(v, f, s, 0.4).square()

    assert torch.autograd.gradcheck(squares, (values, first, last))
    assert torch.autograd.gradgradcheck(squares, (values, first, last))


def test_two_knots_are_refused():
    with pytest.raises(ValueError, match="values: 2 knots are too few"):
        clamped_spline(torch.zeros(2), torch.zeros(()), torch.zeros(()), 0.1)


@pytest.fixture
def spline() -> PairSpline:
    """Two tables on the knots s = 0.4, 0.6, ..., 4.0; the second ends with a slope."""
    s_lo, cutoff, n = 0.4, 2.0, 18
    spacing = (cutoff**2 - s_lo) / n
    coefficients = clamped_spline(_random(2, n + 1), _random(2), torch.tensor([0.0, 0.3]).double(), spacing)
    index = torch.tensor([[[0, 1], [1, 0]]])
    return PairSpline(coefficients, index, torch.tensor([18, 36]), s_lo, spacing, cutoff)


def _points(spline: PairSpline) -> torch.Tensor:
    knots, h = spline.knots, spline.spacing
    return torch.cat([knots[:-1], knots[:-1] + 0.31 * h, knots[:1] - 0.9 * h, torch.tensor([0.0, 3.999999]).double()])


def test_slope_is_the_derivative_of_the_energy_at_knots_between_them_and_below(spline: PairSpline):
    s = _points(spline).requires_grad_()
    for table in (0, 1):
        u, slope = spline.evaluate(s, torch.full(s.shape, table))
        (derivative,) = torch.autograd.grad(u.sum(), s)
        torch.testing.assert_close(slope, derivative, rtol=0, atol=1e-12)


def test_energy_slope_and_curvature_are_continuous_at_the_knots(spline: PairSpline):
    inner = spline.knots[1:-1]
    sides = []
    for side in (-1e-9, 1e-9):
        s = (inner + side).requires_grad_()
        u, slope = spline.evaluate(s, torch.zeros(s.shape, dtype=torch.int64))
        (curvature,) = torch.autograd.grad(slope.sum(), s)
        sides.append((u, slope, curvature))
    for left, right, rate in zip(*sides, (1e2, 1e3, 1e4), strict=True):
        # Both sides differ by 2e-9 times the next derivative, at most about `rate` here.
        torch.testing.assert_close(left, right, rtol=0, atol=2e-9 * rate)


def test_second_derivatives_by_finite_differences(spline: PairSpline):
    coefficients = spline.coefficients.clone().requires_grad_()
    s = (_points(spline)[:-2] + 0.05 * spline.spacing).requires_grad_()
    table = torch.arange(len(s)) % 2

    def evaluate(s, c):
        local = PairSpline(c, spline.table_index, spline.species, spline.s_lo, spline.spacing, spline.cutoff)
        return local.evaluate(s, table)

    assert torch.autograd.gradcheck(evaluate, (s, coefficients))
    assert torch.autograd.gradgradcheck(lambda s, c: evaluate(s, c)[0], (s, coefficients))


def test_below_the_first_knot_the_first_tangent_continues(spline: PairSpline):
    at, slope_at = spline.evaluate(torch.tensor([spline.s_lo], dtype=torch.float64), torch.tensor([1]))
    s = torch.tensor([0.0, 0.2], dtype=torch.float64)
    u, slope = spline.evaluate(s, torch.tensor([1, 1]))
    torch.testing.assert_close(u, at + (s - spline.s_lo) * slope_at)
    torch.testing.assert_close(slope, slope_at.expand(2))


def test_zero_at_and_beyond_the_cutoff(spline: PairSpline):
    s = torch.tensor([4.0, 4.0 + 1e-12, 9.0, 1e6], dtype=torch.float64, requires_grad=True)
    u, slope = spline.evaluate(s, torch.ones(4, dtype=torch.int64))
    (derivative,) = torch.autograd.grad((u + slope).sum(), s)
    assert not u.any()
    assert not slope.any()
    assert not derivative.any()


def test_the_last_interval_reaches_the_cutoff_from_inside(spline: PairSpline):
    s = torch.tensor([4.0 - 1e-10], dtype=torch.float64)
    u, slope = spline.evaluate(s, torch.tensor([1]))
    c = spline.coefficients[1, -1]
    assert float(u) == pytest.approx(float(c.sum()), abs=1e-8)
    assert float(slope) == pytest.approx(0.3, abs=1e-8)


def test_types_are_positions_among_the_species(spline: PairSpline):
    atoms = mixture(fcc("Ar", density=0.5, cells=2), {"Ar": 0.5, "Kr": 0.5})
    system = System.from_atoms(atoms)
    assert torch.equal(spline.species[spline.types(system)], system.numbers)


@pytest.mark.parametrize("number", [10, 20, 54])
def test_an_unknown_species_is_named(spline: PairSpline, number: int):
    system = System.from_atoms(fcc("Ar", density=0.5, cells=2))
    numbers = system.numbers.clone()
    numbers[3] = number
    with pytest.raises(ValueError, match=rf"atomic number {number} has no pair potential .*add its pairs"):
        spline.types(system.replace(numbers=numbers))


@pytest.fixture
def batch() -> System:
    """A cubic and a sheared mixture of unequal size."""
    first = mixture(fcc("Ar", density=0.7, cells=3, rattle=0.1), {"Ar": 0.5, "Kr": 0.5})
    second = mixture(fcc("Ar", density=0.5, cells=(4, 3, 3), rattle=0.1, seed=5), {"Ar": 0.3, "Kr": 0.7})
    cell = second.cell.array.copy()
    cell[1, 0] = 1.1
    second.set_cell(cell, scale_atoms=True)
    return System.from_atoms([first, second])


@pytest.fixture
def lj_mixture() -> PairPotential:
    return PairPotential(
        {("Ar", "Ar"): LennardJones(), ("Ar", "Kr"): LennardJones(1.1, 1.05), ("Kr", "Kr"): LennardJones(1.2, 1.1)}, 2.3
    )


def test_forces_are_the_gradient_of_the_energy(batch: System, lj_mixture: PairPotential):
    tables = lj_mixture.tabulate(batch)
    positions = batch.positions.clone().requires_grad_()
    neighbors = NeighborList(2.3).update(batch)
    energy, forces, _ = tables.energy_forces(batch.replace(positions=positions), neighbors)
    (gradient,) = torch.autograd.grad(energy.sum(), positions)
    torch.testing.assert_close(forces.detach(), -gradient, rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(energy, tables.energy(batch, neighbors))


def test_virial_is_minus_three_volume_times_the_volume_derivative(batch: System, lj_mixture: PairPotential):
    tables = lj_mixture.tabulate(batch)
    neighbors = NeighborList(2.3).update(batch)
    scale = torch.ones(2, dtype=torch.float64, requires_grad=True)
    scaled = batch.replace(
        positions=batch.positions * scale[batch.system_idx][:, None], cell=batch.cell * scale[:, None, None]
    )
    # dE/d(scale) = 3 V dE/dV = -sum of r·F.
    (slope,) = torch.autograd.grad(tables.energy(scaled, neighbors).sum(), scale)
    _, _, virial = tables.energy_forces(batch, neighbors)
    torch.testing.assert_close(virial.detach(), -slope)


def test_a_batch_equals_its_members(batch: System, lj_mixture: PairPotential):
    together = lj_mixture.tabulate(batch).energy_forces(batch, NeighborList(2.3).update(batch))
    alone = [lj_mixture.tabulate(batch[k]).energy_forces(batch[k], NeighborList(2.3).update(batch[k])) for k in (0, 1)]
    for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-12, atol=1e-11)


def test_the_skin_changes_nothing(batch: System, lj_mixture: PairPotential):
    tables = lj_mixture.tabulate(batch)
    results = [tables.energy_forces(batch, NeighborList(2.3, skin).update(batch))[1] for skin in (0.0, 0.1)]
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)


def test_to_converts_and_keeps_the_rest(spline: PairSpline):
    single = spline.to(dtype=torch.float32)
    assert single.coefficients.dtype == torch.float32
    assert (single.s_lo, single.spacing, single.cutoff) == (spline.s_lo, spline.spacing, spline.cutoff)
    s = _points(spline)[:20]
    table = torch.zeros(20, dtype=torch.int64)
    # Coefficients of order 10 in single precision; s - s_lo loses another digit.
    torch.testing.assert_close(
        single.evaluate(s.float(), table)[0].double(), spline.evaluate(s, table)[0], rtol=0, atol=1e-4
    )
