"""`asediff fit`: from a g(r), or a configuration, to a verified LAMMPS table and a report."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asediff.app.config.errors import ConfigError
from asediff.cli.common import Interrupted, add_thermal, is_terminal, say
from asediff.cli.output import named_by_output
from asediff.host.reading import check_file

if TYPE_CHECKING:
    from asediff.app.config.models import Config
    from asediff.app.pipeline import Outcome, Team

CONFIG = "config.yaml"

# option -> path in the configuration
SHORTCUTS = {
    "units": "units",
    "seed": "seed",
    "density": "system.density",
    "mass_density": "system.mass_density",
    "mass": "system.mass",
    "symbol": "system.symbol",
    "n_atoms": "system.n_atoms",
    "cutoff": "potential.cutoff",
    "timestep": "method.timestep",
    "epochs": "method.epochs",
}
THERMAL = {"temperature": "temperature_K", "kT": "kT"}


def add_parser(commands: Any) -> None:
    """Describe the subcommand."""
    parser = commands.add_parser(
        "fit",
        help="learn a potential from g(r), export it, prove it in LAMMPS, report",
        description="Learn a pair potential from a radial distribution function (two columns: r, g), or from a YAML "
        "configuration; run the exported table in LAMMPS; write a report.",
    )
    parser.add_argument("input", nargs="?", help="g(r) in two columns, or a configuration (.yaml)")
    add_thermal(parser)
    parser.add_argument("--mass-density", type=float, metavar="D", help="g/cm³ (units metal, real)")
    parser.add_argument("--density", type=float, metavar="N", help="beads per length³")
    parser.add_argument("--mass", type=float, metavar="M", help="mass of a bead, amu; 1 for units lj")
    parser.add_argument("--symbol", help="name of a bead, a chemical symbol; default X")
    parser.add_argument("--n-atoms", type=int, metavar="N", help="beads in the simulated box; default 500")
    parser.add_argument("--units", choices=("metal", "real", "lj"), help="units of the LAMMPS files; lj: all reduced")
    parser.add_argument("--cutoff", type=float, metavar="R", help="of the potential; default 2.7 first-peak distances")
    parser.add_argument("--timestep", type=float, metavar="T", help="fs (lj: reduced); found from mass and temperature")
    parser.add_argument("--epochs", type=int, metavar="N", help="updates of the potential; default 200")
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random; default 0")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="assignments",
        help="any key of the configuration, such as method.learning_rate=1e-3; may be repeated",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FOLDER", help="result folder; default INPUT's name with _fit")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted fit in the result folder")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing result folder")
    parser.add_argument(
        "--ranks", type=int, default=1, metavar="N",
        help="processes of this machine that share the fit, state points and replicas; default 1",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Run the subcommand, in one process or among those of a launcher; returns the exit code (see `fit`)."""
    if options.ranks < 1:
        raise ConfigError(f"--ranks {options.ranks}: not a number of processes; give at least 1")
    others = os.environ.get("WORLD_SIZE", "1")
    if "RANK" not in os.environ or others == "1":
        return fit(options, None)
    if options.ranks > 1:
        raise ConfigError(f"--ranks {options.ranks}: {others} processes have been started already; leave it out")
    from asediff.app.ranks import among

    options.ranks = int(others)
    return among(lambda team: fit(options, team))


