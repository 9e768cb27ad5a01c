"""Reweighting for any potential: the energies of the frames of a run, as functions of the potential's parameters.

The weights w_f ∝ exp(-β [U_θ(x_f) - U_0(x_f)]) need each frame's energy under the changed potential, which autograd
follows. All frames stand side by side in one batch, so an energy costs one call for as many frames as memory allows.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from asediff.fitting.statistics.frames import WeightedFrames, frame_values
from asediff.neighbors import NeighborList, Neighbors
from asediff.observables.pressure import virial
from asediff.potentials.base import Potential
from asediff.system import System
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory

ATOMS_AT_ONCE = 2**15
"""Atoms whose graph is kept; with more of them in all frames, each part's energies are computed again backward."""


@dataclass(frozen=True, eq=False)
class FrameEnergies:
    """A potential with its parameters as they are now, on the frames of a run: what it gives is computed once.

    Attributes:
        potential: any.
        batches: the frames and their neighbors.
        state_point: says kT.
    """

    potential: Potential
    batches: tuple[tuple[System, Neighbors], ...]
    state_point: StatePoint

    @cached_property
    def energies(self) -> Tensor:
        """Energy of each frame, `(n_frames,)`, differentiable in the potential's parameters."""
        again = torch.is_grad_enabled() and sum(batch.n_atoms for batch, _ in self.batches) > ATOMS_AT_ONCE
        parts = []
        for batch, neighbors in self.batches:
            kT = torch.full((batch.n_systems,), float(self.state_point.kT), dtype=batch.dtype, device=batch.device)
            energy = self.potential.energy
            call = functools.partial(checkpoint, energy, use_reentrant=False) if again else energy
            parts.append(call(batch, neighbors, kT))
        return torch.cat(parts).to(torch.float64)

    @cached_property
    def virials(self) -> Tensor:
        """Σ r·F of each frame, `(n_frames,)`, energy; differentiable as the energies are."""
        kT = float(self.state_point.kT)
        found = [virial(batch.positions[None], batch, self.potential, kT)[0] for batch, _ in self.batches]
        return torch.cat(found).to(torch.float64)


@dataclass(frozen=True, eq=False)
class EnergyStatistics(WeightedFrames):
    """Statistics of a trajectory under potentials of which nothing is known but their energy.

    Attributes:
        state_point: condition and targets.
        batches: the frames, as many systems of a batch as fit into memory, and their neighbors.
        values: per target `(n_frames, n_values)`.
        pressure: `(n_frames,)`, kinetic part at kT, energy/length³.
        energy: `(n_frames,)`, of the run's potential.
    """

    state_point: StatePoint
    batches: tuple[tuple[System, Neighbors], ...]
    values: tuple[Tensor, ...]
    pressure: Tensor
    energy: Tensor

    @classmethod
    def of(cls, trajectory: Trajectory, potential: Potential, state_point: StatePoint) -> EnergyStatistics:
        """Take the energies of the frames of a run with `potential`.

        Args:
            trajectory: frames of one system, in equilibrium.
            potential: the one that moved the atoms.
            state_point: condition and targets.

        Raises:
            ValueError: fewer than two frames, or a target that no single frame has.
        """
        with torch.no_grad():
            values, pressure = frame_values(trajectory, state_point)
            frames, size = list(trajectory.detach()), max(1, ATOMS_AT_ONCE // trajectory.n_atoms)
            systems = [System.concatenate(frames[k : k + size]) for k in range(0, len(frames), size)]
            batches = tuple((s, NeighborList(potential.cutoff, skin=0.0).update(s)) for s in systems)
            blank = cls(state_point, batches, values, pressure, torch.zeros_like(pressure))
            return replace(blank, energy=blank.view(potential).energies)

    def joined(self, other: EnergyStatistics) -> EnergyStatistics:
        """Frames of two runs of the same potential together."""
        return EnergyStatistics(
            self.state_point,
            self.batches + other.batches,
            tuple(torch.cat(v) for v in zip(self.values, other.values, strict=True)),
            torch.cat([self.pressure, other.pressure]),
            torch.cat([self.energy, other.energy]),
        )

    def view(self, potential: Potential) -> FrameEnergies:
        """See `Statistics.view`."""
        return FrameEnergies(potential, self.batches, self.state_point)

    def exponents(self, u: FrameEnergies) -> Tensor:
        """See `WeightedFrames.exponents`."""
        return -self.beta * (u.energies - self.energy)

    def pressures(self, u: FrameEnergies) -> Tensor:
        """See `WeightedFrames.pressures`."""
        system = self.state_point.system
        return ((system.n_atoms - 1) / self.beta + u.virials / 3.0) / float(system.get_volume()[0])

    def change(self, u: FrameEnergies) -> Tensor:
        """See `Statistics.change`: β (ΔU - <ΔU>) of each frame over √n_atoms, which does not grow with the system."""
        exponents = self.exponents(u)
        return (exponents.mean() - exponents) / self.state_point.system.n_atoms**0.5
