"""SPC/E water in LAMMPS: the settings of a run. Nothing heavy is imported, so that chains can be checked quickly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INPUT = "spce_nvt.lmp"
PAIRS = ("OO", "OH", "HH")
WATER_MASS = 18.0154
"""Mass of a molecule of SPC/E water, amu."""
CUTOFF = 9.0
"""Of the Lennard-Jones and the real-space Coulomb forces, Å."""
AVOGADRO = 0.602214076
"""Molecules per Å³ at 1 mol per cm³."""


@dataclass(frozen=True)
class WaterRun:
    """Settings of independent runs of SPC/E water at constant temperature, which decide their every bit.

    A run is cut into pieces, and each piece starts from the restart file that the one before has written, whether it
    was killed in between or not. LAMMPS' forces of constraints do not come back from a restart to the last bit: a run
    that is not cut anywhere ends elsewhere than one that was continued. `run_water` in the folder of a killed
    run does what is left of it.

    Attributes:
        n_molecules: number of molecules.
        temperature_K: K.
        density_g_cm3: g/cm³.
        steps: recorded steps of each replica.
        equilibration_steps: steps before the recorded ones, from relaxed random orientations on a cubic lattice.
        save_every: steps between samples of g(r), temperature, energy and pressure.
        frame_every: steps between frames; `save_every` by default.
        block_steps: steps over which each g(r) is averaged, a multiple of `save_every`; by default one for each piece.
        piece_steps: steps between restart files.
        timestep_fs: fs.
        tdamp_fs: relaxation time of the thermostat, fs.
        r_max: upper edge of g(r), Å.
        bins: of g(r).
        seed: replica k uses seed + k.
        replicas: independent runs, each with its own start.
    """

    n_molecules: int
    temperature_K: float
    density_g_cm3: float
    steps: int
    equilibration_steps: int = 5_000
    save_every: int = 50
    frame_every: int | None = None
    block_steps: int | None = None
    piece_steps: int = 5_000
    timestep_fs: float = 2.0
    tdamp_fs: float = 100.0
    r_max: float = CUTOFF
    bins: int = 180
    seed: int = 1
    replicas: int = 1

    def __post_init__(self) -> None:
        for name in ("temperature_K", "density_g_cm3", "timestep_fs", "tdamp_fs", "r_max", "bins", "replicas", "seed"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)!r} is not positive; give a value above 0")
        if self.box < 2 * CUTOFF:
            fewest = math.ceil((2 * CUTOFF) ** 3 * AVOGADRO * self.density_g_cm3 / WATER_MASS)
            raise ValueError(
                f"n_molecules: {self.n_molecules} at {self.density_g_cm3:g} g/cm³ fill a cell of {self.box:.1f} Å, "
                f"less than twice the cutoff of {CUTOFF:g} Å; give at least {fewest}"
            )
        if self.r_max > 0.5 * self.box:
            raise ValueError(
                f"r_max: {self.r_max:g} Å is more than half the cell of {self.box:.2f} Å; give {0.5 * self.box:.2f} at "
                "most, or more molecules"
            )
        if self.save_every < 1 or self.steps < max(self.save_every, self.frame_every or 0):
            raise ValueError(f"steps: {self.steps} with save_every = {self.save_every} save no frame; give more steps")
        if self.equilibration_steps < 0:
            raise ValueError(f"equilibration_steps: {self.equilibration_steps} is negative; give 0 or more")
        if self.block_steps is not None:
            self._check_multiple("block_steps", "save_every")
            self._check_multiple("steps", "block_steps")
            self._check_multiple("piece_steps", "block_steps")
        self._check_multiple("piece_steps", "save_every")

    def _check_multiple(self, name: str, of: str) -> None:
        number, unit = getattr(self, name), getattr(self, of)
        if number < unit or number % unit:
            raise ValueError(f"{name}: {number} is no multiple of {of} = {unit}; give one")

    @property
    def box(self) -> float:
        """Edge of the cubic cell, Å."""
        return float((self.n_molecules / self.number_density) ** (1 / 3))

    @property
    def number_density(self) -> float:
        """Molecules per Å³."""
        return self.density_g_cm3 * AVOGADRO / WATER_MASS

    @property
    def frame_steps(self) -> int:
        """Steps between frames."""
        return self.save_every if self.frame_every is None else self.frame_every

    @property
    def frame_ps(self) -> float:
        """Time between frames, ps."""
        return 1e-3 * self.frame_steps * self.timestep_fs

    def lags(self, diffusion_ps: Sequence[float]) -> range:
        """Lags, in frames, of a straight line through the mean squared displacement.

        Args:
            diffusion_ps: shortest and longest lag, ps.

        Raises:
            ValueError: fewer than two, or no frames that far apart in a run.
        """
        first, last = (round(time / self.frame_ps) for time in diffusion_ps)
        if not 1 <= first < last:
            raise ValueError(
                f"diffusion_ps: {list(diffusion_ps)} holds fewer than two lags of frames {self.frame_ps:g} ps apart; "
                "give a wider window or more frames"
            )
        recorded = self.steps // self.frame_steps
        if last + 2 > recorded:
            raise ValueError(
                f"diffusion_ps: {diffusion_ps[1]:g} ps is no shorter than the recorded {recorded * self.frame_ps:g} "
                "ps; give a shorter window or a longer run"
            )
        return range(first, last + 1)

    def variables(self, k: int) -> dict[str, int | float]:
        """What the LAMMPS input of replica k is given."""
        return {
            "molecules": self.n_molecules,
            "density": self.density_g_cm3,
            "temperature": self.temperature_K,
            "timestep": self.timestep_fs,
            "tdamp": self.tdamp_fs,
            "cutoff": CUTOFF,
            "equilibration": self.equilibration_steps,
            "steps": self.steps,
            "piece": self.piece_steps,
            "block": self.piece_steps if self.block_steps is None else self.block_steps,
            "every": self.save_every,
            "frames": self.frame_steps,
            "rmax": self.r_max,
            "bins": self.bins,
            "seed": self.seed + k,
        }

    def folders(self, top: Path) -> list[Path]:
        """Where the replicas run."""
        return [top / f"replica_{k}" for k in range(self.replicas)] if self.replicas > 1 else [top]
