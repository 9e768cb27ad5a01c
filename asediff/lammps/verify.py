"""Whether a table file does in LAMMPS what the potential does in asediff: energies, forces, pressure; PASS or FAIL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asediff.checks.numbers import MINIMUM_FRAMES
from asediff.lammps.files import parse_log, read_dump, species_of, write_data, write_frames
from asediff.lammps.run import Variable, lammps_input, run_lammps, working_directory
from asediff.lammps.tables import PairTable, pair_section, read_tables, table_units
from asediff.lammps.units import LammpsUnits
from asediff.neighbors import NeighborList
from asediff.potentials.base import Potential
from asediff.potentials.pair import check_pairwise
from asediff.potentials.splines import PairSpline
from asediff.system import System
from asediff.trajectory import Trajectory


@dataclass(frozen=True)
class Check:
    """One comparison: a number, the limit it has to stay below, and what it is."""

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the value is below the limit (nan is not)."""
        return self.value < self.limit

    def __str__(self) -> str:
        return f"{'PASS' if self.passed else 'FAIL'}  {self.name:<58} {self.value:10.3e}  (limit {self.limit:.0e})"


@dataclass(frozen=True)
class VerifyReport:
    """What `verify_export` found.

    Attributes:
        checks: the comparisons.
        n_frames: number of frames compared.
        n_pairs: number of pairs within the cutoff, all frames together.
        pressure: largest difference of pressure, internal energy/length³.
        table: path of the file that was verified.
        units: its LAMMPS units.
        warnings: LAMMPS' own remarks on the table, and whether they matter.
    """

    checks: tuple[Check, ...]
    n_frames: int
    n_pairs: int
    pressure: float
    table: str
    units: str
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def at(self, table: str | Path) -> VerifyReport:
        """The same for a table that has been moved."""
        return replace(self, table=str(table))

    def __str__(self) -> str:
        lines = [f"{self.table} (units {self.units}) in LAMMPS, {self.n_frames} frames, {self.n_pairs} pairs"]
        lines += [str(check) for check in self.checks]
        lines += [f"note  LAMMPS: {warning}" for warning in self.warnings]
        return "\n".join([*lines, "PASS" if self.passed else "FAIL"])


def verify_export(
    table_path: str | Path,
    potential: Potential | PairSpline,
    frames: Trajectory | Sequence[System],
    *,
    kT: float,
    units: str | None = None,
    system: int = 0,
    energy_limit: float = 1e-4,
    force_limit: float = 1e-4,
    pressure_limit: float = 1e-3,
    workdir: str | Path | None = None,
) -> VerifyReport:
    """Let LAMMPS evaluate frames with a table file and compare with the splines that asediff simulates.

    Args:
        table_path: LAMMPS table file whose sections are named by `asediff.lammps.tables.pair_section`.
        potential: the potential, or its splines.
        frames: at least 10 frames of one system at the state where the potential is used.
        kT: thermal energy, the scale of energies.
        units: of the file; by default the one it states.
        system: which system of the batch, in the splines and in a trajectory.
        energy_limit: for the energy of any pair and for the mean over pairs of each frame, kT.
        force_limit: for the force on any atom, relative to the largest force of the frames.
        pressure_limit: for the pressure of any frame, relative to the ideal gas pressure N kT / V.
        workdir: directory in which the LAMMPS files are kept; by default a temporary one.

    Returns:
        The report; `report.passed` tells and `print(report)` shows the lines.

    Raises:
        ValueError: too few frames, a missing section, or a file that cannot be read.
        LammpsError: LAMMPS is missing or stops.
    """
    systems = _frames(frames, system)
    if not isinstance(potential, PairSpline):
        potential = check_pairwise(potential, "LAMMPS")
    stated = units or table_units(table_path)
    if stated is None:
        raise ValueError(f"units: {table_path} does not state its units; say lj, real or metal")
    spline = potential if isinstance(potential, PairSpline) else potential.tabulate(systems[0], kT)
    tables = read_tables(table_path, stated)
    sections = _sections(tables, systems[0], table_path)
    pairs = [_pairs(spline, frame, system) for frame in systems]
    inner, n_pairs = _distance_to_start(pairs, systems[0], tables)
    checks = [Check("table start / distance of the closest pair", inner, 1.0)]
    path = str(table_path)
    if not checks[0].passed:
        return VerifyReport(tuple(checks), len(systems), n_pairs, float("nan"), path, stated)
    with working_directory(workdir) as folder:
        told = _evaluate(folder, Path(table_path), tables[sections[0]].n_points, sections, systems, stated)
    style = LammpsUnits.named(stated)
    force_scale = max(float(pair.forces.norm(dim=1).max()) for pair in pairs)
    forces = told.forces * style.energy
    force = max(float(np.linalg.norm(forces[k] - pair.forces.numpy(), axis=1).max()) for k, pair in enumerate(pairs))
    mean = max(abs(told.energies[k] * style.energy - pair.energy) / max(len(pair.r), 1) for k, pair in enumerate(pairs))
    volume = float(systems[0].get_volume()[0])
    virials = np.array([pair.virial for pair in pairs])
    pressure = float(np.abs(told.virials * style.pressure - virials / (3 * volume)).max())
    checks += [
        Check(
            "energy of any pair, |u - u_asediff| / kT",
            _pair_error(told, spline, systems[0], style, system) / kT,
            energy_limit,
        ),
        Check("energy of a frame per pair, |E - E_asediff| / (n_pairs kT)", mean / kT, energy_limit),
        Check("force on any atom, max |F - F_asediff| / max |F|", force / max(force_scale, 1e-300), force_limit),
        Check("pressure, |P - P_asediff| V / (N kT)", pressure * volume / (systems[0].n_atoms * kT), pressure_limit),
    ]
    if len(told.pairs) != n_pairs:
        checks.append(Check("difference in the number of pairs within the cutoff", abs(len(told.pairs) - n_pairs), 1.0))
    closest = min((float(pair.r.min()) for pair in pairs if len(pair.r)), default=0.0)
    warnings = tuple(_explained(told.warnings, tables, closest, force_scale, force_limit))
    return VerifyReport(tuple(checks), len(systems), n_pairs, pressure, path, stated, warnings)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Asediff's side of one frame: distances and type numbers of its pairs, and what the splines give."""

    r: NDArray[np.float64]
    numbers: NDArray[np.int64]  # (n_pairs, 2)
    energy: float
    forces: torch.Tensor
    virial: float


