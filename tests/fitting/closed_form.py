"""Targets at zero density, where g(r) = exp(-u(r)/kT), and small liquids, for the tests of the inverse methods."""

from __future__ import annotations

import numpy as np
import torch

from asediff.lattices import fcc, mixture
from asediff.observables import RDF
from asediff.potentials import LennardJones, PairPotential, Shifted, TabulatedRadial
from asediff.system import System
from asediff.targets.target import StatePoint, Target

BINS = 100


def lennard_jones(epsilon: float = 1.0, sigma: float = 1.0, cutoff: float = 2.0) -> PairPotential:
    return PairPotential(LennardJones(epsilon, sigma), cutoff, truncation=Shifted())


def grid(pair: tuple[str, str] | None = None) -> RDF:
    """Bins centred on 0.02, 0.04, ..., 2.00, VOTCA's grid with steps of 0.02."""
    return RDF(2.01, BINS, r_min=0.01, width=0, pair=pair)


def dilute_point(potential: PairPotential, *, kT: float = 1.0, density: float = 0.05) -> StatePoint:
    """A state point whose targets are the dilute g(r) of a potential."""
    atoms = fcc("Ar", density=density, cells=2, mass=1.0)
    names: list[tuple[str, str] | None] = [None]
    if potential.species is not None:
        atoms = mixture(atoms, {"Ar": 0.5, "Kr": 0.5}, masses={"Ar": 1.0, "Kr": 1.0})
        names = [("Ar", "Ar"), ("Ar", "Kr"), ("Kr", "Kr")]
    targets = []
    for name in names:
        observable = grid(name)
        with torch.no_grad():
            u = potential.function(observable.centers, name, kT)
        targets.append(Target(observable, torch.exp(-u / kT)))
    return StatePoint(System.from_atoms(atoms), targets, kT=kT)


def mixture_potential() -> PairPotential:
    pairs = {("Ar", "Ar"): 0.9, ("Ar", "Kr"): 1.0, ("Kr", "Kr"): 1.1}
    radials = {pair: LennardJones(1.0, sigma) for pair, sigma in pairs.items()}
    return PairPotential(radials, 2.0, truncation=Shifted())


def shallower(potential: PairPotential, factor: float = 0.8) -> PairPotential:
    """Tables of `factor` times a potential: a start that is off everywhere."""
    radials = {}
    for name in potential.pair_names():
        r = grid().centers
        with torch.no_grad():
            u = factor * potential.function(r, name).clamp(max=200.0)
        radials[name] = TabulatedRadial(r.numpy(), u.numpy())
    if "all" in radials:
        return PairPotential(radials["all"], 2.0, truncation=Shifted())
    return PairPotential({tuple(n.split("-")): f for n, f in radials.items()}, 2.0, truncation=Shifted())  # type: ignore[misc]


def liquid(n_cells: int = 2, density: float = 0.3, *, r_max: float = 2.0, bins: int = 40) -> StatePoint:
    """32 atoms in a periodic box, with an RDF target whose values do not matter."""
    atoms = fcc("Ar", density=density, cells=n_cells, mass=1.0, rattle=0.02)
    observable = RDF(r_max, bins, width=0)
    return StatePoint(System.from_atoms(atoms), Target(observable, torch.ones(bins)), kT=1.0)


def inside(potential: PairPotential, point: StatePoint, low: float = 0.93) -> float:
    """Largest difference of -kT ln g of the first target and a potential, energy, above r = low (g > 0.02 there)."""
    r = grid().centers
    rows = (r > low) & (r < 2.0)
    wanted = -float(point.kT) * point.targets[0].reference.log()
    pair = point.targets[0].observable.pair
    with torch.no_grad():
        return float((potential.function(r, pair, float(point.kT)) - wanted)[rows].abs().max())


def uniform_frames(n_frames: int, n_atoms: int, edge: float, seed: int = 0) -> np.ndarray:
    """Frames of an ideal gas."""
    return np.random.default_rng(seed).uniform(0.0, edge, (n_frames, n_atoms, 3))
