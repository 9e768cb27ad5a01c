"""Every inverse method on the same targets: steps, time and errors.

    python -m tests.benchmarks.methods                      # all cases, about an hour on one core
    python -m tests.benchmarks.methods lj --only IBI IMC    # one case, two methods
    python -m tests.benchmarks.methods --table              # only rewrite docs/results/methods.md

Results of each method go to docs/results/methods/<case>.json as soon as they are there; the targets beside them are
made by the first run and reused.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import units

from asediff.engines import TorchEngine
from asediff.fitting import (
    IBI,
    IHNC,
    IMC,
    DiffSim,
    ExactWeights,
    FitResult,
    GaussNewton,
    Method,
    Reweighting,
    fit,
)
from asediff.lammps.reference import spce_reference
from asediff.lattices import fcc, lattice_with_atoms, mixture
from asediff.observables import RDF
from asediff.potentials import LennardJones, NeuralRadial, PairPotential, Repulsion, Shifted
from asediff.system import System
from asediff.targets.target import StatePoint, Target, potential_deviation

from .methods_page import page

BAR = 1e5 * units.Pascal


REPEATED = ("IBI", "IMC", "IHNC", "Gauss-Newton", "Reweighting, neural")
"""Methods that are run with several seeds at a single state point, and in every case."""
SEEDS = (1, 2, 3, 4, 5)
WITHOUT_SECANT = "IHNC without secant"
EPOCHS_ALONE = "DiffSim, neural, epochs alone"
ONE_WINDOW = "DiffSim, neural, one window"
"""The gradient through all 120 steps of each of 500 epochs, a rate that is halved, no runs at the end."""
COMPARED = (
    *REPEATED,
    "Gauss-Newton with pressure",
    "Reweighting, neural, exact weights",
    "DiffSim, neural",
)


@dataclass(frozen=True)
class Case:
    """One system.

    Attributes:
        title: for the table.
        points: conditions and targets.
        cutoff: of the fitted potentials, length.
        engine: of the iterative methods.
        validation: of the final runs.
        truth: u(r) by pair, or None.
        core: σ of the neural potentials' prior by pair, length.
        pressures: of the reference at each point, energy/length³.
        pressure_unit: for the table: energy/length³ of one unit, and its name.
        delta_range: r of the potential error.
        methods: names of those that are compared.
    """

    title: str
    points: tuple[StatePoint, ...]
    cutoff: float
    engine: TorchEngine
    validation: TorchEngine
    truth: PairPotential | None
    core: dict[tuple[str, str] | None, float]
    pressures: tuple[float, ...]
    pressure_unit: tuple[float, str]
    delta_range: tuple[float, float]
    methods: tuple[str, ...]

    @property
    def kT(self) -> float:
        """Of the first point."""
        return float(self.points[0].kT)

    def neural(self) -> PairPotential:
        """The potential of the neural methods: MLP plus a fixed repulsion of ε = kT/2."""

        def radial(sigma: float) -> Any:
            network = NeuralRadial(self.cutoff, n_basis=60, hidden=(64, 64), scale=self.kT)
            return network + Repulsion(0.5 * self.kT, sigma, 12)

        if None in self.core:
            return PairPotential(radial(self.core[None]), self.cutoff, truncation=Shifted())
        radials = {pair: radial(sigma) for pair, sigma in self.core.items() if pair is not None}
        return PairPotential(radials, self.cutoff, truncation=Shifted())


def lennard_jones(folder: Path) -> Case:
    """LJ fluid, ρ = 0.7, kT = 1, 256 atoms, truth cut at 2.5; potentials reach 2.0 with rows of 0.01."""
    system = System.from_atoms(fcc("Ar", density=0.7, cells=4, mass=1.0, rattle=0.02))
    truth = PairPotential(LennardJones(), 2.5, truncation=Shifted())
    return _known([folder / "lj.npz"], "LJ, ρ 0.7, T 1.0", [system], truth, {None: RDF(3.5, 350)}, 2.0, {None: 0.9})


def dense(folder: Path) -> Case:
    """The same fluid at ρ = 0.8; potentials reach 2.5 with rows of 0.02."""
    system = System.from_atoms(fcc("Ar", density=0.8, cells=4, mass=1.0, rattle=0.02))
    truth = PairPotential(LennardJones(), 2.5, truncation=Shifted())
    names = (*REPEATED, WITHOUT_SECANT)
    case = _known([folder / "dense.npz"], "LJ, ρ 0.8, T 1.0", [system], truth, {None: RDF(3.4, 170)}, 2.5, {None: 0.9})
    return replace(case, methods=names)


def multistate(folder: Path) -> Case:
    """The same fluid at ρ = 0.3, 0.5 and 0.7 together; potentials reach 2.5 with rows of 0.02."""
    densities = (0.3, 0.5, 0.7)
    systems = [System.from_atoms(fcc("Ar", density=rho, cells=4, mass=1.0, rattle=0.02)) for rho in densities]
    truth = PairPotential(LennardJones(), 2.5, truncation=Shifted())
    paths = [folder / f"multistate_{rho}.npz" for rho in densities]
    case = _known(paths, "LJ, ρ 0.3, 0.5, 0.7 together", systems, truth, {None: RDF(3.5, 175)}, 2.5, {None: 0.9})
    return replace(case, methods=(*REPEATED, "DiffSim, neural"))


def binary(folder: Path) -> Case:
    """50:50 mixture, σ 0.9, 1.0, 1.1, ρ = 0.7, kT = 1, 256 atoms; rows of 0.02 up to 2.5."""
    atoms = mixture(fcc("Ar", density=0.7, cells=4, rattle=0.02), {"Ar": 0.5, "Kr": 0.5}, masses={"Ar": 1.0, "Kr": 1.0})
    sigma = {("Ar", "Ar"): 0.9, ("Ar", "Kr"): 1.0, ("Kr", "Kr"): 1.1}
    truth = PairPotential({pair: LennardJones(1.0, s) for pair, s in sigma.items()}, 2.5, truncation=Shifted())
    rdfs = {pair: RDF(3.3, 165, pair=pair) for pair in sigma}
    core = {pair: 0.9 * s for pair, s in sigma.items()}
    case = _known([folder / "mixture.npz"], "50:50 mixture", [System.from_atoms(atoms)], truth, rdfs, 2.5, core)
    return replace(case, methods=(*COMPARED, "IMC without cross terms"))


def _known(
    paths: list[Path],
    title: str,
    systems: list[System],
    truth: PairPotential,
    rdfs: dict[Any, RDF],
    cutoff: float,
    core: dict[Any, float],
) -> Case:
    engine = TorchEngine(0.005, equilibration_steps=2_000, steps=20_000, save_every=20)
    long = replace(engine, equilibration_steps=10_000, steps=200_000, save_every=50)
    points, pressures = [], []
    for path, system in zip(paths, systems, strict=True):
        if not path.is_file():
            blank = StatePoint(system, [Target(rdf, torch.ones(rdf.bins)) for rdf in rdfs.values()], kT=1.0)
            measured = long.measure(truth, blank, seed=11)
            assert measured.trajectory is not None
            np.savez(
                path,
                positions=measured.trajectory.system.positions.numpy(),
                pressure=measured.pressure,
                **{f"g{k}": v.numpy() for k, v in enumerate(measured.values)},
                **{f"error{k}": v.numpy() for k, v in enumerate(measured.errors)},
            )
        data = np.load(path)
        targets = [Target(rdf, data[f"g{k}"], error=data[f"error{k}"]) for k, rdf in enumerate(rdfs.values())]
        points.append(StatePoint(system.replace(positions=torch.from_numpy(data["positions"])), targets, kT=1.0))
        pressures.append(float(data["pressure"]))
    return Case(
        title,
        tuple(points),
        cutoff,
        engine,
        replace(long, steps=100_000),
        truth,
        core,
        tuple(pressures),
        (1.0, "ε/σ³"),
        (0.9, cutoff),
        COMPARED,
    )


def water(folder: Path) -> Case:
    """SPC/E water, 300 K, 0.997 g/cm³, one bead per molecule; rows of 0.05 Å up to 6.25 Å."""
    path = folder / "water.npz"
    rdf = RDF(9.0, 180)
    kT = 300.0 * units.kB
    if not path.is_file():
        trajectory, _ = spce_reference(216, steps=60_000, save_every=50, equilibration_steps=10_000, seed=3)
        per_frame = rdf.per_frame(trajectory)[:, 0]
        blocks = per_frame.reshape(10, -1, rdf.bins).mean(1)
        np.savez(
            path,
            positions=trajectory.system.positions.numpy(),
            cell=trajectory.system.cell.numpy(),
            g=per_frame.mean(0).numpy(),
            error=(blocks.std(0) / np.sqrt(len(blocks))).numpy(),
        )
    data = np.load(path)
    atoms = lattice_with_atoms("O", 216, density=216 / float(np.linalg.det(data["cell"][0])), mass=18.0154)
    system = System.from_atoms(atoms).replace(
        positions=torch.from_numpy(data["positions"]), cell=torch.from_numpy(data["cell"])
    )
    point = StatePoint(system, Target(rdf, data["g"], error=data["error"]), kT=kT)
    engine = TorchEngine(4.0 * units.fs, equilibration_steps=2_000, steps=20_000, save_every=20)
    validation = replace(engine, equilibration_steps=5_000, steps=100_000, save_every=50)
    return Case(
        "SPC/E water, 300 K",
        (point,),
        6.25,
        engine,
        validation,
        None,
        {None: 2.5},
        (1.0 * BAR,),
        (BAR, "bar"),
        (2.5, 6.25),
        COMPARED,
    )


CASES: dict[str, Callable[[Path], Case]] = {
    "lj": lennard_jones,
    "dense": dense,
    "mixture": binary,
    "water": water,
    "multistate": multistate,
}


def methods(case: Case) -> dict[str, tuple[Method, bool]]:
    """Name -> method, and whether the reference pressure is a target too."""
    engine, cutoff = case.engine, case.cutoff
    # one table for three densities: IBI averages their updates and is slow where the fluid is near its critical point
    iterations = 10 if len(case.points) == 1 else 25
    # runs that grow: five take less than a third of ten runs of IBI; near the critical point the response changes
    # quickly, and ten whose length grows less do better
    growing, few, growth = replace(engine, equilibration_steps=1_000, steps=13_400), 5, 2.0
    if len(case.points) > 1:
        growing, few, growth = replace(engine, steps=16_000), 10, 1.3
    chosen: dict[str, tuple[Method, bool]] = {
        "IBI": (IBI(engine, iterations, cutoff=cutoff), False),
        "IMC": (IMC(growing, few, cutoff=cutoff, growth=growth), False),
        "IMC without cross terms": (IMC(growing, few, cutoff=cutoff, growth=growth, cross_terms=False), False),
        "IHNC": (IHNC(growing, few, cutoff=cutoff, growth=growth), False),
        WITHOUT_SECANT: (IHNC(growing, few, cutoff=cutoff, growth=growth, secant=False), False),
        "Gauss-Newton": (GaussNewton(growing, few, cutoff=cutoff, growth=growth), False),
        "Gauss-Newton with pressure": (GaussNewton(replace(engine, steps=60_000), 4, cutoff=cutoff), True),
        "Reweighting, neural": (Reweighting(growing, few, growth=growth), False),
        "Reweighting, neural, exact weights": (
            Reweighting(engine, 6, expansion=ExactWeights(0.2), growth=1.0),
            False,
        ),
        "DiffSim, neural": (DiffSim(engine.timestep), False),
        EPOCHS_ALONE: (DiffSim(engine.timestep, finish=None), False),
        ONE_WINDOW: (DiffSim(engine.timestep, epochs=500, window=120, decay=1.0, patience=50, finish=None), False),
    }
    return chosen


def run_seeds(case: Case, name: str) -> dict[str, Any]:
    """Results with the first seed, and D with all of `SEEDS` where the method is among `REPEATED`."""
    row = run(case, name, seed=SEEDS[0])
    others = SEEDS[1:] if name in (*REPEATED, WITHOUT_SECANT) and len(case.points) == 1 else ()
    return row | {"D_seeds": [row["D"], *(run(case, name, seed=seed)["D"] for seed in others)]}


def run(case: Case, name: str, *, seed: int) -> dict[str, Any]:
    """Fit with one method and summarise it."""
    method, with_pressure = methods(case)[name]
    points = list(case.points)
    if with_pressure:
        points = [
            StatePoint(p.system, p.targets, kT=p.kT, name=p.name, pressure=wanted)
            for p, wanted in zip(points, case.pressures, strict=True)
        ]
    start = case.neural() if "neural" in name else None
    result = fit(start, points, method, validation=case.validation, seed=seed, progress=False)
    deviations = [d for rows in result.deviations() for d in rows]
    unit = case.pressure_unit[0]
    excess = [m.pressure - wanted for m, wanted in zip(result.measurements, case.pressures, strict=True)]
    return {
        "method": name,
        "iterations": len(result.history),
        "md_steps": result.md_steps,
        "wall_seconds": result.wall_seconds,
        "D": float(np.mean([d.structural for d in deviations])),
        "D_noise": float(np.mean([d.structural_noise for d in deviations])),
        "mean_dg": float(np.mean([d.mean for d in deviations])),
        "mean_dg_error": float(np.mean([d.mean_error for d in deviations])),
        "mean_dg_each": [d.mean for d in deviations],
        "pressure_error": excess[int(np.argmax(np.abs(excess)))] / unit,
        "pressure_noise": max(m.pressure_error for m in result.measurements) / unit,
        "delta": delta(case, result),
        "D_history": [row.get("D") for row in result.history],
        "md_history": [row["md_steps"] for row in result.history],
        "notes": result.notes,
    }


def delta(case: Case, result: FitResult) -> float | None:
    """Mean over the pairs of ∫ |u - u_true| dr (eq. 15), both zero at the cutoff; None without a truth."""
    if case.truth is None:
        return None
    r = torch.linspace(*case.delta_range, 201, dtype=torch.float64)
    r[-1] -= 1e-9
    found = []
    for name in case.truth.pair_names():
        with torch.no_grad():
            u, true = result.potential.function(r, name), case.truth.function(r, name)
        low = float(r[true < 5.0][0]) if bool((true > 5.0).any()) else case.delta_range[0]
        found.append(float(potential_deviation(r, u, true, max(low, case.delta_range[0]), case.delta_range[1])))
    return float(np.mean(found))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}; all when left out")
    parser.add_argument("--only", nargs="*", help="names of methods")
    parser.add_argument("--table", action="store_true", help="only rewrite the table")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[2] / "docs" / "results")
    arguments = parser.parse_args()
    store = arguments.folder / "methods"
    store.mkdir(parents=True, exist_ok=True)
    for name in [] if arguments.table else arguments.cases or CASES:
        case = CASES[name](store)
        path = store / f"{name}.json"
        data = json.loads(path.read_text()) if path.is_file() else {"rows": []}
        data |= {"title": case.title, "pressure_unit": case.pressure_unit[1]}
        for method in arguments.only or case.methods:
            row = run_seeds(case, method)
            data["rows"] = [r for r in data["rows"] if r["method"] != method] + [row]
            unfinished = path.with_suffix(".part")
            unfinished.write_text(json.dumps(data, indent=1) + "\n")
            unfinished.replace(path)
            print(name, method, f"D {row['D']:.3g} mean |dg| {row['mean_dg']:.4f} steps {row['md_steps']}", flush=True)
    (arguments.folder / "methods.md").write_text(page(arguments.folder, list(CASES)))


if __name__ == "__main__":
    main()
