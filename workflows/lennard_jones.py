"""Learn the Lennard-Jones potential back from its own g(r), and say how close it came.

The target is made by LAMMPS `lj/cut` (cutoff 2.5, not shifted); the learned neural potential is exported as a table and
sampled by LAMMPS again. Prints D (eq. 18 of arXiv:2209.07679), mean |dg|, Delta (eq. 15) and the depth of the well, and
writes them to a folder.

    python workflows/lennard_jones.py --density 0.7 --kT 1.0 --output docs/results/lennard_jones_0.7
    python workflows/lennard_jones.py --density 0.3 --kT 1.2 --output docs/results/lennard_jones_0.3
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import torch

from asediff import (
    RDF,
    DiffSim,
    LammpsEngine,
    LennardJones,
    NeuralRadial,
    PairPotential,
    Repulsion,
    StatePoint,
    System,
    Target,
    Truncated,
    fit,
)
from asediff.fitting.result import FitResult
from asediff.lammps.reference import lj_reference
from asediff.lattices import fcc
from asediff.targets.losses import mean_abs_deviation, potential_deviation, structural_deviation

PAIR = ("Ar", "Ar")


def reference(density: float, kT: float, *, cells: int = 4, steps: int = 200_000) -> StatePoint:
    """State point with the g(r) of LAMMPS `lj/cut` on 4 cells³ atoms; `steps` recorded steps of 0.005."""
    system = System.from_atoms(fcc("Ar", density=density, cells=cells, mass=1.0))
    trajectory = lj_reference(system, kT=kT, steps=steps, save_every=50)
    rdf = RDF(3.0, 120, r_min=0.6, pair=PAIR)
    return StatePoint(trajectory.system, Target(rdf, rdf(trajectory)[0]), kT=kT, name=f"density {density:g}, kT {kT:g}")


def learn(point: StatePoint, *, epochs: int, learning_rate: float, replicas: int, seed: int) -> FitResult:
    """DiffSim with the papers' network (K = 100, 3 x 128, ELU) and prior 0.4 (0.9/r)^10; validated by LAMMPS."""
    potential = PairPotential({PAIR: NeuralRadial(2.5) + Repulsion(0.4, 0.9, 10)}, 2.5)
    method = DiffSim(0.005, epochs=epochs, learning_rate=learning_rate, replicas=replicas)
    engine = LammpsEngine(
        0.005,
        steps=200_000,
        save_every=50,
        equilibration_steps=10_000,
        units="lj",
        threads=min(2, os.cpu_count() or 1),
    )
    return fit(potential, point, method, validation=engine, seed=seed)


def compare(result: FitResult, point: StatePoint) -> dict[str, float]:
    """The figures of merit of a fit whose true potential is known."""
    target, measurement = point.targets[0], result.measurements[0]
    r, g = target.observable.centers, measurement.values[0]
    x = torch.linspace(0.9, 2.5, 1601, dtype=torch.float64)
    with torch.no_grad():
        learned = result.potential.function(x, PAIR)
        true = PairPotential({PAIR: LennardJones()}, 2.5, truncation=Truncated()).function(x, PAIR)
    return {
        "mean_abs_dg_0.9_2.5": float(mean_abs_deviation(r, g, target.reference, 0.9, 2.5)),
        "noise": float(measurement.errors[0].mean()),
        "D": float(structural_deviation(r, g, target.reference, point.density, 2.5)),
        "Delta": float(potential_deviation(x, learned, true)),
        "well_depth": float(-learned.min()),
        "well_position": float(x[learned.argmin()]),
        "true_well_depth": float(-true.min()),
        "first_peak_error": float(g.max() / target.reference.max() - 1),
        "pressure": measurement.pressure,
        "pressure_error": measurement.pressure_error,
        "epochs": float(len(result.history)),
        "md_steps": float(result.md_steps),
        "fit_seconds": result.wall_seconds,
        "validation_seconds": result.validation_seconds,
    }


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--density", type=float, default=0.7)
    parser.add_argument("--kT", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    point = reference(arguments.density, arguments.kT)
    print(f"reference by LAMMPS: {time.perf_counter() - begin:.0f} s")
    result = learn(
        point,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        replicas=arguments.replicas,
        seed=arguments.seed,
    )
    figures = compare(result, point)
    print(result.summary())
    for name, value in figures.items():
        print(f"{name:22s} {value:.5g}")
    with tempfile.TemporaryDirectory() as folder:
        result.write(Path(folder))
        shutil.copytree(folder, arguments.output, ignore=shutil.ignore_patterns("*.pt"), dirs_exist_ok=True)
    (arguments.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
