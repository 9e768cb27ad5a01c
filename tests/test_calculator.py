"""AsediffCalculator as ASE users meet it: against ASE's Lennard-Jones, finite differences, dynamics and errors."""

import copy
import json

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import (
    CalculationFailed,
    InputError,
    PropertyNotImplementedError,
)
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.io.jsonio import encode
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from sampling import seed as shifted
from torch import Tensor

from asediff.calculator import AsediffCalculator
from asediff.neighbors import Neighbors
from asediff.potentials.base import Potential
from asediff.potentials.pair import PairPotential
from asediff.potentials.radial import LennardJones, Repulsion, TemperatureDependent
from asediff.potentials.truncation import Shifted, Switched
from asediff.system import System

EPSILON, SIGMA, CUTOFF = 0.0104, 3.40, 7.5


class DirectLennardJones(Potential):
    """Lennard-Jones by autograd, shifted or smoothed between ro and the cutoff as ASE's own does."""

    def __init__(self, *, smooth: bool = False) -> None:
        super().__init__()
        self.cutoff = CUTOFF
        self.smooth = smooth
        self.epsilon = torch.nn.Parameter(torch.tensor(EPSILON, dtype=torch.float64))
        self.calls = 0

    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        self.calls += 1
        s = neighbors.displacements(system).square().sum(1)
        epsilon = self.epsilon.to(s.dtype)

        def u(s):
            return 4.0 * epsilon * ((SIGMA**2 / s) ** 6 - (SIGMA**2 / s) ** 3)

        cut, onset = CUTOFF**2, (0.66 * CUTOFF) ** 2
        if self.smooth:
            switch = (cut - s) ** 2 * (cut + 2 * s - 3 * onset) / (cut - onset) ** 3
            pair = u(s) * torch.where(s < onset, 1.0, switch)
        else:
            pair = u(s) - u(torch.tensor(cut, dtype=s.dtype))
        pair = torch.where(s < cut, pair, 0.0)
        owner = system.system_idx[neighbors.first]
        return torch.zeros(system.n_systems, dtype=s.dtype).index_add(0, owner, pair)


def pair_potential(truncation=None) -> PairPotential:
    return PairPotential(LennardJones(EPSILON, SIGMA), CUTOFF, truncation=truncation or Switched())


