"""What several subcommands share; nothing here imports more than the standard library before it is used."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asediff.app.config.errors import ConfigError
from asediff.checks.numbers import SEED, TEMPERATURE, THERMAL_ENERGY, TIMESTEP
from asediff.host.reading import check_file

if TYPE_CHECKING:
    from ase import Atoms

    from asediff.system import System

POTENTIAL = "the potential.pt of a fit"
STRUCTURE = "a structure that ASE reads"


class Interrupted(Exception):  # noqa: N818
    """The user stopped a command; the message says what is left and how to go on."""


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def add_thermal(parser: argparse.ArgumentParser) -> None:
    """Add --temperature and --kT."""
    parser.add_argument("--temperature", type=float, metavar="K", help="temperature in kelvin (units metal, real)")
    parser.add_argument("--kT", type=float, metavar="E", dest="kT", help="thermal energy: eV, or reduced for units lj")


def thermal_energy(options: argparse.Namespace) -> float:
    """KT in internal energy from --temperature or --kT.

    Raises:
        ConfigError: not exactly one of them, or it cannot be meant.
    """
    if (options.temperature is None) == (options.kT is None):
        raise ConfigError("--temperature, --kT: give exactly one of the two")
    units = getattr(options, "units", "metal")
    name, value = ("--kT", options.kT) if options.temperature is None else ("--temperature", options.temperature)
    if not value > 0:
        raise ConfigError(f"{name} {value:g}: not a temperature at which atoms move; give a number above zero")
    if options.temperature is None:
        THERMAL_ENERGY.range(units).check(name, value)
        return float(value)
    if units == "lj":
        raise ConfigError("--temperature: kelvin have no meaning in units lj; give --kT")
    TEMPERATURE.range(units).check(name, value)
    from asediff.checks.temperature import energy_of

    return float(energy_of(value))


def check_timestep(options: argparse.Namespace) -> None:
    """Refuse a --timestep that cannot be meant.

    Raises:
        ValueError: it cannot.
    """
    if not options.timestep > 0:
        raise ConfigError(f"--timestep {options.timestep:g}: not a time; give a number above zero")
    TIMESTEP.range(options.units).check("--timestep", options.timestep)


def check_seed(seed: int) -> None:
    """Refuse a --seed that is no 32-bit number.

    Raises:
        ValueError: it is none.
    """
    SEED.metal.check("--seed", seed)


def check_inputs(options: argparse.Namespace) -> None:
    """Refuse a potential or a structure that is no file, before anything is imported to read it.

    Raises:
        ValueError: one of them is none.
    """
    check_file(options.potential, POTENTIAL)
    check_file(options.structure, STRUCTURE)


def structure(path: str) -> tuple[Atoms, System]:
    """The last structure in a file."""
    from asediff.app.config.atoms import read_structure
    from asediff.system import System

    atoms = read_structure(Path(path))
    return atoms, System.from_atoms(atoms)


def new_file(path: str | Path, *, overwrite: bool) -> Path:
    """A path to write to.

    Raises:
        ConfigError: it is a folder, or exists and may not be overwritten.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"--output {path}: is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise ConfigError(f"--output {path}: exists; choose another name, or --overwrite")
    return path


def is_terminal() -> bool:
    """Whether a progress bar has a reader."""
    return sys.stderr.isatty()


def parse_pair(text: str | None) -> tuple[str, str] | None:
    """`O-H` as two symbols.

    Raises:
        ConfigError: not two symbols.
    """
    if text is None:
        return None
    symbols: list[Any] = text.split("-")
    if len(symbols) != 2:
        raise ConfigError(f"--pair {text}: not two symbols; write for example --pair O-H")
    return symbols[0], symbols[1]
