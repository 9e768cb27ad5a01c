"""Losses and metrics against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sampling import seed as shifted

from asediff.observables import ADF, RDF, VACF, Pressure, StructureFactor
from asediff.targets.losses import (
    L2,
    JensenShannon,
    ShellL2,
    WeightedL2,
    block_average_error,
    mean_abs_deviation,
    potential_deviation,
    structural_deviation,
)
from asediff.targets.target import Target

RDF_50 = RDF(3.0, 50, r_min=0.5)
R = RDF_50.centers
ONES = torch.ones(50, dtype=torch.float64)


def test_l2_is_the_integral_over_the_length_of_the_window():
    g = 1.0 + 0.1 * R
    integral = float((0.01 * R**2).sum() * RDF_50.bin_width)
    assert float(L2()(g, ONES, RDF_50)) == pytest.approx(integral / 2.5, rel=1e-12)


def test_weighted_l2_is_one_when_the_difference_is_the_error():
    error = torch.full_like(ONES, 0.03)
    loss = WeightedL2(tuple(error.tolist()), floor=0.04)
    assert float(loss(ONES + 0.05, ONES, RDF_50)) == pytest.approx(1.0, rel=1e-12)


def test_jensen_shannon_is_symmetric_scale_free_and_bounded():
    loss = JensenShannon()
    p = torch.where(R < 1.7, ONES, 0.0)
    q = torch.where(R < 1.7, 0.0 * ONES, 1.0)
    assert float(loss(p, p, RDF_50)) == pytest.approx(0.0, abs=1e-15)
    assert float(loss(p, q, RDF_50)) == pytest.approx(float(loss(q, p, RDF_50)), rel=1e-12)
    assert float(loss(p, q, RDF_50)) == pytest.approx(math.log(2.0), abs=2e-2)
    half = p + 0.5 * q
    assert float(loss(3.0 * half, half, RDF_50)) == pytest.approx(0.0, abs=1e-9)


def test_jensen_shannon_of_two_shells_in_closed_form():
    # all weight in one bin against weight split between two bins: JS = 1.5 ln(4/3) / 2 ... = h(3/4) - h(1/2)/2
    rdf = RDF(2.0, 2)
    r = rdf.centers
    p = torch.tensor([1.0, 0.0], dtype=torch.float64) / r**2
    q = torch.tensor([0.5, 0.5], dtype=torch.float64) / r**2
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(JensenShannon(1e-14)(p, q, rdf)) == pytest.approx(entropy - 0.5 * math.log(2.0), rel=1e-9)


@pytest.mark.parametrize("loss", [L2(), ShellL2(), JensenShannon()])
def test_losses_have_gradients(loss):
    g = (1.0 + 0.2 * torch.sin(R)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, ONES, RDF_50), g)


def test_jensen_shannon_of_angles_weighs_them_alike():
    adf = ADF(1.5, 2)
    p = torch.tensor([1.0, 0.0], dtype=torch.float64) / 90.0
    q = torch.tensor([0.5, 0.5], dtype=torch.float64) / 90.0
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(JensenShannon(1e-14)(p, q, adf)) == pytest.approx(entropy - 0.5 * math.log(2.0), rel=1e-9)


def test_shell_l2_of_a_structure_factor_weighs_by_the_number_of_wave_vectors():
    factor = StructureFactor(4.0, 2)  # centres 1 and 3
    values = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert float(ShellL2()(values, torch.ones(2, dtype=torch.float64), factor)) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("loss", "observable", "reason"),
    [
        (ShellL2(), ADF(1.5, 4), "ShellL2 cannot compare ADF, whose values are no averages over spherical shells"),
        (ShellL2(), VACF(4, spacing=0.1), "ShellL2 cannot compare VACF"),
        (ShellL2(), Pressure(), "ShellL2 cannot compare Pressure"),
        (JensenShannon(), StructureFactor(4.0, 4), "JensenShannon cannot compare StructureFactor, whose values are no"),
        (JensenShannon(), VACF(4, spacing=0.1), "JensenShannon cannot compare VACF"),
        (JensenShannon(), Pressure(), "JensenShannon cannot compare Pressure"),
        (WeightedL2((0.1,) * 3), ADF(1.5, 4), "error has 3 values and ADF 4; give one for each"),
    ],
)
def test_a_loss_that_makes_no_sense_is_refused_by_name(loss, observable, reason):
    values = torch.full((len(observable.centers),), 0.5, dtype=torch.float64)
    with pytest.raises(ValueError, match=f"^loss: {reason}"):
        Target(observable, values, loss=loss)
    if not isinstance(loss, WeightedL2):
        with pytest.raises(ValueError, match=f"^loss: {reason}"):
            loss(values, values, observable)


@pytest.mark.parametrize("observable", [ADF(1.5, 4), StructureFactor(4.0, 4), VACF(4, spacing=0.1), Pressure()])
def test_mean_squares_compare_everything(observable):
    n = len(observable.centers)
    values = torch.full((n,), 0.5, dtype=torch.float64)
    for loss in (L2(), WeightedL2((0.1,) * n, floor=0.0)):
        target = Target(observable, values, loss=loss)
        assert float(target(values + 0.1)) == pytest.approx(0.01 if loss == L2() else 1.0)


def test_jensen_shannon_without_floor_is_refused():
    with pytest.raises(ValueError, match="epsilon=0"):
        JensenShannon(0.0)


def test_structural_deviation_of_a_constant_difference():
    rdf = RDF(3.0, 3000)
    g = torch.ones(3000, dtype=torch.float64)
    d = structural_deviation(rdf.centers, g + 0.1, g, density=0.7)
    # 4 pi rho 0.01 r³/3; the midpoint rule errs by (D / 2 r)² or so
    assert float(d) == pytest.approx(4.0 * math.pi * 0.7 * 0.01 * 9.0, rel=1e-6)
    half = structural_deviation(rdf.centers, g + 0.1, g, density=0.7, r_max=1.5)
    assert float(half) == pytest.approx(float(d) / 8.0, rel=1e-3)
    with pytest.raises(ValueError, match="r: bins are not equally spaced"):
        structural_deviation(np.array([1.0, 2.0, 4.0]), g[:3], g[:3], density=0.7)


def test_mean_abs_deviation_uses_the_range_only():
    g = ONES + torch.where(R > 2.0, 1.0, -0.1)
    assert float(mean_abs_deviation(R, g, ONES, 0.5, 2.0)) == pytest.approx(0.1)
    assert mean_abs_deviation(R, torch.stack([g, ONES]), ONES, 2.0, 3.0).tolist() == pytest.approx([1.0, 0.0])
    with pytest.raises(ValueError, match="no bin centre in"):
        mean_abs_deviation(R, g, ONES, 5.0, 6.0)


def test_potential_deviation_ignores_a_constant_and_integrates_the_rest():
    r = np.linspace(0.5, 3.0, 2501)
    u = 4.0 * (r**-12 - r**-6)
    assert float(potential_deviation(r, u + 7.0, u)) == pytest.approx(0.0, abs=1e-10)
    # |slope (r - 2.5)| over 0.9..2.5
    assert float(potential_deviation(r, u + 0.3 * r, u)) == pytest.approx(0.3 * 1.6**2 / 2, rel=1e-6)
    with pytest.raises(ValueError, match="fewer than two points"):
        potential_deviation(r, u, u, 5.0, 6.0)


def autoregressive(n, memory, columns, seed=0):
    """Unit-variance noise with correlations memory^k: the mean's variance is (1 + memory)/(1 - memory)/n."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, columns, generator=generator, dtype=torch.float64)
    x = torch.empty_like(noise)
    x[0] = noise[0]
    for k in range(1, n):
        x[k] = memory * x[k - 1] + math.sqrt(1 - memory**2) * noise[k]
    return x


