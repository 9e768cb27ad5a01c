"""Measures how time and memory grow with atoms and steps, the list build alone, and draws the growth."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numba import njit

from asediff import RDF, CheckpointAdjoint, ReversibleAdjoint, System
from asediff.dynamics.adjoints import Adjoint
from asediff.kernels.arrays import Batch, SplineTables
from asediff.kernels.cpu.backend import set_num_threads
from asediff.kernels.cpu.lists import rebuild
from asediff.kernels.cpu.space import FORWARD_ROWS, LENGTH, Space, X, enlarge, make_space
from asediff.kernels.cpu.teamwork import put
from asediff.plotting import BLUE, GREEN, VERMILION
from tests.benchmarks.engine import HORIZON, Rows, clock, forward_rate, gradient_seconds, resident_mb
from tests.benchmarks.fluid import CELLS, SKIN, STEPS, equilibrated, lammps_list_seconds, potential, prepare_lammps


@njit(nogil=True, error_model="numpy")
def _build(space, times):  # type: ignore[no-untyped-def]
    fits = True
    for _ in range(times):
        fits = rebuild(space, 0, 1)
    return fits


def prepared_space(system: System) -> Space:
    """The arrays of one thread's run of a system, its list built."""
    with torch.no_grad():
        spline = potential().tabulate(system)
    index = spline.table_index.numpy().astype(np.int32)
    tables = SplineTables(spline.coefficients.numpy(), index, spline.s_lo, spline.spacing, spline.cutoff)
    fields = (system.masses, system.offsets, system.cell, system.pbc)
    batch = Batch(*(f.numpy() for f in fields), spline.types(system).numpy().astype(np.int32))
    space, _ = make_space(batch, 0, tables, skin=SKIN, n_rows=FORWARD_ROWS, n_threads=1)
    put(space, X, system.positions.numpy())
    while not _build(space, 1):
        space = enlarge(space)
    return space


