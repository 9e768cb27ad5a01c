"""From a resolved configuration to the objects that a fit takes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from ase import Atoms

from asediff.app.config.atoms import (
    mass_of,
    number_density,
    pairs_of,
    read_structure,
    structure_file,
    symbols_of,
    thermal_energy,
    time_unit,
)
from asediff.app.config.curves import Curve
from asediff.app.config.errors import ConfigError, at
from asediff.app.config.models import Config, TargetSettings
from asediff.app.config.own import INPUTS, make_own, own_fault, own_file
from asediff.app.config.resolve import check
from asediff.app.config.tables import tabulates
from asediff.fitting import Method
from asediff.fitting.api import check_energy
from asediff.lammps.run import lammps_input
from asediff.lattices import bcc, diamond, fcc, lattice_with_atoms, mixture
from asediff.neighbors import check_box
from asediff.observables import Observable
from asediff.potentials import PairPotential, Potential, Radial, TabulatedRadial, load_potential
from asediff.potentials.pair import check_pairwise
from asediff.system import System
from asediff.targets.target import StatePoint, Target

LATTICES = {"fcc": fcc, "bcc": bcc, "diamond": diamond}


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a fit needs, checked before any work starts.

    Attributes:
        config: resolved.
        potential: to start from; None for the methods that build a table from the targets.
        state_points: with the targets as the method compares them: smeared like the simulated g(r) where it takes
            gradients.
        plain_points: the same with plain histograms, which the independent runs are compared on.
        method: how to fit.
    """

    config: Config
    potential: Potential | None
    state_points: list[StatePoint]
    plain_points: list[StatePoint]
    method: Method


def plan(config: Config, base: Path) -> Plan:
    """Build and check everything.

    Args:
        config: resolved.
        base: folder that relative paths start from.

    Raises:
        ConfigError: anything that cannot work, with the path of the key to blame.
    """
    check(config)
    method = build_method(config)
    check_engines(config)
    tables = tabulates(config)
    potential = build_potential(config, base) if config.potential.whole or not tables else None
    if potential is not None and config.validation.kind == "lammps":
        try:
            check_pairwise(potential, "LAMMPS")
        except ValueError as error:
            raise ConfigError(f"validation.kind: {error}, or choose torch") from None
    cutoff = config.potential.cutoff if potential is None else potential.cutoff
    plain = [build_state_point(config, k, base, plain=True) for k in range(len(config.state_points))]
    points = plain if tables else [build_state_point(config, k, base) for k in range(len(plain))]
    for k, point in enumerate(points):
        with at(f"state_points[{k}]"):
            if cutoff is not None and (potential is None or potential.is_pairwise):
                check_box(point.system.cell, point.system.pbc, cutoff)
            if potential is not None:
                with own_fault("potential", config.potential.kind):
                    check_energy(potential, point)
            for j, (target, section) in enumerate(zip(point.targets, config.state_points[k].targets, strict=True)):
                if target.observable.of_single_frames:
                    with own_fault(f"state_points[{k}].targets[{j}].observable", section.observable.kind):
                        _check_values(target.observable(point.system), target)
    with at("method"):
        method.prepare(potential, points)
    return Plan(config, potential, points, plain, method)


def _check_values(values: torch.Tensor, target: Target) -> None:
    if values.shape != (1, len(target.reference)):
        raise ValueError(
            f"{target.name}: per_frame gives {tuple(values.shape[1:])} values per system, and centers has "
            f"{len(target.reference)}; give `(n_frames, n_systems, n_values)`"
        )


def build_potential(config: Config, base: Path) -> Potential:
    """The potential to start from."""
    settings = config.potential
    if settings.kind is not None:
        with at("potential"):
            made: Potential = make_own(settings.kind, settings.arguments, base, Potential)
        with at("potential.file"):
            return made if settings.file is None else load_potential(base / settings.file, into=made)
    if settings.file is not None:
        with at("potential.file"):
            return load_potential(base / settings.file)
    assert settings.cutoff is not None
    names = pairs_of(config, base)
    radials: dict[str, Radial] = {}
    for name in names:
        own = settings.pairs.get(name)
        radial = settings.radial if own is None or own.radial is None else own.radial
        prior = settings.prior if own is None or own.prior is None else own.prior
        path = "potential" if name == "all" else f"potential.pairs.{name}"
        with at(f"{path}.radial"):
            function = _radial(radial, settings.cutoff)
        with at(f"{path}.prior"):
            radials[name] = function if isinstance(prior, str) else function + prior.made()
    with at("potential"):
        return PairPotential(
            radials["all"] if names == ["all"] else {tuple(name.split("-")): radials[name] for name in names},  # type: ignore[misc]
            settings.cutoff,
            truncation=settings.truncation.made(),
            core=settings.core,
            n_knots=settings.n_knots,
        )


def _radial(settings: Any, cutoff: float) -> Radial:
    if settings.kind == "tabulated":
        knots = torch.linspace(settings.r_min, cutoff, settings.n_knots, dtype=torch.float64)
        return TabulatedRadial(knots, torch.zeros_like(knots))
    return settings.made()


