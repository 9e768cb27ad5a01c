"""Measures the fused engine: forward and gradient speed beside LAMMPS, an epoch, g(r), and a large system."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

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
from asediff.dynamics.adjoints import Adjoint
from asediff.fitting.api import FitJob
from asediff.fitting.gradients.diffsim import _Descent
from asediff.kernels.cpu.backend import set_num_threads
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


def independent_rate(system: System, steps: int, runs: int) -> float:
    """Steps per second of all of several runs side by side, one thread each: what the machine's cores give."""
    set_num_threads(1)

    def run() -> None:
        with torch.no_grad():
            simulate(system, potential(), integrator(), steps, skin=SKIN)

    def together() -> None:
        threads = [threading.Thread(target=run) for _ in range(runs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return runs * steps / clock(together)


def forward(repeats: int, sizes: Sequence[int] = (256, 864, 6912)) -> Rows:
    """Steps per second beside LAMMPS `pair_style table linear` with the same table, one and two threads.

    Two runs of one thread side by side show what a second core of the machine gives.
    """
    rows = []
    with tempfile.TemporaryDirectory() as top:
        for n in sizes:
            system, steps = equilibrated(n), STEPS[n]
            prepare_lammps(system, Path(top) / str(n), steps)
            single = system.to(dtype=torch.float32)
            # runs that are compared follow each other: the speed of a shared machine drifts within seconds
            runs: dict[str, Callable[[], float]] = {
                "float32_1": lambda s=single, k=steps: forward_rate(s, k, 1),
                "lammps_1": lambda n=n: lammps_steps_per_second(Path(top) / str(n), 1),
                "float64_1": lambda s=system, k=steps: forward_rate(s, k, 1),
                "float64_2": lambda s=system, k=steps: forward_rate(s, k, 2),
                "2 x float64_1": lambda s=system, k=steps: independent_rate(s, k, 2),
                "lammps_2": lambda n=n: lammps_steps_per_second(Path(top) / str(n), 2),
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
                "2 independent runs / 1": ("2 x float64_1", "float64_1"),
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
        "every state kept (default)": ReversibleAdjoint(),
        "stepped back": ReversibleAdjoint(keep=0),
        "sqrt(T) checkpoints": CheckpointAdjoint(every=11),
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
    """Peak resident memory of this process so far, MB (Linux; `getrusage` would count the parent's at the fork)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status: no line VmHWM; measure memory on Linux")


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
