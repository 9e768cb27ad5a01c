"""Radial functions: closed forms, minima, limits and refusals."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from asediff.potentials import (
    LennardJones,
    ModifiedMorse,
    Radial,
    Repulsion,
    TabulatedRadial,
    TemperatureDependent,
)
from asediff.potentials.radial import Sum

R = torch.linspace(0.8, 3.0, 23, dtype=torch.float64)

# The three modified Morse potentials of arXiv:2209.07679.
PAPER_MORSE = [(6.5, -0.45), (5.5, 0.44), (4.5, 1.52)]


def _slope(radial: Radial, r: torch.Tensor, kT: torch.Tensor | None = None) -> torch.Tensor:
    r = r.clone().requires_grad_()
    return torch.autograd.grad(radial(r, kT).sum(), r)[0].detach()


def test_lennard_jones_has_its_minimum_of_minus_epsilon_at_the_sixth_root_of_two():
    lj = LennardJones(epsilon=1.7, sigma=1.3).requires_grad_(False)
    r = torch.tensor([2 ** (1 / 6) * 1.3], dtype=torch.float64)
    assert float(lj(r)) == pytest.approx(-1.7, rel=1e-14)
    assert float(_slope(lj, r)) == pytest.approx(0.0, abs=1e-12)
    assert float(lj(torch.tensor([1.3], dtype=torch.float64))) == pytest.approx(0.0, abs=1e-14)


def test_lennard_jones_is_its_formula():
    expected = 4 * 0.9 * ((1.1 / R) ** 12 - (1.1 / R) ** 6)
    torch.testing.assert_close(LennardJones(0.9, 1.1)(R).detach(), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("a", "phi"), PAPER_MORSE)
def test_modified_morse_has_its_minimum_of_minus_epsilon_at_sigma(a: float, phi: float):
    morse = ModifiedMorse(a, phi, epsilon=1.4, sigma=1.2).requires_grad_(False)
    r = torch.tensor([1.2], dtype=torch.float64)
    assert float(morse(r)) == pytest.approx(-1.4, rel=1e-13)
    assert float(_slope(morse, r)) == pytest.approx(0.0, abs=1e-12)
    around = morse(torch.linspace(0.9, 3.0, 200, dtype=torch.float64))
    assert float(around.min()) >= -1.4 - 1e-12


@pytest.mark.parametrize(("a", "phi"), PAPER_MORSE)
def test_modified_morse_vanishes_far_away(a: float, phi: float):
    # For phi < 0 the approach is a power law, r^phi; for phi > 0 it is exponential.
    r = torch.tensor([1e40 if phi < 0 else 1e4], dtype=torch.float64)
    assert ModifiedMorse(a, phi)(r).item() == pytest.approx(0.0, abs=1e-12)


def test_modified_morse_with_phi_one_is_the_morse_potential():
    expected = torch.exp(-2 * 5.0 * (R - 1)) - 2 * torch.exp(-5.0 * (R - 1))
    torch.testing.assert_close(ModifiedMorse(5.0, 1.0)(R).detach(), expected, rtol=1e-13, atol=1e-13)


def test_modified_morse_with_negative_phi_is_its_formula():
    a, phi = 6.5, -0.45
    x = a * (1 - R**phi) / phi
    offset = math.exp(2 * a / phi) - 2 * math.exp(a / phi)
    expected = (torch.exp(2 * x) - 2 * torch.exp(x) - offset) / (1 + offset)
    torch.testing.assert_close(ModifiedMorse(a, phi)(R).detach(), expected, rtol=1e-12, atol=1e-13)


def test_repulsion_is_a_power_that_is_not_trained():
    wall = Repulsion(epsilon=0.4, sigma=0.9, power=10)
    torch.testing.assert_close(wall(R), 0.4 * (0.9 / R) ** 10)
    assert not list(wall.parameters())


@pytest.mark.parametrize(
    "radial",
    [LennardJones(1.2, 0.9), ModifiedMorse(6.5, -0.45), ModifiedMorse(5.5, 0.44)],
    ids=["lj", "morse-", "morse+"],
)
def test_derivatives_in_r_and_in_the_parameters(radial: Radial):
    r = R.clone().requires_grad_()
    parameters = tuple(radial.parameters())
    names = [name for name, _ in radial.named_parameters()]

    def value(r, *values):
        return torch.func.functional_call(radial, dict(zip(names, values, strict=True)), (r,))

    assert torch.autograd.gradcheck(value, (r, *parameters))
    assert torch.autograd.gradgradcheck(value, (r, *parameters))


@pytest.fixture
def tabulated() -> TabulatedRadial:
    r = np.linspace(0.7, 3.0, 24)
    return TabulatedRadial(r, 3 * np.exp(-2 * r) - np.cos(2 * r))


def test_a_table_passes_through_its_values(tabulated: TabulatedRadial):
    torch.testing.assert_close(tabulated(tabulated.r), tabulated.values, rtol=0, atol=1e-12)


def test_a_table_is_the_clamped_spline_of_scipy(tabulated: TabulatedRadial):
    r, u = tabulated.r.numpy(), tabulated.values.detach().numpy()
    h = r[1] - r[0]
    ends = ((1, (-3 * u[0] + 4 * u[1] - u[2]) / (2 * h)), (1, (3 * u[-1] - 4 * u[-2] + u[-3]) / (2 * h)))
    x = np.linspace(0.7, 3.0, 301)
    theirs = CubicSpline(r, u, bc_type=ends)
    np.testing.assert_allclose(tabulated(torch.tensor(x)).detach().numpy(), theirs(x), rtol=0, atol=1e-12)
    np.testing.assert_allclose(_slope(tabulated, torch.tensor(x)).numpy(), theirs(x, 1), rtol=0, atol=1e-10)


def test_a_table_is_twice_continuously_differentiable(tabulated: TabulatedRadial):
    inner = tabulated.r[1:-1]
    curvatures = []
    for side in (-1e-9, 1e-9):
        r = (inner + side).requires_grad_()
        (slope,) = torch.autograd.grad(tabulated(r).sum(), r, create_graph=True)
        curvatures.append(torch.autograd.grad(slope.sum(), r)[0])
    # Third derivatives are of order 10, the points 2e-9 apart; 1e-16/h^2 of round-off besides.
    torch.testing.assert_close(*curvatures, rtol=0, atol=1e-6)


def test_a_table_continues_linearly_on_both_sides(tabulated: TabulatedRadial):
    low, high = float(tabulated.r[0]), float(tabulated.r[-1])
    for end, outside in ((low, [low - 0.4, low - 0.1]), (high, [high + 0.1, high + 0.4])):
        at = torch.tensor([end], dtype=torch.float64)
        slope = _slope(tabulated, at)
        r = torch.tensor(outside, dtype=torch.float64)
        expected = tabulated(at) + slope * (r - end)
        torch.testing.assert_close(tabulated(r), expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(_slope(tabulated, r), slope.expand(2), rtol=1e-12, atol=1e-12)


def test_the_values_of_a_table_are_trained(tabulated: TabulatedRadial):
    values = tabulated.values.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: torch.func.functional_call(tabulated, {"values": v}, (R + 0.013,)), (values,)
    )


def test_a_table_converges_to_the_function():
    errors = []
    x = torch.linspace(1.0, 2.9, 400, dtype=torch.float64)
    for n in (40, 80, 160):
        r = np.linspace(0.9, 3.0, n)
        errors.append((TabulatedRadial(r, np.sin(3 * r))(x) - torch.sin(3 * x)).abs().max().item())
    # Third order at the worst, where the end slopes are second-order differences; away from the ends the fourth.
    assert errors[0] / errors[1] > 7
    assert errors[1] / errors[2] > 7


def test_energy_and_entropy_parts():
    radial = TemperatureDependent(LennardJones(), Repulsion(0.3))
    kT = torch.tensor(0.7, dtype=torch.float64)
    torch.testing.assert_close(radial(R, kT), LennardJones()(R) - 0.7 * Repulsion(0.3)(R))
    assert radial.temperature_dependent


def test_a_temperature_dependent_function_asks_for_the_temperature():
    with pytest.raises(ValueError, match=r"kT: missing .*give kT or temperature_K"):
        TemperatureDependent(LennardJones(), Repulsion())(R)


def test_sums_add_flatten_and_pass_the_temperature_on():
    entropic = TemperatureDependent(LennardJones(), Repulsion(0.3))
    total = Repulsion() + LennardJones() + entropic
    assert isinstance(total, Sum)
    assert len(total.terms) == 3
    assert total.temperature_dependent
    assert not (Repulsion() + LennardJones()).temperature_dependent
    kT = torch.tensor(0.7, dtype=torch.float64)
    torch.testing.assert_close(total(R, kT), Repulsion()(R) + LennardJones()(R) + entropic(R, kT))


def test_a_sum_with_a_number_is_refused():
    with pytest.raises(TypeError):
        LennardJones() + 1.0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LennardJones(epsilon=0.0), r"epsilon: 0\.0 is not positive; give epsilon > 0"),
        (lambda: LennardJones(sigma=-1.0), r"sigma: -1\.0 is not positive"),
        (lambda: LennardJones(sigma=math.nan), "sigma: nan is not positive"),
        (lambda: ModifiedMorse(0.0, 1.0), r"a: 0\.0 is not positive"),
        (lambda: ModifiedMorse(5.0, 0.0), r"phi: 0 makes .*give a small non-zero value"),
        (lambda: Repulsion(power=0.0), r"power: 0\.0 is not positive"),
        (lambda: TabulatedRadial([1, 2, 3], [1, 2, 3]), r"r, u: shapes \(3,\) and \(3,\); give"),
        (lambda: TabulatedRadial([1, 2, 3, 4], [1, 2, 3]), r"r, u: shapes \(4,\) and \(3,\)"),
        (lambda: TabulatedRadial([1, 2, 3, 5], [1, 2, 3, 4]), "r: the grid is not uniform .*resample"),
        (lambda: TabulatedRadial([4, 3, 2, 1], [1, 2, 3, 4]), "r: the grid is not uniform and increasing"),
        (lambda: TabulatedRadial([1, 2, 3, 4], [1, math.inf, 3, 4]), "u: a value is not finite; cap"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(build, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)
