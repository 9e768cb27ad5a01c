"""What g(r) tells about u(r): the error band of a Lennard-Jones fluid from one density and from three.

python -m tests.benchmarks.band      # writes docs/results/uncertainty.png and .md, a minute
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from asediff.engines import TorchEngine
from asediff.fitting import sample
from asediff.fitting.statistics.uncertainty import uncertainty_band
from asediff.lattices import fcc
from asediff.observables import RDF
from asediff.potentials import LennardJones, PairPotential, Shifted
from asediff.system import System
from asediff.targets.target import StatePoint, Target

mpl.use("Agg")
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "results"


def main() -> None:
    """Run, measure the bands, write figure and table."""
    import matplotlib.pyplot as plt

    potential = PairPotential(LennardJones(), 2.5, truncation=Shifted())
    engine = TorchEngine(0.005, equilibration_steps=5_000, steps=40_000, save_every=20)
    samples = {}
    for density in (0.3, 0.5, 0.7):
        system = System.from_atoms(fcc("Ar", density=density, cells=4, mass=1.0, rattle=0.02))
        for pressure in (None, 1.0) if density == 0.7 else (None,):
            target = Target(RDF(3.3, 165), torch.ones(165))
            point = StatePoint(system, target, kT=1.0, pressure=pressure)
            samples[density, pressure] = sample(engine, potential, point, seed=3)
    chosen = {
        "g(r) at ρ 0.7": [samples[0.7, None]],
        "g(r) and pressure at ρ 0.7": [samples[0.7, 1.0]],
        "g(r) at ρ 0.3, 0.5, 0.7": [samples[rho, None] for rho in (0.3, 0.5, 0.7)],
    }
    figure, axes = plt.subplots(1, 3, figsize=(15, 4), sharey=True)
    lines = [
        "# What does g(r) tell about u(r)?",
        "",
        "Standard error of u(r) of a Lennard-Jones fluid (256 atoms, kT = 1, 40,000 steps) as `uncertainty_band`",
        "finds it, with a prior of 1 ε and a correlation length of 0.125 σ. Made by `python -m tests.benchmarks.band`.",
        "",
        "| data | error at the minimum (ε) | mean error beyond 1 σ (ε) | directions determined |",
        "|---|---|---|---|",
    ]
    for ax, (title, runs) in zip(axes, chosen.items(), strict=True):
        band = uncertainty_band(potential, runs, prior=1.0)
        band.plot(ax=ax)
        ax.set_title(title)
        depth = float(np.interp(2 ** (1 / 6), band.r, band.error[0]))
        mean = float(band.error[0][band.r > 1.0].mean())
        lines.append(f"| {title} | {depth:.3f} | {mean:.3f} | {band.n_determined} |")
    lines += ["", "![bands](uncertainty.png)", ""]
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(FOLDER / "uncertainty.png", dpi=110)
    (FOLDER / "uncertainty.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
