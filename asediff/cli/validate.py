"""`asediff validate`: an independent run of a saved potential, compared with the targets of a configuration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from asediff.cli.common import say
from asediff.config import ConfigError, override, parse, plan, read_yaml, resolve
from asediff.config.build import engine_arguments
from asediff.engines import LammpsEngine, TorchEngine
from asediff.fitting.api import validate
from asediff.fitting.result import write_columns
from asediff.lammps import find_lmp
from asediff.measurement import Measurement
from asediff.targets import StatePoint


def add_parser(commands: Any) -> None:
    """Describe the subcommand."""
    parser = commands.add_parser(
        "validate",
        help="compare an independent run of a saved potential with targets",
        description="Run a saved potential at the state points of a configuration, in LAMMPS or in asediff, and "
        "compare with the targets. The config.yaml in a result folder of `asediff fit` will do.",
    )
    parser.add_argument("potential", help="potential.pt of a fit")
    parser.add_argument("config", help="configuration with the state points and targets")
    parser.add_argument("--engine", choices=("lammps", "torch"), default="lammps", help="who runs; default lammps")
    parser.add_argument("--steps", type=int, metavar="N", help="production steps; default the configuration's")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, another run; default 1")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="assignments")
    parser.add_argument("-o", "--output", metavar="FOLDER", help="write the curves there as CSV")
    parser.add_argument("--overwrite", action="store_true", help="replace curves in an existing folder")
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    path, potential_file = Path(options.config), Path(options.potential)
    if not potential_file.is_file():
        raise ConfigError(f"potential {potential_file}: no such file; give the potential.pt of a fit")
    data = override(read_yaml(path), [f"potential={{file: {potential_file.resolve()}}}", *options.assignments])
    data["validation"] = {**(data.get("validation") or {}), "kind": options.engine}
    if options.engine == "torch":
        kept = ("kind", "timestep", "equilibration_steps", "steps", "save_every", "tdamp")
        data["validation"] = {key: value for key, value in data["validation"].items() if key in kept}
    if options.steps is not None:
        data["validation"]["steps"] = options.steps
    prepared = plan(resolve(parse(data, str(path)), path.parent), path.parent)
    folder = None if options.output is None else Path(options.output)
    if folder is not None and folder.exists() and not options.overwrite:
        raise ConfigError(f"--output {folder}: exists; choose another folder, or --overwrite")
    arguments = engine_arguments(prepared.config)
    if options.engine == "lammps":
        find_lmp()
        engine: Any = LammpsEngine(**arguments, units=prepared.config.units)
    else:
        engine = TorchEngine(**arguments)
    points = prepared.plain_points
    assert prepared.potential is not None
    for k, measurement in enumerate(validate(prepared.potential, points, engine, options.seed)):
        _tell(points[k], measurement)
        if folder is not None:
            _write(folder, k, points[k], measurement)
    return 0


def _tell(point: StatePoint, measurement: Measurement) -> None:
    for target, found in zip(point.targets, measurement.deviations(point), strict=True):
        say(
            f"{point.name} {target.name}: mean |dg| {found.mean:.4f} (noise {found.mean_error:.4f}), max "
            f"{found.largest:.3f}, D {found.structural:.4g} (noise {found.structural_noise:.2g}), first peak "
            f"{100 * found.peak:+.1f} %"
        )
    say(
        f"{point.name}: pressure {measurement.pressure:.5g} ± {measurement.pressure_error:.2g}, kT {measurement.kT:.5g}"
    )


def _write(folder: Path, k: int, point: StatePoint, measurement: Measurement) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for target, value, error in zip(point.targets, measurement.values, measurement.errors, strict=True):
        columns = {
            "r": target.observable.centers.numpy(),
            "target": target.reference.numpy(),
            "measured": value.numpy(),
            "error": error.numpy(),
        }
        write_columns(folder / f"rdf_{k}_{target.name}.csv", columns)
