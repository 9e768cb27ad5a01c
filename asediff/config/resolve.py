"""Filling in what a configuration leaves out, from the curves it names, so that the result states every number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import units as ase_units
from ase.data import atomic_masses, atomic_numbers
from ase.io import read
from numpy.typing import NDArray
from scipy.signal import find_peaks

from asediff.config.load import ConfigError, parse
from asediff.config.models import Config, StatePointSettings
from asediff.curves import check_reference_range, read_curve
from asediff.potentials.pair import pair_name

CUTOFF_IN_PEAKS = 2.7
BINS_PER_PEAK = 50
KERNEL_IN_BINS = 0.5
STEP_OF_THERMAL_TIME = 0.005
PRIOR_ENERGY_KT = 2.0
PRIOR_POWER = 12.0
ONSET_OF_MAXIMUM = 0.01
LEARNED = ("neural", "tabulated", "temperature_dependent")


@contextmanager
def at(path: str) -> Iterator[None]:
    """Put the path of the configuration before the message of an error."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


@dataclass(frozen=True)
class Curve:
    """A target's g(r) and what its shape suggests.

    Attributes:
        r: `(n,)`, length.
        g: `(n,)`.
        peak: position of the first peak, length.
        onset: where g first exceeds a hundredth of its maximum, length.
    """

    r: NDArray[np.float64]
    g: NDArray[np.float64]
    peak: float
    onset: float

    @classmethod
    def read(cls, path: Path) -> Curve:
        """Read and check a file."""
        r, g = read_curve(path)
        peaks, _ = find_peaks(g, prominence=0.1 * g.max())
        threshold = ONSET_OF_MAXIMUM * g.max()
        k = int(np.argmax(g > threshold))
        onset = r[k] if k == 0 else float(np.interp(threshold, g[k - 1 : k + 1], r[k - 1 : k + 1]))
        return cls(r, g, float(r[peaks[0] if len(peaks) else g.argmax()]), onset)


def thermal_energy(point: StatePointSettings) -> float:
    """kT of a state point, internal energy."""
    return point.kT if point.kT is not None else float(point.temperature_K or 0.0) * float(ase_units.kB)


def symbols_of(config: Config, k: int, base: Path) -> list[str]:
    """Chemical symbols at state point k, by ascending atomic number."""
    point, system = config.state_points[k], config.system
    file = point.file or system.file
    if file is not None:
        found = set(read_structure(base / file).get_chemical_symbols())
    else:
        found = set(point.composition or system.composition or [system.symbol])
    return sorted(found, key=lambda symbol: atomic_numbers.get(symbol, -1))


