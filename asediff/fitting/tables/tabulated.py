"""Potentials as tables on the bins of their target g(r): grids, starts, cores. For IBI, IMC, Gauss-Newton, IHNC."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from asediff.fitting.statistics.averages import PairFunction
from asediff.observables import RDF
from asediff.potentials.base import Potential
from asediff.potentials.pair import PairPotential, check_pairwise
from asediff.potentials.radial import TabulatedRadial
from asediff.potentials.splines import clamped_spline
from asediff.potentials.truncation import Shifted
from asediff.targets.target import StatePoint, Target, check_distributions

FloatArray = NDArray[np.float64]
HIGHEST = 1e12
"""Largest u/kT kept in a table: the exponential core of a Boltzmann inversion can overflow."""


@dataclass(frozen=True, eq=False)
class PairTargets:
    """The targets of one pair of species at all state points, on one grid.

    Attributes:
        name: of the pair.
        r: `(n_rows,)`, bin centres up to the cutoff = knots of the table, length.
        points: index of the state point of each target.
        targets: index of the target within its state point.
        g: `(n_points, n_rows)`, references.
        kT: `(n_points,)`, energy.
        weights: `(n_points,)`, weights of state points times targets, normalised to 1.
    """

    name: str
    r: FloatArray
    points: tuple[int, ...]
    targets: tuple[int, ...]
    g: FloatArray
    kT: FloatArray
    weights: FloatArray

    @property
    def spacing(self) -> float:
        """Distance of the rows, length."""
        return float(self.r[-1] - self.r[0]) / (len(self.r) - 1)

    @property
    def cutoff(self) -> float:
        """Last row, where u = 0."""
        return float(self.r[-1])

    def of(self, curves: Sequence[Sequence[Tensor]]) -> FloatArray:
        """Pick this pair's rows out of values `[state point][target]`: `(n_points, n_rows)`."""
        picked = [curves[s][t] for s, t in zip(self.points, self.targets, strict=True)]
        return np.stack([c.detach().cpu().numpy()[: len(self.r)] for c in picked]).astype(np.float64)


def pair_targets(state_points: Sequence[StatePoint], cutoff: float | None = None) -> list[PairTargets]:
    """Collect the g(r) targets of each pair of species.

    Args:
        state_points: conditions with targets.
        cutoff: of the potential, length; it becomes the last bin centre at or below. Default: the last bin centre.

    Raises:
        ValueError: a target is no g(r), grids of one pair differ between state points, a pair has no target, or too few
            bins lie within the cutoff.
    """
    check_distributions(state_points, "a method that fits tables")
    found: dict[str, list[tuple[int, int, Target]]] = {}
    limits: list[float] = []
    for s, point in enumerate(state_points):
        for t, target, rdf in point.distributions():
            found.setdefault(rdf.pair_name, []).append((s, t, target))
            limits.append(_last_row(rdf, cutoff))
    _check_pairs(found, state_points)
    if max(limits) - min(limits) > 1e-9 * max(limits):
        raise ValueError(
            f"targets: their last bins within the cutoff lie at {min(limits):.6g} and {max(limits):.6g}; give all "
            "RDFs the same bins"
        )
    result = []
    for name, rows in sorted(found.items()):
        grids = [target.observable.centers.numpy() for _, _, target in rows]
        r = grids[0][grids[0] <= limits[0] * (1 + 1e-9)]
        for (s, _, target), grid in zip(rows, grids, strict=True):
            if len(grid) < len(r) or not np.allclose(grid[: len(r)], r, rtol=0, atol=1e-9 * r[-1]):
                raise ValueError(
                    f"targets: {target.name} of {state_points[s].name} has other bins than at "
                    f"{state_points[rows[0][0]].name}; use one RDF observable for all state points"
                )
        if len(r) < 10:
            raise ValueError(f"cutoff: only {len(r)} bins of {name} lie within it; raise the cutoff or use finer bins")
        weights = np.array([state_points[s].weight * target.weight for s, _, target in rows])
        result.append(
            PairTargets(
                name=name,
                r=np.array(r, dtype=np.float64),
                points=tuple(s for s, _, _ in rows),
                targets=tuple(t for _, t, _ in rows),
                g=np.stack([target.reference.numpy()[: len(r)] for _, _, target in rows]).astype(np.float64),
                kT=np.array([float(state_points[s].kT) for s, _, _ in rows]),
                weights=weights / weights.sum(),
            )
        )
    return result


