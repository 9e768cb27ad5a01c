"""What is the GPU histograms' own, on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import brute_force
import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="the GPU kernels need triton (pip install asediff[gpu])")

from asediff.kernels.cuda import rdf as cuda_rdf
from asediff.kernels.cuda.shells import fine_expansion
from asediff.kernels.reference import torch_rdf
from asediff.kernels.shells import ShellGrid, relative_weight

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("sigma", [0.15, 0.5, 1.0, 3.0])
def test_the_fine_expansion_is_the_counting_kernel(sigma):
    expansion = fine_expansion(sigma)
    q, n, m = expansion.table.shape
    t = np.linspace(-1.0, 1.0, 7)
    place = np.arange(q * n)[:, None] - expansion.padding * n + 0.5 * (t + 1.0)
    exact = relative_weight(place / n - 0.5, sigma)
    value = np.einsum("jm,tm->jt", expansion.table.reshape(q * n, m), t[:, None] ** np.arange(m))
    np.testing.assert_allclose(value, exact, rtol=0, atol=1e-12)


def test_kernels_wider_than_the_box_are_left_to_torch():
    grid = ShellGrid(0.0, 3.0, 10, 0.7)
    given = [t.to(DEVICE) for t in brute_force.gas(n_frames=1)]
    counts = cuda_rdf.smeared_counts(*given, grid)
    torch.testing.assert_close(counts, torch_rdf.smeared_counts(*given, grid), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"width=0.7: with exclusions a GPU counts kernels no wider than the box"):
        cuda_rdf.smeared_counts(*given, grid, brute_force.chains(given[2]))


def test_windows_wider_than_the_box_are_refused():
    with pytest.raises(ValueError, match=r"upper=8.0: farther than a box is high"):
        cuda_rdf.pair_histograms(*brute_force.gas(), lower=0.0, upper=8.0, bins=4)
