"""What a GPU makes of it: rates of the fused kernels, beside the CPU of the same machine.

    python -m tests.benchmarks.gpu

Writes docs/results/gpu.json and docs/results/gpu.md. Lennard-Jones fluid in reduced units, density 0.7, kT 1, cutoff
2.5, Nosé-Hoover chain, time step 0.005. Every figure is the median of three runs after two that compile the kernels and
record the graphs.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from asediff.dynamics import NoseHooverChain
from asediff.lattices import lattice_with_atoms
from asediff.observables import RDF
from asediff.potentials import LennardJones, NeuralRadial, PairPotential, Repulsion, Shifted
from asediff.simulate import simulate
from asediff.system import System
from asediff.trajectory import Trajectory

DENSITY, CUTOFF, TIMESTEP = 0.7, 2.5, 0.005
SIZES = {"864 atoms x 32": (864, 32), "100,000 atoms": (100_000, 1)}
DTYPES = {"float64": torch.float64, "float32": torch.float32}
GRADIENT_STEPS, FRAMES = 120, 6
EPOCH_STEPS, EPOCH_SAVE_EVERY, EPOCH_ATOMS = 119, 17, 256
RESULTS = Path(__file__).parents[2] / "docs" / "results"


@dataclass(frozen=True)
class Measurement:
    """One line of the table.

    Attributes:
        what: forward, gradient or epoch.
        system: its size.
        dtype: floating-point type.
        gpu: seconds on the GPU.
        cpu: seconds of the same work on the CPU.
        atom_steps: number of atoms times number of steps.
        bandwidth: bytes that a step must move at least, per second, over what a copy reaches; forward runs only.
    """

    what: str
    system: str
    dtype: str
    gpu: float
    cpu: float
    atom_steps: int
    bandwidth: float | None = None


def liquid(n_atoms: int, replicas: int, dtype: torch.dtype, device: torch.device) -> Trajectory:
    """Replicas of a fluid after a short run from a lattice."""
    atoms = lattice_with_atoms("Ar", n_atoms, density=DENSITY, mass=1.0)
    system = System.from_atoms([atoms] * replicas, dtype=dtype, device=device).thermalized(kT=1.0, seed=1)
    with torch.no_grad():
        return simulate(system, lennard_jones(dtype, device), integrator(), 200)


def lennard_jones(dtype: torch.dtype, device: torch.device) -> PairPotential:
    return PairPotential(LennardJones(), CUTOFF, truncation=Shifted()).to(device=device, dtype=dtype)


def neural(dtype: torch.dtype, device: torch.device) -> PairPotential:
    radial = NeuralRadial(CUTOFF) + Repulsion(sigma=0.9, epsilon=0.4, power=10)
    return PairPotential(radial, CUTOFF, truncation=Shifted()).to(device=device, dtype=dtype)


def integrator() -> NoseHooverChain:
    return NoseHooverChain(TIMESTEP, kT=1.0)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median time of three calls after two others."""
    times = []
    for _ in range(5):
        _wait(device)
        begin = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[2:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forward_time(n_atoms: int, replicas: int, steps: int, dtype: torch.dtype, device: torch.device) -> float:
    """Seconds per step of a run without gradient."""
    start, potential = liquid(n_atoms, replicas, dtype, device), lennard_jones(dtype, device)
    with torch.no_grad():
        return seconds(lambda: simulate(start, potential, integrator(), steps), device) / steps


def rdf_loss(trajectory: Trajectory, rdf: RDF) -> torch.Tensor:
    return ((rdf(trajectory) - 1.0) ** 2).mean()


def gradient_time(n_atoms: int, replicas: int, dtype: torch.dtype, device: torch.device) -> float:
    """Seconds for forward and backward over 120 steps, with the loss of six frames' RDF."""
    start, potential = liquid(n_atoms, replicas, dtype, device), lennard_jones(dtype, device)
    rdf = RDF(r_max=3.0, bins=100)

    def work() -> None:
        trajectory = simulate(start, potential, integrator(), GRADIENT_STEPS, save_every=GRADIENT_STEPS // FRAMES)
        torch.autograd.grad(rdf_loss(trajectory, rdf), list(potential.parameters()))

    return seconds(work, device)


def epoch_time(dtype: torch.dtype, device: torch.device) -> float:
    """Seconds for one epoch of DiffSim in the papers' setting: a 3 x 128 network, 256 atoms, 119 steps, 100 bins."""
    start, potential = liquid(EPOCH_ATOMS, 1, dtype, device), neural(dtype, device)
    optimizer = torch.optim.Adam(potential.parameters(), lr=1e-3)
    rdf = RDF(r_max=3.0, bins=100)

    def work() -> None:
        optimizer.zero_grad()
        trajectory = simulate(start, potential, integrator(), EPOCH_STEPS, save_every=EPOCH_SAVE_EVERY)
        rdf_loss(trajectory, rdf).backward()
        optimizer.step()

    return seconds(work, device)


def copy_bandwidth(device: torch.device, n_bytes: int = 2**30) -> float:
    """Bytes per second of a copy in the device's memory, read and written."""
    source = torch.ones(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    return 2.0 * n_bytes / seconds(lambda: target.copy_(source), device)


def bytes_per_atom_step(dtype: torch.dtype) -> float:
    """Least traffic of a step: state and forces once per kernel, and the neighbor row; neighbors come from caches."""
    entries = 4.0 / 3.0 * math.pi * (1.12 * CUTOFF) ** 3 * DENSITY
    return 32 * dtype.itemsize + 8 + 4.0 * entries


def measure(device: torch.device) -> list[Measurement]:
    """All lines of the table, GPU and CPU in turn."""
    cpu, limit, lines = torch.device("cpu"), copy_bandwidth(device), []
    for name, dtype in DTYPES.items():
        for system, (n_atoms, replicas) in SIZES.items():
            n = n_atoms * replicas
            gpu = forward_time(n_atoms, replicas, 1000, dtype, device)
            own = forward_time(n_atoms, replicas, 20, dtype, cpu)
            fraction = bytes_per_atom_step(dtype) * n / gpu / limit
            lines.append(Measurement("forward, per step", system, name, gpu, own, n, fraction))
            gpu, own = (gradient_time(n_atoms, replicas, dtype, where) for where in (device, cpu))
            lines.append(Measurement("gradient, 120 steps", system, name, gpu, own, n * GRADIENT_STEPS))
        gpu, own = (epoch_time(dtype, where) for where in (device, cpu))
        lines.append(Measurement("DiffSim epoch", f"{EPOCH_ATOMS} atoms", name, gpu, own, EPOCH_ATOMS * EPOCH_STEPS))
        for line in lines[-5:]:
            print(line, flush=True)
    return lines


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def write(lines: list[Measurement], device: torch.device, folder: Path) -> None:
    """The two files of results."""
    about = {
        "device": torch.cuda.get_device_name(device),
        "copy_bandwidth": copy_bandwidth(device),
        "cpu_threads": torch.get_num_threads(),
        "cpu": platform.processor() or platform.machine(),
        "versions": {name: _version(name) for name in ("asediff", "torch", "triton", "numba")},
    }
    data = {**about, "measurements": [asdict(line) for line in lines]}
    (folder / "gpu.json").write_text(json.dumps(data, indent=1) + "\n")
    rows = [
        f"| {m.what} | {m.system} | {m.dtype} | {m.gpu * 1e3:.3g} | {m.cpu * 1e3:.3g} | {m.cpu / m.gpu:.3g} | "
        f"{m.atom_steps / m.gpu:.3g} | {'' if m.bandwidth is None else format(m.bandwidth, '.0%')} |"
        for m in lines
    ]
    text = [
        "# Figures on a GPU",
        "",
        f"{about['device']}, {about['copy_bandwidth'] / 1e9:.0f} GB/s in a copy; "
        + ", ".join(f"{k} {v}" for k, v in about["versions"].items())
        + f"; CPU: {about['cpu']}. Made by `python -m tests.benchmarks.gpu`, which says what is measured.",
        "",
        "| what | system | type | GPU, ms | CPU, ms | CPU/GPU | atom-steps/s | of the bandwidth |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        "The last column compares the least traffic of a step (each kernel reads and writes its arrays once, neighbors "
        "come from caches) with what a copy in the device's memory reaches.",
    ]
    (folder / "gpu.md").write_text("\n".join(text) + "\n")


def main() -> int:
    if not torch.cuda.is_available():
        print("gpu: torch sees no CUDA device here; run this on a machine with a GPU and torch's CUDA build")
        return 1
    device = torch.device("cuda", torch.cuda.current_device())
    lines = measure(device)
    RESULTS.mkdir(parents=True, exist_ok=True)
    write(lines, device, RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
