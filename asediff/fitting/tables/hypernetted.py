"""The response of g(r) to u(r) in the hypernetted-chain closure: no noise, and close enough to lead the first steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
import torch
from ase.data import chemical_symbols
from scipy.fft import dst
from torch import Tensor

from asediff.checks.species import pair_name
from asediff.fitting.statistics.averages import PairFunction
from asediff.fitting.statistics.samples import Sample
from asediff.fitting.tables.tabulated import FloatArray
from asediff.targets.target import StatePoint

PADDING = 3
"""Transforms reach this many times further than g(r), which is 1 there."""
MAX_UNKNOWNS = 1500
"""Pairs of species times bins beyond which the closure is solved on wider bins: time grows with the third power."""
SMALLEST, ONSET = 0.03, 0.5
"""Arguments of `hypernetted_response` for a g(r) that was measured."""


def closure_response(point: StatePoint, values: Sequence[FloatArray]) -> list[dict[str, FloatArray]]:
    """dg/du of a state point, for each target and pair of species.

    Args:
        point: condition and targets, at least one RDF for each pair of species present; see `untargeted_pairs`.
        values: measured value of each target.

    Returns:
        For each target that is an RDF, by pair, `(n_bins, n_bins of the first RDF of that pair)`, 1/energy; an empty
        dictionary for other targets.
    """
    grids: dict[str, FloatArray] = {}
    measured: dict[str, FloatArray] = {}
    for t, _, rdf in point.distributions():
        grids.setdefault(rdf.pair_name, rdf.centers.numpy())
        measured.setdefault(rdf.pair_name, values[t])
    names, densities = _species(point)
    reach = max(float(r[-1]) for r in grids.values())
    step = max(min(_spacing(r) for r in grids.values()), reach * len(names) / MAX_UNKNOWNS)
    n = int(np.ceil(reach / step))
    common = np.asarray((np.arange(n) + 0.5) * step, dtype=np.float64)
    to_common = {name: _transfer(grids[name], common) for name in names}
    g = [
        to_common[name] @ measured[name] + (common > grids[name][-1]) * (1.0 - to_common[name].sum(1)) for name in names
    ]
    response = hypernetted_response(common, np.stack(g), densities, smallest=SMALLEST, onset=ONSET)
    for i in range(len(names)):
        # the response of a bin to its own u, -g, is exact on any grid; what is interpolated is smooth
        response[i, :, i] += np.diag(g[i])
    kT = float(point.kT)
    result: list[dict[str, FloatArray]] = [{} for _ in point.targets]
    for t, _, rdf in point.distributions():
        name, r = rdf.pair_name, rdf.centers.numpy()
        rows = _interpolation(common, r) @ response[names.index(name)].reshape(n, -1)
        blocks = rows.reshape(len(r), len(names), n)
        result[t] = {other: blocks[:, j] @ to_common[other] / kT for j, other in enumerate(names)}
        result[t][name] -= values[t][:, None] * _interpolation(grids[name], r) / kT
    return result


class ClosureChange:
    """First-order change of the targets with u(r), differentiable in u; None for targets that are no RDF.

    Args:
        point: condition and targets.
        values: measured value of each target.
        u0: the potential that they were measured with.

    Attributes:
        n_rows: number of bins, of all pairs, that have samples and lie within the cutoff.
    """

    def __init__(self, point: StatePoint, values: Sequence[Tensor], u0: PairFunction) -> None:
        response = closure_response(point, [v.numpy() for v in values])
        self.places: dict[str, Tensor] = {}
        before: dict[str, Tensor] = {}
        rows: dict[str, Tensor] = {}
        for t, _, rdf in point.distributions():
            name = rdf.pair_name
            if name not in rows:
                rows[name] = values[t] > 0
                self.places[name] = rdf.centers[rows[name]]
                before[name] = u0(self.places[name], name).detach()
        self.before = torch.cat(list(before.values()))
        self.n_rows = int((self.before != 0.0).sum())
        self.matrices = [
            torch.cat([torch.from_numpy(of[name])[:, chosen] for name, chosen in rows.items()], dim=1) if of else None
            for of in response
        ]

    def __call__(self, u: PairFunction) -> list[Tensor | None]:
        """Change of each target from u0 to u."""
        change = torch.cat([u(r, name) for name, r in self.places.items()]) - self.before
        return [None if matrix is None else matrix @ change for matrix in self.matrices]


def closure_share(one: Sample, prior_frames_per_row: float, n_rows: int) -> float:
    """Share of the closure in the response of a run, as if it came from so many independent frames for each row.

    The noise of a measured response grows with the number of rows, hence the measure. The share is zero where a pair of
    species has no RDF target.
    """
    if prior_frames_per_row == 0.0 or untargeted_pairs(one.statistics.state_point):
        return 0.0
    if math.isinf(prior_frames_per_row):
        return 1.0
    frames = prior_frames_per_row * n_rows
    return frames / (frames + one.statistics.independent_frames)


def check_prior(prior_frames_per_row: float) -> None:
    """Refuse what is not a number of frames."""
    if not prior_frames_per_row >= 0:
        raise ValueError(f"prior_frames_per_row: {prior_frames_per_row} is negative; give 0 for no prior, or more")


def untargeted_pairs(point: StatePoint) -> list[str]:
    """Pairs of species that a state point has, but no target for."""
    found = {rdf.pair_name for _, _, rdf in point.distributions()}
    return sorted(set(_species(point)[0]) - found)


def _species(point: StatePoint) -> tuple[list[str], FloatArray]:
    """Names of the pairs of species present, first with each in turn, and their number densities.

    Where the target is an RDF over all atoms they count as one species.
    """
    if any(rdf.pair_name == "all" for _, _, rdf in point.distributions()):
        return ["all"], np.array([point.density])
    numbers, counts = np.unique(point.system.numbers.numpy(), return_counts=True)
    symbols = [chemical_symbols[n] for n in numbers]
    names = [pair_name(a, b) for a, b in combinations_with_replacement(symbols, 2)]
    return names, counts / counts.sum() * point.density


def _spacing(r: FloatArray) -> float:
    return float(r[-1] - r[0]) / (len(r) - 1)


def _transfer(source: FloatArray, target: FloatArray) -> FloatArray:
    """From one grid to another as a matrix `(n_target, n_source)`: wider bins average, others interpolate."""
    fine, wide = _spacing(source), _spacing(target)
    if wide < 1.001 * fine:
        return _interpolation(source, target)
    low = np.maximum(target[:, None] - 0.5 * wide, source - 0.5 * fine)
    high = np.minimum(target[:, None] + 0.5 * wide, source + 0.5 * fine)
    return np.asarray(np.maximum(high - low, 0.0) / wide, dtype=np.float64)


def _interpolation(source: FloatArray, target: FloatArray) -> FloatArray:
    """Linear interpolation from one grid to another as a matrix `(n_target, n_source)`; zero outside of the source."""
    half = 0.5 * (source[1] - source[0])
    inside = (target > source[0] - 1.001 * half) & (target < source[-1] + 1.001 * half)
    columns = [np.where(inside, np.interp(target, source, unit), 0.0) for unit in np.eye(len(source))]
    return np.stack(columns, axis=1)


def hypernetted_response(
    r: FloatArray, g: FloatArray, densities: FloatArray, *, smallest: float = 0.0, onset: float = 1.0
) -> FloatArray:
    """dg/d(βu) of a mixture in the hypernetted-chain closure.

    With H the matrix of ĥ_ij(q), R that of the densities and P = (1 + HR)⁻¹ the Ornstein-Zernike equation gives
    δC = P δH Pᵀ, and the closure δg/g + βδu = δh - δc: a linear equation for δg at all r and pairs at once.

    Args:
        r: `(n,)`, (k + 1/2) Δr, length.
        g: `(n_pairs, n)`, of the pairs (0, 0), (0, 1), ..., (1, 1), ... of species; 1 beyond the last r.
        densities: `(n_species,)`, numbers of atoms over the volume, 1/length³.
        smallest: lower bound of the eigenvalues of 1 + R^½ H R^½, the partial structure factors: noise at small q would
            make them negative.
        onset: h is multiplied by a cosine window that falls from 1 at this fraction of the last r to 0 there; cut off
            at once it makes the structure factors ring around their small true values at small q.

    Returns:
        `(n_pairs, n, n_pairs, n)`.
    """
    n, step = len(r), float(r[1] - r[0])
    n_long = PADDING * n
    # with q_j = (j + 1/2) π/(n_long Δr) the type-4 sine transform is its own inverse
    q = (np.arange(n_long) + 0.5) * np.pi / (n_long * step)
    sines = dst(np.eye(n_long)[:, :n], type=4, norm="ortho", axis=0)
    h = g - 1.0
    if onset < 1.0:
        x = np.clip((r / r[-1] - onset) / (1.0 - onset), 0.0, 1.0)
        h = h * 0.5 * (1.0 + np.cos(np.pi * x))
    h_q = 4.0 * np.pi * step * np.sqrt(0.5 * n_long) / q * (h * r @ sines.T)

    through = np.eye(len(g)) - _direct_response(h_q, densities, smallest)
    kernel = np.einsum("kx,kpq,ky->pxqy", sines, through, sines, optimize=True)
    kernel *= r / r[:, None, None]
    size = len(g) * n
    matrix = np.eye(size) - g.reshape(-1, 1) * kernel.reshape(size, size)
    response = -np.linalg.solve(matrix, np.diag(g.reshape(-1)))
    return np.asarray(response.reshape(len(g), n, len(g), n))


def _direct_response(h_q: FloatArray, densities: FloatArray, smallest: float) -> FloatArray:
    """dĉ/dĥ at each q, `(n_q, n_pairs, n_pairs)`, from ĥ `(n_pairs, n_q)`."""
    n_species, n_pairs = len(densities), len(h_q)
    i, j = np.array(list(combinations_with_replacement(range(n_species), 2))).T
    total = np.zeros((h_q.shape[1], n_species, n_species))
    total[:, i, j] = total[:, j, i] = h_q.T
    root = np.sqrt(densities)
    values, vectors = np.linalg.eigh(np.eye(n_species) + root[:, None] * total * root)
    inverse = np.einsum("qab,qb,qcb->qac", vectors, 1.0 / np.maximum(values, smallest), vectors)
    p = inverse * root / root[:, None]
    result = np.empty((h_q.shape[1], n_pairs, n_pairs))
    for b, (k, m) in enumerate(zip(i, j, strict=True)):
        result[:, :, b] = p[:, i, k] * p[:, j, m]
        if k != m:
            result[:, :, b] += p[:, i, m] * p[:, j, k]
    return result
