"""What a configuration says about the atoms: species, masses, temperature, density, and the structures in files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from ase import units as ase_units
from ase.data import atomic_masses, atomic_numbers

from asediff.app.config.errors import ConfigError
from asediff.app.config.models import Config, StatePointSettings
from asediff.checks.species import pair_name
from asediff.checks.temperature import energy_of
from asediff.host.reading import check_file

SITES = {"fcc": 4, "bcc": 2, "diamond": 8}
"""Atoms in a cubic cell."""


def thermal_energy(point: StatePointSettings) -> float:
    """kT of a state point, internal energy."""
    return point.kT if point.kT is not None else energy_of(float(point.temperature_K or 0.0))


def time_unit(units: str) -> float:
    """Internal time of one unit of time that users give: fs, or 1 in reduced units (`lj`)."""
    return 1.0 if units == "lj" else float(ase_units.fs)


def structure_file(config: Config, k: int) -> str | None:
    """File with the start structure of state point k; None for a lattice."""
    return config.state_points[k].file or config.system.file


def symbols_of(config: Config, k: int, base: Path) -> list[str]:
    """Chemical symbols at state point k, by ascending atomic number."""
    file = structure_file(config, k)
    if file is not None:
        found = set(read_structure(base / file).get_chemical_symbols())
    else:
        found = set(config.state_points[k].composition or config.system.composition or [config.system.symbol])
    return sorted(found, key=lambda symbol: atomic_numbers.get(symbol, -1))


def number_of_atoms(config: Config, k: int, base: Path) -> int:
    """Atoms at state point k."""
    file, system = structure_file(config, k), config.system
    if file is not None:
        return len(read_structure(base / file))
    return system.n_atoms if system.lattice is None else SITES[system.lattice] * int(system.cells or 0) ** 3


def number_density(config: Config, k: int, masses: dict[str, float]) -> float:
    """Atoms per length³ at state point k, of a lattice.

    Raises:
        ConfigError: it is missing, or g/cm³ are given in reduced units.
    """
    point = config.state_points[k]
    own = point if point.density is not None or point.mass_density is not None else config.system
    if own.density is not None:
        return own.density
    if own.mass_density is None:
        raise ConfigError("system.density: missing; give density (atoms per length³) or mass_density (g/cm³)")
    if config.units == "lj":
        raise ConfigError("system.mass_density: g/cm³ have no meaning in units lj; give density")
    fractions = point.composition or config.system.composition or dict.fromkeys(masses, 1.0)
    mean_mass = sum(fraction * masses[symbol] for symbol, fraction in fractions.items())
    # amu/Å³ of 1 g/cm³
    return own.mass_density * ase_units._Nav * 1e-24 / mean_mass


def volume_of(config: Config, k: int, base: Path) -> float:
    """Volume of the box at state point k, length³."""
    file = structure_file(config, k)
    if file is not None:
        return float(read_structure(base / file).get_volume())
    masses = {symbol: mass_of(config, symbol, k) for symbol in symbols_of(config, k, base)}
    return number_of_atoms(config, k, base) / number_density(config, k, masses)


def read_structure(path: Path) -> Any:
    """The (last) structure in a file.

    Raises:
        ConfigError: the file is missing or ASE cannot read it.
    """
    try:
        check_file(path, "a structure that ASE reads")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    from ase.io import read

    try:
        return read(path)
    except Exception as error:
        raise ConfigError(f"{path}: ASE cannot read it ({type(error).__name__}: {error}); give a structure") from error


def pairs_of(config: Config, base: Path) -> list[str]:
    """Names of the radial functions: `["all"]`, or each pair of the species of all state points."""
    symbols = {symbol for k in range(len(config.state_points)) for symbol in symbols_of(config, k, base)}
    named = config.potential.pairs or any(t.pair for p in config.state_points for t in p.targets)
    if len(symbols) == 1 or not named:
        return ["all"]
    ordered = sorted(symbols, key=lambda symbol: atomic_numbers.get(symbol, -1))
    return [pair_name(a, b) for a, b in itertools.combinations_with_replacement(ordered, 2)]


def lightest_mass(config: Config, k: int, base: Path) -> float:
    """Smallest mass at state point k."""
    file = structure_file(config, k)
    if file is not None:
        return float(read_structure(base / file).get_masses().min())
    return min(mass_of(config, symbol, k) for symbol in symbols_of(config, k, base))


def mass_of(config: Config, symbol: str, k: int) -> float:
    """Mass of a bead at state point k: its own, the system's, 1 in reduced units, or the element's.

    Raises:
        ConfigError: an unknown symbol, or a nameless bead without a mass.
    """
    system = config.system
    if symbol not in atomic_numbers:
        raise ConfigError(f"system.symbol: {symbol!r} is no chemical symbol; beads borrow one, for example 'O'")
    mixed = (config.state_points[k].composition or system.composition) is not None
    if mixed and symbol in system.masses:
        return system.masses[symbol]
    if system.mass is not None:
        return system.mass
    if config.units == "lj":
        return 1.0
    if symbol == "X":
        raise ConfigError("system.mass: missing for nameless beads; give the mass in amu, or a chemical symbol")
    return float(atomic_masses[atomic_numbers[symbol]])