def lists(repeats: int) -> Rows:
    """One build of the neighbor list, cutoff 2.5 and skin 0.3, one thread: asediff (full rows, sorting and periodic
    images included) beside LAMMPS (half list, its `Neigh` time over the number of builds)."""
    rows = []
    with tempfile.TemporaryDirectory() as top:
        for n in (256, 864, 6912):
            system = equilibrated(n)
            folder = Path(top) / str(n)
            prepare_lammps(system, folder, STEPS[n])
            space = prepared_space(system)
            times = max(1, 20_000 // n)
            pairs = [
                (clock(lambda s=space, k=times: _build(s, k)) / times, lammps_list_seconds(folder))
                for _ in range(repeats)
            ]
            rows.append(
                {
                    "n_atoms": n,
                    "neighbors per atom": float(space.atoms[LENGTH].mean()),
                    "asediff ms": 1e3 * median(a for a, _ in pairs),
                    "LAMMPS ms": 1e3 * median(b for _, b in pairs),
                    "LAMMPS / asediff": median(b / a for a, b in pairs),
                }
            )
    return rows


def growth(repeats: int) -> Rows:
    """One thread: forward steps and 120-step gradients against the number of atoms, and gradients at N = 864 against
    the number of steps (stepping back)."""
    set_num_threads(1)
    rows = []
    rdf = RDF(2.5, 100)
    for n in (256, 864, 6912, max(CELLS)):
        system = equilibrated(n)
        count = repeats if n < 50_000 else 1
        rate = median(forward_rate(system, STEPS[n], 1) for _ in range(count))
        both = median(gradient_seconds(system, ReversibleAdjoint(), rdf)[1] for _ in range(count))
        rows.append({"n_atoms": n, "steps": HORIZON, "forward s per step": 1 / rate, "gradient s": both})
    system = equilibrated(864)
    for steps in (30, 120, 480, 1920, 7680):
        pairs = [gradient_seconds(system, ReversibleAdjoint(), rdf, steps) for _ in range(2)]
        alone, both = (min(p[k] for p in pairs) for k in (0, 1))
        rows.append({"n_atoms": 864, "steps": steps, "forward s per step": alone / steps, "gradient s": both})
    return rows


def peak_of_gradient(n_atoms: int, steps: int, adjoint: str) -> float:
    """Peak memory above imports and compiled code, MB, of one gradient with 6 frames; for a process of its own."""
    chosen: Adjoint = ReversibleAdjoint() if adjoint == "reversible" else CheckpointAdjoint()
    set_num_threads(1)
    system = equilibrated(n_atoms)
    rdf = RDF(2.5, 100)
    small = system.to()
    gradient_seconds(small, chosen, rdf, 12)
    before = resident_mb()
    gradient_seconds(system, chosen, rdf, steps)
    return resident_mb() - before


def total_memory(n_atoms: int, steps: int, adjoint: str) -> dict[str, float]:
    """Peak memory of the gradient in a process of its own: above a 12-step gradient, and above bare imports, MB."""
    code = (
        "import sys, torch; import asediff; import asediff.kernels.cpu.backend\n"
        "from tests.benchmarks import engine, scaling\n"
        "base = engine.resident_mb()\n"
        f"extra = scaling.peak_of_gradient({n_atoms}, {steps}, {adjoint!r})\n"
        "print(base, extra, engine.resident_mb())\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    base, extra, peak = (float(x) for x in out.split()[-3:])
    return {"above imports MB": peak - base, "above a 12-step gradient MB": extra, "peak MB": peak}


def memory(repeats: int) -> Rows:
    """Peak memory of a gradient at N = 864 against the number of steps."""
    return [
        {"n_atoms": 864, "adjoint": adjoint, "steps": steps} | total_memory(864, steps, adjoint)
        for adjoint in ("reversible", "checkpoint")
        for steps in (120, 1200, 6000, 20_004)
    ]


def draw(results: dict[str, Any], folder: Path) -> list[str]:
    """Plots of the parts that were measured; returns the files written."""
    written = []
    if "memory" in results:
        rows = results["memory"]["rows"]
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for adjoint, color in (("reversible", BLUE), ("checkpoint", VERMILION)):
            of = [(r["steps"], r["above imports MB"]) for r in rows if r["adjoint"] == adjoint]
            axes.plot(*zip(*of, strict=True), "o-", color=color, label=adjoint)
        state = 864 * 6 * 8 / 1e6
        steps = np.geomspace(120, 20_000, 60)
        base = min(r["above imports MB"] for r in rows)
        axes.plot(steps, base + 2 * np.sqrt(steps) * state, ":", color=GREEN, label="2 √T states more")
        axes.set(xscale="log", xlabel="steps T", ylabel="peak memory above imports (MB)", ylim=(0, None))
        axes.set_title("Gradient of T steps, N = 864")
        axes.legend(frameon=False)
        figure.savefig(folder / "engine_memory.png", dpi=130)
        written.append("engine_memory.png")
    if "growth" in results:
        rows = results["growth"]["rows"]
        by_size, by_steps = rows[:4], rows[4:]
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        n = [r["n_atoms"] for r in by_size]
        left.plot(n, [1e6 * r["forward s per step"] / r["n_atoms"] for r in by_size], "o-", color=BLUE, label="forward")
        per_step = [1e6 * r["gradient s"] / HORIZON / r["n_atoms"] for r in by_size]
        left.plot(n, per_step, "s-", color=VERMILION, label="gradient, 120 steps")
        left.set(xscale="log", xlabel="atoms N", ylabel="µs per atom and step", ylim=(0, None))
        left.legend(frameon=False)
        right.plot([r["steps"] for r in by_steps], [r["gradient s"] for r in by_steps], "s-", color=VERMILION)
        right.set(xscale="log", yscale="log", xlabel="steps T", ylabel="gradient (s), N = 864")
        figure.savefig(folder / "engine_growth.png", dpi=130)
        written.append("engine_growth.png")
    return written
