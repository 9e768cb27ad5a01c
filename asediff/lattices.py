"""Crystals at a target density and mixtures at a composition, as starting points for liquids and tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict, Unpack

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers

_SITES = {"sc": 1, "bcc": 2, "fcc": 4, "diamond": 8}
# 1 g/cm^3 in amu/Å^3: Avogadro's number times (1e-8 cm)^3 per Å^3.
_AMU_PER_CUBIC_ANGSTROM = units._Nav * 1e-24


class CrystalOptions(TypedDict, total=False):
    """The arguments of `fcc`, which `bcc` and `diamond` share."""

    density: float | None
    mass_density: float | None
    cells: int | tuple[int, int, int]
    mass: float | None
    rattle: float
    seed: int


def fcc(symbol: str, **options: Unpack[CrystalOptions]) -> Atoms:
    """Build a face-centred cubic crystal, 4 atoms per cubic cell.

    Args:
        symbol: Chemical symbol of the atoms or beads.
        density: Number density, atoms / length^3. Exactly one of density and mass_density is given.
        mass_density: Mass density in g/cm^3, for lengths in Å and masses in amu.
        cells: Number of cubic cells along each direction, 4 by default.
        mass: Mass of an atom; that of the element if not given.
        rattle: Standard deviation of normal displacements from the sites, length; 0 by default.
        seed: Seed of the displacements.

    Returns:
        Periodic atoms in a cell of the target density.

    Raises:
        ValueError: If the symbol is unknown, or a number makes no sense.
    """
    return _crystal("fcc", symbol, **options)


def bcc(symbol: str, **options: Unpack[CrystalOptions]) -> Atoms:
    """Build a body-centred cubic crystal, 2 atoms per cubic cell; the arguments are those of `fcc`."""
    return _crystal("bcc", symbol, **options)


def diamond(symbol: str, **options: Unpack[CrystalOptions]) -> Atoms:
    """Build a diamond crystal, 8 atoms per cubic cell; the arguments are those of `fcc`."""
    return _crystal("diamond", symbol, **options)


def lattice_with_atoms(
    symbol: str,
    n_atoms: int,
    *,
    density: float | None = None,
    mass_density: float | None = None,
    mass: float | None = None,
    rattle: float = 0.0,
    seed: int = 0,
) -> Atoms:
    """Put a number of atoms into a cube, on the sites of the cubic lattice that leaves the fewest empty.

    The lattice is simple, body-centred or face-centred cubic; empty sites are chosen at random. 216 atoms fill
    a 6 x 6 x 6 simple cubic lattice, 256 a face-centred one, and 255 leave one of its sites empty.

    Args:
        symbol: Chemical symbol of the atoms or beads.
        n_atoms: Number of atoms.
        density: Number density, atoms / length^3. Exactly one of density and mass_density is given.
        mass_density: Mass density in g/cm^3, for lengths in Å and masses in amu.
        mass: Mass of an atom; that of the element if not given.
        rattle: Standard deviation of normal displacements from the sites, length.
        seed: Seed of the empty sites and the displacements.

    Returns:
        Periodic atoms in a cubic cell of the target density.

    Raises:
        ValueError: If the symbol is unknown, or a number makes no sense.
    """
    if n_atoms != int(n_atoms) or n_atoms < 1:
        raise ValueError(f"n_atoms: {n_atoms} is no number of atoms; give a whole number of at least 1")
    number_density = _number_density(symbol, density, mass_density, mass)
    candidates = []
    for structure in ("fcc", "bcc", "sc"):
        repeats = math.ceil(round((n_atoms / _SITES[structure]) ** (1.0 / 3.0), 9))
        candidates.append((_SITES[structure] * repeats**3, structure, repeats))
    # min() keeps the first of equals: close-packed before body-centred before simple.
    n_sites, structure, repeats = min(candidates, key=lambda candidate: candidate[0])
    atoms = _crystal(structure, symbol, density=number_density * n_sites / n_atoms, cells=repeats, mass=mass)
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.permutation(n_sites)[:n_atoms])
    atoms = atoms[kept]
    return _rattled(atoms, rattle, rng)


def mixture(
    atoms: Atoms,
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
    masses: Mapping[str, float] | None = None,
) -> Atoms:
    """Return a copy of the atoms with species put on random sites at a composition.

    The numbers of atoms are n times the fractions, rounded so that they add up to n (largest remainders).

    Args:
        atoms: Sites.
        fractions: Mole fraction of each chemical symbol; they add up to 1.
        seed: Seed of the permutation of the sites.
        masses: Mass of each chemical symbol; that of the element where not given.

    Raises:
        ValueError: If a symbol is unknown, or the fractions do not add up to 1.
    """
    masses = {} if masses is None else masses
    for symbol in fractions:
        _check_symbol(symbol)
    for symbol in masses:
        if symbol not in fractions:
            raise ValueError(f"masses: {symbol!r} is not among the species {', '.join(fractions)}; drop it")
    values = np.array(list(fractions.values()), dtype=float)
    if not len(values) or not (values >= 0).all() or abs(values.sum() - 1.0) > 1e-9:
        raise ValueError(
            f"fractions: {dict(fractions)} add up to {values.sum():.6g}; give numbers of at least 0 that add up to 1"
        )
    exact = values * len(atoms)
    # The small number makes 0.29 * 100 = 28.999999999999996 a 29.
    counts = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: len(atoms) - counts.sum()]] += 1
    symbols = np.repeat(list(fractions), counts)
    mixed = atoms.copy()
    mixed.set_chemical_symbols(list(np.random.default_rng(seed).permutation(symbols)))
    mixed.set_masses([_mass(symbol, masses.get(symbol)) for symbol in mixed.get_chemical_symbols()])
    return mixed


def _crystal(
    structure: str,
    symbol: str,
    *,
    density: float | None = None,
    mass_density: float | None = None,
    cells: int | tuple[int, int, int] = 4,
    mass: float | None = None,
    rattle: float = 0.0,
    seed: int = 0,
) -> Atoms:
    number_density = _number_density(symbol, density, mass_density, mass)
    repeats = (cells,) * 3 if isinstance(cells, int) else tuple(cells)
    if len(repeats) != 3 or any(n != int(n) or n < 1 for n in repeats):
        raise ValueError(f"cells: {cells} is no number of cells; give one or three whole numbers above zero")
    constant = (_SITES[structure] / number_density) ** (1.0 / 3.0)
    atoms = bulk(symbol, structure, a=constant, cubic=True) * repeats
    atoms.set_masses(np.full(len(atoms), _mass(symbol, mass)))
    return _rattled(atoms, rattle, np.random.default_rng(seed))


def _rattled(atoms: Atoms, rattle: float, rng: np.random.Generator) -> Atoms:
    if not (math.isfinite(rattle) and rattle >= 0):
        raise ValueError(f"rattle: {rattle} is no displacement; give a length of at least zero")
    if rattle:
        atoms.positions += rng.normal(scale=rattle, size=(len(atoms), 3))
    return atoms


def _number_density(symbol: str, density: float | None, mass_density: float | None, mass: float | None) -> float:
    _check_symbol(symbol)
    if (density is None) == (mass_density is None):
        state = "neither is" if density is None else "both are"
        raise ValueError(f"density, mass_density: {state} given; give exactly one of the two")
    name, value = ("density", density) if density is not None else ("mass_density", mass_density)
    if value is None or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}: {value} is no density; give a finite number above zero")
    if density is not None:
        return density
    return value * _AMU_PER_CUBIC_ANGSTROM / _mass(symbol, mass)


def _mass(symbol: str, mass: float | None) -> float:
    if mass is None:
        return float(atomic_masses[atomic_numbers[symbol]])
    if not (math.isfinite(mass) and mass > 0):
        raise ValueError(f"mass: {mass} of {symbol} is no mass; give a finite number above zero")
    return float(mass)


def _check_symbol(symbol: str) -> None:
    if symbol not in atomic_numbers:
        raise ValueError(f"symbol: {symbol!r} is no chemical symbol; beads borrow one, for example 'Ar'")