def _last_row(observable: RDF, cutoff: float | None) -> float:
    centers = observable.centers
    if cutoff is None:
        return float(centers[-1])
    inside = centers[centers <= cutoff + 1e-9 * cutoff]
    if not len(inside):
        raise ValueError(f"cutoff: {cutoff} lies below the first bin of the RDF; raise it")
    if float(centers[-1]) < cutoff - 1.001 * observable.bin_width:
        raise ValueError(
            f"cutoff: {cutoff} lies beyond the last bin of the RDF at {float(centers[-1]):.6g}; lower it or raise r_max"
        )
    return float(inside[-1])


def _check_pairs(found: dict[str, list[tuple[int, int, Target]]], state_points: Sequence[StatePoint]) -> None:
    if not found:
        raise ValueError("state_points: no RDF target; give each at least one Target with an RDF")
    if "all" in found:
        if len(found) > 1:
            raise ValueError(
                f"targets: an RDF over all atoms beside {sorted(set(found) - {'all'})}; give one or the other"
            )
        return
    numbers = sorted({int(n) for p in state_points for n in p.system.numbers.unique()})
    symbols = [chemical_symbols[n] for n in numbers]
    for i, first in enumerate(symbols):
        for second in symbols[i:]:
            if f"{first}-{second}" not in found:
                raise ValueError(
                    f"targets: no RDF of {first}-{second}; give a target for every pair of species in the systems"
                )


class Core(ABC):
    """How a table continues below its first sampled row."""

    @abstractmethod
    def fill(self, r: FloatArray, u: FloatArray, first: int, kT: float) -> FloatArray:
        """u(r) with the rows before `first` replaced."""


@dataclass(frozen=True)
class PowerCore(Core):
    """u(r) = u0 + (-m) r0/power [(r0/r)^power - 1]: value and slope of the first sampled row, then a steep wall.

    Args:
        points: rows over which the slope m is fitted.
        power: of the wall.
        steepest: the slope is at least this steep, in kT per r0, so that noise never makes the core attractive.
    """

    points: int = 5
    power: float = 12.0
    steepest: float = 10.0

    def fill(self, r: FloatArray, u: FloatArray, first: int, kT: float) -> FloatArray:
        """See `Core.fill`; closer than 0.4 r0 the wall stays at its height there."""
        if first == 0:
            return u.copy()
        rows = slice(first, min(first + self.points, len(r)))
        slope = float(np.polyfit(r[rows] - r[first], u[rows], 1)[0])
        slope = min(slope, -self.steepest * kT / r[first])
        ratio = np.minimum(r[first] / np.maximum(r[:first], 1e-30), 2.5)
        filled = u.copy()
        filled[:first] = u[first] - slope * r[first] / self.power * (ratio**self.power - 1.0)
        return filled


def first_sampled(g: FloatArray, floor: float, name: str) -> int:
    """First row where any state point's g(r) exceeds the floor.

    Raises:
        ValueError: none does.
    """
    rows = np.flatnonzero((g > floor).any(0))
    if not len(rows):
        raise ValueError(f"{name}: g(r) nowhere exceeds {floor:g} within the cutoff; check the target or lower g_floor")
    return int(rows[0])


def boltzmann_start(pair: PairTargets, g_floor: float, core: Core) -> FloatArray:
    """-kT ln g averaged over the state points, with a core, zero at the last row."""
    first = first_sampled(pair.g, g_floor, pair.name)
    with np.errstate(divide="ignore"):
        inverted = -pair.kT[:, None] * np.log(np.maximum(pair.g, g_floor))
    u = (pair.weights[:, None] * inverted).sum(0)
    return core.fill(pair.r, u - u[-1], first, float(pair.kT.max()))