def crystal(seed: int = 0) -> Atoms:
    """Argon in a strained, skewed cell, with atoms off their sites and outside the cell."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Ar", "fcc", a=5.26, cubic=True) * 3
    strain = np.array([[1.02, 0.05, 0.0], [0.0, 0.99, -0.04], [0.03, 0.0, 1.01]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rng.normal(scale=0.15, size=(len(atoms), 3))
    atoms.positions += rng.integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    return atoms


@pytest.mark.parametrize("smooth", [False, True])
def test_equals_ase_lennard_jones(smooth):
    atoms = crystal()
    expected = AseLennardJones(epsilon=EPSILON, sigma=SIGMA, rc=CUTOFF, ro=0.66 * CUTOFF, smooth=smooth)
    ours = AsediffCalculator(DirectLennardJones(smooth=smooth))
    results = []
    for calculator in (expected, ours):
        atoms.calc = calculator
        results.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    (energy, forces, stress), (our_energy, our_forces, our_stress) = results
    assert our_energy == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(our_forces, forces, atol=1e-12)
    np.testing.assert_allclose(our_stress, stress, atol=1e-14)


def test_pair_potential_equals_ase_lennard_jones():
    atoms = crystal()
    atoms.calc = AseLennardJones(epsilon=EPSILON, sigma=SIGMA, rc=CUTOFF)
    expected = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "energies", "forces", "stress")}
    potential = pair_potential(Shifted())
    atoms.calc = AsediffCalculator(potential)
    # The table differs from the function by less than 1e-4 kT and 1e-3 of the largest thermal force.
    kT = 100.0 * units.kB
    assert potential.tabulation_error(kT).within()
    assert atoms.get_potential_energy() == pytest.approx(expected["energy"], abs=1e-4 * kT * len(atoms))
    np.testing.assert_allclose(atoms.get_potential_energies(), expected["energies"], atol=1e-3 * kT)
    largest = np.abs(expected["forces"]).max()
    np.testing.assert_allclose(atoms.get_forces(), expected["forces"], atol=1e-3 * largest)
    np.testing.assert_allclose(atoms.get_stress(), expected["stress"], atol=1e-3 * np.abs(expected["stress"]).max())


class Opaque(Potential):
    """Hides that a potential is one of pairs, so that it is differentiated by autograd."""

    def __init__(self, inner: Potential) -> None:
        super().__init__()
        self.inner = inner
        self.cutoff = inner.cutoff

    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        return self.inner.energy(system, neighbors, kT)


def test_splines_and_autograd_agree():
    atoms = crystal()
    potential = pair_potential() + PairPotential(Repulsion(EPSILON, SIGMA), 6.0)
    fast, general = AsediffCalculator(potential), AsediffCalculator(Opaque(potential))
    for name in ("energy", "free_energy", "forces", "stress"):
        np.testing.assert_allclose(
            fast.get_property(name, atoms), general.get_property(name, atoms), rtol=1e-12, atol=1e-14
        )
    assert fast.get_property("energies", atoms).sum() == pytest.approx(fast.results["energy"], rel=1e-12)


@pytest.mark.parametrize("make", [pair_potential, DirectLennardJones], ids=["splines", "autograd"])
def test_forces_and_stress_equal_finite_differences(make):
    atoms = crystal(seed=1)
    atoms.calc = AsediffCalculator(make())
    chosen = [0, 17, 50]
    numeric = calculate_numerical_forces(atoms, eps=1e-4, iatoms=chosen)
    # Central differences of 1e-4 Å: errors of u''' eps^2 ~ 1e-8 eV/Å, and of the jump of the shifted force.
    np.testing.assert_allclose(atoms.get_forces()[chosen], numeric, atol=2e-7)
    numeric = calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), numeric, atol=1e-9)


def test_stress_has_the_sign_of_ase():
    atoms = bulk("Ar", "fcc", a=5.26, cubic=True) * 4
    atoms.calc = AsediffCalculator(pair_potential())
    atoms.set_cell(atoms.cell * 1.05, scale_atoms=True)
    assert (atoms.get_stress()[:3] > 0).all()
    atoms.set_cell(atoms.cell * 0.9, scale_atoms=True)
    assert (atoms.get_stress()[:3] < 0).all()


def test_newtons_third_law_and_no_dependence_on_images():
    atoms = crystal()
    atoms.calc = AsediffCalculator(pair_potential())
    forces = atoms.get_forces()
    assert np.abs(forces.sum(0)).max() < 1e-12
    wrapped = atoms.copy()
    wrapped.wrap()
    wrapped.calc = AsediffCalculator(pair_potential())
    np.testing.assert_allclose(wrapped.get_forces(), forces, atol=1e-11)


def test_ase_caches_the_results():
    atoms = crystal()
    potential = DirectLennardJones()
    atoms.calc = AsediffCalculator(potential)
    for _ in range(3):
        atoms.get_potential_energy()
        atoms.get_forces()
        atoms.get_stress()
    assert potential.calls == 1
    atoms.positions[0, 0] += 0.01
    atoms.get_potential_energy()
    assert potential.calls == 2


def test_results_follow_the_cell_the_atoms_and_the_boundary():
    calculator = AsediffCalculator(pair_potential())
    atoms = crystal()
    variants = [atoms.copy() for _ in range(5)]
    variants[1].set_cell(atoms.cell * 1.02, scale_atoms=True)
    variants[2].set_cell(atoms.cell * 1.02, scale_atoms=False)
    variants[3].pbc = [True, True, False]
    del variants[4][10]
    for variant in variants:
        fresh = AsediffCalculator(pair_potential()).get_property("energy", variant)
        assert calculator.get_property("energy", variant) == pytest.approx(fresh, rel=1e-12)


@pytest.mark.parametrize("make", [pair_potential, DirectLennardJones], ids=["splines", "autograd"])
def test_changed_parameters_give_new_results(make):
    atoms = crystal()
    potential = make()
    atoms.calc = AsediffCalculator(potential)
    before = atoms.get_potential_energy()
    with torch.no_grad():
        next(potential.parameters()).mul_(1.1)
    after = atoms.get_potential_energy()
    assert after == pytest.approx(AsediffCalculator(potential).get_property("energy", atoms), rel=1e-12)
    assert after != pytest.approx(before, rel=1e-3)


@pytest.mark.sampled
def test_energy_is_conserved_in_velocity_verlet():
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True) * 3
    atoms.calc = AsediffCalculator(pair_potential())
    atoms.set_momenta(System.from_atoms(atoms).thermalized(temperature_K=80, seed=shifted(0)).momenta.numpy())
    start = atoms.get_total_energy()
    dynamics = VelocityVerlet(atoms, timestep=4 * units.fs)
    drift = []
    for _ in range(10):
        dynamics.run(20)
        drift.append(atoms.get_total_energy() - start)
    # Kinetic energy turns into potential energy, 0.8 eV of it. What Verlet's method loses of that is 2.2e-4 eV over 8
    # seeds, with a scatter of 1e-5.
    assert np.abs(drift).max() < 8e-4
    assert np.abs(atoms.get_momenta().sum(0)).max() < 1e-9


@pytest.mark.sampled
def test_langevin_runs():
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True) * 3
    atoms.calc = AsediffCalculator(pair_potential())
    dynamics = Langevin(
        atoms,
        timestep=4 * units.fs,
        temperature_K=60,
        friction=0.05 / units.fs,
        fixcm=False,
        rng=np.random.default_rng(shifted(1)),
    )
    temperatures = []
    for _ in range(40):
        dynamics.run(5)
        temperatures.append(atoms.get_temperature())
    # 108 atoms: one reading scatters by sqrt(2 / 324) = 8 %, the mean of these thirty by 1 % over 8 seeds; they follow
    # one another after one relaxation time.
    assert np.mean(temperatures[10:]) == pytest.approx(60, rel=0.15)


def test_bfgs_finds_the_crystal():
    atoms = bulk("Ar", "fcc", a=5.26, cubic=True) * 3
    atoms.calc = AsediffCalculator(pair_potential())
    ideal = atoms.get_potential_energy()
    atoms.rattle(0.05, seed=3)
    atoms.set_constraint(FixAtoms([0]))
    assert BFGS(atoms, logfile=None, alpha=5.0).run(fmax=1e-4, steps=100)
    assert atoms.get_potential_energy() == pytest.approx(ideal, abs=1e-5)


def test_the_cell_relaxes_to_zero_stress():
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True) * 3
    atoms.calc = AsediffCalculator(pair_potential())
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=100)
    assert np.abs(atoms.get_stress()).max() < 1e-6
    energy, cell = atoms.get_potential_energy(), atoms.cell.copy()
    for scale in (0.998, 1.002):
        atoms.set_cell(cell * scale, scale_atoms=True)
        assert atoms.get_potential_energy() > energy


def test_a_dimer_without_cell():
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 2 ** (1 / 6) * SIGMA]])
    atoms.calc = AsediffCalculator(pair_potential())
    assert atoms.get_potential_energy() == pytest.approx(-EPSILON, rel=1e-4)
    np.testing.assert_allclose(atoms.get_potential_energies(), -0.5 * EPSILON, rtol=1e-4)
    with pytest.raises(PropertyNotImplementedError, match="stress"):
        atoms.get_stress()


def test_one_atom_has_no_energy():
    for potential in (pair_potential(), DirectLennardJones()):
        atoms = Atoms("Ar", cell=[20, 20, 20], pbc=True, calculator=AsediffCalculator(potential))
        assert atoms.get_potential_energy() == 0.0
        assert np.array_equal(atoms.get_forces(), np.zeros((1, 3)))
        assert np.array_equal(atoms.get_stress(), np.zeros(6))


def test_single_precision():
    atoms = crystal()
    exact = AsediffCalculator(pair_potential()).get_property("forces", atoms)
    calculator = AsediffCalculator(pair_potential(), dtype="float32")
    single = calculator.get_property("forces", atoms)
    assert single.dtype == np.float64
    assert calculator.parameters["dtype"] == "float32"
    # Positions of some 50 Å carry 4e-6 Å of round-off; the curvature is of the order of 1 eV/Å^2.
    np.testing.assert_allclose(single, exact, atol=2e-4)


def test_temperature_dependent_potential():
    radial = TemperatureDependent(LennardJones(EPSILON, SIGMA), Repulsion(0.01, SIGMA))
    potential = PairPotential(radial, CUTOFF)
    atoms = crystal()
    cold = AsediffCalculator(potential, temperature_K=50).get_property("energy", atoms)
    calculator = AsediffCalculator(potential, kT=50 * units.kB)
    assert calculator.get_property("energy", atoms) == pytest.approx(cold, rel=1e-12)
    calculator.set(temperature_K=300)
    assert calculator.parameters["kT"] is None
    hot = calculator.get_property("energy", atoms)
    assert hot == pytest.approx(
        AsediffCalculator(potential, temperature_K=300).get_property("energy", atoms), rel=1e-12
    )
    assert hot != pytest.approx(cold, rel=1e-3)
    with pytest.raises(InputError, match="kT"):
        AsediffCalculator(potential).get_property("energy", atoms)


def test_parameters_are_complete_and_plain():
    calculator = AsediffCalculator(pair_potential() + DirectLennardJones(), temperature_K=300)
    parameters = json.loads(encode(calculator.todict()))
    assert parameters["temperature_K"] == 300
    assert parameters["cutoff"] == CUTOFF
    assert parameters["device"] == "cpu"
    assert parameters["dtype"] == "float64"
    assert parameters["skin"] == pytest.approx(0.12 * CUTOFF)
    first, second = parameters["potential"]["terms"]
    assert first["truncation"]["kind"] == "Switched"
    assert second == {"kind": "DirectLennardJones"}


def test_copies_are_independent():
    atoms = crystal()
    calculator = AsediffCalculator(pair_potential())
    energy = calculator.get_property("energy", atoms)
    assert copy.deepcopy(calculator).get_property("energy", atoms) == energy


def test_what_is_not_there_is_refused_as_ase_does():
    atoms = crystal()
    atoms.calc = AsediffCalculator(DirectLennardJones())
    for name in ("get_dipole_moment", "get_charges", "get_potential_energies", "get_stresses"):
        with pytest.raises(PropertyNotImplementedError):
            getattr(atoms, name)()


def test_unsuitable_atoms_are_refused_with_the_remedy():
    potential = PairPotential({("Ar", "Ar"): LennardJones(EPSILON, SIGMA)}, CUTOFF)
    water = molecule("H2O")
    water.calc = AsediffCalculator(potential)
    with pytest.raises(InputError, match="add its pairs"):
        water.get_potential_energy()
    flat = Atoms("Ar", pbc=True, calculator=AsediffCalculator(potential))
    with pytest.raises(InputError, match="give a cell"):
        flat.get_forces()
    # The calculator is as good as new after an error.
    argon = crystal()
    argon.calc = water.calc
    assert np.isfinite(argon.get_potential_energy())


def test_overlapping_atoms_of_an_unbounded_potential_are_refused():
    atoms = Atoms("Ar2", positions=np.zeros((2, 3)), calculator=AsediffCalculator(DirectLennardJones()))
    with pytest.raises(CalculationFailed, match="overlapping"):
        atoms.get_forces()


def test_a_lost_atom_is_refused():
    atoms = crystal()
    atoms.calc = AsediffCalculator(pair_potential())
    atoms.get_forces()
    atoms.positions[3] = np.nan
    with pytest.raises(InputError, match="positions: atom 3"):
        atoms.get_forces()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kT": 1.0, "temperature_K": 1.0}, "both are given"),
        ({"kT": -1.0}, "kT: -1.0"),
        ({"temperature_K": float("nan")}, "temperature_K: nan"),
        ({"skin": -0.1}, r"skin: -0\.1"),
        ({"dtype": torch.float16}, r"dtype: torch\.float16"),
        ({"dtype": "double64"}, "dtype: double64"),
        ({"device": "nowhere"}, "nowhere"),
    ],
)
def test_senseless_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        AsediffCalculator(pair_potential(), **arguments)


def test_senseless_settings_are_refused():
    with pytest.raises(InputError, match="potential: a float"):
        AsediffCalculator(1.0)
    with pytest.raises(InputError, match="epsilon: not a parameter; the parameters are kT"):
        AsediffCalculator(pair_potential()).set(epsilon=1.0)
