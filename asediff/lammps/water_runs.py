"""SPC/E water in LAMMPS: runs that continue after a kill, and their files read one piece at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asediff.host.files import writing
from asediff.host.processes import Children, run_all
from asediff.lammps.files import Dump, read_dump
from asediff.lammps.run import lammps_input, run_lammps
from asediff.lammps.water import INPUT, WaterRun

Floats = NDArray[np.float64]

WRITTEN = re.compile(r"spce\.(begun|equilibration|production|part|molecule|(dump|rdf|thermo)\.\d{9,})")
"""Names of the files that decide how a run goes on; nothing else is removed for a new one."""


def run_water(
    run: WaterRun, top: Path, *, resume: bool, processes: int = 1, ranks: int = 1, timeout: float | None = None
) -> list[Path]:
    """Run what is not done yet; returns the folders of the replicas.

    Args:
        run: the settings.
        top: folder; each of several replicas has one in it.
        resume: continue runs that were begun there with the same settings; otherwise their files are removed.
        processes: replicas that run at the same time.
        ranks: MPI processes of each; another number sums the forces in another order, so gives other bits.
        timeout: seconds after which a run is ended.

    Raises:
        ValueError: processes or ranks below 1.
        LammpsError: LAMMPS is missing or stopped, or the run in the folder was begun with other settings.
        FileError: the folder cannot be written to.
    """
    for name, value in (("processes", processes), ("ranks", ranks)):
        if value < 1:
            raise ValueError(f"{name}: {value} is below 1; give 1 or more")
    folders = run.folders(top)
    with writing(top):
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            for path in [] if resume else [path for path in folder.iterdir() if WRITTEN.fullmatch(path.name)]:
                path.unlink()

    def replica(k: int, children: Children) -> None:
        run_lammps(lammps_input(INPUT), run.variables(k), folders[k], ranks=ranks, timeout=timeout, children=children)

    run_all(replica, run.replicas, processes)
    return folders


def pieces(folder: Path, what: str) -> list[Path]:
    """The files of one kind (`dump`, `rdf`, `thermo`) that a run has left, in their order.

    Raises:
        ValueError: there is none.
    """
    found = sorted(folder.glob(f"spce.{what}.{9 * '[0-9]'}*"), key=_begin)
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
