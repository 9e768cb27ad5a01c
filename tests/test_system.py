"""System: what it keeps of ase.Atoms, what it refuses, and the velocities it draws."""

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from sampling import seed, sigmas

from asediff.system import System, resolve_kT


@pytest.fixture
def images() -> list[Atoms]:
    rng = np.random.default_rng(1)
    argon = bulk("Ar", cubic=True) * (2, 2, 2)
    iron = bulk("Fe", "bcc", a=2.9) * (3, 2, 1)
    iron.pbc = [True, False, True]
    water = molecule("H2O")
    images = [argon, iron, water]
    for atoms in images:
        atoms.set_momenta(rng.normal(size=(len(atoms), 3)))
        atoms.positions += rng.normal(scale=5.0, size=(len(atoms), 3))
    iron.set_masses(rng.uniform(1.0, 9.0, len(iron)))
    return images


def fields_of(system: System) -> dict[str, torch.Tensor]:
    names = ("positions", "velocities", "masses", "numbers", "cell", "pbc", "system_idx")
    return {name: getattr(system, name) for name in names}


def test_from_atoms_and_back_keeps_everything(images):
    system = System.from_atoms(images)
    assert system.counts.tolist() == [len(atoms) for atoms in images]
    assert system.offsets.tolist() == np.cumsum([0] + [len(atoms) for atoms in images]).tolist()
    for before, after in zip(images, system.to_atoms(), strict=True):
        assert np.array_equal(before.numbers, after.numbers)
        assert np.array_equal(before.positions, after.positions)
        assert np.array_equal(before.get_masses(), after.get_masses())
        assert np.array_equal(before.pbc, after.pbc)
        assert np.array_equal(before.cell.array, after.cell.array)
        # momenta pass through velocities: one division and one multiplication
        np.testing.assert_allclose(before.get_momenta(), after.get_momenta(), rtol=1e-14)


def test_getters_agree_with_ase(images):
    system = System.from_atoms(images)
    for k, atoms in enumerate(images):
        one = system[k]
        assert one.get_chemical_symbols() == atoms.get_chemical_symbols()
        assert one.get_atomic_numbers().tolist() == atoms.numbers.tolist()
        np.testing.assert_allclose(one.get_momenta(), atoms.get_momenta(), rtol=1e-14)
        np.testing.assert_allclose(one.get_velocities(), atoms.get_velocities())
        np.testing.assert_allclose(one.get_masses(), atoms.get_masses())
        np.testing.assert_allclose(one.get_cell()[0], atoms.cell.array)
        assert one.get_pbc()[0].tolist() == atoms.pbc.tolist()
        np.testing.assert_allclose(system.get_kinetic_energy()[k], atoms.get_kinetic_energy())
        np.testing.assert_allclose(system.get_temperature()[k], atoms.get_temperature())
        np.testing.assert_allclose(system.get_kT()[k], atoms.get_temperature() * units.kB)
        np.testing.assert_allclose(system.get_volume()[k], abs(np.linalg.det(atoms.cell.array)))
        np.testing.assert_allclose(one.get_scaled_positions(), atoms.get_scaled_positions(), atol=1e-12, rtol=0)
        np.testing.assert_allclose(
            one.get_scaled_positions(wrap=False), atoms.get_scaled_positions(wrap=False), atol=1e-12
        )
        np.testing.assert_allclose(one.get_positions(wrap=True), atoms.get_positions(wrap=True), atol=1e-12)
        np.testing.assert_allclose(one.wrapped().positions, atoms.get_positions(wrap=True), atol=1e-12)
        assert one.get_positions() is one.positions


def test_one_ase_atoms_needs_no_list(images):
    assert System.from_atoms(images[0]).n_systems == 1


def test_concatenate_undoes_getitem(images):
    system = System.from_atoms(images)
    again = System.concatenate([system[0], System.concatenate([system[1], system[-1]])])
    for name, tensor in fields_of(system).items():
        assert torch.equal(tensor, getattr(again, name)), name


def test_to_converts_only_real_numbers(images):
    system = System.from_atoms(images).to(dtype=torch.float32)
    assert system.dtype == system.velocities.dtype == system.masses.dtype == system.cell.dtype == torch.float32
    assert system.numbers.dtype == system.system_idx.dtype == torch.int64
    assert system.pbc.dtype == torch.bool
    assert System.from_atoms(images, dtype=torch.float32).dtype == torch.float32