def table_potential(pairs: Sequence[PairTargets], tables: Sequence[FloatArray]) -> PairPotential:
    """A pair potential of tables on the rows of their targets, zero at the last row."""
    radials = {pair.name: TabulatedRadial(pair.r, clipped(pair, u)) for pair, u in zip(pairs, tables, strict=True)}
    cutoff = pairs[0].cutoff
    if "all" in radials:
        return PairPotential(radials["all"], cutoff, truncation=Shifted())
    return PairPotential({tuple(n.split("-")): f for n, f in radials.items()}, cutoff, truncation=Shifted())  # type: ignore[misc]


def clipped(pair: PairTargets, u: FloatArray) -> FloatArray:
    """u limited to +-1e12 kT."""
    limit = HIGHEST * float(pair.kT.max())
    return np.clip(np.nan_to_num(u, posinf=limit, neginf=-limit), -limit, limit)


def given_tables(potential: Potential, pairs: Sequence[PairTargets]) -> list[FloatArray] | None:
    """The tables of a potential that is tabulated already, on the rows of the targets; None for other potentials."""
    potential, tables = check_pairwise(potential, "a table"), []
    for pair in pairs:
        radial = potential.radial(None if pair.name == "all" else pair.name)
        if not isinstance(radial, TabulatedRadial):
            return None
        with torch.no_grad():
            u = potential.function(torch.from_numpy(pair.r), pair.name, float(pair.kT.max())).numpy()
        tables.append(u - u[-1])
    return tables


def get_table(potential: Potential, pair: PairTargets) -> FloatArray:
    """Current knot values of a pair, `(n_rows,)`."""
    return np.array(_radial(potential, pair).values.detach().numpy(), dtype=np.float64)


def set_table(potential: Potential, pair: PairTargets, u: FloatArray) -> None:
    """Replace the knot values of a pair; the last row becomes zero."""
    with torch.no_grad():
        _radial(potential, pair).values.copy_(torch.from_numpy(clipped(pair, u - u[-1])))


def _radial(potential: Potential, pair: PairTargets) -> TabulatedRadial:
    radial = check_pairwise(potential, "a table").radial(None if pair.name == "all" else pair.name)
    assert isinstance(radial, TabulatedRadial)
    return radial


def cardinal_functions(r: Tensor, knots: FloatArray) -> Tensor:
    """Change of the C2 spline of `TabulatedRadial` at r `(n,)` per unit change of each knot, `(n, n_knots)`."""
    n, h = len(knots), float(knots[-1] - knots[0]) / (len(knots) - 1)
    y = torch.eye(n, dtype=torch.float64)
    first = (-3 * y[:, 0] + 4 * y[:, 1] - y[:, 2]) / (2 * h)
    last = (3 * y[:, -1] - 4 * y[:, -2] + y[:, -3]) / (2 * h)
    coefficients = clamped_spline(y, first, last, h)
    x = (r - float(knots[0])) / h
    interval = x.floor().clamp(0, n - 2).to(torch.int64)
    t = x - interval
    c0, c1, c2, c3 = coefficients[:, interval].unbind(-1)
    values = c0 + t * (c1 + t * (c2 + t * c3))
    return torch.where(x < 0, y[:, :1] + x * h * first[:, None], values).T


def table_basis(pairs: Sequence[PairTargets], free: Sequence[NDArray[np.int64]]) -> PairFunction:
    """Cardinal functions of the free rows of all tables in turn; zero for other pairs and beyond the cutoff."""
    sizes = [len(rows) for rows in free]
    offsets = np.concatenate([[0], np.cumsum(sizes)])

    def basis(r: Tensor, name: str) -> Tensor:
        values = torch.zeros(len(r), int(offsets[-1]), dtype=torch.float64)
        for k, pair in enumerate(pairs):
            if pair.name in ("all", name):
                own = cardinal_functions(r, pair.r)[:, torch.from_numpy(free[k])]
                values[:, int(offsets[k]) : int(offsets[k + 1])] = torch.where(r[:, None] < pair.cutoff, own, 0.0)
        return values

    return basis
