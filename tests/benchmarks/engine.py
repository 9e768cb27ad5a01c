"""Measures the fused engine: forward and gradient speed beside LAMMPS, an epoch, g(r), threads, memory, large systems.

Runs of two programs alternate, each figure is the median of `--repeats` runs, and ratios are taken pair by pair.

    python -m tests.benchmarks                 # everything, about ten minutes; the machine should be idle
    python -m tests.benchmarks forward memory  # some parts
    ASEDIFF_PEERS_PYTHON=/path/to/python python -m tests.benchmarks peers   # an environment with jax and jax-md
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from asediff import (
    RDF,
    CheckpointAdjoint,
    DiffSim,
    NeuralRadial,
    PairPotential,
    Repulsion,
    ReversibleAdjoint,
    StatePoint,
    System,
    Target,
    simulate,
)
from asediff.adjoints import Adjoint
from asediff.fitting.api import FitJob
from asediff.fitting.diffsim import _Descent
from asediff.fitting.result import versions
from asediff.kernels.cpu import set_num_threads
from tests.benchmarks.fluid import (
    CELLS,
    SKIN,
    STEPS,
    equilibrated,
    integrator,
    lammps_steps_per_second,
    potential,
    prepare_lammps,
)

HORIZON = 120
Rows = list[dict[str, Any]]


def clock(work: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def forward_rate(system: System, steps: int, threads: int) -> float:
    """Steps per second of a run without gradient, list builds and tabulation included."""
    set_num_threads(threads)
    with torch.no_grad():
        return steps / clock(lambda: simulate(system, potential(), integrator(), steps, skin=SKIN))


def forward(repeats: int, sizes: Sequence[int] = (256, 864, 6912)) -> Rows:
    """Steps per second beside LAMMPS `pair_style table linear` with the same table, one and two threads."""
    rows = []
    with tempfile.TemporaryDirectory() as top:
        for n in sizes:
            system, steps = equilibrated(n), STEPS[n]
            prepare_lammps(system, Path(top) / str(n), steps)
            single = system.to(dtype=torch.float32)
            runs: dict[str, Callable[[], float]] = {
                "lammps_1": lambda n=n: lammps_steps_per_second(Path(top) / str(n), 1),
                "float64_1": lambda s=system, k=steps: forward_rate(s, k, 1),
                "float32_1": lambda s=single, k=steps: forward_rate(s, k, 1),
                "lammps_2": lambda n=n: lammps_steps_per_second(Path(top) / str(n), 2),
                "float64_2": lambda s=system, k=steps: forward_rate(s, k, 2),
            }
            runs["float64_1"](), runs["float32_1"](), runs["float64_2"]()
            speed: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(repeats):
                for name, run in runs.items():
                    speed[name].append(run())
            ratio = {
                "float64 / LAMMPS, 1 thread": ("float64_1", "lammps_1"),
                "float32 / LAMMPS, 1 thread": ("float32_1", "lammps_1"),
                "float64 / LAMMPS, 2 threads": ("float64_2", "lammps_2"),
                "2 threads / 1 thread, float64": ("float64_2", "float64_1"),
            }
            rows.append(
                {"n_atoms": n}
                | {f"{name} steps/s": median(values) for name, values in speed.items()}
                | {
                    name: median(x / y for x, y in zip(speed[a], speed[b], strict=True))
                    for name, (a, b) in ratio.items()
                }
            )
    return rows


def gradient_seconds(system: System, adjoint: Adjoint, rdf: RDF, steps: int = HORIZON) -> tuple[float, float]:
    """Wall seconds of the steps alone and of steps, RDF loss on 6 frames and reverse pass, in turn."""

    def alone() -> None:
        with torch.no_grad():
            simulate(system, potential(), integrator(), steps, save_every=steps // 6, skin=SKIN)

    def both() -> None:
        trajectory = simulate(
            system, potential(), integrator(), steps, save_every=steps // 6, adjoint=adjoint, skin=SKIN
        )
        (rdf(trajectory) - 1.0).square().mean().backward()

    return clock(alone), clock(both)


def gradient(repeats: int, sizes: Sequence[int] = (256, 864, 6912)) -> Rows:
    """(forward + backward) / forward with T = 120 and an RDF loss on 6 frames, 100 bins."""
    rows = []
    adjoints: dict[str, Adjoint] = {
        "every state kept": CheckpointAdjoint(every=1),
        "reversible": ReversibleAdjoint(),
        "checkpoint": CheckpointAdjoint(),
    }
    for n in sizes:
        system = equilibrated(n)
        for threads in (1, 2):
            set_num_threads(threads)
            for name, adjoint in adjoints.items():
                rdf = RDF(2.5, 100, width=None)
                gradient_seconds(system, adjoint, rdf)
                pairs = [gradient_seconds(system, adjoint, rdf) for _ in range(repeats)]
                rows.append(
                    {
                        "n_atoms": n,
                        "adjoint": name,
                        "threads": threads,
                        "forward s": median(a for a, _ in pairs),
                        "forward and backward s": median(b for _, b in pairs),
                        "ratio": median(b / a for a, b in pairs),
                    }
                )
    return rows


def epoch(repeats: int) -> Rows:
    """One DiffSim epoch of the papers' Lennard-Jones setting: N = 256, K = 100, 3 x 128, 120 steps, 24 frames."""
    system = equilibrated(256)
    rdf = RDF(3.0, 100, r_min=0.6)
    point = StatePoint(system, Target(rdf, rdf(system)[0]), kT=1.0)
    rows = []
    for dtype in (torch.float64, torch.float32):
        neural = PairPotential(NeuralRadial(2.5, dtype=dtype) + Repulsion(0.4, 0.9, 10), 2.5)
        for threads in (1, 2):
            set_num_threads(threads)
            torch.set_num_threads(threads)
            job = FitJob(neural, [point], 0, None, False, False)
            descent = _Descent(DiffSim(0.005, equilibration_steps=200), job)
            descent._begin()
            descent._update()
            seconds = [clock(descent._update) for _ in range(5 * repeats)]
            rows.append({"network": str(dtype).removeprefix("torch."), "threads": threads, "epoch s": median(seconds)})
    torch.set_num_threads(1)
    return rows


