"""Finite-difference and symmetry checks of potentials and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asediff.neighbors import NeighborList
from asediff.potentials.base import Potential
from asediff.system import System
from asediff.topology import Topology


@dataclass(frozen=True)
class PotentialCheck:
    """Largest errors that `check_potential` found, each relative to the scale named.

    Attributes:
        force: forces against -dE/dx by central differences, to the largest force.
        stress: dE/d(strain) by autograd against central differences, to its largest component.
        translation: energy after a rigid displacement of all atoms, to the sum of |F| times the mean distance.
        rotation: the same after a rotation of atoms and cell.
        permutation: the same after a permutation of the atoms.
        beyond_cutoff: energy change and force of an atom that no other reaches, the same scale.
    """

    force: float
    stress: float
    translation: float
    rotation: float
    permutation: float
    beyond_cutoff: float


def check_potential(
    potential: Potential,
    system: System,
    *,
    kT: float | None = None,
    step: float = 1e-5,
    tolerance: float = 1e-6,
    n_samples: int = 6,
    seed: int = 0,
) -> PotentialCheck:
    """Check that a potential's energy and forces belong together and obey the symmetries of space.

    Args:
        potential: what is checked; in float64.
        system: a configuration with forces on its atoms, such as a rattled crystal; in float64.
        kT: energy, for a temperature-dependent potential.
        step: of the central differences, as a fraction of the cutoff, or of 1 where the potential has none.
        tolerance: on each of the errors; see `PotentialCheck`.
        n_samples: random directions in the space of positions, and in that of strains, that are tried.
        seed: of the directions, the displacement, the rotation and the permutation.

    Returns:
        The errors.

    Raises:
        AssertionError: an error is larger than the tolerance.
        ValueError: the system is not in float64.
    """
    if system.dtype != torch.float64:
        raise ValueError(f"system: finite differences need torch.float64, not {system.dtype}; use system.to(dtype=...)")
    generator = torch.Generator().manual_seed(seed)
    length = 1.0 if potential.cutoff is None else potential.cutoff
    step = step * length

    def evaluate(changed: System) -> tuple[Tensor, Tensor]:
        thermal = None if kT is None else torch.full((changed.n_systems,), float(kT), dtype=torch.float64)
        with torch.no_grad():
            return potential.energy_forces(changed, NeighborList(potential.cutoff).update(changed), thermal)

    def energy(changed: System) -> Tensor:
        return evaluate(changed)[0]

    reference, forces = evaluate(system)
    force_scale = max(float(forces.abs().max()), 1e-300)
    energy_scale = max(float(forces.norm(dim=1).sum()) * length, float(reference.abs().max()), 1e-300)

    force_error = 0.0
    for _ in range(n_samples):
        direction = torch.randn(system.positions.shape, generator=generator, dtype=torch.float64)
        direction = direction / direction.norm()
        numerical = _central(lambda h, d=direction: energy(_moved(system, h * d)).sum(), step)  # type: ignore[misc]
        force_error = max(force_error, float((numerical + (forces * direction).sum()).abs()) / force_scale)

    errors = PotentialCheck(
        force=force_error,
        stress=_stress_error(potential, system, kT, energy, step / length, n_samples, generator),
        translation=_change(energy(_moved(system, torch.tensor([0.37, -1.91, 0.83]) * length)), reference)
        / energy_scale,
        rotation=_rotation_error(evaluate, system, reference, forces, generator) / energy_scale,
        permutation=_permutation_error(evaluate, system, reference, forces, generator) / energy_scale,
        beyond_cutoff=_isolation_error(evaluate, potential, system) / energy_scale,
    )
    for name, value in vars(errors).items():
        # "Not below" instead of "above": nan must fail.
        assert value <= tolerance, (
            f"{name}: relative error {value:.1e} exceeds {tolerance:.1e}; energy and forces of "
            f"{type(potential).__name__} do not belong together or break a symmetry"
        )
    return errors


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradient` found along its directions.

    Attributes:
        analytic: derivative of the loss along each direction by autograd.
        numerical: the same by central differences.
        error: largest difference, relative to the norm of the gradient.
    """

    analytic: tuple[float, ...]
    numerical: tuple[float, ...]
    error: float


