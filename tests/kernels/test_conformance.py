"""What every backend must give, against sums over all pairs: forces, runs, histograms, and the gradients of each.

The kernels of the GPU run on one where there is one, else in Triton's interpreter.
"""

from __future__ import annotations

import importlib.util
import inspect

import brute_force
import numpy as np
import pytest
import torch
from brute_force import close, device_of, given

from asediff.kernels import arrays
from asediff.kernels.arrays import LANGEVIN, NOSE_HOOVER, NVE
from asediff.kernels.cpu import backend as cpu
from asediff.kernels.reference import pair as reference
from asediff.kernels.reference import rdf as reference_rdf
from asediff.kernels.reference import torch_rdf
from asediff.kernels.shells import ShellGrid

HAS_TRITON = importlib.util.find_spec("triton") is not None
NEEDS_TRITON = pytest.mark.skipif(not HAS_TRITON, reason="the GPU kernels need triton (pip install asediff[gpu])")
FUSED = ["cpu", pytest.param("cuda", marks=NEEDS_TRITON)]
DOUBLE, SINGLE = (np.float64, 1e-12), (np.float32, 1e-4)
BONDED = pytest.mark.parametrize("bonded", [False, True], ids=["", "bonded"])


def module(backend):
    if backend == "cuda":
        from asediff.kernels.cuda import backend as cuda

        return cuda
    return {"cpu": cpu, "reference": reference}[backend]


def excluding(backend, bonded):
    knows = "exclusions" in inspect.signature(reference_rdf.smeared_counts).parameters
    if bonded and backend in ("reference", "torch") and not knows:
        pytest.skip("the definition in torch knows no exclusions")


@pytest.mark.parametrize("backend", ["reference", *FUSED])
@pytest.mark.parametrize(
    ("case", "dtype", "tolerance"),
    [
        *((case, *DOUBLE) for case in ("one", "mixed", "skewed", "free", "below", "far")),
        # coordinates of many cells, and terms that cancel, leave no digits in single precision
        *((case, *SINGLE) for case in ("one", "mixed", "skewed", "free")),
    ],
)
@BONDED
def test_forces_and_their_reverse_pass(backend, case, dtype, tolerance, bonded):
    excluding(backend, bonded)
    x, v, b, t = brute_force.configuration(case, bonded=bonded)
    positions = torch.from_numpy(x).requires_grad_()
    coefficients = torch.from_numpy(t.coefficients).requires_grad_()
    exact = brute_force.pair_sums(positions, coefficients, b, t)
    for value, other in zip(exact, brute_force.forces(x, b, t), strict=True):
        close(value, other, 1e-12)
    gradient = torch.autograd.grad((exact[1] * torch.from_numpy(v)).sum(), (positions, coefficients))

    systems, tables, here, w = (given(backend, a, dtype) for a in (b, t, x, v))
    for value, expected in zip(module(backend).pair_forces(here, systems, tables), exact, strict=True):
        assert value.dtype == here.dtype
        close(value, expected, tolerance)
    # the place in an interval, (s - s_lo)/spacing - k, has lost three digits, and c3 weighs its square
    for value, expected in zip(module(backend).pair_vjp(here, systems, tables, w), gradient, strict=True):
        close(value, expected, 100 * tolerance)


@pytest.mark.parametrize(
    ("backend", "mode", "every"),
    [
        ("cpu", "stored", 1),
        ("cpu", "replay", 3),
        ("cpu", "reverse", 3),
        pytest.param("cuda", "replay", 3, marks=NEEDS_TRITON),
    ],
    ids=["stored", "replay", "reverse", "cuda"],
)
@pytest.mark.parametrize("kind", [NVE, NOSE_HOOVER, LANGEVIN], ids=["nve", "chain", "langevin"])
@pytest.mark.parametrize("case", ["mixed", "skewed"])
@BONDED
def test_runs_and_their_gradients(backend, mode, every, kind, case, bonded):
    x, v, b, t = brute_force.configuration(case, bonded=bonded)
    settings = brute_force.stepper(kind, b, tchain=2, first_step=2**32 - 2)
    rng = np.random.default_rng(4)
    chain = 0.3 * rng.normal(size=(b.n_systems, 2, settings.chain_masses.shape[1]))
    start = [torch.from_numpy(a).requires_grad_() for a in (t.coefficients, x, v, chain)]
    states = brute_force.run(*start[1:], start[0], b, t, settings, 5)
    frames = [torch.stack([states[n][k] for n in (2, 4)]) for k in (0, 1)]
    weights = [torch.from_numpy(rng.normal(size=a.shape)) for a in (*frames, *states[5])]
    loss = sum((w * a).sum() for w, a in zip(weights, (*frames, *states[5]), strict=True))
    gradient = torch.autograd.grad(loss, start, allow_unused=True)

    systems, stepper, tables = (given(backend, a, np.float64) for a in (b, settings, t))
    call = arrays.FusedCall(systems, tables._replace(coefficients=None), stepper, 5, 2, every, 0.05, mode)
    here = [a.detach().to(device_of(backend)) for a in start]
    run = module(backend).rollout(call, *here)
    assert run.failed_step == -1
    *outputs, thermo = module(backend).outputs(run)
    for value, exact in zip(outputs, (*frames, *states[5]), strict=True):
        close(value, exact, 1e-12)
    for k, n in enumerate((2, 4)):
        close(thermo[k], brute_force.thermo(*states[n], start[0], b, t, settings), 1e-12)
    found = module(backend).rollout_vjp(call, run, tuple(w.to(device_of(backend)) for w in weights))
    for value, exact in zip(found, gradient, strict=True):
        close(value, torch.zeros(0) if exact is None else exact, 1e-9)