def build_state_point(config: Config, k: int, base: Path, *, plain: bool = False) -> StatePoint:
    """State point k with its targets; `plain` compares ordinary histograms instead of smeared ones."""
    settings = config.state_points[k]
    with at(f"state_points[{k}]"):
        system = System.from_atoms(build_atoms(config, k, base))
    symbols = symbols_of(config, k, base)
    targets = []
    for j, target in enumerate(settings.targets):
        path = f"state_points[{k}].targets[{j}]"
        for symbol in target.pair or []:
            if symbol not in symbols:
                raise ConfigError(f"{path}.pair: {symbol!r} is not in the system, which has {', '.join(symbols)}")
        targets.append(_target(target, base, time_unit(config.units), path, plain=plain))
    with at(f"state_points[{k}]"):
        return StatePoint(
            system,
            targets,
            kT=thermal_energy(settings),
            weight=settings.weight,
            name=settings.name,
            pressure=settings.pressure,
        )


def _target(settings: TargetSettings, base: Path, time: float, path: str, *, plain: bool) -> Target:
    section = settings.observable
    with at(f"{path}.observable"):
        if ":" in section.kind:
            observable = make_own(section.kind, section.arguments, base, Observable)  # type: ignore[arg-type]
        else:
            observable = section.made(time, **({"width": 0.0} if plain and section.kind == "rdf" else {}))
    with at(path):
        curve = Curve.read(settings, base)
        x = curve.x * time ** {"time": 1, "1/time": -1}.get(observable.abscissa_unit, 0)
        loss = settings.loss.made()
        made = Target.from_curve(observable, x, curve.values, weight=settings.weight, loss=loss, name=settings.name)
        errors = replace(curve, x=x).errors_at(made.observable.centers.numpy())
        return made if errors is None else replace(made, error=torch.from_numpy(errors))


def build_atoms(config: Config, k: int, base: Path) -> Atoms:
    """The start structure of state point k."""
    system, point = config.system, config.state_points[k]
    file = structure_file(config, k)
    if file is not None:
        atoms = read_structure(base / file)
        assert isinstance(atoms, Atoms)
        return atoms
    symbols = symbols_of(config, k, base)
    composition = point.composition or system.composition
    masses = {symbol: mass_of(config, symbol, k) for symbol in symbols}
    density = number_density(config, k, masses)
    rattle = system.rattle * density ** (-1 / 3)
    if system.lattice is not None:
        builder = LATTICES[system.lattice]
        assert system.cells is not None
        atoms = builder(
            symbols[0],
            density=density,
            cells=system.cells,
            mass=masses[symbols[0]],
            rattle=rattle,
            seed=config.seed,
        )
    else:
        atoms = lattice_with_atoms(
            symbols[0],
            system.n_atoms,
            density=density,
            mass=masses[symbols[0]],
            rattle=rattle,
            seed=config.seed,
        )
    return atoms if composition is None else mixture(atoms, composition, seed=config.seed, masses=masses)


def build_method(config: Config) -> Method:
    """The fitting method, times converted; the methods that tabulate take the potential's cutoff."""
    with at("method"):
        method: Method = config.method.made(time_unit(config.units))
    if "cutoff" in {field.name for field in fields(method)}:  # type: ignore[arg-type]
        method = replace(method, cutoff=config.potential.cutoff)  # type: ignore[type-var]
    return method


def engine_arguments(config: Config) -> dict[str, Any]:
    """Arguments of the engine of the independent runs, times converted."""
    return config.validation.converted(time_unit(config.units))


def check_engines(config: Config) -> None:
    """Make what runs LAMMPS in the end, and find its input file, before a fit of hours starts.

    Raises:
        ConfigError: an argument or the input cannot be used.
    """
    for path, section in (("method.engine", getattr(config.method, "engine", None)), ("validation", config.validation)):
        if section is None:
            continue
        with at(path):
            engine = section.made(time_unit(config.units))
            if section.kind == "lammps" and not Path(engine.input).is_file():
                lammps_input(engine.input)


def relocated(config: Config, base: Path, folder: Path) -> Config:
    """Copy all input files of a configuration into `folder/inputs`, and point the configuration at the copies."""
    inputs = folder / INPUTS
    inputs.mkdir(parents=True, exist_ok=True)
    taken: dict[str, Path] = {}

    def copied(file: str | None) -> str | None:
        if file is None:
            return None
        source = (base / file).resolve()
        name = source.name
        while taken.get(name, source) != source:
            name = f"{len(taken)}_{source.name}"
        taken[name] = source
        if source != (inputs / name).resolve():
            shutil.copyfile(source, inputs / name)
        return f"{INPUTS}/{name}"

    points = []
    for point in config.state_points:
        targets = [target.model_copy(update={"file": copied(target.file)}) for target in point.targets]
        points.append(point.model_copy(update={"targets": targets, "file": copied(point.file)}))
    for kind in {config.potential.kind or "", *(t.observable.kind for point in points for t in point.targets)}:
        module = own_file(kind, base)
        if module is not None and module.resolve() != (inputs / module.name).resolve():
            shutil.copyfile(module, inputs / module.name)
    return config.model_copy(
        update={
            "state_points": points,
            "system": config.system.model_copy(update={"file": copied(config.system.file)}),
            "potential": config.potential.model_copy(update={"file": copied(config.potential.file)}),
        }
    )


__all__ = ["Plan", "build_atoms", "build_method", "build_potential", "plan", "relocated", "time_unit"]
