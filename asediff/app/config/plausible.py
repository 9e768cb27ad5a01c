"""Numbers that are checked against each other and against the machine, before any work."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from asediff.app.config.atoms import number_of_atoms, structure_file, volume_of
from asediff.app.config.errors import ConfigError, at
from asediff.app.config.models import Config
from asediff.app.config.schema import Constructor
from asediff.checks.numbers import FIRST_PEAK, MINIMUM_FRAMES, THERMAL_STEP, check_memory, frames_memory


def check_curve(peak: float, file: str, units: str) -> None:
    """Refuse a curve whose first peak is where no neighbours are.

    Raises:
        ValueError: it seems to be in another unit of length.
    """
    bounds = FIRST_PEAK.range(units)
    if bounds.low <= peak <= bounds.high:
        return
    near = f"the first peak is at r={peak:.4g}, not within {bounds.low:g} ... {bounds.high:g} ({bounds.why})"
    remedy = (
        "give reduced distances"
        if units == "lj"
        else "give r in Å (1 nm is 10 Å, 100 pm are 1 Å): awk '{print 10*$1, $2}' converts from nm; or set units: lj"
    )
    raise ValueError(f"{file}: {near}; {remedy}")


def _sections(config: Config) -> Iterator[tuple[str, Constructor]]:
    """Path and section of everything that runs molecular dynamics."""
    yield "method", config.method
    engine = getattr(config.method, "engine", None)
    if engine is not None:
        yield "method.engine", engine
    yield "validation", config.validation


def check_timesteps(config: Config, flight: float, usual: float) -> None:
    """Refuse time steps in which atoms pass through each other, or do not move.

    Args:
        config: resolved.
        flight: time in which an atom at thermal speed reaches its neighbour, fs (lj: reduced).
        usual: time step that is found automatically.

    Raises:
        ConfigError: with the path.
    """
    for path, section in _sections(config):
        step = section.arguments().get("timestep")
        if step is not None and not THERMAL_STEP.low <= step / flight <= THERMAL_STEP.high:
            raise ConfigError(
                f"{path}.timestep: {step:g} is {step / flight:.2g} of the time in which an atom at thermal speed "
                f"reaches its neighbour ({flight:.3g}); give about {usual:g}"
            )


def check_lengths(config: Config) -> None:
    """Refuse runs that keep too few frames for what is made of them.

    Raises:
        ConfigError: with the path.
    """
    for path, section in _sections(config):
        arguments = section.arguments()
        steps, every = arguments.get("steps"), arguments.get("save_every")
        if steps is None or every is None:
            continue
        least, what = 2, "an error bar needs 2"
        if path == "method":
            least, what = 1, "there is nothing to compare"
        elif path == "validation" and section.kind == "lammps":
            least, what = MINIMUM_FRAMES, f"the proof of the export needs {MINIMUM_FRAMES}"
        if steps // every < least:
            raise ConfigError(
                f"{path}.steps: {steps} with save_every {every} keep {steps // every} frames, and {what}; "
                f"give at least {least * every}, or a smaller save_every"
            )


def check_boxes(config: Config, base: Path) -> None:
    """Refuse lattices that are too small for the cutoff, or for a histogram; structures in files are checked later.

    Raises:
        ConfigError: with the path.
    """
    for k, point in enumerate(config.state_points):
        if structure_file(config, k) is not None:
            continue
        n_atoms, volume = number_of_atoms(config, k, base), volume_of(config, k, base)
        height = volume ** (1.0 / 3.0)
        reach = {"cutoff": config.potential.cutoff or 0.0}
        for target in point.targets:
            for name in ("r_max", "cutoff"):
                key, end = f"{target.observable.kind}.{name}", getattr(target.observable, name, None) or 0.0
                reach[key] = max(reach.get(key, 0.0), end)
        name = max(reach, key=lambda key: reach[key])
        if height < 2.0 * reach[name] * (1.0 - 1e-9):
            needed = math.ceil(n_atoms / volume * (2.0 * reach[name]) ** 3)
            raise ConfigError(
                f"state_points[{k}]: cell: {n_atoms} atoms at this density fill a box {height:.5g} high, less than "
                f"twice the {name} {reach[name]:g}; give at least {needed} atoms, or at most {0.5 * height:.4g}"
            )


def check_compositions(config: Config) -> None:
    """Refuse mole fractions that do not add up to one.

    Raises:
        ConfigError: with the path.
    """
    found = {f"state_points[{k}].composition": point.composition for k, point in enumerate(config.state_points)}
    for path, fractions in ({"system.composition": config.system.composition} | found).items():
        if fractions is not None and abs(sum(fractions.values()) - 1.0) > 1e-9:
            raise ConfigError(f"{path}: the fractions add up to {sum(fractions.values()):.6g}; give 1 in all")


def check_memory_of(config: Config, base: Path) -> None:
    """Refuse what cannot fit into this machine's memory: frames, and the lists of neighbours of too many atoms.

    Raises:
        ConfigError: with the path.
    """
    atoms = [number_of_atoms(config, k, base) for k in range(len(config.state_points))]
    observables = [target.observable for point in config.state_points for target in point.targets]
    bins = sum(getattr(observable, "bins", None) or 0 for observable in observables)
    for path, section in _sections(config):
        arguments = section.arguments()
        if arguments.get("steps") is None or arguments.get("save_every") is None:
            continue
        frames = max(1, arguments["steps"] // max(1, arguments["save_every"]))
        n_atoms = sum(atoms) * arguments["replicas"] if "replicas" in arguments else max(atoms)
        needed = frames_memory(n_atoms, frames) + 8.0 * frames * bins
        with at(f"{path}"):
            check_memory(
                "steps",
                needed,
                f"{frames} frames of {n_atoms} atoms",
                "lower steps or system.n_atoms, or raise save_every",
            )