def distances(repeats: int) -> Rows:
    """g(r) alone: 100 bins up to 2.5, and its gradient, per frame."""
    rows = []
    set_num_threads(1)
    for n in (256, 864, 6912):
        system = equilibrated(n)
        rdf = RDF(2.5, 100)
        positions = system.positions.clone().requires_grad_()

        def value(rdf: RDF = rdf, system: System = system) -> None:
            with torch.no_grad():
                rdf(system)

        def both(rdf: RDF = rdf, system: System = system, positions: torch.Tensor = positions) -> None:
            rdf(system.replace(positions=positions)).square().sum().backward()

        value(), both()
        rows.append(
            {
                "n_atoms": n,
                "g(r) ms": 1e3 * median(clock(value) for _ in range(3 * repeats)),
                "g(r) and gradient ms": 1e3 * median(clock(both) for _ in range(3 * repeats)),
            }
        )
    return rows


def resident_mb() -> float:
    """Peak resident memory of this process so far, MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
        "import sys, torch; import asediff; import asediff.kernels.cpu\n"
        "from tests.benchmarks import engine\n"
        "base = engine.resident_mb()\n"
        f"extra = engine.peak_of_gradient({n_atoms}, {steps}, {adjoint!r})\n"
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


def large(repeats: int) -> Rows:
    """Cost per atom and step at about 100,000 atoms beside 6912, and the peak memory there."""
    rows = []
    set_num_threads(2)
    for n in (6912, max(CELLS)):
        system, steps = equilibrated(n), STEPS[n]
        rates = [forward_rate(system, steps, 2) for _ in range(repeats)]
        seconds = [gradient_seconds(system, ReversibleAdjoint(), RDF(2.5, 100))[1] for _ in range(1 if n > 7000 else 3)]
        rows.append(
            {
                "n_atoms": n,
                "forward µs per atom-step": 1e6 / (n * median(rates)),
                "gradient µs per atom-step": 1e6 * median(seconds) / (n * HORIZON),
                "peak MB": resident_mb(),
            }
        )
    return rows


def peers(repeats: int) -> Rows:
    """The same gradient in JAX-MD, in the environment that ASEDIFF_PEERS_PYTHON names, in turn with asediff."""
    python = os.environ.get("ASEDIFF_PEERS_PYTHON")
    if not python:
        return []
    rows = []
    script = Path(__file__).with_name("peer_jaxmd.py")
    set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for n, kind in ((864, "lj"), (256, "neural")):
            system = equilibrated(n)
            file = Path(folder) / f"{n}.npz"
            np.savez(
                file, x=system.positions % system.cell[0, 0, 0], v=system.velocities, box=float(system.cell[0, 0, 0])
            )
            out = subprocess.run(
                ["taskset", "-c", "0", python, str(script), str(file), kind, str(repeats)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            theirs = json.loads(out.splitlines()[-1])
            if kind == "lj":
                ours = median(
                    gradient_seconds(system, ReversibleAdjoint(), RDF(2.5, 100))[1] for _ in range(2 + repeats)
                )
            else:
                ours = _neural_gradient(system, repeats)
            rows.append(
                {
                    "n_atoms": n,
                    "potential": kind,
                    "JAX-MD variant": theirs["variant"],
                    "JAX-MD s": theirs["seconds"],
                    "asediff s": ours,
                    "ratio": theirs["seconds"] / ours,
                    "JAX-MD compile s": theirs["compile"],
                }
            )
    return rows


def _neural_gradient(system: System, repeats: int) -> float:
    neural = PairPotential(NeuralRadial(2.5) + Repulsion(0.4, 0.9, 10), 2.5)
    rdf = RDF(2.5, 100)

    def both() -> None:
        trajectory = simulate(system, neural, integrator(), HORIZON, save_every=20, skin=SKIN)
        (rdf(trajectory) - 1.0).square().mean().backward()

    both()
    return median(clock(both) for _ in range(2 + repeats))


PARTS: dict[str, Callable[[int], Rows]] = {
    "forward": forward,
    "gradient": gradient,
    "epoch": epoch,
    "distances": distances,
    "memory": memory,
    "large": large,
    "peers": peers,
}


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def table(rows: Rows) -> str:
    """A Markdown table."""
    if not rows:
        return "not measured\n"
    names = list(rows[0])

    def cell(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main(parts: Sequence[str], repeats: int, folder: Path) -> None:
    """Measure the parts, add them to engine.json in the folder, and write engine.md from it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "engine.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    results["device"] = processor()
    results["versions"] = versions()
    for name in parts or PARTS:
        load = os.getloadavg()[0]
        results[name] = {"rows": PARTS[name](repeats), "load_before": load, "repeats": repeats}
        print(f"## {name} (load before: {load:.1f})\n\n{table(results[name]['rows'])}", flush=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
    text = [
        "# Engine benchmarks\n",
        f"`python -m tests.benchmarks` on {results['device']}; "
        + ", ".join(f"{k} {v}" for k, v in results["versions"].items())
        + ". Medians; ratios are taken run by run, the programs in turn. Loads above zero before a part mean that the "
        "machine was shared.\n",
    ]
    for name, work in PARTS.items():
        if name in results:
            text.append(f"## {name} (load before: {results[name]['load_before']:.1f})\n")
            text.append((work.__doc__ or "") + "\n")
            text.append(table(results[name]["rows"]))
    (folder / "engine.md").write_text("\n".join(text))
