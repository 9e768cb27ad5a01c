"""Stages as processes of their own: what the runner, a queue or a user starts for a folder that records a stage."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from asediff.workflow.stages import run_stage
from asediff.workflow.stages.base import Record, Say, reason_of

LOG = "log.txt"


def run_recorded(folder: str | Path, cores: int = 1) -> str:
    """Run the stage that `stage.json` in a folder describes; returns the folder. Executors call it on their workers."""
    record = Record.load(folder)
    run_stage(record.kind, record.settings, record.parents, folder, cores=cores, say=log_in(Path(folder)))
    return str(folder)


def log_in(folder: Path) -> Say:
    """Lines go to `log.txt` in a folder, with the time."""

    def say(line: str) -> None:
        # what is said is of less worth than what is done
        with contextlib.suppress(OSError), (folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    return say


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 1 if the stage failed, whose reason is in `error.txt`."""
    parser = argparse.ArgumentParser(prog="python -m asediff.workflow.stages", description=__doc__)
    parser.add_argument("folder", help="of the stage, with stage.json")
    parser.add_argument("--cores", type=int, default=1, metavar="N", help="that it may use; no number depends on it")
    options = parser.parse_args(arguments)
    try:
        run_recorded(options.folder, options.cores)
    except Exception as error:
        sys.stderr.write(reason_of(error) + "\n")
        return 1
    return 0
