"""The command line in a process of its own that need not import anything first, and that waits where it is told to.

Processes are forked from a server that has imported asediff, and has run every compiled loop once.
"""

import importlib
import os
import sys
import time
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import numpy as np

REACHED = "reached"

CURVE_R = np.linspace(0.02, 3.0, 200)
CURVE_G = np.exp(-4 * (np.maximum(CURVE_R, 0.5) ** -12 - np.maximum(CURVE_R, 0.5) ** -6))
SMALL = [
    *("--units", "lj", "--kT", "1.0", "--density", "0.6", "--n-atoms", "108", "--cutoff", "2.3", "--epochs", "4"),
    *("--set", "potential.radial.hidden=[16]", "--set", "potential.radial.n_basis=20"),
    *("--set", "method.pretraining.steps=50", "--set", "method.equilibration_steps=200", "--set", "method.steps=40"),
    *("--set", "method.checkpoint_every=1", "--set", "validation.steps=500", "--set", "validation.save_every=50"),
    *("--set", "validation.equilibration_steps=200", "--set", "export.frames=10"),
]


def server() -> ForkServerContext:
    """Where such processes come from."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["asediff.cli.main", "asediff.app.pipeline", "warmed_up"])
    # The server does not take over sys.path everywhere, and passes silently over what it cannot import.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    ensure_running()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return context


def start(arguments: list[str], folder: Path, stage: str = "", forbidden: tuple[str, ...] = ()) -> ForkServerProcess:
    """Begin a command.

    Args:
        arguments: of the command line.
        folder: to run in; the files `out` and `err` take what is told.
        stage: `module:attribute[@n]`, the function at whose n-th call (default the first) the process makes the file
            `reached` and waits; with `!` at the end it goes on.
        forbidden: functions that may not be called at all; or `lmp=PATH`, a program to use in the place of LAMMPS.
    """
    process = server().Process(target=_run, args=(arguments, str(folder), stage, forbidden))
    process.start()
    return process


def wait_until_reached(process: ForkServerProcess, folder: Path, seconds: float = 120.0) -> None:
    """Wait until the process is where it was to wait."""
    deadline = time.monotonic() + seconds
    while not (folder / REACHED).exists():
        assert process.is_alive(), f"ended early: {(folder / 'err').read_text()}"
        assert time.monotonic() < deadline, "did not get there"
        time.sleep(0.01)


def _run(arguments: list[str], folder: str, stage: str, forbidden: tuple[str, ...]) -> None:
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    importlib.import_module("asediff.plotting").png = lambda ax: b"figures take longer than all the rest"
    if stage:
        _replace(stage, hang=True)
    for name in forbidden:
        if name.startswith("lmp="):
            importlib.import_module("asediff.lammps.run").find_lmp = lambda name=name: name[4:]
        else:
            _replace(name, hang=False)
    from asediff.cli.main import main

    sys.exit(main(arguments))


def _replace(name: str, *, hang: bool) -> None:
    place, _, count = name.rstrip("!").partition("@")
    module_name, _, path = place.partition(":")
    owner = importlib.import_module(module_name)
    *parents, last = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, last)
    calls = []

    def replacement(*arguments: object, **options: object) -> object:
        calls.append(1)
        if not hang:
            raise AssertionError(f"{name} is done again")
        if len(calls) == int(count or 1):
            Path(REACHED).touch()
            time.sleep(0 if name.endswith("!") else 600)
        return original(*arguments, **options)

    setattr(owner, last, replacement)
