"""SPC/E water in LAMMPS: a run in pieces that continues after a kill, and its files read one piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asediff.host.files import writing
from asediff.host.processes import Children, run_all
from asediff.lammps.files import Dump, read_dump
from asediff.lammps.run import Variable, lammps_input, run_lammps

Floats = NDArray[np.float64]

INPUT = "spce_nvt.lmp"
WATER_MASS = 18.0154
"""Mass of a molecule of SPC/E water, amu."""
CUTOFF = 9.0
"""Of the Lennard-Jones and the real-space Coulomb forces, Å."""
AVOGADRO = 0.602214076
"""Molecules per Å³ at 1 mol per cm³."""
PAIRS = ("OO", "OH", "HH")


@dataclass(frozen=True)
class WaterRun:
    """Settings of independent runs of SPC/E water at constant temperature, which decide their every bit.

    A run is cut into pieces, and each piece starts from the restart file that the one before has written, whether it
    was killed in between or not. LAMMPS' forces of constraints do not come back from a restart to the last bit: a run
    that is not cut anywhere ends elsewhere than one that was continued. `run` in the folder of a killed run does what
    is left of it.

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
            fewest = int(np.ceil((2 * CUTOFF) ** 3 * AVOGADRO * self.density_g_cm3 / WATER_MASS))
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

    def variables(self, k: int) -> dict[str, Variable]:
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

    def run(
        self, top: Path, *, resume: bool, processes: int = 1, ranks: int = 1, timeout: float | None = None
    ) -> list[Path]:
        """Run what is not done yet; returns the folders of the replicas.

        Args:
            top: folder; each of several replicas has one in it.
            resume: continue runs that were begun there with the same settings; otherwise their files are removed.
            processes: replicas that run at the same time.
            ranks: MPI processes of each; another number sums the forces in another order, so gives other bits.
            timeout: seconds after which a run is ended.

        Raises:
            LammpsError: LAMMPS is missing or stopped, or the run in the folder was begun with other settings.
            FileError: the folder cannot be written to.
        """
        for name, value in (("processes", processes), ("ranks", ranks)):
            if value < 1:
                raise ValueError(f"{name}: {value} is below 1; give 1 or more")
        folders = self.folders(top)
        with writing(top):
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
                for path in () if resume else sorted(folder.glob("spce.*")):
                    path.unlink()

        def replica(k: int, children: Children) -> None:
            run_lammps(
                lammps_input(INPUT), self.variables(k), folders[k], ranks=ranks, timeout=timeout, children=children
            )

        run_all(replica, self.replicas, processes)
        return folders


def pieces(folder: Path, what: str) -> list[Path]:
    """The files of one kind (`dump`, `rdf`, `thermo`) that a run has left, in their order.

    Raises:
        ValueError: there is none.
    """
    found = sorted(folder.glob(f"spce.{what}.*"))
    if not found:
        raise ValueError(f"{folder}: no spce.{what}.* in it; no recorded run was begun there")
    return found


def read_thermo(folder: Path) -> dict[str, Floats]:
    """Step, Temp (K), PotEng, Econserve (kcal/mol), Press (atm) of the recorded run, `(n_rows,)` each."""
    tables = []
    for path in pieces(folder, "thermo"):
        with path.open() as file:
            names = [file.readline() for _ in range(2)][1].split()[1:]
            table = np.loadtxt(file, ndmin=2)
        tables.append(table[table[:, 0] > _begin(path)])
    stacked = np.concatenate(tables)
    return {name: stacked[:, k] for k, name in enumerate(names)}


def read_frames(folder: Path) -> Iterator[Dump]:
    """The frames of the recorded run, those of one piece at a time."""
    for path in pieces(folder, "dump"):
        if path.stat().st_size:  # none where frames are further apart than pieces
            yield read_dump(path)


def read_rdf(folder: Path, molecules: int) -> tuple[Floats, Floats]:
    """Partial g(r) of each block of the recorded run.

    g of a pair of species is V/(N_a N_b) <pairs in a shell> / shell, as asediff's `RDF` has it; the numbers of LAMMPS,
    which divides like pairs by N (N - 1), are converted. Pairs within a molecule are left out.

    Returns:
        r `(bins,)`, Å, and g `(3, n_blocks, bins)` of O-O, O-H, H-H.
    """
    blocks: list[Floats] = []
    r = np.empty(0)
    for path in pieces(folder, "rdf"):
        with path.open() as file:
            lines = (line for line in file if not line.startswith("#"))
            for head in lines:
                bins = int(head.split()[1])
                rows = np.array([next(lines).split() for _ in range(bins)], dtype=np.float64)
                r = rows[:, 1]
                blocks.append(rows[:, 2:].T)
    like = np.array([1.0 - 1.0 / molecules, 1.0, 1.0 - 0.5 / molecules])
    return r, np.stack(blocks, axis=1) * like[:, None, None]


def _begin(path: Path) -> int:
    return int(path.suffix[1:])
