"""Reference simulations by LAMMPS from a known force field: SPC/E water and Lennard-Jones fluids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from ase.data import chemical_symbols

from asediff.host.processes import Children, run_all
from asediff.lammps.files import Box, Dump, read_dump, species_of, write_data
from asediff.lammps.run import (
    Variable,
    lammps_input,
    read_trajectory,
    run_lammps,
    side_by_side,
    trajectory_of,
    working_directory,
)
from asediff.lammps.units import LammpsUnits
from asediff.lammps.water import WATER_MASS, WaterRun
from asediff.lammps.water_runs import read_frames, read_thermo, run_water
from asediff.system import System
from asediff.trajectory import Trajectory


def spce_reference(
    n_molecules: int = 216,
    *,
    temperature_K: float = 300.0,
    density_g_cm3: float = 0.997,
    steps: int = 10_000,
    save_every: int = 50,
    equilibration_steps: int = 5_000,
    timestep_fs: float = 2.0,
    tdamp_fs: float = 100.0,
    seed: int = 1,
    replicas: int = 1,
    processes: int = 1,
    ranks: int = 1,
    workdir: str | Path | None = None,
    resume: bool = False,
    timeout: float | None = None,
) -> tuple[Trajectory, str]:
    """All-atom SPC/E water at constant temperature; the oxygen atoms as beads, one per molecule.

    Speed, 216 molecules: about 420 steps per second on one core.

    Args:
        n_molecules: at least 200; the cell must be wider than twice the cutoff of 9 Å.
        temperature_K: K.
        density_g_cm3: g/cm³.
        steps: recorded steps of each replica.
        save_every: steps between frames.
        equilibration_steps: steps before the recorded ones, from relaxed random orientations on a cubic lattice.
        timestep_fs: fs; rigid molecules allow 2.
        tdamp_fs: relaxation time of the thermostat, fs.
        seed: replica k uses seed + k.
        replicas: independent runs, each with its own start; their frames follow one another.
        processes: replicas that run at the same time.
        ranks: MPI processes of each.
        workdir: directory in which the LAMMPS files are kept; by default a temporary one.
        resume: do what is left of the run that was begun in workdir with the same arguments; it ends with the same
            numbers as one that was not interrupted. By default its files are removed.
        timeout: seconds after which a run is ended.

    Returns:
        The trajectory of the oxygen atoms in Å, eV and ASE's time unit, with the mass of a molecule; energies and
        pressure are those of the all-atom system, velocities those of the oxygen atoms. And the log of the first
        replica, of its last start.

    Raises:
        ValueError: an argument out of range.
        LammpsError: LAMMPS is missing or stopped.
    """
    settings = WaterRun(
        n_molecules,
        temperature_K,
        density_g_cm3,
        steps,
        equilibration_steps,
        save_every=save_every,
        piece_steps=max(5_000 // save_every, 1) * save_every if save_every > 0 else 1,
        timestep_fs=timestep_fs,
        tdamp_fs=tdamp_fs,
        seed=seed,
        replicas=replicas,
    )
    timestep = timestep_fs * LammpsUnits.named("real").time
    with working_directory(workdir) as top:
        folders = run_water(settings, top, resume=resume, processes=processes, ranks=ranks, timeout=timeout)
        trajectories = []
        for folder in folders:
            frames = Dump.concatenate(list(read_frames(folder)))
            box = Box(frames.lattices[0], np.eye(3))
            trajectories.append(trajectory_of(frames, read_thermo(folder), _oxygens(frames), box, "real", timestep))
        log = (folders[0] / "log.lammps").read_text(errors="replace")
    return Trajectory.concatenate(trajectories), log


def _oxygens(frames: Dump) -> System:
    positions = torch.as_tensor(frames.vectors("xu", "yu", "zu")[0])
    n = len(positions)
    return System(
        positions=positions,
        velocities=torch.zeros_like(positions),
        masses=torch.full((n,), WATER_MASS, dtype=torch.float64),
        numbers=torch.full((n,), 8, dtype=torch.int64),
        cell=torch.as_tensor(frames.lattices[:1]),
        pbc=torch.ones(1, 3, dtype=torch.bool),
        system_idx=torch.zeros(n, dtype=torch.int64),
    )


def _check_steps(steps: int, save_every: int, equilibration_steps: int) -> None:
    if save_every < 1 or steps < save_every:
        raise ValueError(f"steps: {steps} with save_every = {save_every} save no frame; give more steps")
    if equilibration_steps < 0:
        raise ValueError(f"equilibration_steps: {equilibration_steps} is negative; give 0 or more")


def lj_reference(
    system: System,
    *,
    kT: float,
    cutoff: float = 2.5,
    epsilon: float | Mapping[tuple[str, str], float] = 1.0,
    sigma: float | Mapping[tuple[str, str], float] = 1.0,
    shift: bool = False,
    timestep: float = 0.005,
    tdamp: float = 0.5,
    steps: int = 20_000,
    save_every: int = 100,
    equilibration_steps: int = 10_000,
    seed: int = 1,
    processes: int = 1,
    workdir: str | Path | None = None,
    timeout: float | None = None,
) -> Trajectory:
    """A Lennard-Jones fluid or mixture at constant temperature with LAMMPS' `pair_style lj/cut`, reduced units.

    u(r) = 4 epsilon ((sigma/r)^12 - (sigma/r)^6) for r < cutoff, cut without a change of the forces.

    Args:
        system: batch of periodic systems in reduced units; velocities are drawn anew.
        kT: thermal energy of all systems.
        cutoff: length, the same for all pairs.
        epsilon: energy of all pairs, or of each pair of chemical symbols (in either order).
        sigma: length of all pairs, or of each pair.
        shift: whether the energy is shifted to zero at the cutoff.
        timestep: time.
        tdamp: relaxation time of the Nosé-Hoover thermostat.
        steps: recorded steps.
        save_every: steps between frames.
        equilibration_steps: steps before the recorded ones.
        seed: of the velocities; system k uses seed + k.
        processes: systems that run at the same time.
        workdir: directory in which the LAMMPS files are kept; by default a temporary one.
        timeout: seconds after which a run is ended.

    Returns:
        The recorded run of the batch.

    Raises:
        ValueError: an argument out of range, or a pair without parameters.
        LammpsError: LAMMPS is missing or stopped.
    """
    for name, value in (("kT", kT), ("cutoff", cutoff), ("timestep", timestep), ("tdamp", tdamp), ("seed", seed)):
        if not value > 0:
            raise ValueError(f"{name}: {value!r} is not positive; give a value above 0")
    _check_steps(steps, save_every, equilibration_steps)

    def one(folder: Path, k: int, children: Children) -> Trajectory:
        folder.mkdir(parents=True, exist_ok=True)
        part = system[k]
        box = write_data(folder / "lj.data", part, "lj", pair_coefficients=_coefficients(part, epsilon, sigma))
        variables: dict[str, Variable] = {
            "data": "lj.data",
            "cutoff": cutoff,
            "shift": "yes" if shift else "no",
            "temperature": kT,
            "timestep": timestep,
            "tdamp": tdamp,
            "equilibration": equilibration_steps,
            "steps": steps,
            "every": save_every,
            "seed": seed + k,
            "skin": 0.12 * cutoff,
            "dump": "lj.dump",
        }
        log = run_lammps(lammps_input("lj_nvt.lmp"), variables, folder, timeout=timeout, children=children)
        return read_trajectory(read_dump(folder / "lj.dump"), log, part, box, "lj", timestep)

    n = system.n_systems
    with working_directory(workdir) as top:
        folders = [top / f"system_{k}" if n > 1 else top for k in range(n)]
        return side_by_side(run_all(lambda k, children: one(folders[k], k, children), n, processes))


def _coefficients(
    system: System,
    epsilon: float | Mapping[tuple[str, str], float],
    sigma: float | Mapping[tuple[str, str], float],
) -> dict[tuple[int, int], tuple[float, float]]:
    def of_pair(name: str, given: float | Mapping[tuple[str, str], float], first: str, second: str) -> float:
        if not isinstance(given, Mapping):
            return float(given)
        for pair in ((first, second), (second, first)):
            if pair in given:
                return float(given[pair])
        raise ValueError(f"{name}: nothing for the pair {first}-{second}; add it")

    species = species_of(system)
    pairs = {}
    for i, a in enumerate(species):
        for b in species[i:]:
            symbols = (chemical_symbols[a], chemical_symbols[b])
            pairs[a, b] = (of_pair("epsilon", epsilon, *symbols), of_pair("sigma", sigma, *symbols))
    return pairs