def test_replace_changes_one_field_and_leaves_the_original(images):
    system = System.from_atoms(images)
    moved = system.replace(positions=system.positions + 1.0)
    assert torch.equal(moved.positions, system.positions + 1.0)
    assert moved.masses is system.masses
    with pytest.raises(AttributeError):
        system.positions = moved.positions


def test_replace_keeps_gradients():
    system = System.from_atoms(bulk("Ar", cubic=True))
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    system = system.replace(velocities=scale * torch.ones_like(system.velocities))
    system.get_kinetic_energy().sum().backward()
    # K = 0.5 m 3 s^2 for each atom, dK/ds = 3 m s
    np.testing.assert_allclose(scale.grad, 6.0 * float(system.masses.sum()), rtol=1e-14)
    assert not system.detach().velocities.requires_grad


def test_sum_by_system(images):
    system = System.from_atoms(images)
    sums = system.sum_by_system(system.positions)
    for k in range(3):
        np.testing.assert_allclose(sums[k], system[k].positions.sum(0), rtol=1e-12)
        np.testing.assert_allclose(system[k].sum_by_system(system[k].positions)[0], sums[k], rtol=1e-12)


def test_thermalized_has_exactly_the_asked_kinetic_energy(images):
    system = System.from_atoms(images)
    kT = torch.tensor([0.1, 0.5, 2.0])
    hot = system.thermalized(kT=kT, seed=5)
    expected = 0.5 * (3 * system.counts - 3) * kT.double()
    np.testing.assert_allclose(hot.get_kinetic_energy(), expected, rtol=1e-13)
    # the momenta are of order one and cancel to round-off
    assert float(hot.sum_by_system(hot.momenta).abs().max()) < 1e-12
    assert torch.equal(hot.positions, system.positions)


def test_thermalized_repeats_with_its_seed_and_in_float32(images):
    system = System.from_atoms(images)
    first = system.thermalized(kT=1.0, seed=7)
    assert torch.equal(first.velocities, system.thermalized(kT=1.0, seed=7).velocities)
    assert not torch.equal(first.velocities, system.thermalized(kT=1.0, seed=8).velocities)
    single = system.to(dtype=torch.float32).thermalized(kT=1.0, seed=7)
    # single precision: 6e-8 relative
    np.testing.assert_allclose(single.velocities, first.velocities, rtol=1e-6, atol=1e-7)


def test_thermalized_takes_kelvin(images):
    system = System.from_atoms(images)
    by_kelvin = system.thermalized(temperature_K=300.0, seed=1)
    by_kT = system.thermalized(kT=300.0 * units.kB, seed=1)
    assert torch.equal(by_kelvin.velocities, by_kT.velocities)


@pytest.mark.sampled
def test_thermalized_velocities_are_maxwell_boltzmann():
    atoms = bulk("Ar", cubic=True) * (10, 10, 10)
    masses = np.where(np.arange(len(atoms)) % 2, 40.0, 4.0)
    atoms.set_masses(masses)
    system = System.from_atoms(atoms).thermalized(kT=0.7, seed=seed(3))
    for mass in (4.0, 40.0):
        chosen = system.velocities[system.masses == mass].flatten()
        # 6000 numbers: the relative standard error of a variance is sqrt(2/6000) = 0.018; of a kurtosis, which is
        # skewed upwards, sqrt(24/6000) = 0.063
        assert float(chosen.var()) == pytest.approx(0.7 / mass, rel=sigmas(comparisons=4) * (2 / 6000) ** 0.5)
        normal = chosen / chosen.std()
        assert -sigmas() < (float((normal**4).mean()) - 3.0) / (24 / 6000) ** 0.5 < 2 * sigmas()


def test_one_atom_comes_to_rest():
    system = System.from_atoms(Atoms("Ar")).thermalized(kT=1.0, seed=0)
    assert torch.equal(system.velocities, torch.zeros_like(system.velocities))


