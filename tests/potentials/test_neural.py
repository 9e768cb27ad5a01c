"""The neural radial function: basis, shapes, seeds, types."""

import math

import pytest
import torch

from asediff.potentials import NeuralRadial

R = torch.linspace(0.1, 2.5, 31, dtype=torch.float64)


def _trained(**arguments) -> NeuralRadial:
    """A network whose last layer is not zero."""
    radial = NeuralRadial(2.5, n_basis=12, hidden=(8, 6), **arguments)
    with torch.no_grad():
        radial.mlp[-1].weight += torch.linspace(-0.5, 0.4, 6, dtype=radial.mlp[-1].weight.dtype)
        radial.mlp[-1].bias += 0.1
    return radial


def test_an_untrained_function_is_zero():
    assert not NeuralRadial(2.5)(R).any()


def test_the_default_has_the_three_hidden_layers_of_the_paper():
    radial = NeuralRadial(2.5)
    layers = [tuple(m.weight.shape) for m in radial.mlp if isinstance(m, torch.nn.Linear)]
    assert layers == [(128, 100), (128, 128), (128, 128), (1, 128)]
    assert radial.log_widths.shape == (100,)


def test_the_basis_is_gaussian_about_fixed_centres():
    radial = NeuralRadial(2.0, n_basis=5, width=0.3, hidden=())
    with torch.no_grad():
        radial.mlp[-1].weight.copy_(torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]]))
    torch.testing.assert_close(radial(R).detach(), torch.exp(-((R - 1.0) ** 2) / (2 * 0.3**2)))
    assert "centers" not in dict(radial.named_parameters())


def test_the_default_width_is_four_spacings():
    radial = NeuralRadial(2.5, n_basis=26)
    torch.testing.assert_close(radial.log_widths.exp().detach(), torch.full((26,), 0.4, dtype=torch.float64))


def test_scale_multiplies_the_output():
    torch.testing.assert_close(_trained(scale=3.0)(R), 3.0 * _trained()(R))


def test_the_seed_decides_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (NeuralRadial(2.5, seed=seed).mlp[0].weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("activation", ["elu", "selu", "silu", "tanh", "softplus", "gelu"])
def test_derivatives_in_r_and_in_all_parameters(activation: str):
    radial = _trained(activation=activation)
    parameters = dict(radial.named_parameters())
    r = R[::4].clone().requires_grad_()

    def value(r, *values):
        return torch.func.functional_call(radial, dict(zip(parameters, values, strict=True)), (r,))

    assert torch.autograd.gradcheck(value, (r, *parameters.values()))


def test_the_result_has_the_type_of_r():
    single = _trained(dtype=torch.float32)
    assert single.mlp[0].weight.dtype == torch.float32
    assert single(R).dtype == torch.float64
    assert single(R.float()).dtype == torch.float32
    # The weights are drawn anew for each type, so only a network cast down can be compared.
    double = _trained()
    cast = _trained().float()
    torch.testing.assert_close(cast(R.float()).double(), double(R), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"r_max": 0.0}, r"r_max: 0\.0 is not positive; give the cutoff"),
        ({"r_max": math.nan}, "r_max: nan is not positive"),
        ({"r_max": 1.0, "n_basis": 1}, "n_basis: 1 is too small; give at least 2"),
        ({"r_max": 1.0, "width": 0.0}, r"width: 0\.0 is not positive"),
        ({"r_max": 1.0, "activation": "relu"}, "activation: 'relu' is unknown; choose one of elu"),
        ({"r_max": 1.0, "hidden": (8, 0)}, r"hidden: \[8, 0\] has a layer without nodes"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        NeuralRadial(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_gaussian_is_subnormal(dtype):
    seen = []
    radial = NeuralRadial(2.5, n_basis=100, hidden=(4,), dtype=dtype)
    radial.mlp.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    r = torch.linspace(0.0, 3.0, 50, dtype=dtype)
    radial(r)
    gaussians = seen[0].detach()
    assert float(gaussians.min()) > torch.finfo(dtype).tiny
    x = (r[:, None] - radial.centers) / radial.log_widths.detach().exp()
    # exp(-y) is as exact as y times the rounding of y; the farthest have y = -ln(smallest)/2
    info = torch.finfo(dtype)
    rounding = -2.0 * math.log(info.tiny) * info.eps
    torch.testing.assert_close(gaussians, torch.exp(-0.5 * x * x), rtol=rounding, atol=2.0 * math.sqrt(info.tiny))
