"""Recorded frames of a simulation, whoever ran it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from asediff.system import System
from asediff.topology import Topology

_SYSTEM = tuple(field.name for field in fields(System) if field.name != "topology")


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """Frames of one or several systems, evenly or unevenly spaced in time.

    Attributes:
        system: State after the last step; it owns masses, numbers, cell, pbc, system_idx and topology of all frames.
        positions: `(n_frames, n_atoms, 3)`, length; not wrapped.
        velocities: `(n_frames, n_atoms, 3)`, length / time.
        steps: `(n_frames,)` int64, number of steps done at each frame, ascending. The start is not a frame.
        timestep: Time per step.
        potential_energy: `(n_frames, n_systems)`, energy.
        pressure: `(n_frames, n_systems)`, energy / length^3; the kinetic part is included.
        conserved: `(n_frames, n_systems)`, energy that the integrator conserves, or None.
        thermostat: `(n_systems, 2, tchain)`, positions and rates of the thermostat after the last step, from which
            a run continues, or None.
    """

    system: System
    positions: Tensor
    velocities: Tensor
    steps: Tensor
    timestep: float
    potential_energy: Tensor
    pressure: Tensor
    conserved: Tensor | None = None
    thermostat: Tensor | None = None

    def __post_init__(self) -> None:
        n_frames = self.positions.shape[0] if self.positions.ndim else 0
        n_atoms, n_systems = self.system.n_atoms, self.system.n_systems
        shapes: dict[str, tuple[int, ...]] = {
            "positions": (n_frames, n_atoms, 3),
            "velocities": (n_frames, n_atoms, 3),
            "steps": (n_frames,),
            "potential_energy": (n_frames, n_systems),
            "pressure": (n_frames, n_systems),
            "conserved": (n_frames, n_systems),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is None and name == "conserved":
                continue
            if tuple(value.shape) != shape:
                raise ValueError(
                    f"{name}: shape {tuple(value.shape)} does not fit {n_frames} frames of {n_atoms} atoms "
                    f"in {n_systems} systems; give {shape}"
                )
            if value.device != self.system.device:
                raise ValueError(
                    f"{name}: on {value.device} while the system is on {self.system.device}; "
                    "move all tensors to one device"
                )
        if self.thermostat is not None and tuple(self.thermostat.shape[:2]) != (n_systems, 2):
            raise ValueError(
                f"thermostat: shape {tuple(self.thermostat.shape)} does not fit {n_systems} systems; "
                f"give ({n_systems}, 2, tchain)"
            )
        if self.steps.dtype != torch.int64:
            raise ValueError(f"steps: type {self.steps.dtype} instead of torch.int64; use .to(torch.int64)")
        if n_frames > 1 and not bool((self.steps[1:] > self.steps[:-1]).all()):
            raise ValueError("steps: do not ascend; give each frame a later step than the one before")

    # ---------------------------------------------------------------- sizes and parts

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.positions.shape[0]

    @property
    def n_atoms(self) -> int:
        """Number of atoms in all systems together."""
        return self.system.n_atoms

    @property
    def n_systems(self) -> int:
        """Number of systems."""
        return self.system.n_systems

    @property
    def times(self) -> Tensor:
        """Time of each frame since step 0, `(n_frames,)`."""
        return self.steps.to(self.positions.dtype) * self.timestep

    @property
    def kinetic_energy(self) -> Tensor:
        """Kinetic energy of each frame and system, `(n_frames, n_systems)`."""
        by_atom = 0.5 * self.system.masses * self.velocities.square().sum(2)
        return self.system.sum_by_system(by_atom.T).T

    def __len__(self) -> int:
        return self.n_frames

    def __repr__(self) -> str:
        if not self.n_frames:
            return f"Trajectory(0 frames, {self.system!r})"
        first, last = int(self.steps[0]), int(self.steps[-1])
        return f"Trajectory({self.n_frames} frames, steps {first}-{last} of {self.timestep:g}, {self.system!r})"

    def __iter__(self) -> Iterator[System]:
        return (self.frame(k) for k in range(self.n_frames))

    def __getitem__(self, frames: slice) -> Trajectory:
        """Return a part of the frames.

        `system` becomes the state of the last frame of the part, or stays the final state where the part
        reaches the end.
        """
        if not isinstance(frames, slice):
            raise TypeError(f"frames: {frames!r} is not a slice; use trajectory.frame({frames!r}) for one frame")
        chosen = range(self.n_frames)[frames]
        if chosen.step < 0:
            raise ValueError(f"frames: step {chosen.step} runs back in time; give a step above zero")
        at_end = not chosen or chosen[-1] == self.n_frames - 1
        return Trajectory(
            system=self.system if at_end else self.frame(chosen[-1]),
            positions=self.positions[frames],
            velocities=self.velocities[frames],
            steps=self.steps[frames],
            timestep=self.timestep,
            potential_energy=self.potential_energy[frames],
            pressure=self.pressure[frames],
            conserved=None if self.conserved is None else self.conserved[frames],
            thermostat=self.thermostat if at_end else None,
        )

    def frame(self, k: int) -> System:
        """Return frame k as a `System`; negative k counts from the end."""
        if not -self.n_frames <= k < self.n_frames:
            raise IndexError(f"k: {k} is outside the {self.n_frames} frames of the trajectory")
        return self.system.replace(positions=self.positions[k], velocities=self.velocities[k])

    def discard(self, n_frames: int) -> Trajectory:
        """Return the trajectory without its first frames.

        Raises:
            ValueError: If that leaves no frame.
        """
        if not 0 <= n_frames < self.n_frames:
            raise ValueError(
                f"n_frames: discarding {n_frames} of {self.n_frames} frames leaves none; "
                f"give 0 ... {self.n_frames - 1} or run longer"
            )
        return self[n_frames:]

    def select(self, systems: Sequence[int]) -> Trajectory:
        """Return the trajectory of some of the systems, in the order given.

        Raises:
            ValueError: If no system is named, or one is out of range.
        """
        chosen = list(systems)
        if not chosen or not all(0 <= k < self.n_systems for k in chosen):
            raise ValueError(
                f"systems: {chosen} does not name systems of a batch of {self.n_systems}; "
                f"give one or more of 0 ... {self.n_systems - 1}"
            )
        offsets = self.system.offsets.tolist()
        atoms = torch.cat([torch.arange(offsets[k], offsets[k + 1], device=self.system.device) for k in chosen])
        return Trajectory(
            system=System.concatenate([self.system[k] for k in chosen]),
            positions=self.positions[:, atoms],
            velocities=self.velocities[:, atoms],
            steps=self.steps,
            timestep=self.timestep,
            potential_energy=self.potential_energy[:, chosen],
            pressure=self.pressure[:, chosen],
            conserved=None if self.conserved is None else self.conserved[:, chosen],
            thermostat=None if self.thermostat is None else self.thermostat[chosen],
        )

    @staticmethod
    def concatenate(trajectories: Sequence[Trajectory]) -> Trajectory:
        """Join pieces of one run in their order.

        A piece whose steps start anew is counted on from the last frame of the piece before. The conserved
        energy is kept if each piece has it.

        Raises:
            ValueError: If the pieces are of different systems or time steps.
        """
        if not trajectories:
            raise ValueError("trajectories: an empty sequence; give at least one Trajectory")
        first = trajectories[0]
        steps: list[Tensor] = []
        done = 0
        for index, piece in enumerate(trajectories):
            if piece.timestep != first.timestep:
                raise ValueError(
                    f"trajectories: item {index} has timestep {piece.timestep}, item 0 has {first.timestep}; "
                    "join runs of one timestep"
                )
            for name in ("masses", "numbers", "cell", "pbc", "system_idx"):
                if not torch.equal(getattr(piece.system, name), getattr(first.system, name)):
                    raise ValueError(
                        f"trajectories: item {index} has other {name} than item 0; join runs of one system"
                    )
            mine, other = piece.system.topology, first.system.topology
            if not (mine is other or (mine is not None and mine.same_as(other))):
                raise ValueError(
                    f"trajectories: item {index} has another topology than item 0; join runs of one system"
                )
            if piece.n_frames:
                begins_anew = done > 0 and int(piece.steps[0]) <= done
                steps.append(piece.steps + done if begins_anew else piece.steps)
                done = int(steps[-1][-1])
        conserved = [piece.conserved for piece in trajectories if piece.conserved is not None]
        return Trajectory(
            system=trajectories[-1].system,
            positions=torch.cat([piece.positions for piece in trajectories]),
            velocities=torch.cat([piece.velocities for piece in trajectories]),
            steps=torch.cat(steps) if steps else first.steps,
            timestep=first.timestep,
            potential_energy=torch.cat([piece.potential_energy for piece in trajectories]),
            pressure=torch.cat([piece.pressure for piece in trajectories]),
            conserved=torch.cat(conserved) if len(conserved) == len(trajectories) else None,
            thermostat=trajectories[-1].thermostat,
        )

    # ---------------------------------------------------------------- conversion

    def detach(self) -> Trajectory:
        """Return the same values without their autograd history."""
        values: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            values[field.name] = value.detach() if isinstance(value, Tensor | System) else value
        return Trajectory(**values)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Trajectory:
        """Move to a device and convert the floating-point tensors to a type; None keeps what is."""
        values: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                value = value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            elif isinstance(value, System):
                value = value.to(device=device, dtype=dtype)
            values[field.name] = value
        return Trajectory(**values)

    def to_atoms(self, system: int = 0) -> list[Atoms]:
        """Return the frames of one system as `ase.Atoms` with masses and momenta."""
        template = self.system[system].to_atoms()[0]
        k = system % self.n_systems
        part = slice(int(self.system.offsets[k]), int(self.system.offsets[k + 1]))
        positions = self.positions[:, part].detach().cpu().numpy()
        velocities = self.velocities[:, part].detach().cpu().numpy()
        images = []
        for frame in range(self.n_frames):
            atoms = template.copy()
            atoms.set_positions(positions[frame])
            atoms.set_velocities(velocities[frame])
            images.append(atoms)
        return images

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trajectory to a NumPy `.npz` file, bit for bit; an older file is replaced in one go."""
        path = Path(path)
        arrays = {f"system_{name}": getattr(self.system, name) for name in _SYSTEM}
        if self.system.topology is not None:
            arrays |= {f"topology_{name}": value for name, value in self.system.topology.tensors().items()}
        names = (
            "positions",
            "velocities",
            "steps",
            "potential_energy",
            "pressure",
            "conserved",
            "thermostat",
        )
        arrays |= {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        unfinished = path.with_name(path.name + ".part")
        with unfinished.open("wb") as file:
            np.savez(
                file,
                timestep=np.float64(self.timestep),
                **{name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()},
            )
        unfinished.replace(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Read a file written by `save`; the tensors are on the CPU.

        Raises:
            ValueError: If the file is not a saved trajectory.
        """
        with np.load(path) as file:
            missing = [name for name in ("timestep", "positions", "system_cell") if name not in file.files]
            if missing:
                raise ValueError(f"path: {path} lacks {missing[0]!r}; give a file written by Trajectory.save")
            timestep = float(file["timestep"])
            tensors = {name: torch.from_numpy(file[name]) for name in file.files if name != "timestep"}
        terms = {name: tensors.pop(name) for name in list(tensors) if name.startswith("topology_")}
        topology = (
            Topology(**{name.removeprefix("topology_"): value for name, value in terms.items()}) if terms else None
        )
        system = System(**{name: tensors.pop(f"system_{name}") for name in _SYSTEM}, topology=topology)
        return cls(system=system, timestep=timestep, **tensors)
