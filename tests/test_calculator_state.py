"""What AsediffCalculator keeps between calls is never stale, and never another thread's."""

from __future__ import annotations

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.calculator import InputError

from asediff.calculator import AsediffCalculator
from asediff.potentials import LennardJones, PairPotential, Potential, Shifted, Truncated


class Scaled(Potential):
    """k sum of x²/2, with k a plain attribute."""

    cutoff = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.k = 1.0

    def energy(self, system, neighbors, kT=None):
        return 0.5 * self.k * system.sum_by_system(system.positions.square().sum(-1))


def _through_data(potential: PairPotential) -> None:
    potential.radial().epsilon.data.mul_(2.0)


def _through_vector(potential: PairPotential) -> None:
    parameters = list(potential.parameters())
    vector = torch.nn.utils.parameters_to_vector(parameters).detach().clone()
    vector[0] *= 2.0
    torch.nn.utils.vector_to_parameters(vector, parameters)


def _through_numpy(potential: PairPotential) -> None:
    potential.radial().epsilon.detach().numpy()[...] *= 2.0


@pytest.mark.parametrize("change", [_through_data, _through_vector, _through_numpy])
def test_changes_behind_torchs_back_are_seen(change):
    atoms = bulk("Ar", a=1.6, cubic=True) * 2
    potential = PairPotential(LennardJones(), 1.5)
    atoms.calc = AsediffCalculator(potential)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    change(potential)
    assert atoms.get_potential_energy() == pytest.approx(2.0 * energy, rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), 2.0 * forces, atol=1e-12)


def test_changed_attributes_are_seen():
    atoms = bulk("Ar", a=1.6, cubic=True) * 2
    potential = Scaled()
    atoms.calc = AsediffCalculator(potential)
    energy = atoms.get_potential_energy()
    potential.k = 3.0
    assert atoms.get_potential_energy() == pytest.approx(3.0 * energy, rel=1e-12)
    pair = PairPotential(LennardJones(), 1.5, truncation=Shifted())
    atoms.calc = AsediffCalculator(pair)
    shifted = atoms.get_potential_energy()
    pair.truncation = Truncated()
    assert atoms.get_potential_energy() != pytest.approx(shifted, rel=1e-3)


def test_threads_that_share_a_calculator_get_their_own_results():
    calculator = AsediffCalculator(PairPotential(LennardJones(), 1.5))
    structures = []
    for k in range(4):
        atoms = bulk("Ar", a=1.55 + 0.05 * k, cubic=True) * 2
        atoms.rattle(0.02, seed=k)
        structures.append(atoms)
    expected = []
    for atoms in structures:
        atoms.calc = AsediffCalculator(PairPotential(LennardJones(), 1.5))
        expected.append((atoms.get_potential_energy(), atoms.get_forces()))
        atoms.calc = calculator

    def ask(k: int) -> bool:
        good = True
        for _ in range(25):
            good &= abs(structures[k].get_potential_energy() - expected[k][0]) < 1e-9
            good &= np.allclose(structures[k].get_forces(), expected[k][1], atol=1e-9)
        return good

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(ask, range(4)))
    finally:
        sys.setswitchinterval(interval)


def test_a_calculator_can_be_copied_and_pickled():
    atoms = bulk("Ar", a=1.6, cubic=True) * 2
    calculator = AsediffCalculator(PairPotential(LennardJones(), 1.5))
    energy = calculator.get_potential_energy(atoms)
    for other in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        assert other.get_potential_energy(atoms) == energy


def test_calculate_without_atoms_is_refused():
    with pytest.raises(InputError, match=r"atoms: missing; give calculate\(\) atoms"):
        AsediffCalculator(PairPotential(LennardJones(), 1.5)).calculate()
