"""LAMMPS' data, dump and log files, written and read; lengths, energies and times stay those of the file here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from asediff.lammps.molecules import counts, molecules, sections, special_bonds
from asediff.lammps.units import LammpsUnits
from asediff.system import System

Floats = NDArray[np.float64]
CUT_SHORT = "the run that wrote it did not end, or the disk was full"


@dataclass(frozen=True, eq=False)
class Box:
    """A cell as LAMMPS wants it: a along x, b in the xy plane; the origin at zero.

    Attributes:
        lattice: `(3, 3)` lower triangular with positive diagonal, length; rows are the lattice vectors.
        rotation: `(3, 3)` orthogonal; row vectors x of the system are x @ rotation in LAMMPS' frame.
    """

    lattice: Floats
    rotation: Floats

    @classmethod
    def from_system(cls, system: System) -> Box:
        """The box of a batch of one system.

        Raises:
            ValueError: several systems, or a cell that is not periodic along all three vectors.
        """
        if system.n_systems != 1:
            raise ValueError(f"system: a batch of {system.n_systems}; LAMMPS runs one at a time, pass system[k]")
        if not bool(system.pbc.all()):
            raise ValueError(
                f"system: pbc is {system.pbc[0].tolist()}; the LAMMPS inputs need all three directions periodic"
            )
        cell = system.cell[0].detach().cpu().double().numpy()
        orthogonal, upper = np.linalg.qr(cell.T)
        signs = np.sign(np.diag(upper))
        lattice = (upper * signs[:, None]).T
        rotation = orthogonal * signs
        if np.array_equal(cell, np.diag(np.diag(cell))) and (np.diag(cell) > 0).all():
            lattice, rotation = cell, np.eye(3)
        return cls(lattice, rotation)

    @property
    def is_triclinic(self) -> bool:
        """Whether any tilt factor differs from zero."""
        lattice = self.lattice
        return bool(np.abs([lattice[1, 0], lattice[2, 0], lattice[2, 1]]).max() > 1e-12 * lattice.max())

    def wrap(self, positions: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Positions `(n, 3)` of LAMMPS' frame moved into the box, and the images `(n, 3)` they were in."""
        images = np.floor(positions @ np.linalg.inv(self.lattice))
        wrapped = positions - images @ self.lattice
        return wrapped, images.astype(np.int64)

    def dump_bounds(self) -> str:
        """The `ITEM: BOX BOUNDS` lines of a dump file."""
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = self.lattice
        if not self.is_triclinic:
            return f"ITEM: BOX BOUNDS pp pp pp\n0 {lx:.17g}\n0 {ly:.17g}\n0 {lz:.17g}"
        low, high = min(0.0, xy, xz, xy + xz), max(0.0, xy, xz, xy + xz)
        return (
            "ITEM: BOX BOUNDS xy xz yz pp pp pp\n"
            f"{low:.17g} {lx + high:.17g} {xy:.17g}\n"
            f"{min(0.0, yz):.17g} {ly + max(0.0, yz):.17g} {xz:.17g}\n"
            f"0 {lz:.17g} {yz:.17g}"
        )


def _double(tensor: object) -> Floats:
    return np.asarray(tensor.detach().cpu().double().numpy())  # type: ignore[attr-defined]


def species_of(system: System) -> list[int]:
    """Atomic numbers in the system, ascending; LAMMPS' type k + 1 is the k-th."""
    return [int(number) for number in system.numbers.unique(sorted=True)]


def check_system(system: System) -> dict[int, float]:
    """The mass of each species of a system that LAMMPS can take, by ascending atomic number.

    Raises:
        ValueError: several systems, open boundaries, atoms of one number with different masses, or exclusions that
            LAMMPS does not have.
    """
    Box.from_system(system)
    if system.topology is not None:
        special_bonds(system.topology)
    numbers, masses = system.numbers.cpu().numpy(), _double(system.masses)
    found = {}
    for number in species_of(system):
        of_kind = masses[numbers == number]
        if np.ptp(of_kind) > 1e-9 * of_kind[0]:
            raise ValueError(
                f"system: atoms of number {number} have masses from {of_kind.min():g} to {of_kind.max():g}; LAMMPS has "
                "one mass per type, give them different numbers"
            )
        found[number] = float(of_kind[0])
    return found


