"""Measures a sum of a pair potential and a small remainder beside each of its parts alone."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from asediff import Potential, System, simulate
from asediff.kernels.cpu.backend import set_num_threads
from asediff.neighbors import Neighbors
from tests.benchmarks.engine import Rows, clock
from tests.benchmarks.fluid import SKIN, STEPS, equilibrated, integrator, potential


class Tethers(Potential):
    """A spring from each of the first atoms to where it was.

    Args:
        places: `(n, 3)`, length.
    """

    cutoff = None

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places)

    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        n = len(self.places)
        each = 0.5 * (system.positions[:n] - self.places).square().sum(1)
        return each.new_zeros(system.n_systems).index_add(0, system.system_idx[:n], each)


def sums(repeats: int) -> Rows:
    """Steps per second of a pair potential, of springs to fixed places (in torch) on some or all atoms, and of their
    sum, without gradient. The ratio is that of the sum to the slower of its parts."""
    rows = []
    for n, springs in ((864, 64), (864, 864), (6912, 64), (6912, 6912)):
        system = equilibrated(n)
        pair, rest, steps = potential(), Tethers(system.positions[:springs].clone()), STEPS[n]
        for threads in (1, 2):
            set_num_threads(threads)

            def run(terms: Potential, k: int = steps, start: System = system) -> float:
                with torch.no_grad():
                    return k / clock(lambda: simulate(start, terms, integrator(), k, skin=SKIN))

            runs: dict[str, Callable[[], float]] = {
                "pair": lambda p=pair: run(p), "rest": lambda p=rest: run(p), "sum": lambda p=pair + rest: run(p)
            }  # fmt: skip
            for work in runs.values():
                work()
            # runs that are compared follow each other: the speed of a shared machine drifts within seconds
            speed = [{name: work() for name, work in runs.items()} for _ in range(repeats)]
            rows.append(
                {"n_atoms": n, "springs": springs, "threads": threads}
                | {f"{name} steps/s": median(once[name] for once in speed) for name in runs}
                | {"sum / slower part": median(once["sum"] / min(once["pair"], once["rest"]) for once in speed)}
            )
    return rows
