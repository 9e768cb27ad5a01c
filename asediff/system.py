"""Atoms, beads and cells of one or several systems; the only place where ASE's kelvin become energies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.cell import Cell
from ase.data import chemical_symbols
from torch import Tensor

# The smallest det(G) / prod(diag G) of the periodic lattice vectors' Gram matrix G that still counts as a lattice.
_FLAT = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class System:
    """One or several systems of point particles, concatenated without padding.

    The names are those of `ase.Atoms`. Units are self-consistent: any length, energy and mass, with
    time = length * sqrt(mass / energy). For systems made from `ase.Atoms` these are Å, eV, amu and ASE's time unit.
    The constructor checks shapes, types and values; `replace` is the cheap way to move particles.

    Attributes:
        positions: `(n_atoms, 3)`, length. Dynamics never wraps them into the cell.
        velocities: `(n_atoms, 3)`, length / time.
        masses: `(n_atoms,)`, mass.
        numbers: `(n_atoms,)` int64, atomic numbers; they are the bead types as well.
        cell: `(n_systems, 3, 3)`, length; rows are the lattice vectors.
        pbc: `(n_systems, 3)` bool, periodic along each lattice vector.
        system_idx: `(n_atoms,)` int64, the system of each atom: 0 ... n_systems - 1, ascending.
    """

    positions: Tensor
    velocities: Tensor
    masses: Tensor
    numbers: Tensor
    cell: Tensor
    pbc: Tensor
    system_idx: Tensor

    def __post_init__(self) -> None:
        self._check_layout()
        self._check_values({field.name for field in fields(self)})

    # ---------------------------------------------------------------- construction

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms | Sequence[Atoms],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> System:
        """Concatenate one or several `ase.Atoms`, with their masses, momenta, cells and boundary conditions.

        Constraints and calculators are not taken over.

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
        return cls(**joined, system_idx=torch.cat(shifted))

    def to_atoms(self) -> list[Atoms]:
        """Return one `ase.Atoms` per system, with masses and momenta; positions are not wrapped."""
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
        return images

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> System:
        """Move to a device and convert the floating-point tensors to a type; None keeps what is."""
        converted = {}
        for field in fields(self):
            tensor = getattr(self, field.name)
            converted[field.name] = tensor.to(
                device=device, dtype=dtype if tensor.is_floating_point() else None
            )
        return self._rebuilt(converted)

    def replace(self, **changes: Tensor) -> System:
        """Return a copy with some fields replaced.

        Shapes, types and devices are checked, and the values of everything but positions and velocities: dynamics
        calls this at each step, and looks for values that are not finite where it can say which step made them.

        Raises:
            ValueError: If a name is not a field, or a tensor does not fit the others.
        """
        current = {field.name: getattr(self, field.name) for field in fields(self)}
        unknown = sorted(changes.keys() - current.keys())
        if unknown:
            raise ValueError(f"{unknown[0]}: not a field of System; the fields are {', '.join(current)}")
        system = self._rebuilt(current | changes)
        system._check_layout()
        system._check_values(changes.keys() - {"positions", "velocities"})
        return system

    def detach(self) -> System:
        """Return the same values without their autograd history."""
        return self._rebuilt({field.name: getattr(self, field.name).detach() for field in fields(self)})

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
        """Return a copy with Maxwell-Boltzmann velocities at exactly the kinetic energy N_f kT / 2, N_f = 3 n - 3.

        In each system the velocity of the centre of mass is removed and the rest is scaled to N_f kT. The random
        numbers are drawn on the CPU in float64, so a seed gives the same velocities on each device. A system of one
        atom has N_f = 0 and comes to rest.

        Args:
            kT: Thermal energy, one number or one per system `(n_systems,)`.
            seed: Seed of the random numbers.
            temperature_K: Temperature in kelvin instead of kT, for systems in eV.

        Raises:
            ValueError: Unless exactly one of kT and temperature_K is given, or if it is negative or misshapen.
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
        return self._rebuilt(
            {
                "positions": self.positions[part],
                "velocities": self.velocities[part],
                "masses": self.masses[part],
                "numbers": self.numbers[part],
                "cell": self.cell[k : k + 1],
                "pbc": self.pbc[k : k + 1],
                "system_idx": torch.zeros_like(self.system_idx[part]),
            }
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
        """Return the positions as multiples of the lattice vectors `(n_atoms, 3)`, in [0, 1) where periodic."""
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

    def get_kT(self) -> Tensor:
        """Return 2 K / (3 n) of each system `(n_systems,)`, energy: as in ASE, the centre of mass counts."""
        return 2.0 * self.get_kinetic_energy() / (3 * self.counts)

    def get_temperature(self) -> Tensor:
        """Return the temperature of each system `(n_systems,)` in kelvin, for systems in eV."""
        return self.get_kT() / units.kB

    def sum_by_system(self, values: Tensor) -> Tensor:
        """Add up a quantity of the atoms `(n_atoms, ...)` in each system `(n_systems, ...)`."""
        if self.n_systems == 1:
            return values.sum(0, keepdim=True)
        return values.new_zeros(self.n_systems, *values.shape[1:]).index_add(0, self.system_idx, values)

    # ---------------------------------------------------------------- private

    def _atoms_of(self, k: int) -> slice:
        return slice(int(self.offsets[k]), int(self.offsets[k + 1]))

    def _rebuilt(self, values: dict[str, Tensor]) -> System:
        system = object.__new__(System)
        for name, value in values.items():
            object.__setattr__(system, name, value)
        return system

    def _scaled(self) -> Tensor:
        cells = [torch.from_numpy(Cell(_numpy(cell).astype(float)).complete().array) for cell in self.cell]
        inverse = torch.linalg.inv(torch.stack(cells)).to(self.positions)
        return (self.positions[:, None, :] @ inverse[self.system_idx])[:, 0]

    def _along_cell(self, multiples: Tensor) -> Tensor:
        return (multiples[:, None, :] @ self.cell[self.system_idx])[:, 0]

    def _check_layout(self) -> None:
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if not isinstance(value, Tensor):
                raise ValueError(
                    f"{field.name}: a {type(value).__name__} is not a torch.Tensor; use torch.as_tensor"
                )
            if value.device != self.positions.device:
                raise ValueError(
                    f"{field.name}: on {value.device} while positions are on {self.positions.device}; "
                    "move all tensors to one device"
                )
        n = self.positions.shape[0] if self.positions.ndim else 0
        m = self.cell.shape[0] if self.cell.ndim else 0
        shapes: dict[str, tuple[int, ...]] = {"positions": (n, 3), "velocities": (n, 3), "masses": (n,)}
        shapes |= {"numbers": (n,), "cell": (m, 3, 3), "pbc": (m, 3), "system_idx": (n,)}
        types = {"numbers": torch.int64, "pbc": torch.bool, "system_idx": torch.int64}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if tuple(value.shape) != shape:
                raise ValueError(
                    f"{name}: shape {tuple(value.shape)} does not fit {n} atoms in {m} systems; give {shape}"
                )
            wanted = types.get(name, self.positions.dtype)
            if value.dtype != wanted or (name == "positions" and not value.is_floating_point()):
                wanted = wanted if wanted.is_floating_point or name in types else torch.float64
                raise ValueError(
                    f"{name}: type {value.dtype} instead of {wanted}; convert it with .to({wanted})"
                )
        if n == 0 or m == 0:
            raise ValueError(
                f"positions: {n} atoms in {m} systems; a System holds at least one atom in one system"
            )

    def _check_values(self, names: Iterable[str]) -> None:
        names = set(names)
        for name in sorted(names & {"positions", "velocities", "masses", "cell"}):
            value = getattr(self, name)
            if not bool(torch.isfinite(value).all()):
                row = int((~torch.isfinite(value)).reshape(len(value), -1).any(1).nonzero()[0])
                raise ValueError(
                    f"{name}: row {row} is {value[row].tolist()}, not finite; give finite numbers"
                )
        if "masses" in names and not bool((self.masses > 0).all()):
            row = int(self.masses.argmin())
            raise ValueError(f"masses: atom {row} has {float(self.masses[row])}; give masses above zero")
        if "numbers" in names:
            low, high = int(self.numbers.min()), int(self.numbers.max())
            if low < 0 or high >= len(chemical_symbols):
                value = low if low < 0 else high
                raise ValueError(f"numbers: {value} is no element; use 0 ... {len(chemical_symbols) - 1}")
        if "system_idx" in names:
            self._check_system_idx()
        if names & {"cell", "pbc"}:
            flat = ~torch.isfinite(periodic_heights(self.cell, self.pbc)) & self.pbc
            if bool(flat.any()):
                k = int(flat.any(1).nonzero()[0])
                raise ValueError(
                    f"cell: system {k} is periodic along lattice vectors that are zero or parallel, "
                    f"{self.cell[k].tolist()}; give a cell, or pbc=False along them"
                )

    def _check_system_idx(self) -> None:
        index = self.system_idx
        if bool((index[1:] < index[:-1]).any()):
            row = int((index[1:] < index[:-1]).nonzero()[0]) + 1
            raise ValueError(f"system_idx: falls at atom {row}; sort the atoms by system")
        if int(index[0]) < 0 or int(index[-1]) >= self.n_systems:
            raise ValueError(
                f"system_idx: runs from {int(index[0])} to {int(index[-1])} but there are {self.n_systems} cells; "
                f"use 0 ... {self.n_systems - 1}"
            )
        if bool((self.counts == 0).any()):
            k = int((self.counts == 0).nonzero()[0])
            raise ValueError(f"system_idx: system {k} has no atoms; drop its cell or give it atoms")


def periodic_heights(cell: Tensor, pbc: Tensor) -> Tensor:
    """Return the distance between the lattice planes along each periodic direction.

    With all directions periodic this is volume / area of the opposite face. Directions that are not periodic do not
    count: the planes are those of the lattice that the periodic vectors span. The height along i is
    1 / sqrt((G^-1)_ii) with the Gram matrix G of the periodic vectors.

    Args:
        cell: `(n_systems, 3, 3)`, length; rows are the lattice vectors.
        pbc: `(n_systems, 3)` bool.

    Returns:
        `(n_systems, 3)`, length; infinite where not periodic, nan where the periodic vectors span no lattice.
    """
    cell = cell.detach().double()
    lengths = cell.norm(dim=2)
    flat = ((lengths == 0) & pbc).any(1)
    units_ = cell / torch.where(lengths > 0, lengths, 1.0)[:, :, None]
    both = pbc[:, :, None] & pbc[:, None, :]
    gram = torch.where(
        both, units_ @ units_.transpose(1, 2), torch.eye(3, dtype=cell.dtype, device=cell.device)
    )
    flat |= torch.linalg.det(gram) < _FLAT
    gram = torch.where(flat[:, None, None], torch.eye(3, dtype=cell.dtype, device=cell.device), gram)
    heights = lengths / torch.linalg.inv(gram).diagonal(dim1=1, dim2=2).sqrt()
    heights = torch.where(flat[:, None], torch.nan, heights)
    return torch.where(pbc, heights, torch.inf)


def resolve_kT(*, kT: float | Tensor | None, temperature_K: float | Tensor | None) -> float | Tensor:
    """Return the thermal energy from kT or, for systems in eV, from a temperature in kelvin.

    Raises:
        ValueError: Unless exactly one is given and it is finite and not negative.
    """
    if (kT is None) == (temperature_K is None):
        state = "neither is" if kT is None else "both are"
        raise ValueError(f"kT, temperature_K: {state} given; give exactly one of the two")
    name, value = ("kT", kT) if kT is not None else ("temperature_K", temperature_K)
    numbers = torch.as_tensor(value)
    if not bool((torch.isfinite(numbers) & (numbers >= 0)).all()):
        raise ValueError(
            f"{name}: {numbers.tolist()} is not a temperature; give a finite number of at least 0"
        )
    if kT is not None:
        return kT
    assert temperature_K is not None
    return temperature_K * units.kB


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
