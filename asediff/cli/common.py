"""What several subcommands share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ase import Atoms
from ase import units as ase_units

from asediff.config import ConfigError
from asediff.config.resolve import read_structure
from asediff.system import System


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
        ConfigError: not exactly one of them, or it is not positive.
    """
    if (options.temperature is None) == (options.kT is None):
        raise ConfigError("--temperature, --kT: give exactly one of the two")
    name, value = ("--kT", options.kT) if options.temperature is None else ("--temperature", options.temperature)
    if not value > 0:
        raise ConfigError(f"{name} {value:g}: not a temperature at which atoms move; give a number above zero")
    if options.temperature is None:
        return float(value)
    if getattr(options, "units", "metal") == "lj":
        raise ConfigError("--temperature: kelvin have no meaning in units lj; give --kT")
    return float(value * ase_units.kB)


def time_unit(units: str) -> float:
    """Internal time of what --timestep counts: fs, or reduced time for lj."""
    return 1.0 if units == "lj" else float(ase_units.fs)


def structure(path: str) -> tuple[Atoms, System]:
    """The last structure in a file."""
    atoms = read_structure(Path(path))
    return atoms, System.from_atoms(atoms)


def new_file(path: str | Path, *, overwrite: bool) -> Path:
    """A path to write to; its folder is made.

    Raises:
        ConfigError: it exists and may not be overwritten.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise ConfigError(f"--output {path}: exists; choose another name, or --overwrite")
    path.parent.mkdir(parents=True, exist_ok=True)
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
