"""Numbers that are checked against each other and against the machine, before any work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asediff.config.atoms import number_of_atoms
from asediff.config.errors import ConfigError, at
from asediff.config.models import Config
from asediff.config.schema import Constructor
from asediff.sanity import FIRST_PEAK, THERMAL_STEP, check_memory, frames_memory


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


def check_memory_of(config: Config, base: Path) -> None:
    """Refuse what cannot fit into this machine's memory: frames, and the lists of neighbours of too many atoms.

    Raises:
        ConfigError: with the path.
    """
    atoms = [number_of_atoms(config, k, base) for k in range(len(config.state_points))]
    bins = sum(target.rdf.bins or 0 for point in config.state_points for target in point.targets)
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
