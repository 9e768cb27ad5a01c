"""Atoms, beads and cells of one or several systems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.cell import Cell
from ase.data import chemical_symbols
from torch import Tensor

from asediff.checks.systems import check_layout, check_values
from asediff.checks.temperature import kelvin_of, resolve_kT
from asediff.kernels.arrays import Exclusions
from asediff.topology import Topology


@dataclass(frozen=True, eq=False, repr=False)
class System:
    """One or several systems of point particles, concatenated without padding.

    The names are those of `ase.Atoms`. Units are self-consistent: any length, energy and mass, with
    time = length * sqrt(mass / energy). For systems made from `ase.Atoms` these are Å, eV, amu and ASE's
    time unit. The constructor checks shapes, types and values; `replace` is the cheap way to move particles.

    Attributes:
        positions: `(n_atoms, 3)`, length. Dynamics never wraps them into the cell.
        velocities: `(n_atoms, 3)`, length / time.
        masses: `(n_atoms,)`, mass.
        numbers: `(n_atoms,)` int64, atomic numbers; they are the bead types as well.
        cell: `(n_systems, 3, 3)`, length; rows are the lattice vectors.
        pbc: `(n_systems, 3)` bool, periodic along each lattice vector.
        system_idx: `(n_atoms,)` int64, the system of each atom: 0 ... n_systems - 1, ascending.
        topology: bonds, angles, dihedrals and excluded pairs, in the numbers of the atoms here; or None.
    """

    positions: Tensor
    velocities: Tensor
    masses: Tensor
    numbers: Tensor
    cell: Tensor
    pbc: Tensor
    system_idx: Tensor
    topology: Topology | None = None

    def __post_init__(self) -> None:
        values = self._values()
        check_layout(values)
        check_values(values, values)
        if self.topology is not None:
            self.topology.check(self.system_idx)

    # ---------------------------------------------------------------- construction

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms | Sequence[Atoms],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> System:
        """Concatenate one or several `ase.Atoms`, with their masses, momenta, cells and boundary conditions.

        A topology that `to_atoms` has kept in them is taken over; constraints and calculators are not.

        Args:
            atoms: One `ase.Atoms` or a sequence of them; their sizes may differ.
            dtype: Floating-point type of the tensors.
            device: Device of the tensors.

        Raises:
            ValueError: If there are no atoms, or the values are refused by the constructor.
        """
        images = [atoms] if isinstance(atoms, Atoms) else list(atoms)
        if not images:
            raise ValueError("atoms: an empty sequence holds no system; give at least one ase.Atoms")
        for index, image in enumerate(images):
            if not isinstance(image, Atoms):
                raise ValueError(f"atoms: item {index} is a {type(image).__name__}; give ase.Atoms objects")

        def real(arrays: Iterable[np.ndarray]) -> Tensor:
            return torch.as_tensor(np.concatenate(list(arrays)), dtype=dtype, device=device)

        counts = torch.tensor([len(image) for image in images])
        topology = Topology.concatenate([Topology.from_atoms(image) for image in images], counts.tolist())
        return cls(
            positions=real(image.get_positions() for image in images),
            velocities=real(image.get_velocities() for image in images),
            masses=real(image.get_masses() for image in images),
            numbers=torch.as_tensor(
                np.concatenate([image.numbers for image in images]), dtype=torch.int64, device=device
            ),
            cell=real(image.cell.array[None] for image in images),
            pbc=torch.as_tensor(np.stack([image.pbc for image in images]), device=device),
            system_idx=torch.repeat_interleave(torch.arange(len(images)), counts).to(device),
            topology=None if topology is None else topology.to(device),
        )

    @classmethod
    def concatenate(cls, systems: Sequence[System]) -> System:
        """Put several systems (or batches of systems) side by side in one batch.

        Raises:
            ValueError: If the sequence is empty, or types or devices differ.
        """
        if not systems:
            raise ValueError("systems: an empty sequence holds no system; give at least one System")
        first = systems[0]
        shifted, offset = [], 0
        for index, system in enumerate(systems):
            if system.dtype != first.dtype or system.device != first.device:
                raise ValueError(
                    f"systems: item {index} is {system.dtype} on {system.device}, item 0 is {first.dtype} on "
                    f"{first.device}; convert one with .to(device=..., dtype=...)"
                )
            shifted.append(system.system_idx + offset)
            offset += system.n_systems
        names = ("positions", "velocities", "masses", "numbers", "cell", "pbc")
        joined = {name: torch.cat([getattr(system, name) for system in systems]) for name in names}
        topology = Topology.concatenate([system.topology for system in systems], [system.n_atoms for system in systems])
        return cls(**joined, system_idx=torch.cat(shifted), topology=topology)

    def to_atoms(self) -> list[Atoms]:
        """Return one `ase.Atoms` per system, with masses, momenta and topology; positions are not wrapped.

        The topology is in `info` and `arrays`; see `Topology.put_into` for what it survives.
        """
        images = []
        for k in range(self.n_systems):
            part = self._atoms_of(k)
            images.append(
                Atoms(
                    numbers=_numpy(self.numbers[part]),
                    positions=_numpy(self.positions[part]),
                    masses=_numpy(self.masses[part]),
                    velocities=_numpy(self.velocities[part]),
                    cell=_numpy(self.cell[k]),
                    pbc=_numpy(self.pbc[k]),
                )
            )
            topology = self._part_of_topology(k)
            if topology is not None:
                topology.put_into(images[-1])
        return images

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> System:
        """Move to a device and convert the floating-point tensors to a type; None keeps what is."""
        converted = {
            name: value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            for name, value in self._values().items()
        }
        return self._rebuilt(converted, None if self.topology is None else self.topology.to(device))

    def replace(self, **changes: Tensor | Topology | None) -> System:
        """Return a copy with some fields replaced.

        Shapes, types and devices are checked, and the values of everything but positions and velocities:
        dynamics calls this at each step, and looks for values that are not finite where it can say which step
        made them.

        Raises:
            ValueError: If a name is not a field, or a tensor does not fit the others.
        """
        current: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        unknown = sorted(changes.keys() - current.keys())
        if unknown:
            raise ValueError(f"{unknown[0]}: not a field of System; the fields are {', '.join(current)}")
        values = current | changes
        topology = values.pop("topology")
        check_layout(values)
        check_values(values, changes.keys() - {"positions", "velocities", "topology"})
        if topology is not None and changes.keys() & {"topology", "system_idx"}:
            topology.check(values["system_idx"])
        return self._rebuilt(values, topology)

    def detach(self) -> System:
        """Return the same values without their autograd history."""
        return self._rebuilt({name: value.detach() for name, value in self._values().items()}, self.topology)

    def wrapped(self) -> System:
        """Return a copy with the positions moved into the cell along the periodic directions."""
        return self.replace(positions=self.get_positions(wrap=True))

    def thermalized(
        self,
        *,
        kT: float | Tensor | None = None,
        seed: int,
        temperature_K: float | Tensor | None = None,
    ) -> System:
        """Return a copy with Maxwell-Boltzmann velocities at a kinetic energy of exactly (3 n - 3) kT / 2.

        In each system the velocity of the centre of mass is removed and the rest is scaled. The random
        numbers are drawn on the CPU in float64, so a seed gives the same velocities on each device. A system
        of one atom has no degree of freedom left and comes to rest.

        Args:
            kT: Thermal energy, one number or one per system `(n_systems,)`.
            seed: Seed of the random numbers.
            temperature_K: Temperature in kelvin instead of kT, for systems in eV.

        Raises:
            ValueError: Unless exactly one of kT and temperature_K is given, or if it is negative or
                misshapen.
        """
        target = resolve_kT(kT=kT, temperature_K=temperature_K)
        target = torch.as_tensor(target, dtype=torch.float64).detach().cpu()
        if target.ndim > 1 or (target.ndim == 1 and len(target) not in (1, self.n_systems)):
            raise ValueError(
                f"kT: shape {tuple(target.shape)} does not fit {self.n_systems} systems; "
                f"give one number or a tensor of shape ({self.n_systems},)"
            )
        target = target.expand(self.n_systems)
        index, masses = self.system_idx.cpu(), self.masses.detach().double().cpu()
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(self.n_atoms, 3, generator=generator, dtype=torch.float64)
        velocities = noise / masses.sqrt()[:, None]
        total = torch.zeros(self.n_systems, dtype=torch.float64).index_add(0, index, masses)
        momentum = torch.zeros(self.n_systems, 3, dtype=torch.float64)
        momentum = momentum.index_add(0, index, masses[:, None] * velocities)
        velocities = velocities - (momentum / total[:, None])[index]
        twice_kinetic = torch.zeros(self.n_systems, dtype=torch.float64)
        twice_kinetic = twice_kinetic.index_add(0, index, masses * velocities.square().sum(1))
        counts = self.counts.cpu()
        wanted = (3 * counts - 3) * target
        scale = torch.where(counts > 1, (wanted / twice_kinetic.clamp_min(1e-300)).sqrt(), 0.0)
        velocities = velocities * scale[index, None]
        return self.replace(velocities=velocities.to(device=self.device, dtype=self.dtype))

    # ---------------------------------------------------------------- sizes

    @property
    def n_atoms(self) -> int:
        """Number of atoms in all systems together."""
        return self.positions.shape[0]

    @property
    def n_systems(self) -> int:
        """Number of systems."""
        return self.cell.shape[0]

    @property
    def device(self) -> torch.device:
        """Device of all tensors."""
        return self.positions.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of positions, velocities, masses and cell."""
        return self.positions.dtype

    @cached_property
    def counts(self) -> Tensor:
        """Number of atoms in each system, `(n_systems,)` int64."""
        return torch.bincount(self.system_idx, minlength=self.n_systems)

    @cached_property
    def offsets(self) -> Tensor:
        """First atom of each system and, last, n_atoms: `(n_systems + 1,)` int64."""
        return torch.cat([self.counts.new_zeros(1), self.counts.cumsum(0)])

    def __len__(self) -> int:
        return self.n_systems

    def __getitem__(self, index: int) -> System:
        """Return the system with this index as a batch of one."""
        if not isinstance(index, int):
            raise TypeError(f"index: {index!r} is not an int; take several systems with System.concatenate")
        if not -self.n_systems <= index < self.n_systems:
            raise IndexError(f"index: {index} is outside the {self.n_systems} systems of the batch")
        k = index % self.n_systems
        part = self._atoms_of(k)
        names = ("positions", "velocities", "masses", "numbers")
        values = {name: getattr(self, name)[part] for name in names}
        values |= {"cell": self.cell[k : k + 1], "pbc": self.pbc[k : k + 1]}
        return self._rebuilt(
            values | {"system_idx": torch.zeros_like(self.system_idx[part])}, self._part_of_topology(k)
        )

    def __repr__(self) -> str:
        counts = self.counts.tolist()
        sizes = f"{counts[0]} atoms" if len(set(counts)) == 1 else f"{min(counts)}-{max(counts)} atoms"
        symbols = ", ".join(chemical_symbols[number] for number in self.numbers.unique().tolist())
        batch = "" if self.n_systems == 1 else f"{self.n_systems} systems of "
        return f"System({batch}{sizes}, {symbols}, {str(self.dtype).removeprefix('torch.')}, {self.device})"

    # ---------------------------------------------------------------- getters, as in ase.Atoms

    @property
    def momenta(self) -> Tensor:
        """Mass times velocity, `(n_atoms, 3)`."""
        return self.masses[:, None] * self.velocities

    def get_positions(self, *, wrap: bool = False) -> Tensor:
        """Return the positions `(n_atoms, 3)`, moved into the cell along periodic directions if asked to."""
        if not wrap:
            return self.positions
        images = torch.where(self.pbc[self.system_idx], self._scaled().detach().floor(), 0.0)
        return self.positions - self._along_cell(images)

    def get_scaled_positions(self, *, wrap: bool = True) -> Tensor:
        """Return multiples of the lattice vectors `(n_atoms, 3)`; wrapped, in [0, 1) where periodic."""
        scaled = self._scaled()
        if not wrap:
            return scaled
        # Twice, because -1e-17 % 1.0 is 1.0.
        return torch.where(self.pbc[self.system_idx], (scaled % 1.0) % 1.0, scaled)

    def get_velocities(self) -> Tensor:
        """Return the velocities `(n_atoms, 3)`."""
        return self.velocities

    def get_momenta(self) -> Tensor:
        """Return mass times velocity `(n_atoms, 3)`."""
        return self.momenta

    def get_masses(self) -> Tensor:
        """Return the masses `(n_atoms,)`."""
        return self.masses

    def get_atomic_numbers(self) -> Tensor:
        """Return the atomic numbers `(n_atoms,)`."""
        return self.numbers

    def get_chemical_symbols(self) -> list[str]:
        """Return the chemical symbol of each atom."""
        return [chemical_symbols[number] for number in self.numbers.tolist()]

    def get_cell(self) -> Tensor:
        """Return the lattice vectors `(n_systems, 3, 3)`."""
        return self.cell

    def get_pbc(self) -> Tensor:
        """Return the boundary conditions `(n_systems, 3)`."""
        return self.pbc

    def get_volume(self) -> Tensor:
        """Return the volume of each cell `(n_systems,)`; zero where a lattice vector is missing."""
        return torch.linalg.det(self.cell).abs()

    def get_kinetic_energy(self) -> Tensor:
        """Return the kinetic energy of each system `(n_systems,)`."""
        return self.sum_by_system(0.5 * self.masses * self.velocities.square().sum(1))

    def get_kT(self) -> Tensor:  # noqa: N802
        """Return 2 K / (3 n) of each system `(n_systems,)`, energy: as in ASE, the centre of mass counts."""
        return 2.0 * self.get_kinetic_energy() / (3 * self.counts)

    def get_temperature(self) -> Tensor:
        """Return the temperature of each system `(n_systems,)` in kelvin, for systems in eV."""
        return kelvin_of(self.get_kT())

    def sum_by_system(self, values: Tensor) -> Tensor:
        """Add up a quantity of the atoms `(n_atoms, ...)` in each system `(n_systems, ...)`."""
        if self.n_systems == 1:
            return values.sum(0, keepdim=True)
        return values.new_zeros(self.n_systems, *values.shape[1:]).index_add(0, self.system_idx, values)

    def exclusions(self) -> Exclusions | None:
        """Pairs of atoms that interact in part or not at all, for the kernels; None if there are none."""
        return None if self.topology is None else self.topology.rows(self.n_atoms)

    # ---------------------------------------------------------------- private

    def _values(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "topology"}

    def _atoms_of(self, k: int) -> slice:
        return slice(int(self.offsets[k]), int(self.offsets[k + 1]))

    def _part_of_topology(self, k: int) -> Topology | None:
        if self.topology is None:
            return None
        return self.topology.of_atoms(torch.arange(self.n_atoms, device=self.device)[self._atoms_of(k)])

    def _rebuilt(self, values: dict[str, Tensor], topology: Topology | None) -> System:
        system = object.__new__(System)
        for name, value in values.items():
            object.__setattr__(system, name, value)
        object.__setattr__(system, "topology", topology)
        return system

    def _scaled(self) -> Tensor:
        cells = [torch.from_numpy(Cell(_numpy(cell).astype(float)).complete().array) for cell in self.cell]
        inverse = torch.linalg.inv(torch.stack(cells)).to(self.positions)
        return (self.positions[:, None, :] @ inverse[self.system_idx])[:, 0]

    def _along_cell(self, multiples: Tensor) -> Tensor:
        return (multiples[:, None, :] @ self.cell[self.system_idx])[:, 0]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