def write_data(
    path: str | Path,
    system: System,
    units: str,
    *,
    pair_coefficients: Mapping[tuple[int, int], Sequence[float]] | None = None,
) -> Box:
    """Write one system as a data file of `atom_style atomic`, with masses, image flags and velocities.

    With a topology it is of `atom_style molecular`, with bonds, angles and dihedrals; the exclusions go into the input
    file, by the command of `asediff.lammps.molecules.special_bonds`.

    Args:
        path: file to write.
        system: a batch of one, periodic; any cell, which is rotated into LAMMPS' frame.
        units: `lj`, `real` or `metal`.
        pair_coefficients: (atomic number, atomic number) -> numbers of the section `PairIJ Coeffs`, as they are.

    Returns:
        The box, whose rotation leads back from LAMMPS' frame.

    Raises:
        ValueError: what `check_system` refuses.
    """
    style = LammpsUnits.named(units)
    masses = check_system(system)
    box = Box.from_system(system)
    species = species_of(system)
    numbers = system.numbers.cpu().numpy()
    types = np.searchsorted(species, numbers) + 1
    topology = system.topology
    lines = ["written by asediff", "", f"{system.n_atoms} atoms", f"{len(species)} atom types", *counts(topology), ""]
    lines += [f"0 {box.lattice[k, k]:.17g} {axis}lo {axis}hi" for k, axis in enumerate("xyz")]
    if box.is_triclinic:
        tilts = (box.lattice[1, 0], box.lattice[2, 0], box.lattice[2, 1])
        lines.append(" ".join(f"{tilt:.17g}" for tilt in tilts) + " xy xz yz")
    lines += ["", "Masses", ""]
    lines += [f"{k} {mass:.17g}  # {chemical_symbols[number]}" for k, (number, mass) in enumerate(masses.items(), 1)]
    if pair_coefficients is not None:
        lines += ["", "PairIJ Coeffs", ""]
        for i, first in enumerate(species):
            for j in range(i, len(species)):
                values = pair_coefficients.get((first, species[j])) or pair_coefficients.get((species[j], first))
                if values is None:
                    raise ValueError(f"pair_coefficients: nothing for numbers {first} and {species[j]}; add that pair")
                lines.append(f"{i + 1} {j + 1} " + " ".join(f"{value:.17g}" for value in values))
    positions, images = box.wrap(_double(system.positions) @ box.rotation)
    velocities = _double(system.velocities) @ box.rotation / style.velocity
    lines += ["", "Atoms # atomic" if topology is None else "Atoms # molecular", ""]
    kinds = types if topology is None else map("{} {}".format, molecules(topology, system.n_atoms), types)
    rows = zip(kinds, positions, images, strict=True)
    lines += [
        f"{k} {kind} {x:.17g} {y:.17g} {z:.17g} {i} {j} {m}" for k, (kind, (x, y, z), (i, j, m)) in enumerate(rows, 1)
    ]
    lines += ["", "Velocities", ""]
    lines += [f"{k} {x:.17g} {y:.17g} {z:.17g}" for k, (x, y, z) in enumerate(velocities, 1)]
    Path(path).write_text("\n".join([*lines, *sections(topology)]) + "\n")
    return box


def write_frames(path: str | Path, box: Box, frames: Sequence[System]) -> None:
    """Write positions of frames as a dump file (id type x y z) that LAMMPS' `rerun` reads."""
    with Path(path).open("w") as file:
        for step, frame in enumerate(frames):
            types = np.searchsorted(species_of(frame), frame.numbers.cpu().numpy()) + 1
            positions, _ = box.wrap(_double(frame.positions) @ box.rotation)
            head = f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{frame.n_atoms}\n{box.dump_bounds()}\n"
            file.write(head + "ITEM: ATOMS id type x y z\n")
            rows = zip(types, positions, strict=True)
            file.writelines(f"{k} {kind} {x:.17g} {y:.17g} {z:.17g}\n" for k, (kind, (x, y, z)) in enumerate(rows, 1))


