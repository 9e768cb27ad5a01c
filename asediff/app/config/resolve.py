"""Filling in what a configuration leaves out, from the curves it names, so that the result states every number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from asediff.app.config.atoms import lightest_mass, number_of_atoms, pairs_of, thermal_energy, time_unit, volume_of
from asediff.app.config.curves import NO_SHELLS, Curve, reach_of, read_curves, resolve_targets, rounded
from asediff.app.config.errors import ConfigError, at
from asediff.app.config.load import parse
from asediff.app.config.models import Config
from asediff.app.config.plausible import (
    check_boxes,
    check_compositions,
    check_lengths,
    check_memory_of,
    check_timesteps,
)
from asediff.app.config.tables import state_tables, tabulates
from asediff.checks.numbers import check_numbers
from asediff.checks.species import pair_name
from asediff.host.reading import check_file

STEP_OF_THERMAL_TIME = 0.005
PRIOR_ENERGY_KT = 4.0
"""Of the prior where g is a hundredth of its maximum: -ln g changes by this much until g is half of it,"""
PRIOR_LEFT = 0.1
"""where so much of the prior is left,"""
PRIOR_POWERS = (12.0, 48.0)
"""by a power of r between these."""
FRICTION_OF_STEP = 0.01
LEARNED = ("neural", "tabulated", "temperature_dependent")


def resolve(config: Config, base: Path) -> Config:
    """The same configuration with everything explicit that is found automatically.

    Args:
        config: checked against the schema.
        base: folder that relative paths start from.

    Raises:
        ConfigError: a file or a number that cannot be used, with its path.
    """
    with config.as_written():
        return _resolved(config, base)


def _resolved(config: Config, base: Path) -> Config:
    _check_temperatures(config)
    check(config)
    check_compositions(config)
    if config.potential.file is not None:
        with at("potential.file"):
            check_file(base / config.potential.file, "the potential.pt of a fit")
    curves = read_curves(config, base)
    data = config.model_dump()
    kT = thermal_energy(config.state_points[0])
    shells = [curve for row in curves for curve in row if curve.radial]
    if config.potential.kind is not None and tabulates(config):
        raise ConfigError(f"potential.kind: {config.method.kind} makes tables, and does not use it; leave it out")
    if config.potential.cutoff is None and not config.potential.whole:
        if not shells:
            raise ConfigError(f"potential.cutoff: missing; {NO_SHELLS}; give about 2.7 distances of neighbours")
        data["potential"]["cutoff"] = reach_of(shells)
    flight = _thermal_time(config, curves, base)
    step = rounded(STEP_OF_THERMAL_TIME * flight, 2)
    for section in (data["method"], data["method"].get("engine"), data["validation"]):
        if section is not None and "timestep" in section:
            resolve_timestep(section, step)
    resolve_targets(config, data, curves, base)
    if config.potential.whole:
        data["potential"] = {name: getattr(config.potential, name) for name in config.potential.stated()}
    elif tabulates(config):
        state_tables(config, data)
    else:
        _resolve_potential(config, data, curves, base, kT)
    resolved = parse(data)
    check(resolved)
    check_timesteps(resolved, flight, step)
    check_lengths(resolved)
    check_boxes(resolved, base)
    check_memory_of(resolved, base)
    return resolved


def resolve_timestep(section: dict[str, Any], step: float) -> None:
    """One time step for a section and the integrator in it."""
    integrator = section.get("integrator") or {}
    if section["timestep"] is None:
        section["timestep"] = integrator.get("timestep") or step
    if integrator and integrator["timestep"] is None:
        integrator["timestep"] = section["timestep"]
    if "friction" in integrator and integrator["friction"] is None:
        integrator["friction"] = rounded(FRICTION_OF_STEP / integrator["timestep"], 3)


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


def _resolve_potential(config: Config, data: dict[str, Any], curves: list[list[Curve]], base: Path, kT: float) -> None:
    potential = data["potential"]
    cores = _cores(config, curves)
    closest = min(cores.values(), key=lambda curve: curve.onset, default=None)
    _complete(potential["radial"], potential["cutoff"], kT, closest, config.seed)
    names = pairs_of(config, base)
    for name in config.potential.pairs:
        if name not in names:
            raise ConfigError(f"potential.pairs.{name}: no such pair; choose one of {', '.join(names)}")
    if names == ["all"]:
        potential["prior"] = _prior(potential["prior"], potential["radial"], kT, closest)
        return
    for index, name in enumerate(names):
        own = potential["pairs"].setdefault(name, {"radial": None, "prior": None})
        core = cores.get(name, closest)
        radial = own["radial"] if own["radial"] is not None else config.potential.radial.model_dump()
        _complete(radial, potential["cutoff"], kT, core, config.seed + index)
        prior = own["prior"] if own["prior"] is not None else potential["prior"]
        potential["pairs"][name] = {"radial": radial, "prior": _prior(prior, radial, kT, core)}


def _cores(config: Config, curves: list[list[Curve]]) -> dict[str, Curve]:
    """For each pair the g(r) that begins at the shortest distance."""
    cores: dict[str, Curve] = {}
    for k, (point, row) in enumerate(zip(config.state_points, curves, strict=True)):
        for j, (target, curve) in enumerate(zip(point.targets, row, strict=True)):
            if not curve.radial:
                continue
            with at(f"state_points[{k}].targets[{j}].pair"):
                name = "all" if target.pair is None else pair_name(*target.pair)
            cores[name] = min(cores.get(name, curve), curve, key=lambda one: one.onset)
    return cores


def _complete(radial: dict[str, Any], cutoff: float, kT: float, core: Curve | None, seed: int) -> None:
    """Fill in the arguments of a radial function that the data suggest, in place."""
    if radial["kind"] == "neural":
        for name, value in {"r_max": cutoff, "scale": kT, "seed": seed}.items():
            radial[name] = value if radial[name] is None else radial[name]
    elif radial["kind"] == "temperature_dependent":
        for part, scale in (("u1", kT), ("u2", 1.0)):
            _complete(radial[part], cutoff, scale, core, seed + (part == "u2"))
    elif radial["kind"] == "tabulated" and radial["r_min"] is None:
        if core is None:
            raise ConfigError(f"potential.radial.r_min: missing; {NO_SHELLS}; give the shortest distance")
        radial["r_min"] = rounded(0.9 * core.onset, 3)


def _prior(prior: Any, radial: dict[str, Any], kT: float, core: Curve | None) -> Any:
    """A repulsion as steep as -ln g where g rises: one that is too soft leaves the core to what few pairs tell."""
    if prior != "automatic":
        return prior
    if radial["kind"] not in LEARNED or (core is not None and core.onset == 0):
        return "none"
    if core is None:
        raise ConfigError(f"potential.prior: missing; {NO_SHELLS}; give one of kind repulsion, or none")
    low, high = PRIOR_POWERS
    power = min(max(-math.log(PRIOR_LEFT) / math.log(max(core.rise, 1.0 + 1e-6)), low), high)
    energy, sigma = rounded(PRIOR_ENERGY_KT * kT, 4), rounded(core.onset, 4)
    return {"kind": "repulsion", "epsilon": energy, "sigma": sigma, "power": rounded(power, 2)}


def _thermal_time(config: Config, curves: list[list[Curve]], base: Path) -> float:
    """Shortest time of flight to a neighbour at thermal speed; fs, or reduced time for lj.

    The neighbour is at the first peak of a g(r); without one, where the density lets it be.
    """
    times = []
    for k, (point, row) in enumerate(zip(config.state_points, curves, strict=True)):
        peaks = [curve.peak for curve in row if curve.radial]
        distance = min(peaks) if peaks else (volume_of(config, k, base) / number_of_atoms(config, k, base)) ** (1 / 3)
        times.append(
            distance * math.sqrt(lightest_mass(config, k, base) / thermal_energy(point)) / time_unit(config.units)
        )
    return min(times)
