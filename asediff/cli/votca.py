"""`asediff votca`: iterative Boltzmann inversion from a VOTCA settings file."""

from __future__ import annotations

import argparse
from typing import Any

from asediff.app.config.errors import ConfigError
from asediff.cli.common import Interrupted, say
from asediff.host.reading import check_file


def add_parser(commands: Any) -> None:
    """Describe the subcommand."""
    parser = commands.add_parser(
        "votca",
        help="iterative Boltzmann inversion from a VOTCA settings file",
        description="Run what `csg_inverse` ran with the method ibi, pair interactions and LAMMPS, and leave VOTCA's "
        "files in step folders beside the settings file. A run goes on after the last complete step. A file with other "
        "methods, programs, bonded interactions or options is refused before anything runs, with every reason.",
    )
    parser.add_argument("settings", help="settings.xml")
    parser.add_argument("--workdir", metavar="FOLDER", help="where the targets are; default the settings' folder")
    parser.add_argument("--iterations", type=int, metavar="N", help="last step; default the settings' iterations_max")
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    if options.iterations is not None and options.iterations < 1:
        raise ConfigError(f"--iterations {options.iterations}: not a number of steps; give at least 1")
    check_file(options.settings, "VOTCA's settings file")
    from asediff.votca.run import run_ibi

    try:
        result = run_ibi(options.settings, options.workdir, iterations=options.iterations)
    except KeyboardInterrupt:
        raise Interrupted("complete steps are kept; the same command goes on") from None
    for name, values in result.convergence.items():
        say(f"{name}: convergence {' '.join(f'{value:.4g}' for value in values)}")
    for note in result.notes:
        say(f"note: {note}")
    state = "converged" if result.converged else "done"
    say(f"{state}: {len(result.steps)} steps" + (f", the last in {result.steps[-1]}" if result.steps else ""))
    return 0
