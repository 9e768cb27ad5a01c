"""Entry point: subcommands, and errors as one line.

Exit codes: 0 done, 1 a check failed, 2 bad input, 70 an error of asediff itself, 130 interrupted, 143 terminated. With
ASEDIFF_DEBUG=1 in the environment every error shows its traceback as well.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from asediff.cli import export, fit, rdf, run, schema, validate, votca, workflow
from asediff.cli.common import Interrupted
from asediff.cli.stopping import stopping

FAILED, BAD_INPUT, INTERNAL = 1, 2, 70
COMMANDS = (fit, validate, export, rdf, run, votca, workflow, schema)
DEBUG = "ASEDIFF_DEBUG"
OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory|unable to allocate", re.IGNORECASE)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print `asediff: error: ...` and exit with code 2."""
        fail(f"{message}; see {self.prog} --help")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        print(f"asediff {metadata.version('asediff')}")
        parser.exit()


def fail(message: str) -> NoReturn:
    """Print one line on standard error and exit with code 2."""
    sys.stderr.write("asediff: error: " + " ".join(message.split()) + "\n")
    sys.exit(BAD_INPUT)


def parser() -> Parser:
    """The command line of asediff."""
    top = Parser(prog="asediff", description="Learn pair potentials by differentiating through molecular dynamics.")
    top.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for module in COMMANDS:
        module.add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (see this module)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # a name or a unit that the terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    with stopping() as stop:
        try:
            options = parser().parse_args(arguments)
            code = int(options.handler(options))
            sys.stdout.flush()
            return code
        except Interrupted as interrupted:
            sys.stderr.write(f"asediff: interrupted; {interrupted}\n")
            return stop.exit_code
        except KeyboardInterrupt:
            sys.stderr.write("asediff: interrupted; nothing was written\n")
            return stop.exit_code
        except BrokenPipeError:
            # whoever read the output has had enough; Python would complain again when it closes standard output
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:
            if os.environ.get(DEBUG):
                traceback.print_exc()
            if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
                fail("memory: there is not enough of it for this; give fewer atoms, steps or bins")
            if is_for_users(error):
                fail(str(error) if isinstance(error, ValueError | OSError) else str(error).splitlines()[0])
            return report(error)


def is_for_users(error: Exception) -> bool:
    """Whether an error tells what is wrong with the input, rather than with asediff.

    Errors of asediff's own classes and those of the operating system do; a `ValueError` does where asediff's own code
    raised it: one that comes out of a library was not foreseen.
    """
    if isinstance(error, OSError) or type(error).__module__.startswith("asediff."):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ValueError) and str(frames[-1].f_globals.get("__name__")).startswith("asediff.")


def report(error: Exception) -> int:
    """Tell of an error of asediff itself in one line, and keep its traceback in a file; returns the exit code."""
    told = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="asediff-", suffix=".txt", delete=False) as file:
            file.write(f"{' '.join(sys.argv)}\n{told}")
        kept = f"with the traceback in {file.name}"
    except OSError:
        kept = f"with the traceback that {DEBUG}=1 shows"
    what = " ".join(f"{type(error).__name__}: {error}".split())
    sys.stderr.write(f"asediff: internal error: {what}; this is a fault of asediff: please report it {kept}\n")
    return INTERNAL