@pytest.mark.sampled
@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_block_average_error_of_correlated_noise(memory):
    x = autoregressive(4096, memory, 400, shifted(0))
    expected = math.sqrt((1 + memory) / (1 - memory) / 4096)
    # 400 columns average the scatter of the estimate out, which is 0.003 over 20 seeds; the blocks keep a bias of 0,
    # -0.04 and -0.08, and no blocks one of 0, -0.42 and -0.77
    assert float(block_average_error(x).square().mean().sqrt()) == pytest.approx(expected, rel=0.12)


def test_block_average_error_of_few_frames():
    assert bool(torch.isnan(block_average_error(torch.ones(1, 3))).all())
    x = torch.tensor([[0.0], [1.0], [0.0], [1.0]], dtype=torch.float64)
    assert float(block_average_error(x)) == pytest.approx(math.sqrt(1.0 / 3.0 / 4.0))


def test_shell_l2_is_the_structural_deviation_up_to_a_constant():
    rdf = RDF(3.0, 60)
    ratios = []
    for amplitude in (0.1, -0.3):
        g = 1 + amplitude * torch.sin(3 * rdf.centers)
        d = structural_deviation(rdf.centers, g, torch.ones(60), density=0.7)
        ratios.append(float(ShellL2()(g, torch.ones(60).double(), rdf) / d))
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-12)