def histograms(backend):
    if backend == "cuda":
        from asediff.kernels.cuda import rdf as cuda_rdf

        return cuda_rdf
    return {"cpu": cpu, "reference": reference_rdf, "torch": torch_rdf}[backend]


@pytest.mark.parametrize("backend", ["reference", "torch", *FUSED])
@pytest.mark.parametrize("skewed", [False, True], ids=["cubic", "skewed"])
@pytest.mark.parametrize(("r_max", "width"), [(3.3, 0.2), (3.3, 0.07), (2.0, 0.1), (3.3, 0.0)])
@BONDED
def test_histograms_and_their_gradient(backend, skewed, r_max, width, bonded, monkeypatch):
    excluding(backend, bonded)
    monkeypatch.setattr(torch_rdf, "PAIRS_AT_ONCE", 1500)
    grid = ShellGrid(0.5, r_max, 14, width)
    positions, *rest = brute_force.gas(skewed=skewed)
    exclusions = brute_force.chains(rest[1]) if bonded else None
    positions.requires_grad_()
    exact = torch.zeros(2, 2, 2, grid.bins, dtype=torch.float64)
    for frame in range(2):
        for s, channel, r in brute_force.distances(positions[frame], *rest, exclusions):
            weights = reference_rdf.kernel_weights(r, grid)
            exact[frame, s] = torch.zeros(2, grid.bins, dtype=torch.float64).index_add(0, channel, weights)
    options = {} if exclusions is None else {"exclusions": given(backend, exclusions, np.float64)}
    here = [a.to(device_of(backend)) for a in (positions, *rest)]
    found = histograms(backend).smeared_counts(*here, grid, **options)
    assert found.device == here[0].device
    # the definitions take the image within half of each lattice vector for the nearest: not so far out in skewed cells
    miss = 1e-8 if backend in ("reference", "torch") and bonded and skewed else 0.0
    torch.testing.assert_close(found.cpu(), exact, rtol=0, atol=1e-11 + miss)
    if width > 0.0:
        if backend != "reference":
            single = histograms(backend).smeared_counts(here[0].float(), *here[1:], grid, **options)
            assert single.dtype == torch.float32
            torch.testing.assert_close(single.cpu().double(), exact, rtol=0, atol=1e-4)
        w = torch.randn(exact.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (expected,) = torch.autograd.grad((exact * w).sum(), positions)
        (gradient,) = torch.autograd.grad((found.cpu() * w).sum(), positions)
        # the derivative of a polynomial is a digit less exact than the polynomial
        close(gradient, expected, 1e-10 + miss)


@pytest.mark.parametrize("backend", FUSED)
@BONDED
def test_plain_histograms(backend, bonded):
    positions, *rest = brute_force.gas()
    exclusions = brute_force.chains(rest[1]) if bonded else None
    exact = torch.zeros(2, 2, 2, 11, dtype=torch.int64)
    for frame in range(2):
        for s, channel, r in brute_force.distances(positions[frame], *rest, exclusions):
            place = (r - 0.5) / (3.4 - 0.5) * 11
            inside = (place >= 0) & (place < 11)
            exact[frame, s].index_put_((channel[inside], place[inside].long()), torch.tensor(1), accumulate=True)
    here = [a.to(device_of(backend)) for a in (positions, *rest)]
    found = histograms(backend).pair_histograms(*here, lower=0.5, upper=3.4, bins=11, exclusions=exclusions)
    assert found.dtype == torch.int64
    assert torch.equal(found.cpu(), exact)


@pytest.mark.parametrize("backend", ["torch", *FUSED])
def test_positions_that_are_not_finite_are_refused(backend):
    positions, *rest = brute_force.gas()
    positions[0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="positions: not finite"):
        histograms(backend).smeared_counts(positions, *rest, ShellGrid(0.5, 3.3, 14, 0.2))