@dataclass(frozen=True, eq=False)
class _Told:
    """LAMMPS' side, in its own units and frame of reference turned back to the system's."""

    energies: NDArray[np.float64]  # (n_frames,)
    virials: NDArray[np.float64]  # (n_frames,) pressure without the kinetic part
    forces: NDArray[np.float64]  # (n_frames, n_atoms, 3)
    pairs: NDArray[np.float64]  # (n_pairs, 5): type, type, distance, energy, force
    warnings: tuple[str, ...]


def _frames(frames: Trajectory | Sequence[System], system: int) -> list[System]:
    if isinstance(frames, Trajectory):
        systems = [frames.frame(k)[system] for k in range(len(frames))]
    else:
        systems = [frame[system] if frame.n_systems > 1 else frame for frame in frames]
    if len(systems) < MINIMUM_FRAMES:
        raise ValueError(f"frames: {len(systems)} given; a verdict needs at least {MINIMUM_FRAMES}, save more often")
    systems = [frame.to("cpu", torch.float64).detach() for frame in systems]
    for name in ("cell", "numbers"):
        if not all(torch.equal(getattr(frame, name), getattr(systems[0], name)) for frame in systems):
            raise ValueError(f"frames: of different {name}; verify the frames of one system at a time")
    return systems


def _sections(tables: dict[str, PairTable], system: System, path: str | Path) -> list[str]:
    species = species_of(system)
    wanted = [pair_section(a, b) for k, a in enumerate(species) for b in species[k:]]
    missing = [section for section in wanted if section not in tables]
    if missing:
        raise ValueError(
            f"table_path: {path} has no section {missing[0]} (it has {', '.join(tables)}); export that pair"
        )
    return wanted


def _pairs(spline: PairSpline, frame: System, system: int) -> _Pairs:
    one = PairSpline(
        spline.coefficients.detach(),
        spline.table_index[system : system + 1],
        spline.species,
        spline.s_lo,
        spline.spacing,
        spline.cutoff,
    ).to("cpu", torch.float64)
    neighbors = NeighborList(spline.cutoff, skin=0.0).update(frame)
    energy, forces, virial = one.energy_forces(frame, neighbors)
    r = neighbors.displacements(frame).norm(dim=1)
    inside = r < spline.cutoff
    numbers = torch.stack([frame.numbers[neighbors.first], frame.numbers[neighbors.second]], dim=1)
    return _Pairs(r[inside].numpy(), numbers[inside].numpy(), float(energy[0]), forces, float(virial[0]))