def test_repr_is_short(images):
    text = repr(System.from_atoms(images))
    assert "3 systems" in text
    assert "Ar" in text
    assert len(text) < 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": torch.zeros(32, 2, dtype=torch.float64)}, "positions: shape"),
        ({"velocities": torch.zeros(3, 3, dtype=torch.float64)}, "velocities: shape"),
        ({"masses": torch.zeros(32, dtype=torch.float64)}, "masses: atom 0 has 0.0"),
        ({"masses": torch.ones(32)}, "masses: type torch.float32"),
        ({"numbers": torch.ones(32)}, "numbers: type torch.float32"),
        ({"numbers": torch.full((32,), 500)}, "numbers: 500 is no element"),
        ({"numbers": torch.full((32,), -1)}, "numbers: -1 is no element"),
        ({"cell": torch.eye(3, dtype=torch.float64)}, "cell: shape"),
        ({"cell": torch.zeros(1, 3, 3, dtype=torch.float64)}, "cell: system 0 is periodic"),
        ({"cell": torch.ones(1, 3, 3, dtype=torch.float64)}, "cell: system 0 is periodic"),
        ({"cell": torch.full((1, 3, 3), torch.nan, dtype=torch.float64)}, "cell: row 0"),
        ({"pbc": torch.ones(1, 3)}, "pbc: type"),
        ({"system_idx": torch.arange(31, -1, -1)}, "system_idx: falls at atom 1"),
        ({"system_idx": torch.ones(32, dtype=torch.int64)}, "system_idx: runs from 1 to 1"),
        ({"box": torch.ones(3)}, "box: not a field"),
        ({"masses": np.ones(32)}, "masses: a ndarray"),
    ],
)
def test_misfits_are_refused_with_one_line(change, message):
    system = System.from_atoms(bulk("Ar", cubic=True) * (2, 2, 2))
    with pytest.raises(ValueError, match=message) as error:
        system.replace(**change)
    assert "\n" not in str(error.value)
    assert ";" in str(error.value)


def test_constructor_refuses_what_is_not_finite(images):
    values = fields_of(System.from_atoms(images))
    values["positions"] = values["positions"].clone()
    values["positions"][4, 1] = torch.inf
    with pytest.raises(ValueError, match=r"positions: row 4 is .*inf.*not finite"):
        System(**values)


def test_constructor_refuses_a_system_without_atoms(images):
    values = fields_of(System.from_atoms(images))
    values["system_idx"] = torch.where(values["system_idx"] == 1, 2, values["system_idx"])
    with pytest.raises(ValueError, match="system 1 has no atoms"):
        System(**values)


def test_empty_input_is_refused():
    with pytest.raises(ValueError, match=r"at least one ase\.Atoms"):
        System.from_atoms([])
    with pytest.raises(ValueError, match="at least one atom"):
        System.from_atoms(Atoms())
    with pytest.raises(ValueError, match="item 0 is a str"):
        System.from_atoms(["Ar"])
    with pytest.raises(ValueError, match="at least one System"):
        System.concatenate([])


def test_concatenate_refuses_mixed_types(images):
    system = System.from_atoms(images)
    with pytest.raises(ValueError, match=r"item 1 is torch.float32"):
        System.concatenate([system, system.to(dtype=torch.float32)])


def test_getitem_refuses_slices_and_wrong_indices(images):
    system = System.from_atoms(images)
    with pytest.raises(TypeError, match="not an int"):
        system[0:2]
    with pytest.raises(IndexError, match="outside the 3 systems"):
        system[3]
    assert len(list(system)) == 3


def test_exactly_one_temperature():
    assert resolve_kT(kT=1.5) == 1.5
    assert resolve_kT(temperature_K=300.0) == 300.0 * units.kB
    with pytest.raises(ValueError, match="both are given"):
        resolve_kT(kT=1.0, temperature_K=1.0)
    with pytest.raises(ValueError, match="neither is given"):
        resolve_kT()
    for bad in (-1.0, float("nan"), torch.tensor([1.0, -2.0])):
        with pytest.raises(ValueError, match=r"temperature_K: .* is not a temperature"):
            resolve_kT(temperature_K=bad)


def test_thermalized_refuses_a_misshapen_kT(images):
    with pytest.raises(ValueError, match=r"kT: shape \(2,\) does not fit 3 systems"):
        System.from_atoms(images).thermalized(kT=torch.ones(2), seed=0)


@pytest.mark.gpu
def test_a_seed_gives_the_same_velocities_on_each_device(images):
    system = System.from_atoms(images)
    there = system.to(device="cuda").thermalized(kT=1.0, seed=2)
    assert there.device.type == "cuda"
    assert torch.equal(there.velocities.cpu(), system.thermalized(kT=1.0, seed=2).velocities)
