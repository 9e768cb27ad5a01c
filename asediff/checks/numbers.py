"""What the numbers of a simulation can be: beyond these ranges a number is a slip of the pen, or of its unit.

The ranges are far wider than anything sensible: they keep a run of hours, or of petabytes, from starting with a
temperature of 1e9 K. `metal` holds for the units metal and real (Å, eV, amu, fs, K), `reduced` for lj. Keys that occur
in a configuration are listed by their name, wherever they stand; numbers without an entry are bounded by `OTHER`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Range:
    """What a number can be.

    Attributes:
        low: smallest.
        high: largest.
        why: what the bounds stand for.
        unit: of the number.
    """

    low: float
    high: float
    why: str
    unit: str = ""

    def check(self, name: str, value: float) -> None:
        """Refuse a number outside.

        Raises:
            ValueError: it is outside, or no number.
        """
        if not self.low <= value <= self.high:
            unit = f" {self.unit}" if self.unit else ""
            raise ValueError(
                f"{name}: {value:.6g}{unit} is not within {self.low:g} ... {self.high:g}{unit} ({self.why}); "
                "correct the number or its unit"
            )


@dataclass(frozen=True)
class Quantity:
    """A range in units metal or real, and the one in reduced units."""

    metal: Range
    reduced: Range

    def range(self, units: str) -> Range:
        """The one that holds in these units."""
        return self.reduced if units == "lj" else self.metal


def _alike(low: float, high: float, why: str, unit: str = "") -> Quantity:
    one = Range(low, high, why, unit)
    return Quantity(one, one)


TEMPERATURE = _alike(0.1, 1e5, "colder, atoms are waves; hotter, they lose their electrons", "K")
THERMAL_ENERGY = Quantity(
    Range(8.6e-6, 8.6, "0.1 K to 1e5 K; kT is an energy, 0.0257 at 298 K", "eV"),
    Range(1e-4, 1e4, "a liquid has about 1"),
)
NUMBER_DENSITY = Quantity(
    Range(1e-7, 10.0, "thin gas to far beyond any solid; water has 0.033", "Å⁻³"),
    Range(1e-7, 100.0, "a liquid has about 0.8"),
)
MASS_DENSITY = _alike(1e-5, 100.0, "thin gas to far beyond any solid; water has 1", "g/cm³")
MASS = Quantity(
    Range(0.1, 1e7, "a hydrogen atom has 1, a protein 1e5", "amu"), Range(1e-6, 1e6, "most simulations have 1")
)
TIMESTEP = Quantity(
    Range(1e-4, 1e3, "atoms take 1 to 5, heavy beads up to 50", "fs"), Range(1e-8, 1e3, "a liquid takes about 0.005")
)
RELAXATION = Quantity(
    Range(1e-3, 1e9, "usual is 100 time steps", "fs"), Range(1e-7, 1e6, "usual is 100 time steps, 0.5")
)
LENGTH = Quantity(
    Range(1e-3, 1e4, "atoms are 1 to 5 apart, beads up to 100", "Å"), Range(1e-4, 1e4, "particles are about 1 apart")
)
CUTOFF = Quantity(
    Range(0.5, 1e3, "usual is 2 to 3 distances of neighbours, 5 to 15 for atoms", "Å"),
    Range(0.02, 1e3, "usual is 2 to 3 distances of neighbours"),
)
FIRST_PEAK = Quantity(
    Range(1.0, 100.0, "atoms that are not bonded are 2 to 5 apart", "Å"),
    Range(0.02, 50.0, "particles are about 1 apart"),
)
PRESSURE = Quantity(
    Range(-1.0, 1.0, "1 eV/Å³ is 1.6 million bar, and 1 bar is 6.24e-7 eV/Å³", "eV/Å³"),
    Range(-1e5, 1e5, "a liquid has about 1"),
)
ENERGY = Quantity(Range(-1e4, 1e4, "chemical bonds have 5", "eV"), Range(-1e6, 1e6, "a liquid has about 1"))
HIGHEST_G = 1e3
"""Largest g(r). Liquids have 2 to 5; crystals, and clusters in a thin gas, some tens or hundreds in fine bins."""
LOWEST_G = 0.1
"""Smallest maximum of a g(r): with less, the pair is never found near one another, or the curve is a density in Å⁻³."""
MEAN_TAIL = (0.05, 20.0)
"""Mean of g(r) over the last fifth of a curve that reaches beyond two first-peak distances, where g is close to 1.
Wide enough for small boxes, clusters and partial g(r) of mixtures that demix; a curve in per cent is not."""
THERMAL_STEP = Range(1e-6, 0.5, "of the time of flight to a neighbour at thermal speed; usual is 0.005")
MINIMUM_FRAMES = 10
"""Frames on which an export is proved."""
STEPS = _alike(1, 1e11, "even small systems take months for so many")
SEED = _alike(0, 2**32 - 1, "32 bits")
BINS = _alike(1, 1e5, "50 for each first-peak distance resolve a liquid")
POSITIVE = _alike(1e-12, 1e12, "a positive number")
FRACTION = _alike(0.0, 1.0, "a fraction")
OTHER = _alike(-1e15, 1e15, "larger numbers overflow somewhere")

BY_KEY: Mapping[str, Quantity] = {
    "temperature_K": TEMPERATURE,
    "kT": THERMAL_ENERGY,
    "density": NUMBER_DENSITY,
    "mass_density": MASS_DENSITY,
    "mass": MASS,
    "masses": MASS,
    "timestep": TIMESTEP,
    "tdamp": RELAXATION,
    "spacing": RELAXATION,
    "friction": _alike(1e-9, 1e6, "usual is 0.01 per time step"),
    "tchain": _alike(1, 100, "usual is 3"),
    "cutoff": CUTOFF,
    "r_max": CUTOFF,
    "sigma": LENGTH,
    "skin": LENGTH,
    "width": _alike(0.0, 1e3, "of a kernel; usual is half a bin"),
    "pressure": PRESSURE,
    "epsilon": ENERGY,
    "scale": ENERGY,
    "phi": ENERGY,
    "power": _alike(1.0, 100.0, "Lennard-Jones has 12"),
    "seed": SEED,
    "n_atoms": _alike(1, 1e9, "a gram of matter would take 1e22, a computer takes thousands"),
    "cells": _alike(1, 1000, "4e9 atoms on the fcc lattice"),
    "rattle": _alike(0.0, 0.5, "of the distance between atoms; usual is 0.02"),
    "steps": STEPS,
    "equilibration_steps": _alike(0, 1e11, "usual is some thousands"),
    "save_every": STEPS,
    "checkpoint_every": STEPS,
    "snapshot_every": STEPS,
    "every": STEPS,
    "epochs": _alike(1, 1e8, "usual is 500"),
    "iterations": _alike(1, 1e6, "usual is 5 to 20"),
    "inner_steps": _alike(1, 1e7, "usual is 400"),
    "warmup": _alike(0, 1e8, "usual is 25 epochs"),
    "patience": _alike(1, 1e8, "usual is 50 epochs"),
    "window": _alike(1, 1e6, "usual is 40 steps"),
    "runs": _alike(1, 1e4, "usual is 4"),
    "share": _alike(1e-6, 1e6, "usual is 1.5"),
    "growth": _alike(1.0, 100.0, "usual is 2"),
    "replicas": _alike(1, 1e5, "usual is 1"),
    "threads": _alike(1, 1e4, "one for each core"),
    "processes": _alike(1, 1e4, "one for each core"),
    "bins": BINS,
    "n_lags": BINS,
    "q_max": POSITIVE,
    "n_basis": _alike(2, 2000, "usual is 100"),
    "hidden": _alike(1, 2000, "width of a layer; usual is 128"),
    "n_knots": _alike(1, 2**15, "usual is 1000"),
    "refine": _alike(1, 1000, "points of the table per knot interval; usual is 8"),
    "frames": _alike(1, 1e5, "usual is 20"),
    "smoothing": _alike(0, 1e4, "usual is 1"),
    "weight": _alike(1e-9, 1e9, "weights are relative"),
    "g_floor": _alike(1e-12, 1.0, "g(r) below it does not count; usual is 0.02"),
    "clip": POSITIVE,
    "step_size": POSITIVE,
    "trust_radius": POSITIVE,
    "max_change": POSITIVE,
    "error_floor": POSITIVE,
    "averaging": _alike(0.0, 1e4, "usual is 8"),
    "min_learning_rate": _alike(0.0, 1.0, "usual is 1e-5"),
    "learning_rate": _alike(1e-9, 1.0, "Adam moves each parameter by about this much; usual is 0.002"),
    "composition": FRACTION,
}
"""Key of a configuration, wherever it stands -> what it can be."""


def check_numbers(data: Any, units: str, path: str = "", key: str = "") -> None:
    """Refuse the first number of a configuration that cannot be meant.

    Args:
        data: plain data.
        units: `metal`, `real` or `lj`.
        path: of the data, for messages.
        key: name of the key that the data belongs to.

    Raises:
        ValueError: a number is outside its range; the message begins with its path.
    """
    if isinstance(data, Mapping):
        for name, value in data.items():
            # the keys of these sections are the user's own: symbols, arguments of classes
            own = key if key in ("masses", "composition", "arguments") else str(name)
            check_numbers(value, units, f"{path}.{name}" if path else str(name), own)
    elif isinstance(data, Sequence) and not isinstance(data, str):
        for k, value in enumerate(data):
            check_numbers(value, units, f"{path}[{k}]", key)
    elif isinstance(data, int | float) and not isinstance(data, bool):
        BY_KEY.get(key, OTHER).range(units).check(path, data)


def memory() -> float:
    """Bytes that this machine, or the container, has; infinite where that is not known."""
    try:
        found = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return float("inf")
    limit = Path("/sys/fs/cgroup/memory.max")
    told = limit.read_text().strip() if limit.is_file() else "max"
    return min(found, float(told)) if told.isdigit() else found


def check_memory(name: str, needed: float, what: str, remedy: str) -> None:
    """Refuse what cannot fit into this machine.

    Args:
        name: of the number to blame.
        needed: bytes.
        what: needs them.
        remedy: what to give instead.

    Raises:
        ValueError: more is needed than there is.
    """
    there = memory()
    if needed > there:
        raise ValueError(
            f"{name}: {what} need about {needed / 1e9:.3g} GB, and this machine has {there / 1e9:.3g} GB; {remedy}"
        )


def frames_memory(n_atoms: float, n_frames: float) -> float:
    """Bytes of frames with positions and velocities, and of the atoms' lists of neighbours."""
    return n_atoms * (500.0 + 48.0 * n_frames)
