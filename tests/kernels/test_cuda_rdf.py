"""The Triton histograms against the definition, on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="the GPU kernels need triton (pip install asediff[gpu])")

from asediff.kernels.cpu import rdf as cpu_rdf
from asediff.kernels.cuda import rdf as cuda_rdf
from asediff.kernels.cuda.shells import fine_expansion
from asediff.kernels.reference import rdf as reference_rdf
from asediff.kernels.reference import torch_rdf
from asediff.kernels.shells import ShellGrid, relative_weight

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CHANNELS = torch.tensor([[0, 1], [1, -1]])


def batch(*, skewed=True, n_frames=2):
    """Two systems, one of them skewed; some atoms are left out."""
    generator = torch.Generator().manual_seed(0)
    cell = torch.stack([7.0 * torch.eye(3, dtype=torch.float64)] * 2)
    if skewed:
        cell[1] += torch.tensor([[1.0, 0, 0], [2.0, 0.5, 0], [-1.0, 1.0, 1.0]])
    offsets = torch.tensor([0, 30, 54])
    system = torch.bucketize(torch.arange(54), offsets[1:], right=True)
    scaled = 3.0 * torch.rand(n_frames, 54, 3, generator=generator, dtype=torch.float64) - 1.0
    positions = (scaled[:, :, None] @ cell[system])[:, :, 0]
    return positions, cell, offsets, torch.arange(54) % 3 - 1


@pytest.mark.parametrize("sigma", [0.15, 0.5, 1.0, 3.0])
def test_the_fine_expansion_is_the_counting_kernel(sigma):
    expansion = fine_expansion(sigma)
    q, n, m = expansion.table.shape
    t = np.linspace(-1.0, 1.0, 7)
    place = np.arange(q * n)[:, None] - expansion.padding * n + 0.5 * (t + 1.0)
    exact = relative_weight(place / n - 0.5, sigma)
    value = np.einsum("jm,tm->jt", expansion.table.reshape(q * n, m), t[:, None] ** np.arange(m))
    np.testing.assert_allclose(value, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("skewed", [False, True], ids=["cubic", "skewed"])
@pytest.mark.parametrize(("r_max", "width"), [(3.3, 0.2), (3.3, 0.07), (2.0, 0.1), (3.3, 0.0)])
def test_counts_and_gradient_equal_the_definition(r_max, width, skewed, monkeypatch):
    monkeypatch.setattr(cuda_rdf, "MEMORY", 1 if skewed else 2**28)
    grid = ShellGrid(0.5, r_max, 14, width)
    positions, *rest = batch(skewed=skewed)
    positions.requires_grad_()
    slow = reference_rdf.smeared_counts(positions, *rest, CHANNELS, grid)
    fast = cuda_rdf.smeared_counts(positions.to(DEVICE), *(t.to(DEVICE) for t in (*rest, CHANNELS)), grid)
    assert fast.device.type == DEVICE
    torch.testing.assert_close(fast.cpu(), slow, rtol=0, atol=1e-11)
    if width == 0.0:
        return
    weights = torch.randn(slow.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (expected,) = torch.autograd.grad((slow * weights).sum(), positions)
    (gradient,) = torch.autograd.grad((fast.cpu() * weights).sum(), positions)
    # the derivative of a polynomial of degree 5 is a digit less exact than the polynomial
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))


def test_single_precision_positions_give_single_precision_counts():
    grid = ShellGrid(0.5, 3.0, 10, 0.2)
    positions, *rest = batch()
    exact = reference_rdf.smeared_counts(positions, *rest, CHANNELS, grid)
    given = (positions.to(DEVICE, torch.float32), *(t.to(DEVICE) for t in (*rest, CHANNELS)))
    counts = cuda_rdf.smeared_counts(*given, grid)
    assert counts.dtype == torch.float32
    torch.testing.assert_close(counts.cpu().double(), exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("squared", [False, True])
def test_plain_histograms_equal_those_of_the_cpu(squared):
    window = {"lower": 0.5, "upper": 3.4, "bins": 11, "squared": squared}
    positions, *rest = batch()
    expected = cpu_rdf.pair_histograms(positions, *rest, CHANNELS, **window)
    counts = cuda_rdf.pair_histograms(*(t.to(DEVICE) for t in (positions, *rest, CHANNELS)), **window)
    assert counts.dtype == torch.int64
    assert torch.equal(counts.cpu(), expected)


def test_kernels_wider_than_the_box_are_left_to_torch():
    grid = ShellGrid(0.0, 3.0, 10, 0.7)
    given = [t.to(DEVICE) for t in (*batch(n_frames=1), CHANNELS)]
    counts = cuda_rdf.smeared_counts(*given, grid)
    torch.testing.assert_close(counts, torch_rdf.smeared_counts(*given, grid), rtol=0, atol=1e-12)


def test_windows_wider_than_the_box_are_refused():
    with pytest.raises(ValueError, match=r"upper=8.0: farther than a box is high"):
        cuda_rdf.pair_histograms(*batch(), CHANNELS, lower=0.0, upper=8.0, bins=4)


def test_positions_that_are_not_finite_are_refused():
    positions, *rest = batch()
    positions[0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="positions: not finite"):
        cuda_rdf.smeared_counts(positions, *rest, CHANNELS, ShellGrid(0.5, 3.3, 14, 0.2))