def read_structure(path: Path) -> Any:
    """The (last) structure in a file.

    Raises:
        ConfigError: the file is missing or ASE cannot read it.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a structure that ASE reads")
    try:
        return read(path)
    except Exception as error:
        raise ConfigError(f"{path}: ASE cannot read it ({type(error).__name__}: {error}); give a structure") from error


def read_curves(config: Config, base: Path) -> list[list[Curve]]:
    """`[state point][target]`, each file read and checked."""
    curves = []
    for k, point in enumerate(config.state_points):
        row = []
        for j, target in enumerate(point.targets):
            with at(f"state_points[{k}].targets[{j}].file"):
                row.append(Curve.read(base / target.file))
        curves.append(row)
    return curves


def resolve(config: Config, base: Path) -> Config:
    """The same configuration with everything explicit that is found automatically.

    Args:
        config: checked against the schema.
        base: folder that relative paths start from.

    Raises:
        ConfigError: a file or a number that cannot be used, with its path.
    """
    curves = read_curves(config, base)
    data = config.model_dump()
    _check_temperatures(config)
    kT = thermal_energy(config.state_points[0])
    everything = list(itertools.chain.from_iterable(curves))
    peak = max(curve.peak for curve in everything)
    if config.potential.cutoff is None and config.potential.file is None:
        end = min(float(curve.r[-1]) for curve in everything)
        data["potential"]["cutoff"] = _rounded_down(min(CUTOFF_IN_PEAKS * peak, end))
    _resolve_targets(config, data, curves)
    if config.potential.file is None:
        _resolve_potential(config, data, curves, base, kT)
    step = _round(STEP_OF_THERMAL_TIME * _thermal_time(config, curves, base), 2)
    for section in (data["method"], data["method"].get("engine"), data["validation"]):
        if section is not None and "timestep" in section and section["timestep"] is None:
            section["timestep"] = step
    return parse(data)


def _check_temperatures(config: Config) -> None:
    for k, point in enumerate(config.state_points):
        if config.units == "lj" and point.temperature_K is not None:
            raise ConfigError(
                f"state_points[{k}].temperature_K: {point.temperature_K} K has no meaning in units lj; give kT"
            )


def _resolve_targets(config: Config, data: dict[str, Any], curves: list[list[Curve]]) -> None:
    for k, point in enumerate(config.state_points):
        entry = data["state_points"][k]
        if point.name is None:
            entry["name"] = _default_name(config, k)
        for j, target in enumerate(point.targets):
            path, curve = f"state_points[{k}].targets[{j}]", curves[k][j]
            rdf = entry["targets"][j]["rdf"]
            cutoff = data["potential"]["cutoff"]
            with at(path):
                if cutoff is not None:
                    check_reference_range(curve.r, curve.g, cutoff, target.file)
            if rdf["r_max"] is None:
                rdf["r_max"] = cutoff if cutoff is not None else float(curve.r[-1])
            if rdf["r_max"] <= rdf["r_min"]:
                raise ConfigError(
                    f"{path}.rdf.r_max: {rdf['r_max']} is not above r_min {rdf['r_min']}; give r_max > r_min"
                )
            if rdf["bins"] is None:
                rdf["bins"] = max(20, round((rdf["r_max"] - rdf["r_min"]) / (curve.peak / BINS_PER_PEAK)))
            if rdf["width"] is None:
                rdf["width"] = _round(KERNEL_IN_BINS * (rdf["r_max"] - rdf["r_min"]) / rdf["bins"], 3)
            with at(path):
                check_reference_range(curve.r, curve.g, rdf["r_max"], target.file)


def _default_name(config: Config, k: int) -> str:
    """Temperature; where several state points have it, their number as well."""
    names = [f"{p.temperature_K:g} K" if p.temperature_K else f"kT {p.kT:g}" for p in config.state_points]
    return names[k] if names.count(names[k]) == 1 else f"{names[k]}-{names[: k + 1].count(names[k])}"


def _resolve_potential(config: Config, data: dict[str, Any], curves: list[list[Curve]], base: Path, kT: float) -> None:
    potential = data["potential"]
    onsets = _onsets(config, curves)
    least = min(onsets.values())
    _complete(potential["radial"], potential["cutoff"], kT, least, config.seed)
    names = pairs_of(config, base)
    for name in config.potential.pairs:
        if name not in names:
            raise ConfigError(f"potential.pairs.{name}: no such pair; choose one of {', '.join(names)}")
    if names == ["all"]:
        potential["prior"] = _prior(potential["prior"], potential["radial"], kT, least)
        return
    for index, name in enumerate(names):
        own = potential["pairs"].setdefault(name, {"radial": None, "prior": None})
        radial = dict(own["radial"] if own["radial"] is not None else data["potential"]["radial"])
        onset = onsets.get(name, least)
        if own["radial"] is None:
            original = config.potential.radial.model_dump()
            radial = _complete(original, potential["cutoff"], kT, onset, config.seed + index)
        else:
            _complete(radial, potential["cutoff"], kT, onset, config.seed + index)
        prior = own["prior"] if own["prior"] is not None else potential["prior"]
        potential["pairs"][name] = {"radial": radial, "prior": _prior(prior, radial, kT, onset)}


def pairs_of(config: Config, base: Path) -> list[str]:
    """Names of the radial functions: `["all"]`, or each pair of the species of all state points."""
    symbols = {symbol for k in range(len(config.state_points)) for symbol in symbols_of(config, k, base)}
    named = config.potential.pairs or any(t.pair for p in config.state_points for t in p.targets)
    if len(symbols) == 1 or not named:
        return ["all"]
    ordered = sorted(symbols, key=lambda symbol: atomic_numbers.get(symbol, -1))
    return [pair_name(a, b) for a, b in itertools.combinations_with_replacement(ordered, 2)]


def _onsets(config: Config, curves: list[list[Curve]]) -> dict[str, float]:
    onsets: dict[str, float] = {}
    for k, (point, row) in enumerate(zip(config.state_points, curves, strict=True)):
        for j, (target, curve) in enumerate(zip(point.targets, row, strict=True)):
            with at(f"state_points[{k}].targets[{j}].pair"):
                name = "all" if target.pair is None else pair_name(*target.pair)
            onsets[name] = min(onsets.get(name, math.inf), curve.onset)
    return onsets


def _complete(radial: dict[str, Any], cutoff: float, kT: float, onset: float, seed: int) -> dict[str, Any]:
    """Fill in the arguments of a radial function that the data suggest; changes and returns it."""
    if radial["kind"] == "neural":
        for name, value in {"r_max": cutoff, "scale": kT, "seed": seed}.items():
            radial[name] = value if radial[name] is None else radial[name]
    elif radial["kind"] == "temperature_dependent":
        for part, scale in (("u1", kT), ("u2", 1.0)):
            _complete(radial[part], cutoff, scale, onset, seed + (part == "u2"))
    elif radial["kind"] == "tabulated" and radial["r_min"] is None:
        radial["r_min"] = _round(0.9 * onset, 3)
    return radial


def _prior(prior: Any, radial: dict[str, Any], kT: float, onset: float) -> Any:
    if prior != "automatic":
        return prior
    if radial["kind"] not in LEARNED or onset <= 0:
        return "none"
    energy, sigma = _round(PRIOR_ENERGY_KT * kT, 4), _round(onset, 4)
    return {"kind": "repulsion", "epsilon": energy, "sigma": sigma, "power": PRIOR_POWER}


def _thermal_time(config: Config, curves: list[list[Curve]], base: Path) -> float:
    """Shortest time of flight over a first-peak distance at thermal speed; fs, or reduced time for lj."""
    unit = 1.0 if config.units == "lj" else float(ase_units.fs)
    times = []
    for k, (point, row) in enumerate(zip(config.state_points, curves, strict=True)):
        file = point.file or config.system.file
        if file is not None:
            lightest = float(read_structure(base / file).get_masses().min())
        else:
            lightest = min(mass_of(config, symbol, k) for symbol in symbols_of(config, k, base))
        peak = min(curve.peak for curve in row)
        times.append(peak * math.sqrt(lightest / thermal_energy(point)) / unit)
    return min(times)


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


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _rounded_down(value: float) -> float:
    """Three significant digits, never larger."""
    rounded = _round(value, 3)
    return rounded if rounded <= value else _round(rounded - 10.0 ** (math.floor(math.log10(value)) - 2), 3)
