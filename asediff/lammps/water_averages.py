"""What runs of SPC/E water give: partial g(r), temperature, pressure, diffusion, each with its standard error."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import units
from numpy.typing import NDArray

from asediff.lammps.water import WaterRun
from asediff.lammps.water_runs import read_frames, read_rdf, read_thermo
from asediff.targets.losses import block_average_error

Floats = NDArray[np.float64]

BAR_PER_ATM = 1.01325
CUBIC = 2.837297
"""ξ of a cubic box in the finite-size correction of diffusion."""


@dataclass(frozen=True, eq=False)
class Average:
    """A mean over independent runs and its standard error, each a number or an array; units are those of the values."""

    value: Floats
    error: Floats

    @classmethod
    def of(cls, series: Sequence[Floats]) -> Average:
        """From a series in time `(n, ...)` of each run; correlations within a run are accounted for by blocking."""
        means = [values.mean(0) for values in series]
        squares = [block_average_error(torch.from_numpy(values)).numpy() ** 2 for values in series]
        return cls(np.mean(means, axis=0), np.sqrt(np.sum(squares, axis=0)) / len(series))


@dataclass(frozen=True, eq=False)
class WaterAverages:
    """Averages over all replicas of a `WaterRun`.

    Attributes:
        r: `(bins,)`, centres of the bins, Å.
        g: `(3, bins)` of O-O, O-H, H-H, with V/(N_a N_b) and without pairs of one molecule: an ideal gas of N
            molecules has 1 - 1/N in every bin.
        temperature_K: K; over the 6 N - 3 degrees of freedom of rigid molecules without total momentum.
        pressure_bar: bar; with the correction for the Lennard-Jones forces beyond the cutoff.
        energy_kJ_per_mol: potential energy of a molecule.
        lag_ps: `(n_lags,)`, ps.
        displacement_A2: `(n_lags,)`, mean squared displacement of the oxygens, Å².
        diffusion_A2_per_ps: a sixth of the slope of the displacement between two lags, Å²/ps, in the periodic box.
        n_blocks: blocks over which each g(r) was averaged, of all replicas.
        n_frames: frames, of all replicas.
    """

    r: Floats
    g: Average
    temperature_K: Average
    pressure_bar: Average
    energy_kJ_per_mol: Average
    lag_ps: Floats
    displacement_A2: Average
    diffusion_A2_per_ps: Average
    n_blocks: int
    n_frames: int


def averages(run: WaterRun, folders: Sequence[Path], diffusion_ps: tuple[float, float]) -> WaterAverages:
    """Averages of finished runs; their frames are read piece by piece.

    Args:
        run: the settings.
        folders: of the replicas.
        diffusion_ps: shortest and longest lag of the straight line through the mean squared displacement, ps.

    Raises:
        ValueError: fewer than two lags in the window, or runs no longer than it.
    """
    lags = np.array(run.lags(diffusion_ps))
    distributions = [read_rdf(folder, run.n_molecules) for folder in folders]
    thermo = [read_thermo(folder) for folder in folders]
    displacements = [squared_displacements(_oxygens(folder), lags[-1]) for folder in folders]
    lag_ps = run.frame_ps * np.arange(1, lags[-1] + 1)
    slope = _slope(lag_ps[lags - 1])
    per_molecule = units.kcal / units.kJ / run.n_molecules
    return WaterAverages(
        r=distributions[0][0],
        g=Average.of([g.swapaxes(0, 1) for _, g in distributions]),
        temperature_K=Average.of([rows["Temp"] for rows in thermo]),
        pressure_bar=Average.of([BAR_PER_ATM * rows["Press"] for rows in thermo]),
        energy_kJ_per_mol=Average.of([per_molecule * rows["PotEng"] for rows in thermo]),
        lag_ps=lag_ps,
        displacement_A2=Average.of(displacements),
        diffusion_A2_per_ps=Average.of([series[:, lags - 1] @ slope / 6.0 for series in displacements]),
        n_blocks=sum(g.shape[1] for _, g in distributions),
        n_frames=sum(len(series) + int(lags[-1]) for series in displacements),
    )


def squared_displacements(frames: Iterable[Floats], longest: int) -> Floats:
    """Mean squared displacement that ends at each frame, over 1, 2, ... `longest` frames.

    The motion of all atoms together is taken off.

    Args:
        frames: `(n_atoms, 3)` each, unwrapped positions at equal intervals.
        longest: lag in frames; as many frames are held at a time.

    Returns:
        `(n_frames - longest, longest)`, length².
    """
    held: deque[Floats] = deque(maxlen=int(longest))
    rows = []
    for frame in frames:
        centred = frame - frame.mean(0)
        if len(held) == longest:
            rows.append([((centred - past) ** 2).sum(-1).mean() for past in reversed(held)])
        held.append(centred)
    return np.array(rows)


def finite_size_correction(temperature_K: float, box: float) -> float:
    """What the diffusion coefficient lacks in a periodic cubic box, times the viscosity: Å²/ps mPa s.

    D(infinite) = D + 2.837297 kB T / (6 π η L) with the viscosity η; doi:10.1021/jp0477147, eq. 12.

    Args:
        temperature_K: K.
        box: edge L, Å.
    """
    kT = units._k * temperature_K  # J
    return CUBIC * kT / (6.0 * np.pi * 1e-3 * box * 1e-10) * 1e8


def _oxygens(folder: Path) -> Iterable[Floats]:
    for dump in read_frames(folder):
        yield from dump.vectors("xu", "yu", "zu")


def _slope(x: Floats) -> Floats:
    """Weights `(n,)` whose product with values at x is the slope of the straight line through them."""
    centred = x - x.mean()
    return centred / (centred**2).sum()
