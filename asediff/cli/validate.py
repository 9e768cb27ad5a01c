"""`asediff validate`: an independent run of a saved potential, compared with the targets of a configuration."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asediff.app.config.errors import ConfigError
from asediff.cli.common import POTENTIAL, Interrupted, check_seed, say
from asediff.cli.output import named_by_output
from asediff.host.reading import check_file

if TYPE_CHECKING:
    from asediff.engines import Engine
    from asediff.host.folders import ResultFolder
    from asediff.potentials.base import Potential
    from asediff.targets.measurement import Measurement
    from asediff.targets.target import StatePoint

KIND = "validate"


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
    parser.add_argument("--overwrite", action="store_true", help="replace older curves")
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    path, potential_file = Path(options.config), Path(options.potential)
    check_seed(options.seed)
    try:
        check_file(potential_file, POTENTIAL)
    except ValueError as error:
        raise ConfigError(f"potential {error}") from None
    from asediff.app.config.load import override, parse, read_yaml
    from asediff.app.config.resolve import resolve
    from asediff.app.config.sections import ENGINE

    data = override(read_yaml(path), options.assignments)
    own = {key: value for key, value in (data.get("potential") or {}).items() if key in ("kind", "arguments")}
    data["potential"] = {"file": str(potential_file.resolve()), **own}
    data["validation"] = {**(data.get("validation") or {}), "kind": options.engine}
    keys = {section.model_fields["kind"].default: set(section.model_fields) for section in ENGINE.sections}
    of_another = set().union(*keys.values()) - keys[options.engine]
    data["validation"] = {key: value for key, value in data["validation"].items() if key not in of_another}
    if options.steps is not None:
        data["validation"]["steps"] = options.steps
    config = resolve(parse(data, str(path)), path.parent)

    from asediff.app.config.build import engine_arguments, plan
    from asediff.engines import TorchEngine
    from asediff.fitting.api import check_target_names
    from asediff.host.folders import ResultFolder
    from asediff.lammps.engine import LammpsEngine

    prepared = plan(config, path.parent)
    arguments, points = engine_arguments(prepared.config), prepared.plain_points
    lammps = options.engine == "lammps"
    engine = LammpsEngine(**arguments, units=prepared.config.units) if lammps else TorchEngine(**arguments)
    check_target_names(points)
    engine.check(points)
    assert prepared.potential is not None
    made: Any = nullcontext(None)
    if options.output is not None:
        made = ResultFolder.made(options.output, KIND, overwrite=options.overwrite)
    with named_by_output(), made as folder:
        _run(prepared.potential, points, engine, options.seed, folder)
    return 0


def _run(
    potential: Potential, points: list[StatePoint], engine: Engine, seed: int, folder: ResultFolder | None
) -> None:
    """Measure one state point after another; what is measured is told and written at once."""
    from asediff.fitting.api import validation_seed

    done = 0
    try:
        for k, point in enumerate(points):
            measurement = engine.measure(potential, point, seed=validation_seed(seed, k))
            _tell(point, measurement)
            if folder is not None:
                _write(folder, k, point, measurement)
            done += 1
    except KeyboardInterrupt:
        where = "" if folder is None or not done else f", and their curves are in {folder.path}"
        raise Interrupted(f"{done} of {len(points)} state points are done{where}") from None


def _tell(point: StatePoint, measurement: Measurement) -> None:
    for target, found in zip(point.targets, measurement.deviations(point), strict=True):
        say(f"{point.name} {target.name}: {found.text(target.observable.ordinate)}")
    say(
        f"{point.name}: pressure {measurement.pressure:.5g} ± {measurement.pressure_error:.2g}, kT {measurement.kT:.5g}"
    )


def _write(folder: ResultFolder, k: int, point: StatePoint, measurement: Measurement) -> None:
    from asediff.fitting.result import write_columns
    from asediff.host.files import file_name

    with folder.staged() as stage:
        if not k:
            folder.clear()
        for target, value, error in zip(point.targets, measurement.values, measurement.errors, strict=True):
            columns = {
                target.observable.abscissa: target.observable.centers.numpy(),
                "target": target.reference.numpy(),
                "measured": value.numpy(),
                "error": error.numpy(),
            }
            write_columns(stage / f"{file_name(target.observable.kind)}_{k}_{file_name(str(target.name))}.csv", columns)