@dataclass(frozen=True, eq=False)
class Dump:
    """Frames of a text dump file in the units and the frame of reference of the file.

    Attributes:
        steps: `(n_frames,)`, time step of each frame.
        columns: name -> `(n_frames, n_atoms)`, sorted by atom id where there is one; elements as atomic numbers.
        lattices: `(n_frames, 3, 3)`, length; rows are the lattice vectors.
        origins: `(n_frames, 3)`, length; the corner of the box.
    """

    steps: NDArray[np.int64]
    columns: dict[str, Floats]
    lattices: Floats
    origins: Floats

    @classmethod
    def concatenate(cls, dumps: Sequence[Dump]) -> Dump:
        """The frames of several files of the same columns, one after another."""
        return cls(
            np.concatenate([dump.steps for dump in dumps]),
            {name: np.concatenate([dump.columns[name] for dump in dumps]) for name in dumps[0].columns},
            np.concatenate([dump.lattices for dump in dumps]),
            np.concatenate([dump.origins for dump in dumps]),
        )

    def vectors(self, *names: str) -> Floats:
        """`(n_frames, n_atoms, len(names))` of the named columns.

        Raises:
            ValueError: a column is not in the file.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise ValueError(f"dump: no column {missing[0]!r} (it has {', '.join(self.columns)}); dump it too")
        return np.stack([self.columns[name] for name in names], axis=-1)

    def positions(self) -> Floats:
        """`(n_frames, n_atoms, 3)` from the corner of the box, whether x, xu, xs or xsu were dumped.

        Raises:
            ValueError: none of them was.
        """
        for suffix in ("", "u", "s", "su"):
            names = [axis + suffix for axis in "xyz"]
            if self.columns.keys() >= set(names):
                values = self.vectors(*names)
                return values @ self.lattices if "s" in suffix else values - self.origins[:, None]
        raise ValueError("dump: no positions in it; dump x y z (or xu, xs)")


def _box(header: str, bounds: Floats) -> tuple[Floats, Floats]:
    """Lattice vectors and origin; the bounds of an oblique box are those of the box around it."""
    low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
    xy, xz, yz = bounds[:, 2] if "xy" in header else (0.0, 0.0, 0.0)
    low[:2] -= min(0.0, xy, xz, xy + xz), min(0.0, yz)
    high[:2] -= max(0.0, xy, xz, xy + xz), max(0.0, yz)
    lx, ly, lz = high - low
    return np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]]), low


def read_dump(path: str | Path) -> Dump:
    """Read a text dump (`dump custom`) with the same number of atoms in each frame.

    Raises:
        ValueError: no complete frame in it, or frames of different sizes or columns.
    """
    steps: list[int] = []
    boxes: list[tuple[Floats, Floats]] = []
    blocks: list[Floats] = []
    names: list[str] = []
    with Path(path).open() as file:
        while line := file.readline():
            if not line.startswith("ITEM: TIMESTEP"):
                continue
            head = [line, *(file.readline() for _ in range(8))]
            try:
                if not head[8].startswith("ITEM: ATOMS"):
                    raise ValueError
                step, n_atoms, header = int(head[1]), int(head[3]), head[4]
                bounds = np.array([[float(x) for x in row.split()] for row in head[5:8]])
                box = _box(header, bounds)
            except (ValueError, IndexError):
                raise ValueError(f"{path}: frame {len(steps)} has no complete head; {CUT_SHORT}") from None
            columns = head[8].split()[2:]
            if blocks and (columns != names or n_atoms != len(blocks[0])):
                raise ValueError(f"{path}: frame {step} has other atoms or columns than the first; dump a fixed group")
            names = columns
            text = "".join(file.readline() for _ in range(n_atoms))
            if "element" in names:
                text = " ".join(str(atomic_numbers.get(word, word)) for word in text.split())
            try:
                block = np.fromstring(text, sep=" ").reshape(n_atoms, len(names))
            except ValueError:
                raise ValueError(f"{path}: frame {step} is cut short; {CUT_SHORT}") from None
            if "id" in names:
                block = block[np.argsort(block[:, names.index("id")], kind="stable")]
            steps.append(step)
            boxes.append(box)
            blocks.append(block)
    if not blocks:
        raise ValueError(f"{path}: no frame in it; check that the input dumps as often as it runs")
    stacked = np.stack(blocks)
    columns_by_name = {name: stacked[:, :, k] for k, name in enumerate(names)}
    lattices, origins = zip(*boxes, strict=True)
    return Dump(np.array(steps, dtype=np.int64), columns_by_name, np.stack(lattices), np.stack(origins))


def parse_log(log: str) -> list[dict[str, Floats]]:
    """Thermodynamic output of each run in the text of a LAMMPS log: column name -> `(n_rows,)`, in LAMMPS' units."""
    runs: list[dict[str, Floats]] = []
    names: list[str] = []
    rows: list[list[float]] = []
    for line in log.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            names, rows = words, []
        elif names and line.startswith("Loop time of"):
            table = np.array(rows, dtype=np.float64).reshape(-1, len(names))
            runs.append({name: table[:, k] for k, name in enumerate(names)})
            names = []
        elif names and len(words) == len(names):
            try:
                rows.append([float(word) for word in words])
            except ValueError:
                continue
    return runs
