"""Entry point: subcommands, and errors as one line with exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from asediff.cli import export, fit, rdf, run, schema, validate, votca
from asediff.cli.common import Interrupted
from asediff.cli.stopping import stopping
from asediff.lammps import LammpsError

BAD_INPUT, FAILED = 2, 1
COMMANDS = (fit, validate, export, rdf, run, votca, schema)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print `asediff: error: ...` and exit with code 2."""
        fail(f"{message}; see {self.prog} --help")


def fail(message: str) -> NoReturn:
    """Print one line on standard error and exit with code 2."""
    sys.stderr.write("asediff: error: " + " ".join(message.split()) + "\n")
    sys.exit(BAD_INPUT)


def parser() -> Parser:
    """The command line of asediff."""
    top = Parser(prog="asediff", description="Learn pair potentials by differentiating through molecular dynamics.")
    top.add_argument("--version", action="version", version=f"asediff {metadata.version('asediff')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for module in COMMANDS:
        module.add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns the exit code: 0 done, 1 a check failed, 2 bad input, 130 interrupted, 143 terminated.
    """
    options = parser().parse_args(arguments)
    with stopping() as stop:
        try:
            return int(options.handler(options))
        except Interrupted as interrupted:
            sys.stderr.write(f"asediff: interrupted; {interrupted}\n")
            return stop.exit_code
        except KeyboardInterrupt:
            sys.stderr.write("asediff: interrupted; nothing was written\n")
            return stop.exit_code
        except LammpsError as error:
            fail(str(error).splitlines()[0])
        except (ValueError, OSError) as error:
            fail(str(error))
