"""Filling in what a configuration leaves out, from the curves it names, so that the result states every number."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asediff.app.config.atoms import lightest_mass, pairs_of, thermal_energy, time_unit
from asediff.app.config.errors import ConfigError, at
from asediff.app.config.load import parse
from asediff.app.config.models import Config
from asediff.app.config.plausible import (
    check_boxes,
    check_compositions,
    check_curve,
    check_lengths,
    check_memory_of,
    check_timesteps,
)
from asediff.app.config.tables import state_tables, tabulates
from asediff.checks.numbers import check_numbers
from asediff.checks.species import pair_name
from asediff.host.reading import check_file
from asediff.targets.curves import check_reference_range, first_peak, read_curve

CUTOFF_IN_PEAKS = 2.7
BINS_PER_PEAK = 50
KERNEL_IN_BINS = 0.5
STEP_OF_THERMAL_TIME = 0.005
PRIOR_ENERGY_KT = 2.0
PRIOR_POWER = 12.0
ONSET_OF_MAXIMUM = 0.01
LEARNED = ("neural", "tabulated", "temperature_dependent")


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
        threshold = ONSET_OF_MAXIMUM * g.max()
        k = int(np.argmax(g > threshold))
        onset = r[k] if k == 0 else float(np.interp(threshold, g[k - 1 : k + 1], r[k - 1 : k + 1]))
        return cls(r, g, first_peak(r, g), onset)


def read_curves(config: Config, base: Path) -> list[list[Curve]]:
    """`[state point][target]`, each file read and checked."""
    curves = []
    for k, point in enumerate(config.state_points):
        row = []
        for j, target in enumerate(point.targets):
            with at(f"state_points[{k}].targets[{j}].file"):
                curve = Curve.read(base / target.file)
                check_curve(curve.peak, target.file, config.units)
            row.append(curve)
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
    _check_temperatures(config)
    check(config)
    check_compositions(config)
    if config.potential.file is not None:
        with at("potential.file"):
            check_file(base / config.potential.file, "the potential.pt of a fit")
    curves = read_curves(config, base)
    data = config.model_dump()
    kT = thermal_energy(config.state_points[0])
    everything = list(itertools.chain.from_iterable(curves))
    peak = max(curve.peak for curve in everything)
    if config.potential.cutoff is None and config.potential.file is None:
        end = min(float(curve.r[-1]) for curve in everything)
        data["potential"]["cutoff"] = _rounded_down(min(CUTOFF_IN_PEAKS * peak, end))
    _resolve_targets(config, data, curves)
    if config.potential.file is not None:
        data["potential"] = {"file": config.potential.file}
    elif tabulates(config):
        state_tables(config, data)
    else:
        _resolve_potential(config, data, curves, base, kT)
    flight = _thermal_time(config, curves, base)
    step = _round(STEP_OF_THERMAL_TIME * flight, 2)
    for section in (data["method"], data["method"].get("engine"), data["validation"]):
        if section is not None and "timestep" in section and section["timestep"] is None:
            section["timestep"] = step
    resolved = parse(data)
    check(resolved)
    check_timesteps(resolved, flight, step)
    check_lengths(resolved)
    check_boxes(resolved, base)
    check_memory_of(resolved, base)
    return resolved


def check(config: Config) -> None:
    """Refuse numbers that cannot be meant; see `asediff.checks.numbers`.

    Raises:
        ConfigError: with the path of the first of them.
    """
    try:
        check_numbers(config.model_dump(exclude_none=True), config.units)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _check_temperatures(config: Config) -> None:
    for k, point in enumerate(config.state_points):
        if config.units == "lj" and point.temperature_K is not None:
            raise ConfigError(
                f"state_points[{k}].temperature_K: {point.temperature_K} K has no meaning in units lj; give kT"
            )


def _resolve_targets(config: Config, data: dict[str, Any], curves: list[list[Curve]]) -> None:
    """Names, histograms: bins of one width for all targets, as the methods that make tables need them."""
    everything = list(itertools.chain.from_iterable(curves))
    width = min(curve.peak for curve in everything) / BINS_PER_PEAK
    cutoff = data["potential"]["cutoff"]
    end = min(float(curve.r[-1]) for curve in everything) if cutoff is None else cutoff
    for k, point in enumerate(config.state_points):
        entry = data["state_points"][k]
        if point.name is None:
            entry["name"] = _default_name(config, k)
        for j, target in enumerate(point.targets):
            path, curve = f"state_points[{k}].targets[{j}]", curves[k][j]
            rdf = entry["targets"][j]["rdf"]
            with at(path):
                if cutoff is not None:
                    check_reference_range(curve.r, curve.g, cutoff, target.file)
            if rdf["r_max"] is None:
                rdf["r_max"] = end
            if rdf["r_max"] <= rdf["r_min"]:
                raise ConfigError(
                    f"{path}.rdf.r_max: {rdf['r_max']} is not above r_min {rdf['r_min']}; give r_max > r_min"
                )
            if rdf["bins"] is None:
                rdf["bins"] = max(20, round((rdf["r_max"] - rdf["r_min"]) / width))
            _check_width(config, f"{path}.rdf.width", rdf["width"])
            if rdf["width"] is None:
                kernel = 0.0 if tabulates(config) else KERNEL_IN_BINS
                rdf["width"] = _round(kernel * (rdf["r_max"] - rdf["r_min"]) / rdf["bins"], 3)
            with at(path):
                check_reference_range(curve.r, curve.g, rdf["r_max"], target.file)


def _default_name(config: Config, k: int) -> str:
    """Temperature; where several state points have it, their number as well."""
    names = [f"{p.temperature_K:g} K" if p.temperature_K else f"kT {p.kT:g}" for p in config.state_points]
    return names[k] if names.count(names[k]) == 1 else f"{names[k]}-{names[: k + 1].count(names[k])}"


def _check_width(config: Config, path: str, width: float | None) -> None:
    gradient = getattr(config.method, "gradient", None)
    if width and tabulates(config):
        raise ConfigError(f"{path}: {width:g} is not used by {config.method.kind}, whose bins are plain; leave it out")  # type: ignore[attr-defined]
    if width == 0 and gradient is not None and gradient.kind != "reweighted":
        raise ConfigError(f"{path}: 0 leaves g(r) without a gradient through the dynamics; leave it out")


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
    times = []
    for k, (point, row) in enumerate(zip(config.state_points, curves, strict=True)):
        peak = min(curve.peak for curve in row)
        times.append(peak * math.sqrt(lightest_mass(config, k, base) / thermal_energy(point)) / time_unit(config))
    return min(times)


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _rounded_down(value: float) -> float:
    """Three significant digits, never larger."""
    rounded = _round(value, 3)
    return rounded if rounded <= value else _round(rounded - 10.0 ** (math.floor(math.log10(value)) - 2), 3)