def fit(options: argparse.Namespace, team: Team | None) -> int:
    """Do what the subcommand says; returns 1 if LAMMPS disagrees with asediff on the exported table.

    Args:
        options: of the command line.
        team: calls the processes that share the fit; None starts them, if there are to be several.
    """
    if options.input is None and not (options.resume and options.output):
        raise ConfigError("input: missing; give a g(r) in two columns, a .yaml, or --resume with --output FOLDER")
    if options.resume and options.overwrite:
        raise ConfigError("--resume, --overwrite: both are given; give one of the two")
    folder = Path(options.output) if options.output else Path(f"{Path(options.input).stem}_fit")
    if options.input is None or (options.resume and (folder / CONFIG).is_file()):
        return _finish(None, Path(), folder, options, team)
    _check_folder(folder, overwrite=options.overwrite)
    check_file(options.input, "a g(r) in two columns or a configuration (.yaml)")
    try:
        config, base = configuration(options)
        from asediff.app.config.resolve import resolve

        resolve(config, base)  # what curves and numbers can tell is told before torch is imported
        return _finish(config, base, folder, options, team)
    except ConfigError as error:
        if is_configuration(options.input):
            raise
        raise ConfigError(_in_options(str(error))) from error


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse, before anything heavy is imported, a result folder that `prepare` would refuse."""
    from asediff.host.files import writing
    from asediff.host.folders import ResultFolder
    from asediff.host.manifest import MARKER

    with named_by_output():
        with writing(folder):
            killed = (folder / MARKER).is_file() and not (folder / CONFIG).is_file()
        ResultFolder.refuse(folder, "fit", overwrite=overwrite or killed)


def configuration(options: argparse.Namespace) -> tuple[Config, Path]:
    """The configuration that the command line asks for, and the folder its paths start from.

    Raises:
        ConfigError: it cannot be used.
    """
    from asediff.app.config.load import override, parse, read_yaml

    path = Path(options.input)
    if is_configuration(path):
        data, base, source = read_yaml(path), path.parent, str(path)
    else:
        data, base, source = _of_curve(path), Path(), "options"
    assignments = []
    for name, key in SHORTCUTS.items():
        if (value := getattr(options, name)) is not None:
            assignments.append(f"{key}={value}")
    for name, key in THERMAL.items():
        if (value := getattr(options, name)) is None:
            continue
        if value <= 0:
            flag = "--" + name
            raise ConfigError(f"{flag} {value:g}: nothing moves at such a temperature; give a number above zero")
        points = data.get("state_points")
        for k, point in enumerate(points if isinstance(points, list) else []):
            if isinstance(point, dict):
                for other in THERMAL.values():
                    point.pop(other, None)
                assignments.append(f"state_points.{k}.{key}={value}")
    return parse(override(data, [*assignments, *options.assignments]), source), base


def is_configuration(path: str | Path) -> bool:
    """Whether an input is a configuration rather than a curve, by its name."""
    return Path(path).suffix.lower() in (".yaml", ".yml")


def _in_options(message: str) -> str:
    """An error about the configuration in terms of the options that made it."""
    for prefix in ("options: ", "state_points[0].targets[0].file: ", "state_points[0].targets[0]: "):
        message = message.removeprefix(prefix)
    if message.startswith("state_points[0]: temperature_K, kT: neither"):
        return "--temperature: missing; give the temperature in kelvin, or --kT"
    for name, path in (SHORTCUTS | {name: f"state_points[0].{key}" for name, key in THERMAL.items()}).items():
        if message.startswith(f"{path}:"):
            return f"--{name.replace('_', '-')}{message.removeprefix(path)}"
    return message


def _of_curve(path: Path) -> dict[str, Any]:
    return {"system": {}, "state_points": [{"targets": [{"file": str(path)}]}]}


def _finish(config: Config | None, base: Path, folder: Path, options: argparse.Namespace, team: Team | None) -> int:
    from asediff.app.pipeline import alone, finished_fit, prepare, run_fit, what_is_kept
    from asediff.lammps.run import LammpsError

    if team is None and options.ranks > 1:
        from asediff.app.ranks import launched

        team = partial(launched, options.ranks)
    ready = prepare(config, base, folder, overwrite=options.overwrite, resume=options.resume, ranks=options.ranks)
    with named_by_output(), ready as prepared:
        say(f"results go to {folder}")
        try:
            shown = is_terminal() and not options.quiet
            outcome = run_fit(prepared, resume=options.resume, progress=shown, say=say, team=team or alone)
            tell(outcome)
        except KeyboardInterrupt:
            raise Interrupted(what_is_kept(folder)) from None
        except BrokenPipeError:
            raise
        except (LammpsError, OSError, ValueError) as error:
            # what is wrong with the fit itself is not mended by going on with it; a full disk is
            if not (finished_fit(folder) or isinstance(error, OSError)):
                raise
            raise ValueError(f"{str(error).splitlines()[0].rstrip(':')}; {what_is_kept(folder)}") from error
    return 0 if outcome.verified else 1


def tell(outcome: Outcome) -> None:
    """Print what the fit found and where everything is."""
    from asediff.app.report import deviation_rows, pressure_notes, told

    evidence = outcome.evidence
    for k in range(len(evidence.result.state_points)):
        for row in deviation_rows(evidence, k):
            say(told(row))
            say(f"  {row['verdict']}")
    for report in evidence.verification:
        say(str(report))
    for note in [*pressure_notes(evidence), *evidence.result.notes]:
        say(f"note: {note}")
    say(f"report: {outcome.report}")
