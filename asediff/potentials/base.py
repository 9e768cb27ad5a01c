"""The interface of a potential: a module that gives each system of a batch its energy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

from asediff.neighbors import Neighbors
from asediff.potentials.splines import PairSpline
from asediff.potentials.tabulated import Tabulated
from asediff.system import System


class Potential(nn.Module, ABC):
    """Energy of every system in a batch; forces follow by differentiation.

    Subclasses set `cutoff` and define `energy`. The cutoff is the length beyond which atoms do not interact, or None
    for terms that look at no list of pairs: bonded ones (`system.topology`), or external fields. What sums over the
    list multiplies the energy of each pair by `neighbors.weights`, if there are any; excluded pairs are not in the
    list, and a pair of atoms may be there with several images. Potentials add: `a + b` is one with the larger cutoff.
    (Two pair potentials of one cutoff are better joined by adding their radial functions: a sum of potentials does not
    run in the fused kernels.)
    """

    cutoff: float | None

    @abstractmethod
    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        """Potential energy of each system.

        Args:
            system: the batch.
            neighbors: pairs within at least `cutoff`; none if that is None.
            kT: `(n_systems,)`, energy; needed by temperature-dependent potentials only.

        Returns:
            `(n_systems,)`, energy; differentiable in positions, cell and parameters.
        """

    def compiled(self, system: System, kT: Tensor | float | None = None) -> PairSpline | None:
        """The pair tables that `energy` and `energy_forces` are evaluated from, exactly; None: there are none.

        Dynamics, calculators and pressures then run on the tables, in compiled kernels, in place of `energy`.

        Args:
            system: gives the number of systems, the species and the device.
            kT: `(n_systems,)` or a number, energy; needed by temperature-dependent potentials only.
        """
        return None

    @property
    def is_pairwise(self) -> bool:
        """Whether the energy is that of the pair functions of a `PairPotential`, and nothing else."""
        return False

    def tabulated(self) -> list[Tabulated]:
        """The parts, itself included, whose energies are read from tables."""
        return [part for part in self.modules() if isinstance(part, Tabulated)]

    def split(self) -> tuple[list[Potential], list[Potential]]:
        """The terms that this potential is the sum of: those with pair tables (see `compiled`), and the others."""
        return [], [self]

    def energy_forces(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Energy `(n_systems,)` and forces `(n_atoms, 3)` = -dE/dx.

        Forces stay differentiable when grad mode is on.
        """
        keep_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            if not system.positions.requires_grad:
                system = system.replace(positions=system.positions.detach().requires_grad_())
            energy = self.energy(system, neighbors, kT)
            if not energy.requires_grad:
                return energy, torch.zeros_like(system.positions)
            (forces,) = torch.autograd.grad(
                energy, system.positions, -torch.ones_like(energy), create_graph=keep_graph, allow_unused=True,
                materialize_grads=True,
            )  # fmt: skip
        return (energy if keep_graph else energy.detach()), forces

    def __add__(self, other: Potential) -> Potential:
        if not isinstance(other, Potential):
            return NotImplemented
        return SumPotential(self, other)


class SumPotential(Potential):
    """Sum of potentials, each with its own cutoff; the sum's is the largest, or None where no term has one."""

    def __init__(self, *terms: Potential) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)
        self.cutoff = max((term.cutoff for term in terms if term.cutoff is not None), default=None)

    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        """Sum of the terms' energies, `(n_systems,)`; see `Potential.energy`."""
        energies = [cast(Potential, term).energy(system, neighbors, kT) for term in self.terms]
        return torch.stack(energies).sum(0)

    def split(self) -> tuple[list[Potential], list[Potential]]:
        """See `Potential.split`; of this very class alone, for a subclass may change the sum."""
        if type(self) is not SumPotential:
            return [], [self]
        parts = [cast(Potential, term).split() for term in self.terms]
        return [p for pairs, _ in parts for p in pairs], [other for _, others in parts for other in others]


def compiled_terms(
    potential: Potential, system: System, kT: Tensor | float | None
) -> tuple[list[PairSpline], list[Potential]]:
    """Pair tables of the terms of a potential, and the terms that have none; arguments as in `Potential.compiled`."""
    pairs, others = potential.split()
    tables = []
    for term in pairs:
        table = term.compiled(system, kT)
        if table is None:
            others = [*others, term]
        else:
            tables.append(table)
    return tables, others


def energy_virial(
    potential: Potential, system: System, neighbors: Neighbors, kT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Energy and W = Σ r·F, minus the derivative of the energy with respect to a scaling of cell and positions.

    Args:
        potential, system, neighbors, kT: as in `Potential.energy`.

    Returns:
        `(n_systems,)` each, energy; differentiable in positions and parameters when grad mode is on.
    """
    keep_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        scale = torch.ones(system.n_systems, dtype=system.dtype, device=system.device, requires_grad=True)
        scaled = system.replace(
            positions=system.positions * scale[system.system_idx][:, None], cell=system.cell * scale[:, None, None]
        )
        energy = potential.energy(scaled, neighbors, kT)
        if not energy.requires_grad:
            return energy, torch.zeros_like(energy)
        (slope,) = torch.autograd.grad(
            energy.sum(), scale, create_graph=keep_graph, allow_unused=True, materialize_grads=True
        )
    return (energy if keep_graph else energy.detach()), -slope
