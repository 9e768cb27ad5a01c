"""Structure factor: ideal gas, crystal, two atoms, the transform of g(r), gradients, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from sampling import seed as shifted
from sampling import sigmas

from asediff.observables import StructureFactor, structure_factor
from asediff.system import System


def gas(n_atoms=100, length=8.0, seed=0):
    rng = np.random.default_rng(seed)
    return Atoms(f"Ar{n_atoms}", positions=length * rng.random((n_atoms, 3)), cell=[length] * 3, pbc=True)


@pytest.mark.sampled
def test_ideal_gas_is_one():
    factor, n = StructureFactor(8.0, 8, q_min=1.0), 400
    values = factor(System.from_atoms([gas(seed=shifted(k)) for k in range(n)]))
    # |amplitude|²/N of each wave vector is exponentially distributed, with a standard deviation of one; a mean of 400
    # bins of several of them is all but normal, with 0.3 errors for its skewness.
    limit = (sigmas(n, comparisons=8) + 0.3) * values.std(0) / math.sqrt(n)
    assert float(limit.max()) < 0.15
    assert bool(((values.mean(0) - 1.0).abs() < limit).all())


def test_crystal_scatters_at_reciprocal_vectors_only():
    atoms = bulk("Ar", "sc", a=1.0).repeat(4)
    # bins that hold 2 pi (100), 2 pi (110), and what lies between
    values = StructureFactor(2 * math.pi * 1.5, 15, q_min=2 * math.pi * 0.2)(System.from_atoms(atoms))[0]
    n = len(atoms)
    centers = StructureFactor(2 * math.pi * 1.5, 15, q_min=2 * math.pi * 0.2).centers / (2 * math.pi)
    bragg = (centers > 0.95) & (centers < 1.05) | (centers > 1.37) & (centers < 1.46)
    assert float(values[bragg].min()) > 0.05 * n
    assert float(values[~bragg].max()) < 1e-20 * n


def test_two_atoms_in_closed_form():
    length, d = 10.0, 1.3
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [d, 0, 0]], cell=[length] * 3, pbc=True)
    # the first bin holds 2 pi/L (100) and its two companions, which do not see the distance along x
    q = 2 * math.pi / length
    value = StructureFactor(1.2 * q, 1, q_min=0.8 * q)(System.from_atoms(atoms))
    assert float(value) == pytest.approx((1 + math.cos(q * d) + 2 + 2) / 3)


def test_rotation_and_translation_change_nothing():
    atoms = gas()
    atoms.set_cell(np.array([[8, 0, 0], [1.5, 7, 0], [-1, 2, 9.0]]), scale_atoms=True)
    factor = StructureFactor(6.0, 5, q_min=1.0)
    expected = factor(System.from_atoms(atoms))
    atoms.positions += [3.0, -20.0, 5.0]
    atoms.rotate(50, (1, 2, 3), rotate_cell=True)
    assert torch.allclose(factor(System.from_atoms(atoms)), expected, rtol=0, atol=1e-9)


def test_batch_equals_its_members():
    images = [gas(60, 7.0, 1), gas(90, 8.0, 2)]
    factor = StructureFactor(6.0, 5, q_min=1.0)
    both = factor(System.from_atoms(images))
    for k, image in enumerate(images):
        assert torch.allclose(both[k], factor(System.from_atoms(image))[0], rtol=1e-12)


def test_gradient():
    system = System.from_atoms(gas(5, 4.0))
    positions = system.positions.clone().requires_grad_()
    factor = StructureFactor(5.0, 3, q_min=1.0)
    assert torch.autograd.gradcheck(lambda x: factor(system.replace(positions=x)), positions)


@pytest.mark.parametrize("phases", [1, 300, 1 << 22])
def test_blocks_of_phases_give_the_same_values_and_gradients(phases, monkeypatch):
    """However few phases are held at once: single wave vectors, single frames, all of them."""
    system = System.from_atoms(gas(20, 5.0))
    x = (system.positions + torch.tensor([0.0, 0.1, 0.3])[:, None, None]).requires_grad_()
    k = StructureFactor(5.0, 3, q_min=1.0)._wave_vectors(system, 0)[0]
    monkeypatch.setattr(structure_factor, "PHASES", phases)
    expected = torch.exp(1j * (x @ k.T).to(torch.complex128)).sum(1).abs().square()
    found = structure_factor._squared_amplitudes(x, k)
    weights = torch.linspace(-1.0, 1.0, found.numel(), dtype=torch.float64).reshape(found.shape)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    gradients = [torch.autograd.grad((weights * values).sum(), x)[0] for values in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_bins_without_wave_vectors_are_refused():
    with pytest.raises(ValueError, match="bins=400: system 0 has no wave vector near q="):
        StructureFactor(5.0, 400)(System.from_atoms(gas()))
    with pytest.raises(ValueError, match=r"q_max=1\.0: the window is empty"):
        StructureFactor(1.0, 10, q_min=2.0)
    with pytest.raises(ValueError, match="bins=0"):
        StructureFactor(1.0, 0)
