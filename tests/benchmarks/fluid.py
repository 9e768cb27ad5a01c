"""The fluid that the engine is measured on: Lennard-Jones, density 0.7, kT 1, cutoff 2.5, equilibrated."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import torch

from asediff import LennardJones, NoseHooverChain, PairPotential, System, simulate
from asediff.lammps.files import write_data
from asediff.lammps.run import find_lmp
from asediff.lammps.tables import spline_tables, write_tables
from asediff.lattices import fcc

CELLS = {256: 4, 864: 6, 6912: 12, 97556: 29}
"""Number of atoms -> fcc cells along an edge; 97,556 stands for 100,000."""
STEPS = {256: 6000, 864: 2000, 6912: 500, 97556: 60}
TIMESTEP = 0.005
SKIN = 0.3


def potential() -> PairPotential:
    """Lennard-Jones with the smooth cutoff, in 1000 knots."""
    return PairPotential(LennardJones(), 2.5)


def integrator() -> NoseHooverChain:
    """Nosé-Hoover chain of three at kT = 1."""
    return NoseHooverChain(TIMESTEP, kT=1.0, tdamp=0.5)


def equilibrated(n_atoms: int, dtype: torch.dtype = torch.float64) -> System:
    """A liquid configuration of n_atoms, melted and equilibrated."""
    system = System.from_atoms(fcc("Ar", density=0.7, cells=CELLS[n_atoms], mass=1.0)).thermalized(kT=1.6, seed=1)
    with torch.no_grad():
        return simulate(system, potential(), integrator(), 2000 if n_atoms < 50_000 else 400).system.to(dtype=dtype)


INPUT = """units lj
atom_style atomic
boundary p p p
read_data fluid.data
pair_style table linear {points}
pair_coeff 1 1 fluid.table Ar_Ar
neighbor {skin} bin
neigh_modify every 1 delay 0 check yes
fix nvt all nvt temp 1.0 1.0 0.5
timestep {timestep}
thermo {steps}
run {steps}
"""


def prepare_lammps(system: System, folder: Path, steps: int) -> None:
    """Write configuration, table and input of the same run for LAMMPS."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        tables = spline_tables(potential().tabulate(system))
    write_data(folder / "fluid.data", system, "lj")
    write_tables(folder / "fluid.table", tables, "lj")
    points = next(iter(tables.values())).n_points
    (folder / "in.fluid").write_text(INPUT.format(points=points, skin=SKIN, timestep=TIMESTEP, steps=steps))


def run_lammps(folder: Path, threads: int) -> str:
    """What LAMMPS prints in a run of `prepare_lammps`."""
    command = [find_lmp(), "-in", "in.fluid", "-log", "none"]
    if threads > 1:
        command += ["-sf", "omp", "-pk", "omp", str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def _numbers(pattern: str, out: str) -> list[float]:
    found = re.search(pattern, out)
    if found is None:
        raise RuntimeError(f"LAMMPS printed nothing like {pattern!r}:\n{out[-500:]}")
    return [float(x) for x in found.groups()]


def lammps_steps_per_second(folder: Path, threads: int) -> float:
    """Speed of one LAMMPS run by its own loop time, start-up not counted."""
    seconds, steps = _numbers(r"Loop time of ([\d.eE+-]+) on \d+ procs for (\d+) steps", run_lammps(folder, threads))
    return steps / seconds


def lammps_list_seconds(folder: Path) -> float:
    """Mean seconds of a list build of LAMMPS on one thread."""
    out = run_lammps(folder, 1)
    (seconds,) = _numbers(r"Neigh\s+\|\s*([\d.eE+-]+)", out)
    (builds,) = _numbers(r"Neighbor list builds = (\d+)", out)
    return seconds / builds
