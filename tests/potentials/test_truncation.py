"""How functions end at the cutoff: values and slopes there as the table of the module says."""

import pytest
import torch

from asediff.potentials import ForceShifted, LennardJones, Shifted, Switched, Truncated, Truncation
from asediff.potentials.truncation import value_and_slope

CUTOFF = 2.5
AT = torch.tensor([CUTOFF], dtype=torch.float64)
R = torch.linspace(0.9, 2.5, 40, dtype=torch.float64)


def _end(truncation: Truncation, r: torch.Tensor = AT) -> tuple[torch.Tensor, torch.Tensor]:
    return value_and_slope(lambda x: truncation.apply(LennardJones(), x, CUTOFF), r)


def test_plain_truncation_changes_nothing():
    for ours, plain in zip(_end(Truncated(), R), value_and_slope(LennardJones(), R), strict=True):
        torch.testing.assert_close(ours, plain)


def test_a_shift_zeroes_the_energy_and_keeps_the_force():
    value, slope = _end(Shifted())
    assert value.item() == 0.0
    torch.testing.assert_close(slope, value_and_slope(LennardJones(), AT)[1])
    torch.testing.assert_close(_end(Shifted(), R)[0], LennardJones()(R) - LennardJones()(AT))


def test_a_force_shift_zeroes_both():
    value, slope = _end(ForceShifted())
    assert value.item() == 0.0
    assert slope.item() == pytest.approx(0.0, abs=1e-16)
    u, du = value_and_slope(LennardJones(), AT)
    torch.testing.assert_close(_end(ForceShifted(), R)[0], LennardJones()(R) - u - (R - CUTOFF) * du)


def test_a_switch_ends_with_zero_energy_force_and_curvature():
    r = AT.clone().requires_grad_()
    u = Switched().apply(LennardJones(), r, CUTOFF)
    (slope,) = torch.autograd.grad(u.sum(), r, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), r)
    assert [x.item() for x in (u, slope, curvature)] == pytest.approx([0.0, 0.0, 0.0], abs=1e-14)


def test_a_switch_leaves_the_inside_alone_and_joins_it_smoothly():
    switched = Switched(onset=0.8)
    inside = R[R <= 2.0]
    torch.testing.assert_close(_end(switched, inside)[0], LennardJones()(inside).detach())
    for side in (-1e-7, 1e-7):
        r = torch.tensor([2.0 + side], dtype=torch.float64).requires_grad_()
        (slope,) = torch.autograd.grad(switched.apply(LennardJones(), r, CUTOFF).sum(), r, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), r)
        plain = torch.tensor([2.0], dtype=torch.float64).requires_grad_()
        (plain_slope,) = torch.autograd.grad(LennardJones()(plain).sum(), plain, create_graph=True)
        (plain_curvature,) = torch.autograd.grad(plain_slope.sum(), plain)
        # Third derivatives of order 100 (the switch is 0.5 wide) times 1e-7.
        assert slope.item() == pytest.approx(plain_slope.item(), abs=1e-5)
        assert curvature.item() == pytest.approx(plain_curvature.item(), abs=1e-4)


def test_the_quintic_switch_has_its_value_at_the_middle():
    r = torch.tensor([2.25], dtype=torch.float64)
    assert _end(Switched(onset=0.8), r)[0].item() == pytest.approx(0.5 * LennardJones()(r).item(), rel=1e-12)


@pytest.mark.parametrize("truncation", [Truncated(), Shifted(), ForceShifted(), Switched()])
def test_values_and_slopes_stay_differentiable_in_the_parameters(truncation: Truncation):
    lj = LennardJones()

    def ends(epsilon, sigma):
        def function(r):
            return torch.func.functional_call(lj, {"epsilon": epsilon, "sigma": sigma}, (r,))

        return value_and_slope(lambda x: truncation.apply(function, x, CUTOFF), R[::5])

    assert torch.autograd.gradcheck(ends, tuple(p.detach().clone().requires_grad_() for p in lj.parameters()))


def test_value_and_slope_of_a_constant():
    constant = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    for function in (lambda r: torch.full_like(r, 2.0).detach(), lambda r: constant.expand(len(r))):
        value, slope = value_and_slope(function, R)
        assert not slope.any()
        torch.testing.assert_close(value.detach(), torch.full_like(R, 2.0))


@pytest.mark.parametrize("onset", [-0.1, 1.0, 1.5])
def test_an_onset_outside_the_cutoff_is_refused(onset: float):
    with pytest.raises(ValueError, match="is not a fraction of the cutoff; give 0 <= onset < 1"):
        Switched(onset)
