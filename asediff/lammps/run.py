"""Molecular dynamics run by LAMMPS' own program, with ordinary input files, returned as a `Trajectory`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from asediff.checks.described import Doc
from asediff.dynamics.defaults import relaxation_time
from asediff.host.processes import Children, OutOfTimeError, run_all, run_program
from asediff.host.scratch import scratch_folder
from asediff.lammps.files import Box, Dump, Floats, parse_log, read_dump, species_of, write_data
from asediff.lammps.molecules import input_for, with_topology
from asediff.lammps.program import LammpsError, find_lmp, find_mpiexec, lammps_input
from asediff.lammps.tables import PairTable, pair_section, write_tables
from asediff.lammps.units import LammpsUnits
from asediff.system import System
from asediff.topology import Topology
from asediff.trajectory import Trajectory

_LAUNCHER_PREFIXES = ("PMI", "HYD", "MPI_", "OMPI_", "PMIX")
"""Environment variables of an MPI launcher; a single process that inherits them fails in MPI_Init."""

Variable = str | int | float | Path | Sequence[str]


def _environment(threads: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHER_PREFIXES)}
    return kept | {"OMP_NUM_THREADS": str(threads)}


@lru_cache
def _has_openmp(program: str) -> bool:
    """Whether the program has the OPENMP package, whose styles are the faster ones even on one thread."""
    return "OPENMP" in run_program([program, "-h"], ".", env=_environment(1)).output.split()


def _tail(log: str, n_lines: int = 15) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    return "\n".join(lines[-n_lines:])


def run_lammps(
    input_file: str | Path,
    variables: Mapping[str, Variable],
    cwd: str | Path,
    *,
    threads: int = 1,
    ranks: int = 1,
    timeout: float | None = None,
    children: Children | None = None,
) -> str:
    """Run an input file with LAMMPS' `lmp` program, in one process by default, and return the text of its log.

    Variables of an MPI launcher are removed from the environment, so this also works inside a job under `mpiexec`. The
    run ends with this process, whatever ends that.

    Args:
        input_file: the LAMMPS input.
        variables: values for `-var name value`; a sequence of strings gives a variable several values.
        cwd: directory to run in, made if need be; `log.lammps` is written there.
        threads: OpenMP threads.
        ranks: MPI processes; more than one are started by `mpiexec`.
        timeout: seconds after which the run is ended.
        children: the runs that it is to be ended with; see `asediff.host.processes.run_all`.

    Raises:
        LammpsError: no program, an error in the run (with the last lines of the log), or out of time.
        ValueError: input_file does not exist.
    """
    input_file = Path(input_file).resolve()
    if not input_file.is_file():
        raise ValueError(f"input_file: {input_file} does not exist; see asediff.lammps.lammps_input for those supplied")
    program = find_lmp()
    cwd = Path(cwd)
    cwd.mkdir(parents=True, exist_ok=True)
    command = [find_mpiexec(), "-n", str(ranks)] if ranks > 1 else []
    command += [program, "-in", str(input_file), "-log", "log.lammps", "-screen", "none"]
    if _has_openmp(program):
        command += ["-sf", "omp", "-pk", "omp", str(threads)]
    for name, value in variables.items():
        listed = [value] if isinstance(value, str | Path) or not isinstance(value, Sequence) else value
        command += ["-var", name, *(repr(float(v)) if isinstance(v, float) else str(v) for v in listed)]
    try:
        done = (children or Children()).run(command, cwd, env=_environment(threads), timeout=timeout)
    except OutOfTimeError:
        raise LammpsError(
            f"{input_file.name}: no end after {timeout:g} s in {cwd}; allow more time or fewer steps\n"
            + _tail(_read(cwd / "log.lammps"))
        ) from None
    log = _read(cwd / "log.lammps")
    if done.status != 0:
        told = [line for line in (log + "\n" + done.output).splitlines() if line.startswith("ERROR")]
        reason = told[0] if told else done.reason
        raise LammpsError(
            f"{input_file.name}: {reason}; the end of {cwd / 'log.lammps'}:\n" + _tail(log or done.output)
        )
    return log


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def read_trajectory(frames: Dump, log: str, system: System, box: Box, units: str, timestep: float) -> Trajectory:
    """The recorded run of an input file as a `Trajectory` in internal units.

    Args:
        frames: dump with xu yu zu vx vy vz; a frame at step 0 is left out, as in torch.
        log: text of the log; the last run in it has the rows of the same steps.
        system: its masses, numbers, cell, type and device are taken over; atoms in order of LAMMPS' ids.
        box: leads from LAMMPS' frame of reference to the system's.
        units: `lj`, `real` or `metal`.
        timestep: internal time.

    Raises:
        ValueError: dump and log do not belong together.
    """
    runs = parse_log(log)
    if not runs:
        raise ValueError("log: no run in it has ended; the disk may be full, or the input holds no run")
    return trajectory_of(frames, runs[-1], system, box, units, timestep)


def trajectory_of(
    frames: Dump, thermo: Mapping[str, Floats], system: System, box: Box, units: str, timestep: float
) -> Trajectory:
    """Frames and columns of thermodynamic output, of the same steps at least, as a `Trajectory`; see `read_trajectory`.

    Raises:
        ValueError: they do not belong together.
    """
    style = LammpsUnits.named(units)
    kept = frames.steps > 0
    steps = frames.steps[kept]
    rows = np.searchsorted(thermo["Step"], steps)
    if not kept.any() or rows.max() >= len(thermo["Step"]) or (thermo["Step"][rows] != steps).any():
        raise ValueError(
            f"frames: {len(steps)} after step 0, not all of them in the log; print thermo as often as the dump"
        )

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=system.dtype, device=system.device)

    positions = tensor(frames.vectors("xu", "yu", "zu")[kept] @ box.rotation.T)
    velocities = tensor(frames.vectors("vx", "vy", "vz")[kept] @ box.rotation.T * style.velocity)
    return Trajectory(
        system=system.replace(positions=positions[-1], velocities=velocities[-1]),
        positions=positions,
        velocities=velocities,
        steps=torch.as_tensor(steps, device=system.device),
        timestep=timestep,
        potential_energy=tensor(thermo["PotEng"][rows, None] * style.energy),
        pressure=tensor(thermo["Press"][rows, None] * style.pressure),
        conserved=tensor(thermo["Econserve"][rows, None] * style.energy),
    )


@contextmanager
def working_directory(workdir: str | Path | None) -> Iterator[Path]:
    """The given directory, made if need be and kept; or a temporary one that is removed afterwards."""
    if workdir is not None:
        path = Path(workdir)
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with scratch_folder() as path:
        yield path


def side_by_side(trajectories: Sequence[Trajectory]) -> Trajectory:
    """One trajectory of a batch from trajectories of its members, recorded at the same steps."""
    first = trajectories[0]

    def join(name: str, dim: int) -> torch.Tensor:
        return torch.cat([getattr(trajectory, name) for trajectory in trajectories], dim=dim)

    return Trajectory(
        system=System.concatenate([trajectory.system for trajectory in trajectories]),
        positions=join("positions", 1),
        velocities=join("velocities", 1),
        steps=first.steps,
        timestep=first.timestep,
        potential_energy=join("potential_energy", 1),
        pressure=join("pressure", 1),
        conserved=join("conserved", 1),
    )


@dataclass(frozen=True)
class LammpsRun:
    """Long runs at constant temperature by LAMMPS, from tables, one process and one thread by default."""

    timestep: Annotated[float, Doc("length of a step", unit="time")]
    steps: Annotated[int, Doc("steps of the recorded run")]
    save_every: Annotated[int, Doc("steps between frames")]
    tdamp: Annotated[
        float | None, Doc("relaxation time of the Nosé-Hoover thermostat; 100 timesteps by default", unit="time")
    ] = None
    equilibration_steps: Annotated[int, Doc("steps before the recorded run")] = 0
    units: Annotated[str, Doc("unit style of LAMMPS: `lj`, `real` or `metal`")] = "metal"
    input: Annotated[
        str, Doc("name of an input file that comes with asediff, or the path of one with the same variables")
    ] = "cg_nvt.lmp"
    threads: Annotated[int, Doc("OpenMP threads of each run")] = 1
    processes: Annotated[int, Doc("runs of a batch of systems at the same time")] = 1
    skin: Annotated[
        float | None, Doc("margin of the neighbor list; a tenth of the cutoff by default", unit="length")
    ] = None
    workdir: Annotated[str | None, Doc("directory in which all files are kept; by default a temporary one")] = None
    timeout: Annotated[float | None, Doc("seconds after which a run is ended")] = None

    def __post_init__(self) -> None:
        LammpsUnits.named(self.units)
        least = {"timestep": 0.0, "tdamp": 0.0, "skin": 0.0, "timeout": 0.0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and not value > bound:
                raise ValueError(f"{name}: {value!r} is not positive; give a value above 0")
        for name, minimum in (("equilibration_steps", 0), ("save_every", 1), ("threads", 1), ("processes", 1)):
            if getattr(self, name) < minimum:
                raise ValueError(f"{name}: {getattr(self, name)!r} is below {minimum}")
        if self.steps < self.save_every:
            raise ValueError(
                f"steps: {self.steps} is less than save_every = {self.save_every}; no frame would be saved"
            )

    def input_file(self) -> Path:
        """Path of the input file.

        Raises:
            ValueError: there is none.
        """
        return Path(self.input) if Path(self.input).is_file() else lammps_input(self.input)

    def input_text(self, topology: Topology | None) -> str:
        """Text of the input file, with the exclusions of a topology.

        Raises:
            ValueError: there is no such file, or it cannot take the topology.
        """
        path = self.input_file()
        return with_topology(path.read_text(), topology, path.name)

    def record(
        self,
        tables: Mapping[str, PairTable] | Sequence[Mapping[str, PairTable]],
        system: System,
        kT: float | Sequence[float],
        seed: int,
    ) -> Trajectory:
        """Equilibrate and record each system of a batch; velocities are drawn anew from the seed.

        Args:
            tables: section name (`lammps.tables.pair_section`) -> table, as `spline_tables` gives them; or one such
                mapping for each system. A table that starts too far out is continued inwards.
            system: batch of periodic systems.
            kT: thermal energy, one or one per system.
            seed: positive; system k uses seed + k.

        Returns:
            The recorded run in the system's own frame of reference, as torch would return it.

        Raises:
            ValueError: a missing pair, a box that LAMMPS cannot take, or arguments that do not fit the batch.
            LammpsError: the run failed; see `run_lammps`.
        """
        n = system.n_systems
        energies = [float(value) for value in np.atleast_1d(np.asarray(kT, dtype=np.float64))]
        energies = energies * n if len(energies) == 1 else energies
        mappings = [tables] * n if isinstance(tables, Mapping) else list(tables)
        if len(energies) != n or len(mappings) != n:
            raise ValueError(
                f"kT, tables: {len(energies)} and {len(mappings)} given for {n} systems; give one or {n} of each"
            )
        if not all(value > 0 for value in energies):
            raise ValueError(f"kT: {energies} is not positive; give a thermal energy above 0")
        if seed < 1:
            raise ValueError(f"seed: {seed} is not positive; LAMMPS needs a seed of 1 or more")
        with working_directory(self.workdir) as top:

            def run(k: int, children: Children) -> Trajectory:
                folder = top / f"system_{k}" if n > 1 else top
                return self._run_one(mappings[k], system[k], energies[k], seed + k, folder, children)

            return side_by_side(run_all(run, n, self.processes))

    def _run_one(
        self, tables: Mapping[str, PairTable], system: System, kT: float, seed: int, folder: Path, children: Children
    ) -> Trajectory:
        folder.mkdir(parents=True, exist_ok=True)
        input_file = input_for(self.input_file(), system.topology, folder)
        style = LammpsUnits.named(self.units)
        chosen = tables_of_system(tables, system)
        box = write_data(folder / "cg.data", system, self.units)
        write_tables(folder / "cg.table", chosen, self.units)
        table = next(iter(chosen.values()))
        tdamp = relaxation_time(self.timestep, self.tdamp)
        variables: dict[str, Variable] = {
            "data": "cg.data",
            "table": "cg.table",
            "section": list(chosen),
            "types": len(species_of(system)),
            "points": table.n_points,
            "units": self.units,
            "temperature": style.temperature(kT),
            "timestep": self.timestep / style.time,
            "tdamp": tdamp / style.time,
            "equilibration": self.equilibration_steps,
            "steps": self.steps,
            "every": self.save_every,
            "seed": seed,
            "skin": 0.1 * table.cutoff if self.skin is None else self.skin,
            "dump": "cg.dump",
        }
        log = run_lammps(input_file, variables, folder, threads=self.threads, timeout=self.timeout, children=children)
        return read_trajectory(read_dump(folder / "cg.dump"), log, system, box, self.units, self.timestep)


def tables_of_system(tables: Mapping[str, PairTable], system: System) -> dict[str, PairTable]:
    """The tables that a system needs, in the order 1-1, 1-2, .., 2-2, .. of its types, continued inwards if need be.

    Raises:
        ValueError: a pair of its species has no table.
    """
    species = species_of(system)
    chosen = {}
    for i, first in enumerate(species):
        for second in species[i:]:
            section = pair_section(first, second)
            if section not in tables:
                raise ValueError(f"tables: none for the pair {section} (there are {', '.join(tables)}); add it")
            table = tables[section]
            chosen[section] = table if table.r_lo <= 0.05 * table.cutoff else table.extended()
    return chosen
