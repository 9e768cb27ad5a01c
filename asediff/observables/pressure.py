"""The pressure of each frame, differentiable with respect to positions, velocities and the potential's parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from asediff.neighbors import NeighborList
from asediff.observables.base import ASE, Observable, Units, frames_of
from asediff.potentials.base import Potential, energy_virial
from asediff.potentials.splines import PairSpline
from asediff.system import System
from asediff.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Pressure(Observable):
    """P = (2 K + W) / (3 V): kinetic energy K, virial W = sum over pairs of r·F = -3 V dU/dV at fixed scaled positions.

    The centre of mass counts in K as in `Trajectory.pressure`: where its momentum is zero, the kinetic part is
    (N - 1) kT / V on average, and LAMMPS, which scales by N / (N - 1), prints kT / V more. With `kT` given, the kinetic
    part is N kT / V itself: no noise, and a pressure for configurations without velocities.

    The gradient with respect to the potential's parameters is that of the expression, at given frames. How the
    frames themselves change with the parameters comes in through their positions, when `simulate` made them.
    Reweighting, which knows values of frames alone, takes a wanted pressure as `StatePoint(pressure=...)`.

    Args:
        potential: what the frames are evaluated with; None for the one that they were made with: the pressure that
            the trajectory has recorded or, as a target of a fit, that of the potential that is fitted.
        kT: `(n_systems,)` or a number, energy: thermal energy for the kinetic part, and for potentials that depend on
            temperature.
    """

    kind: ClassVar[str] = "pressure"
    abscissa: ClassVar[str] = "index"
    ordinate: ClassVar[str] = "P"
    ordinate_unit: ClassVar[str] = "energy/length³"
    of_single_frames: ClassVar[bool] = False

    potential: Potential | None = None
    kT: float | Tensor | None = None

    @property
    def centers(self) -> Tensor:
        """One value, at 0."""
        return torch.zeros(1, dtype=torch.float64)

    def per_frame(self, trajectory: Trajectory | System) -> Tensor:
        """Pressure of each frame, `(n_frames, n_systems, 1)`, energy/length³.

        Raises:
            ValueError: If a system has no volume, or a potential is missing.
        """
        positions, system = frames_of(trajectory)
        velocities = system.velocities[None] if isinstance(trajectory, System) else trajectory.velocities
        if not bool(system.pbc.all()):
            k = int((~system.pbc).any(-1).nonzero()[0])
            raise ValueError(f"pbc: system {k} is not periodic in every direction and has no volume; set pbc=True")
        volume = system.get_volume()
        twice_kinetic = system.sum_by_system((system.masses * velocities.square().sum(-1)).T).T
        if self.potential is not None:
            inner = virial(positions, system, self.potential, self.kT)
        elif isinstance(trajectory, System) or positions.requires_grad:
            raise ValueError("potential: missing; give the Pressure of a single System, or of a gradient, a potential")
        else:
            inner = 3.0 * volume * trajectory.pressure - twice_kinetic
        if self.kT is not None:
            kT = torch.as_tensor(self.kT, dtype=positions.dtype, device=positions.device)
            twice_kinetic = (3.0 * system.counts.to(kT) * kT).expand(len(positions), -1)
        return ((twice_kinetic + inner) / (3.0 * volume))[:, :, None]

    def bound(self, potential: Potential) -> Pressure:
        """See `Observable.bound`."""
        return self if self.potential is not None else replace(self, potential=potential)

    def labels(self, units: Units = ASE) -> tuple[str, str]:
        """See `Observable.labels`."""
        return "", f"P ({units.of(self.ordinate_unit)})"


def virial(positions: Tensor, system: System, potential: Potential, kT: float | Tensor | None = None) -> Tensor:
    """W = sum over pairs of r·F for frames `(n_frames, n_atoms, 3)` of a system, `(n_frames, n_systems)`, energy."""
    spline = potential.compiled(system, kT) if positions.device.type == "cpu" else None
    if spline is not None and spline.fits_kernels(system):
        result: Tensor = _PairVirial.apply(positions, spline.coefficients, system, spline)
        return result
    neighbor_list = NeighborList(potential.cutoff)
    thermal = None if kT is None else torch.as_tensor(kT, dtype=system.dtype, device=system.device)
    if thermal is not None:
        thermal = thermal.expand(system.n_systems)
    frames = (system.replace(positions=x) for x in positions)
    found = [energy_virial(potential, f, neighbor_list.update(f.detach()), thermal)[1] for f in frames]
    return torch.stack(found)


class _PairVirial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, coefficients: Tensor, system: System, spline: PairSpline) -> Tensor:
        from asediff.kernels.cpu import static as cpu_static

        ctx.save_for_backward(positions, coefficients)
        ctx.batch, ctx.tables = spline.arrays(system)
        result = cpu_static.pair_forces(_array(positions), ctx.batch, ctx.tables)
        return torch.from_numpy(np.trace(result.virial, axis1=-2, axis2=-1).copy())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from asediff.kernels.cpu import static as cpu_static

        positions, _ = ctx.saved_tensors
        weights = _array(gradient)[:, :, None, None] * np.eye(3)
        by_positions, by_coefficients = cpu_static.pair_vjp(_array(positions), ctx.batch, ctx.tables, w_virial=weights)
        return torch.from_numpy(by_positions), torch.from_numpy(by_coefficients), None, None


def _array(tensor: Tensor) -> Any:
    return np.ascontiguousarray(tensor.detach().numpy())
