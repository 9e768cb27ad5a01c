"""Runs JAX-MD and OpenMM, where an environment of their own has them, on the benchmark's configurations."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from asediff import RDF, NeuralRadial, PairPotential, Repulsion, ReversibleAdjoint, System, simulate
from asediff.kernels.cpu.backend import set_num_threads
from tests.benchmarks.engine import HORIZON, Rows, clock, forward_rate, gradient_seconds
from tests.benchmarks.fluid import SKIN, STEPS, equilibrated, integrator

HERE = Path(__file__).parent

Row = Callable[[System, str, dict[str, Any]], dict[str, Any]]
"""Columns of one case: system, what was asked of the peer, what it printed."""


def _configuration(system: System, folder: str) -> Path:
    file = Path(folder) / f"{system.n_atoms}.npz"
    edge = float(system.cell[0, 0, 0])
    np.savez(file, x=system.positions % edge, v=system.velocities, box=edge)
    return file


def _ask(python: str, script: str, *arguments: str) -> dict[str, Any]:
    """The last line that a peer's script prints; pinned to one core."""
    command = ["taskset", "-c", "0", python, str(HERE / script), *arguments]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def _beside(script: str, cases: Sequence[tuple[int, str]], repeats: int, row: Row) -> Rows:
    """A row for each number of atoms and kind of potential, from what a peer's script prints.

    Nothing where ASEDIFF_PEERS_PYTHON does not name the peer's environment.
    """
    python = os.environ.get("ASEDIFF_PEERS_PYTHON")
    if not python:
        return []
    set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n, what in cases:
            system = equilibrated(n)
            theirs = _ask(python, script, str(_configuration(system, folder)), what, str(repeats))
            rows.append({"n_atoms": n} | row(system, what, theirs))
    return rows


def openmm(repeats: int) -> Rows:
    """Forward steps per second of OpenMM's CPU platform (Lennard-Jones, mixed precision) in the environment that
    ASEDIFF_PEERS_PYTHON names, beside asediff in float32, one thread."""

    def row(system: System, steps: str, theirs: dict[str, Any]) -> dict[str, Any]:
        single = system.to(dtype=torch.float32)
        ours = median(forward_rate(single, int(steps), 1) for _ in range(repeats))
        return {
            "OpenMM": theirs["version"],
            "OpenMM steps/s": theirs["steps/s"],
            "asediff float32 steps/s": ours,
            "ratio": ours / theirs["steps/s"],
        }

    return _beside("peer_openmm.py", [(n, str(STEPS[n])) for n in (864, 6912)], repeats, row)


def peers(repeats: int) -> Rows:
    """The same gradient in JAX-MD, in the environment that ASEDIFF_PEERS_PYTHON names, beside asediff; one thread."""

    def row(system: System, kind: str, theirs: dict[str, Any]) -> dict[str, Any]:
        if kind == "lj":
            ours = median(gradient_seconds(system, ReversibleAdjoint(), RDF(2.5, 100))[1] for _ in range(2 + repeats))
        else:
            ours = _neural_gradient(system, repeats)
        return {
            "potential": kind,
            "JAX-MD variant": theirs["variant"],
            "JAX-MD s": theirs["seconds"],
            "asediff s": ours,
            "ratio": theirs["seconds"] / ours,
            "JAX-MD compile s": theirs["compile"],
        }

    return _beside("peer_jaxmd.py", [(864, "lj"), (256, "neural")], repeats, row)


def _neural_gradient(system: System, repeats: int) -> float:
    neural = PairPotential(NeuralRadial(2.5) + Repulsion(0.4, 0.9, 10), 2.5)
    rdf = RDF(2.5, 100)

    def both() -> None:
        trajectory = simulate(system, neural, integrator(), HORIZON, save_every=20, skin=SKIN)
        (rdf(trajectory) - 1.0).square().mean().backward()

    both()
    return median(clock(both) for _ in range(2 + repeats))
