"""Systems whose dynamics is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from asediff.neighbors import Neighbors
from asediff.potentials.base import Potential
from asediff.potentials.pair import PairPotential
from asediff.potentials.radial import Radial
from asediff.potentials.truncation import Truncated
from asediff.system import System


class HarmonicRadial(Radial):
    """u(r) = stiffness r²/2: linear in s = r², so a spline in s holds it exactly.

    Args:
        stiffness: energy/length².
    """

    def __init__(self, stiffness: float = 1.0) -> None:
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.tensor(float(stiffness), dtype=torch.float64))

    def forward(self, r: Tensor, kT: Tensor | None = None) -> Tensor:
        """See the class."""
        return 0.5 * self.stiffness * r * r

    def config(self) -> dict[str, Any]:
        """The stiffness."""
        return {"stiffness": self.stiffness.item()}


class HarmonicTrap(Potential):
    """E = stiffness Σ x²/2: every atom on its own spring to the origin; not a pair potential, not invariant.

    Args:
        stiffness: energy/length².
        cutoff: length; nothing interacts, it only sizes the neighbor list.
    """

    def __init__(self, stiffness: float = 1.0, cutoff: float = 1.0) -> None:
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.tensor(float(stiffness), dtype=torch.float64))
        self.cutoff = cutoff

    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        """See the class."""
        return system.sum_by_system(0.5 * self.stiffness * system.positions.square().sum(1))


def verlet_oscillator(
    position: Tensor, velocity: Tensor, squared_frequency: Tensor, timestep: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Where velocity Verlet takes a harmonic oscillator, in closed form.

    With cos θ = 1 - ω² dt²/2 the n-th power of the step's matrix gives x_n = x cos nθ + v dt sin nθ / sin θ and
    v_n = v cos nθ - x sin θ sin nθ / dt: the steps taken, not the differential equation.

    Args:
        position: any shape, length.
        velocity: the same shape, length/time.
        squared_frequency: ω², 1/time²; the results are differentiable in it. Stable for ω dt < 2.
        timestep: time.
        steps: n.

    Returns:
        Position and velocity after n steps.
    """
    angle = torch.arccos(1.0 - 0.5 * squared_frequency * timestep**2)
    cosine, sine = torch.cos(steps * angle), torch.sin(steps * angle)
    return (
        position * cosine + velocity * timestep * sine / torch.sin(angle),
        velocity * cosine - position * torch.sin(angle) * sine / timestep,
    )


@dataclass(frozen=True)
class HarmonicDimer:
    """Two equal atoms on a spring of rest length zero: the one bound pair whose Verlet steps are known exactly.

    The separation d = x_1 - x_0 is an oscillator with ω² = 2 stiffness / mass; the centre of mass stays where it is.

    Args:
        stiffness: energy/length².
        mass: of each atom.
        separation: d at the start, length.
        velocity: of d at the start, length/time.
        cutoff: length; the oscillation must stay within it.
    """

    stiffness: float = 1.3
    mass: float = 2.0
    separation: tuple[float, float, float] = (0.9, -0.4, 0.3)
    velocity: tuple[float, float, float] = (0.2, 0.5, -0.1)
    cutoff: float = 4.0

    def system(self) -> System:
        """The two atoms in a cubic cell of 2.5 cutoffs, far from its walls."""
        edge = 2.5 * self.cutoff
        half = 0.5 * torch.tensor(self.separation, dtype=torch.float64)
        rate = 0.5 * torch.tensor(self.velocity, dtype=torch.float64)
        return System(
            positions=0.5 * edge + torch.stack([-half, half]),
            velocities=torch.stack([-rate, rate]),
            masses=torch.full((2,), self.mass, dtype=torch.float64),
            numbers=torch.full((2,), 18),
            cell=edge * torch.eye(3, dtype=torch.float64)[None],
            pbc=torch.ones(1, 3, dtype=torch.bool),
            system_idx=torch.zeros(2, dtype=torch.int64),
        )

    def potential(self) -> PairPotential:
        """The spring as a pair potential; its table is exact."""
        return PairPotential(HarmonicRadial(self.stiffness), self.cutoff, truncation=Truncated(), n_knots=64)

    def after(self, timestep: float, steps: int, stiffness: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Separation and its velocity `(3,)` after velocity-Verlet steps, differentiable in `stiffness`."""
        value = torch.tensor(self.stiffness, dtype=torch.float64) if stiffness is None else stiffness
        return verlet_oscillator(
            torch.tensor(self.separation, dtype=torch.float64),
            torch.tensor(self.velocity, dtype=torch.float64),
            2.0 * value / self.mass,
            timestep,
            steps,
        )