def check_gradient(
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    *,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    n_directions: int = 3,
    seed: int = 0,
) -> GradientCheck:
    """Check the gradient of a loss against five-point central differences along random directions.

    The first direction is that of the gradient itself, the others are random. Truncation that makes forces jump at the
    cutoff spoils finite differences, not the gradient: check with a smooth potential. Tabulated potentials have a
    continuous second derivative and no more, so differences through dynamics converge with the first power of the step.

    Args:
        loss: computes the loss (one number) from the parameters as they stand, the same way at each call.
        parameters: leaf tensors in float64 that require gradients, such as `list(potential.parameters())` or the
            positions that a run starts from; their values are changed during the check and restored.
        step: length of the finite displacement of all parameters together, in units of their norm (at least 1).
        tolerance: on the error relative to the norm of the gradient.
        n_directions: directions tried.
        seed: of the random directions.

    Returns:
        Both derivatives along each direction and the relative error.

    Raises:
        AssertionError: the error is larger than the tolerance.
    """
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.autograd.grad(loss(), list(parameters), allow_unused=True, materialize_grads=True)
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    size = math.sqrt(sum(float(p.detach().square().sum()) for p in parameters))
    originals = [p.detach().clone() for p in parameters]
    analytic, numerical = [], []
    for k in range(n_directions):
        if k == 0 and norm > 0:
            direction = [g.clone() for g in gradients]
        else:
            direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p) for p in parameters]
        length = math.sqrt(sum(float(d.square().sum()) for d in direction))
        direction = [d / length for d in direction]

        def along(h: float, direction: list[Tensor] = direction) -> Tensor:
            with torch.no_grad():
                for p, original, d in zip(parameters, originals, direction, strict=True):
                    p.copy_(original + h * d)
                return loss().detach()

        try:
            numerical.append(float(_central(along, step * max(size, 1.0))))
        finally:
            along(0.0)
        analytic.append(float(sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))))
    scale = norm if norm > 0 else 1.0
    error = max(abs(a - n) for a, n in zip(analytic, numerical, strict=True)) / scale
    assert error <= tolerance, (
        f"gradient: differs from central differences by {error:.1e} of its norm (tolerance {tolerance:.1e}): "
        f"{analytic} against {numerical}"
    )
    return GradientCheck(tuple(analytic), tuple(numerical), error)


def _central(function: Callable[[float], Tensor], step: float) -> Tensor:
    """Derivative at zero by the five-point rule, whose error falls with step⁴."""
    near = function(step) - function(-step)
    far = function(2 * step) - function(-2 * step)
    return (8.0 * near - far) / (12.0 * step)


def _moved(system: System, displacement: Tensor) -> System:
    return system.replace(positions=system.positions + displacement)


def _change(energy: Tensor, reference: Tensor) -> float:
    return float((energy - reference).abs().max())


def _strained(system: System, strain: Tensor) -> System:
    deformation = torch.eye(3, dtype=torch.float64) + strain
    return system.replace(positions=system.positions @ deformation, cell=system.cell @ deformation)


def _stress_error(
    potential: Potential,
    system: System,
    kT: float | None,
    energy: Callable[[System], Tensor],
    step: float,
    n_samples: int,
    generator: torch.Generator,
) -> float:
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    neighbors = NeighborList(potential.cutoff).update(system)
    thermal = None if kT is None else torch.full((system.n_systems,), float(kT), dtype=torch.float64)
    total = potential.energy(_strained(system, strain), neighbors, thermal).sum()
    (slope,) = torch.autograd.grad(total, strain, allow_unused=True, materialize_grads=True)
    scale = max(float(slope.abs().max()), 1e-300)
    worst = 0.0
    for _ in range(n_samples):
        direction = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        direction = (direction + direction.T) / (direction + direction.T).norm()
        numerical = _central(lambda h, d=direction: energy(_strained(system, h * d)).sum(), step)  # type: ignore[misc]
        worst = max(worst, float((numerical - (slope * direction).sum()).abs()) / scale)
    return worst


def _rotation_error(
    evaluate: Callable[[System], tuple[Tensor, Tensor]],
    system: System,
    reference: Tensor,
    forces: Tensor,
    generator: torch.Generator,
) -> float:
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    rotation = rotation * torch.linalg.det(rotation)  # proper, so that chiral potentials pass
    energy, turned = evaluate(system.replace(positions=system.positions @ rotation, cell=system.cell @ rotation))
    return max(_change(energy, reference), float((turned - forces @ rotation).abs().max()))


def _permutation_error(
    evaluate: Callable[[System], tuple[Tensor, Tensor]],
    system: System,
    reference: Tensor,
    forces: Tensor,
    generator: torch.Generator,
) -> float:
    keys = system.system_idx + torch.rand(system.n_atoms, generator=generator, dtype=torch.float64)
    order = torch.argsort(keys)
    fields = ("positions", "velocities", "masses", "numbers")
    topology = None if system.topology is None else system.topology.of_atoms(order)
    shuffled = system.replace(**{name: getattr(system, name)[order] for name in fields}, topology=topology)
    energy, permuted = evaluate(shuffled)
    return max(_change(energy, reference), float((permuted - forces[order]).abs().max()))


def _isolation_error(
    evaluate: Callable[[System], tuple[Tensor, Tensor]], potential: Potential, system: System
) -> float:
    """Force on, and effect on the energy of, an atom that is 1 and 1.5 cutoffs away from a second one."""
    if potential.cutoff is None:
        return 0.0
    far = 12.0 * potential.cutoff
    pair = System(
        positions=torch.zeros(2, 3, dtype=torch.float64),
        velocities=torch.zeros(2, 3, dtype=torch.float64),
        masses=system.masses[:1].repeat(2).double(),
        numbers=system.numbers[[0, -1]],
        cell=far * torch.eye(3, dtype=torch.float64)[None],
        pbc=torch.ones(1, 3, dtype=torch.bool),
        system_idx=torch.zeros(2, dtype=torch.int64),
        topology=None if system.topology is None else Topology(),
    )
    along = torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64) / 3.0 * potential.cutoff
    results = [
        evaluate(pair.replace(positions=torch.stack([torch.zeros_like(along), scale * along])))
        for scale in (1.0 + 1e-9, 1.5)
    ]
    change = _change(results[0][0], results[1][0])
    return max(change, *(float(forces.abs().max()) for _, forces in results))
