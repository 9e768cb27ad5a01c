"""Lattices: density, counts, neighbours, and the species of mixtures."""

import numpy as np
import pytest
from ase.data import atomic_masses
from sampling import seed, sigmas

from asediff.lattices import bcc, diamond, fcc, lattice_with_atoms, mixture


@pytest.mark.parametrize(
    ("build", "per_cell", "coordination"),
    [(fcc, 4, 12), (bcc, 2, 8), (diamond, 8, 4)],
    ids=["fcc", "bcc", "diamond"],
)
def test_crystals_have_their_density_and_coordination(build, per_cell, coordination):
    atoms = build("Ar", density=0.8, cells=3)
    assert len(atoms) == per_cell * 27
    assert len(atoms) / atoms.get_volume() == pytest.approx(0.8, rel=1e-12)
    assert atoms.pbc.all()
    distances = np.sort(atoms.get_distances(0, range(1, len(atoms)), mic=True))
    assert distances[coordination - 1] == pytest.approx(distances[0])
    assert distances[coordination] > 1.1 * distances[0]


def test_cells_along_each_direction():
    atoms = fcc("Ar", density=1.0, cells=(2, 3, 4))
    assert len(atoms) == 4 * 24
    assert atoms.cell.lengths() == pytest.approx(np.array([2, 3, 4]) * 4.0 ** (1 / 3))


def test_mass_density():
    # Liquid water at 0.997 g/cm^3 with one bead of 18.015 amu per molecule: 0.03333 molecules / Å^3.
    atoms = fcc("O", mass_density=0.997, mass=18.015)
    assert len(atoms) / atoms.get_volume() == pytest.approx(0.0333283, rel=1e-5)
    assert atoms.get_masses() == pytest.approx(18.015)
    # Copper, 8.96 g/cm^3: the lattice constant is 3.61 Å.
    assert fcc("Cu", mass_density=8.96, cells=1).cell.lengths()[0] == pytest.approx(3.61, abs=0.01)


@pytest.mark.sampled
def test_rattle_moves_atoms_by_its_length_and_repeats():
    still = fcc("Ar", density=1.0, cells=5)
    moved = fcc("Ar", density=1.0, cells=5, rattle=0.05, seed=seed(1))
    # 1500 normal numbers: the relative standard error of their standard deviation is 1/sqrt(3000) = 0.018
    assert (moved.positions - still.positions).std() == pytest.approx(0.05, rel=sigmas() / 3000**0.5)
    again = fcc("Ar", density=1.0, cells=5, rattle=0.05, seed=seed(1))
    assert np.array_equal(moved.positions, again.positions)


@pytest.mark.parametrize("n_atoms", [1, 27, 100, 108, 125, 216, 250, 255, 256, 1000])
def test_lattice_with_any_number_of_atoms(n_atoms):
    atoms = lattice_with_atoms("Ar", n_atoms, density=0.5, seed=3)
    assert len(atoms) == n_atoms
    assert n_atoms / atoms.get_volume() == pytest.approx(0.5, rel=1e-12)
    assert np.ptp(atoms.cell.lengths()) < 1e-12
    if n_atoms > 1:
        first, second = np.triu_indices(n_atoms, 1)
        edge = atoms.cell.lengths()[0]
        displacements = atoms.positions[first] - atoms.positions[second]
        distances = np.linalg.norm(displacements - edge * np.rint(displacements / edge), axis=1)
        assert distances.min() > 0.7 * (n_atoms / atoms.get_volume()) ** (-1 / 3)


def test_lattice_with_atoms_fills_what_it_can():
    # 216 = 6^3 sites of a simple cubic lattice: no site is empty and each atom has 6 neighbours.
    atoms = lattice_with_atoms("O", 216, density=1.0)
    assert np.count_nonzero(atoms.get_all_distances(mic=True) < 1.01) == 216 * 7
    # 256 = 4 x 4^3 sites of a face-centred one.
    atoms = lattice_with_atoms("O", 256, density=4.0)
    assert np.count_nonzero(atoms.get_all_distances(mic=True) < 0.71) == 256 * 13


def test_mixture_has_exact_counts():
    sites = fcc("Ar", density=1.0, cells=(5, 5, 1))
    mixed = mixture(sites, {"Ar": 0.71, "Kr": 0.29}, seed=4)
    assert len(sites) == 100
    assert mixed.get_chemical_symbols().count("Kr") == 29
    assert sites.get_chemical_symbols().count("Ar") == 100
    assert mixed.get_masses() == pytest.approx(atomic_masses[mixed.numbers])
    assert np.array_equal(mixed.positions, sites.positions)
    assert np.array_equal(mixed.numbers, mixture(sites, {"Ar": 0.71, "Kr": 0.29}, seed=4).numbers)
    assert not np.array_equal(mixed.numbers, mixture(sites, {"Ar": 0.71, "Kr": 0.29}, seed=5).numbers)


def test_mixture_rounds_to_the_number_of_sites():
    sites = fcc("Ar", density=1.0, cells=1)
    mixed = mixture(sites, {"Ar": 1 / 3, "Kr": 1 / 3, "Xe": 1 / 3})
    assert len(mixed) == 4
    assert set(mixed.get_chemical_symbols()) == {"Ar", "Kr", "Xe"}
    assert set(mixture(sites, {"Ar": 1.0, "Kr": 0.0}).get_chemical_symbols()) == {"Ar"}


def test_mixture_masses():
    mixed = mixture(fcc("Ar", density=1.0, mass=7.0), {"Ar": 0.5, "Kr": 0.5}, masses={"Kr": 2.0})
    krypton = mixed.numbers == 36
    assert mixed.get_masses()[krypton] == pytest.approx(2.0)
    assert mixed.get_masses()[~krypton] == pytest.approx(atomic_masses[18])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither is given"),
        ({"density": 1.0, "mass_density": 1.0}, "both are given"),
        ({"density": -1.0}, "density: -1.0"),
        ({"mass_density": float("nan")}, "mass_density: nan"),
        ({"density": 1.0, "cells": 0}, "cells: 0"),
        ({"density": 1.0, "cells": (1, 2)}, r"cells: \(1, 2\)"),
        ({"density": 1.0, "mass": 0.0}, r"mass: 0\.0"),
        ({"density": 1.0, "rattle": -0.1}, r"rattle: -0\.1"),
    ],
)
def test_senseless_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fcc("Ar", **arguments)


def test_senseless_mixtures_are_refused():
    sites = fcc("Ar", density=1.0, cells=1)
    with pytest.raises(ValueError, match=r"add up to 0\.9"):
        mixture(sites, {"Ar": 0.5, "Kr": 0.4})
    with pytest.raises(ValueError, match="add up to 1; give numbers of at least 0"):
        mixture(sites, {"Ar": 1.5, "Kr": -0.5})
    with pytest.raises(ValueError, match="symbol: 'W2'"):
        mixture(sites, {"W2": 1.0})
    with pytest.raises(ValueError, match="'Xe' is not among the species"):
        mixture(sites, {"Ar": 1.0}, masses={"Xe": 1.0})
    with pytest.raises(ValueError, match="n_atoms: 0"):
        lattice_with_atoms("Ar", 0, density=1.0)
