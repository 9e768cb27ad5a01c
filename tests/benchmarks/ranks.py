"""Measures an epoch of DiffSim with replicas in one process, with one and two threads, and in two processes.

`python -m tests.benchmarks.ranks STORE RANK REPEATS` is one of the two processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

import torch

from asediff import RDF, DiffSim, NeuralRadial, PairPotential, Ranks, Repulsion, StatePoint, Target
from asediff.fitting.api import FitJob
from asediff.fitting.gradients.diffsim import _Descent
from asediff.kernels.cpu.backend import set_num_threads
from tests.benchmarks.engine import Rows, clock
from tests.benchmarks.fluid import equilibrated

REPLICAS = 8
SIZES = (256, 864)
NAMES = ("1 process, 1 thread", "1 process, 2 threads", "2 processes, 1 thread each")


def ranks(repeats: int) -> Rows:
    """One DiffSim epoch of the papers' Lennard-Jones setting (K = 100, 3 x 128, 120 steps, 24 frames) with 8 replicas:
    in one process with one and with two threads, and in two processes of one thread, in turn. The fastest of all,
    medians of the ratios of runs that follow each other, and the ratio of processor times, of which that of the busier
    of two processes counts: what an idle machine gains at most, whatever else runs here."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "tests.benchmarks.ranks", f"{place}/store"]
        started = [
            subprocess.Popen([*command, str(rank), str(repeats)], stdout=subprocess.PIPE, text=True) for rank in (0, 1)
        ]
        told = [process.communicate()[0] for process in started]
    return [_row(n, seconds) for n, seconds in json.loads(told[0].splitlines()[-1])]


def _row(n_atoms: int, seconds: dict[str, list[float]]) -> dict[str, Any]:
    alone, threads, processes = (seconds[name] for name in NAMES)
    busy = [min(seconds[f"{name}: busy"]) for name in (NAMES[0], NAMES[2])]
    return (
        {"n_atoms": n_atoms, "replicas": REPLICAS}
        | {f"{name}: s": min(seconds[name]) for name in NAMES}
        | {
            "2 threads / 1, fastest": min(alone) / min(threads),
            "2 processes / 1, fastest": min(alone) / min(processes),
            "2 threads / 1, median": median(a / b for a, b in zip(alone, threads, strict=True)),
            "2 processes / 1, median": median(a / b for a, b in zip(alone, processes, strict=True)),
            "2 processes / 1, processor time": busy[0] / busy[1],
        }
    )


def descent(n_atoms: int, group: Ranks) -> _Descent:
    """A fit that has begun."""
    system = equilibrated(n_atoms)
    rdf = RDF(3.0, 100, r_min=0.6)
    point = StatePoint(system, Target(rdf, rdf(system)[0]), kT=1.0)
    neural = PairPotential(NeuralRadial(2.5) + Repulsion(0.4, 0.9, 10), 2.5)
    method = DiffSim(0.005, equilibration_steps=100, replicas=REPLICAS)
    found = _Descent(method, FitJob(neural, [point], 0, None, False, False, ranks=group))
    found._begin()
    found._update()
    return found


def threads(n: int) -> None:
    """Use n threads from now on."""
    set_num_threads(n)
    torch.set_num_threads(n)


def measured(n_atoms: int, group: Ranks, repeats: int) -> dict[str, list[float]]:
    """Seconds of epochs in each of the three ways, in turn, and those for which processors were busy with them."""
    threads(1)
    together = descent(n_atoms, group)
    alone = descent(n_atoms, Ranks()) if group.rank == 0 else None
    seconds: dict[str, list[float]] = {f"{name}{what}": [] for name in NAMES for what in ("", ": busy")}

    def run(name: str, fit: _Descent) -> float:
        before = time.process_time()
        seconds[name].append(clock(fit._update))
        return time.process_time() - before

    for _ in range(repeats):
        for n, name in enumerate(NAMES[:2], start=1):
            if alone is not None:
                threads(n)
                seconds[f"{name}: busy"].append(run(name, alone))
        threads(1)
        group.exchange(lambda: None)  # the other process has waited meanwhile
        busy = run(NAMES[2], together)
        seconds[f"{NAMES[2]}: busy"].append(max(group.exchange(lambda own=busy: own)))
    return seconds


def main(path: str, rank: int, repeats: int) -> None:
    """One of the two processes; the first prints what it measured."""
    store = torch.distributed.FileStore(path, 2)
    with Ranks.joined(store=store, rank=rank, world_size=2) as group:
        rows = [(n, measured(n, group, 2 * repeats)) for n in SIZES]
    if rank == 0:
        print(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
