"""State points and their replicas side by side, and the loss over them: a function of averages over all replicas."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asediff.observables import Observable
from asediff.observables.pressure import virial
from asediff.potentials.base import Potential
from asediff.system import System
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory


class Measured(NamedTuple):
    """What enters the loss of one system: averages over its frames.

    values: one tensor for each target of its state point. pressure: `()`, energy/length³; NaN where none is wanted.
    """

    values: list[Tensor]
    pressure: Tensor

    def tensors(self) -> list[Tensor]:
        """All of them in one list."""
        return [*self.values, self.pressure]

    def leaves(self, device: torch.device) -> Measured:
        """The numbers alone, on a device, as the end of a graph."""
        return Measured(*_mapped(self, lambda x: x.detach().to(device).requires_grad_()))

    def portable(self) -> Measured:
        """The numbers alone, in the memory of the CPU."""
        return Measured(*_mapped(self, lambda x: x.detach().cpu()))


def _mapped(measured: Measured, change: Any) -> tuple[list[Tensor], Tensor]:
    return [change(value) for value in measured.values], change(measured.pressure)


@dataclass(frozen=True, eq=False)
class Batch:
    """Replicas of all state points in one system, and the loss over them.

    Attributes:
        system: state point 0's replicas first, then state point 1's, ...
        kT: `(n_systems,)`, energy.
        state_points: conditions and targets.
        replicas: of each state point.
    """

    system: System
    kT: Tensor
    state_points: Sequence[StatePoint]
    replicas: int

    @classmethod
    def of(cls, state_points: Sequence[StatePoint], replicas: int) -> Batch:
        """Copy every state point `replicas` times."""
        system = System.concatenate([p.system for p in state_points for _ in range(replicas)])
        kT = torch.tensor([float(p.kT) for p in state_points for _ in range(replicas)], dtype=system.dtype)
        return cls(system, kT, state_points, replicas)

    @property
    def points(self) -> list[StatePoint]:
        """The state point of each system."""
        return [point for point in self.state_points for _ in range(self.replicas)]

    def loss(self, trajectory: Trajectory) -> Tensor:
        """Loss of the targets on frames of all systems, `()`; see `loss_of`."""
        values = values_of(trajectory, self.points)
        return self.loss_of([Measured(own, torch.tensor(math.nan)) for own in values], pressure_weight=0.0)

    def pressure_loss(self, trajectory: Trajectory, potential: Potential) -> Tensor:
        """Loss of the wanted pressures on frames of all systems, `()`; see `pressure_loss_of`."""
        return self.pressure_loss_of(pressures_of(trajectory, self.points, potential, self.kT))

    def loss_of(self, measured: Sequence[Measured], pressure_weight: float) -> Tensor:
        """Σ over state points and targets of weight x loss, divided by the number of state points, `()`.

        Args:
            measured: of all systems.
            pressure_weight: of `pressure_loss_of`, which is added.
        """
        total = torch.zeros((), dtype=self.system.dtype)
        for k, point in enumerate(self.state_points):
            replicas = measured[k * self.replicas : (k + 1) * self.replicas]
            for t, target in enumerate(point.targets):
                own = torch.stack([one.values[t] for one in replicas]).mean(0)
                scale = point.weight * target.weight / len(self.state_points)
                total = total + scale * target.loss(own, target.reference.to(own), target.observable)
        if pressure_weight == 0.0:
            return total
        return total + pressure_weight * self.pressure_loss_of([one.pressure for one in measured])

    def pressure_loss_of(self, pressures: Sequence[Tensor]) -> Tensor:
        """Σ over state points with a pressure of weight x [(P - P*)/ρkT]², divided by the number of state points."""
        total = torch.zeros((), dtype=self.system.dtype)
        for k, point in enumerate(self.state_points):
            if point.pressure is not None:
                own = torch.stack(list(pressures[k * self.replicas : (k + 1) * self.replicas])).mean()
                scale = point.weight / len(self.state_points)
                total = total + scale * ((own - point.pressure) / (point.density * float(point.kT))) ** 2
        return total


def values_of(trajectory: Trajectory, points: Sequence[StatePoint]) -> list[list[Tensor]]:
    """The targets' values of each system of a trajectory, averaged over the frames.

    On the CPU each system is looked at alone, so that its values are the same bits in any batch.

    Args:
        trajectory: of the systems.
        points: state point of each.
    """
    alone = trajectory.system.device.type == "cpu"
    found: list[list[Tensor]] = [[torch.empty(0)] * len(point.targets) for point in points]
    users: dict[Any, tuple[Observable, dict[int, list[int]]]] = {}
    for s, point in enumerate(points):
        for t, target in enumerate(point.targets):
            own = target.observable
            key = own if isinstance(own, Hashable) else id(own)  # a dataclass that is not frozen has no hash
            group = users.setdefault((key, s if alone else None), (own, {}))
            group[1].setdefault(s, []).append(t)
    singles = separated(trajectory) if alone else []
    for observable, places in users.values():
        if alone:
            seen = singles[next(iter(places))]
        else:
            seen = trajectory if len(places) == len(points) else trajectory.select(list(places))
        for (s, targets), value in zip(places.items(), observable(seen), strict=True):
            for t in targets:
                found[s][t] = value
    return found


def pressures_of(
    trajectory: Trajectory, points: Sequence[StatePoint], potential: Potential, kT: Tensor
) -> list[Tensor]:
    """Pressure of each system, `()`, energy/length³, averaged over the frames, kinetic part at kT; NaN if not wanted.

    Args:
        trajectory: of the systems.
        points: state point of each.
        potential: gives the virial.
        kT: `(n_systems,)`, energy.
    """
    system = trajectory.system
    if all(point.pressure is None for point in points):
        return [torch.full((), math.nan, dtype=system.dtype, device=system.device)] * len(points)
    kinetic, volume = (system.counts - 1) * kT.to(system.device), system.get_volume()
    virials = virial(trajectory.positions, system, potential, kT)
    # a sum over frames may depend on what stands beside it: each system's own is taken alone
    return [(kinetic[s] + virials[:, s].contiguous().mean() / 3.0) / volume[s] for s in range(len(points))]


def separated(trajectory: Trajectory) -> list[Trajectory]:
    """The systems of a trajectory, one by one."""
    if trajectory.n_systems == 1:
        return [trajectory]
    counts = trajectory.system.counts.tolist()
    split = zip(trajectory.positions.split(counts, 1), trajectory.velocities.split(counts, 1), strict=True)
    return [
        Trajectory(
            system=trajectory.system[s],
            positions=positions,
            velocities=velocities,
            steps=trajectory.steps,
            timestep=trajectory.timestep,
            potential_energy=trajectory.potential_energy[:, s : s + 1],
            pressure=trajectory.pressure[:, s : s + 1],
            conserved=None if trajectory.conserved is None else trajectory.conserved[:, s : s + 1],
            thermostat=None if trajectory.thermostat is None else trajectory.thermostat[s : s + 1],
        )
        for s, (positions, velocities) in enumerate(split)
    ]