def _distance_to_start(pairs: Sequence[_Pairs], system: System, tables: dict[str, PairTable]) -> tuple[float, int]:
    """Largest ratio of a table's start to the closest distance of its pair, and the number of pairs."""
    worst = 0.0
    for pair in pairs:
        for a in species_of(system):
            for b in species_of(system):
                of_kind = (pair.numbers == (a, b)).all(axis=1)
                if of_kind.any():
                    worst = max(worst, tables[pair_section(a, b)].r_lo / float(pair.r[of_kind].min()))
    return worst, sum(len(pair.r) for pair in pairs)


def _evaluate(
    folder: Path, table_path: Path, n_points: int, sections: list[str], systems: list[System], units: str
) -> _Told:
    box = write_data(folder / "check.data", systems[0], units)
    write_frames(folder / "check_frames.dump", box, systems)
    variables: dict[str, Variable] = {
        "data": "check.data",
        "frames": "check_frames.dump",
        "table": table_path.resolve(),
        "section": sections,
        "types": len(species_of(systems[0])),
        "points": n_points,
        "units": units,
    }
    log = run_lammps(lammps_input("table_check.lmp"), variables, folder)
    thermo = parse_log(log)[-1]
    forces = read_dump(folder / "forces.dump").vectors("fx", "fy", "fz") @ box.rotation.T
    warnings = tuple(
        line.removeprefix("WARNING: ") for line in log.splitlines() if line.startswith("WARNING") and " table" in line
    )
    return _Told(thermo["PotEng"], thermo["c_virial"], forces, _read_pairs(folder / "pairs.dump"), warnings)


def outside_secants(table: PairTable) -> NDArray[np.float64]:
    """How far the forces of a table lie outside the slopes of u to their two neighbours, as LAMMPS checks them.

    Where u(r) has an inflection a force lies outside although it is exact, by a term of second order in the spacing.

    Returns:
        `(n_points,)`, energy/length; zero where a force lies between the two, and at the ends.
    """
    secants = -np.diff(table.u) / np.diff(table.r)
    low, high = np.minimum(secants[:-1], secants[1:]), np.maximum(secants[:-1], secants[1:])
    inner = np.maximum(np.maximum(low - table.f[1:-1], table.f[1:-1] - high), 0.0)
    return np.concatenate([[0.0], inner, [0.0]])


def _explained(
    warnings: Sequence[str], tables: dict[str, PairTable], closest: float, force_scale: float, limit: float
) -> Iterator[str]:
    """LAMMPS' warnings with their weight: what it flags in a table, and by how much that is off where pairs come."""
    for warning in warnings:
        section = next((word for word in warning.split() if word in tables), None)
        if section is None or "inconsistent with -dE/dr" not in warning:
            yield warning
            continue
        table = tables[section]
        off = float(outside_secants(table)[table.r >= closest].max(initial=0.0)) / max(force_scale, 1e-300)
        count = warning.partition(" force values")[0]
        verdict = "this does not matter" if off < limit else "give the table more points (refine, n_knots)"
        yield (
            f"{count} forces of {section} lie outside the slopes to their neighbours in the table, as they do where "
            f"u(r) inflects; where pairs come (r >= {closest:.4g}) by at most {off:.1e} of the largest force (limit "
            f"{limit:.0e}): {verdict}"
        )


def _read_pairs(path: Path) -> NDArray[np.float64]:
    rows: list[str] = []
    with path.open() as file:
        while line := file.readline():
            if line.startswith("ITEM: NUMBER OF ENTRIES"):
                count = int(file.readline())
            elif line.startswith("ITEM: ENTRIES"):
                rows += [file.readline() for _ in range(count)]
    return np.fromstring("".join(rows), sep=" ").reshape(-1, 5)


def _pair_error(told: _Told, spline: PairSpline, frame: System, style: LammpsUnits, system: int) -> float:
    """Largest |u - u_asediff| of all pairs that LAMMPS evaluated, internal energy."""
    species = torch.tensor(species_of(frame))
    number = species[torch.as_tensor(told.pairs[:, :2], dtype=torch.int64) - 1]
    kind = torch.searchsorted(spline.species.cpu(), number)
    table = spline.table_index[system].cpu()[kind[:, 0], kind[:, 1]]
    r = torch.as_tensor(told.pairs[:, 2])
    u, _ = spline.to("cpu", torch.float64).evaluate(r * r, table)
    error = np.abs(told.pairs[:, 3] * style.energy - u.detach().numpy())
    return float(error.max()) if len(error) else 0.0
