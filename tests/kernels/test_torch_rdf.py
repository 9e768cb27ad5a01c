"""The vectorised torch histograms against the definition, on the CPU and, where there is one, on a GPU."""

from __future__ import annotations

import pytest
import torch

from asediff.kernels.reference import rdf as reference_rdf
from asediff.kernels.reference import torch_rdf
from asediff.kernels.shells import ShellGrid

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
CHANNELS = torch.tensor([[0, 1], [1, -1]])


def batch(n_frames=2):
    """Three systems, two of equal size, one skewed; some atoms are left out."""
    generator = torch.Generator().manual_seed(0)
    cell = torch.stack([7.0 * torch.eye(3, dtype=torch.float64)] * 3)
    cell[1] += torch.tensor([[1.0, 0, 0], [2.0, 0.5, 0], [-1.0, 1.0, 1.0]])
    offsets = torch.tensor([0, 30, 60, 84])
    system = torch.bucketize(torch.arange(84), offsets[1:], right=True)
    scaled = 3.0 * torch.rand(n_frames, 84, 3, generator=generator, dtype=torch.float64) - 1.0
    positions = (scaled[:, :, None] @ cell[system])[:, :, 0]
    return positions, cell, offsets, torch.arange(84) % 3 - 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("width", [0.0, 0.05, 0.2])
def test_counts_and_gradient_equal_the_reference(device, width, monkeypatch):
    monkeypatch.setattr(torch_rdf, "PAIRS_AT_ONCE", 1500)
    grid = ShellGrid(0.5, 3.3, 14, width)
    positions, *rest = batch()
    positions.requires_grad_()
    slow = reference_rdf.smeared_counts(positions, *rest, CHANNELS, grid)
    fast = torch_rdf.smeared_counts(positions.to(device), *(t.to(device) for t in (*rest, CHANNELS)), grid)
    assert fast.device.type == device
    assert torch.allclose(fast.cpu(), slow, rtol=0, atol=1e-11)
    if width == 0.0:
        return
    weights = torch.randn(slow.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (slow_gradient,) = torch.autograd.grad((slow * weights).sum(), positions)
    (fast_gradient,) = torch.autograd.grad((fast.cpu() * weights).sum(), positions)
    assert float((fast_gradient - slow_gradient).abs().max()) <= 1e-10 * float(slow_gradient.abs().max())


def test_positions_that_are_not_finite_are_refused():
    positions, *rest = batch()
    positions[0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="positions: not finite"):
        torch_rdf.smeared_counts(positions, *rest, CHANNELS, ShellGrid(0.5, 3.3, 14, 0.2))
