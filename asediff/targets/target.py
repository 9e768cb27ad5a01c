"""What a fit has to reproduce: observables with reference values, at thermodynamic state points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from asediff.observables import RDF, Observable
from asediff.potentials.base import Potential
from asediff.system import System, resolve_kT
from asediff.targets.curves import check_reference_range, read_curve
from asediff.targets.losses import (
    L2,
    JensenShannon,
    Loss,
    WeightedL2,
    block_average_error,
    mean_abs_deviation,
    potential_deviation,
    structural_deviation,
)

__all__ = [
    "L2",
    "JensenShannon",
    "Loss",
    "StatePoint",
    "Target",
    "WeightedL2",
    "block_average_error",
    "check_reference_range",
    "mean_abs_deviation",
    "potential_deviation",
    "read_curve",
    "structural_deviation",
]


@dataclass(frozen=True, eq=False)
class Target:
    """An observable and the values that it should have.

    Args:
        observable: what is measured.
        reference: `(n_values,)`, its wanted values at `observable.centers`. To compare with a curve from elsewhere, use
            `Target.from_curve`, which smears it like the observable does.
        weight: of this target in the loss.
        loss: distance between measured values and reference.
        error: `(n_values,)` or one number, standard error of the reference, or None when it is not known.
        name: for reports and file names; made from the observable when None.

    Raises:
        ValueError: If the reference does not fit the observable, is not finite or cannot be, the loss cannot compare
            such values, or the weight is not positive.
    """

    observable: Observable
    reference: Tensor
    weight: float = 1.0
    loss: Loss = field(default_factory=L2)
    error: Tensor | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        n_values = len(self.observable.centers)
        reference = _values("reference", self.reference)
        if reference.shape != (n_values,):
            raise ValueError(
                f"reference: shape {tuple(reference.shape)} does not fit the {n_values} values of the observable; "
                "give one value per centre, or Target.from_curve(observable, x, values)"
            )
        self.observable.check_reference(reference)
        self.loss(reference, reference, self.observable)  # refuses values that it cannot compare
        if not (np.isfinite(self.weight) and self.weight > 0.0):
            raise ValueError(f"weight={self.weight}: a target must count; give weight > 0")
        object.__setattr__(self, "reference", reference)
        if self.error is not None:
            error = _values("error", self.error).expand(n_values)
            if bool((error < 0).any()):
                raise ValueError(f"error: {float(error.min()):.4g} is negative; give standard errors >= 0")
            object.__setattr__(self, "error", error)
        if self.name is None:
            object.__setattr__(self, "name", self.observable.default_name)

    @classmethod
    def from_curve(
        cls,
        observable: Observable,
        x: ArrayLike,
        values: ArrayLike,
        *,
        weight: float = 1.0,
        loss: Loss | None = None,
        error: ArrayLike | Tensor | None = None,
        name: str | None = None,
    ) -> Target:
        """Target from a curve on any grid: what the observable would measure if that were the truth.

        Args:
            observable: gives bins and kernel; see its `project`.
            x: `(n,)`, ascending: distances, wave numbers, angles, times, ...; 0 for a single value such as a pressure.
            values: `(n,)`.
            weight, loss, error, name: as in the class.

        Raises:
            ValueError: the curve is not finite, does not ascend or is too short, or its values cannot be.
        """
        return cls(
            observable,
            observable.project(x, values),
            weight=weight,
            loss=L2() if loss is None else loss,
            error=None if error is None else _values("error", error),
            name=name,
        )

    def __call__(self, values: Tensor) -> Tensor:
        """Loss `()` of measured values `(n_values,)`, without the weight."""
        return self.loss(values, self.reference.to(values), self.observable)


@dataclass(frozen=True, eq=False)
class StatePoint:
    """A thermodynamic condition with its reference data.

    Args:
        system: one system at the density and composition of the condition, with start positions.
        targets: one or several targets.
        kT: thermal energy.
        temperature_K: temperature in kelvin instead of kT, for systems in eV and Å.
        weight: of this condition in the loss.
        name: for reports; made from density and temperature when None.
        pressure: wanted pressure, energy/length³, or None.

    Raises:
        ValueError: If not exactly one of kT and temperature_K is given, it is not positive, or the batch holds more
            than one system.
    """

    system: System
    targets: tuple[Target, ...] = ()
    kT: float = None  # type: ignore[assignment]
    weight: float = 1.0
    name: str = None  # type: ignore[assignment]
    pressure: float | None = None
    _given: ClassVar[StatePoint | None] = None  # what `bound` was asked of; no argument

    def __init__(
        self,
        system: System,
        targets: Target | Sequence[Target] = (),
        *,
        kT: float | None = None,
        temperature_K: float | None = None,
        weight: float = 1.0,
        name: str | None = None,
        pressure: float | None = None,
    ) -> None:
        energy = float(resolve_kT(kT=kT, temperature_K=temperature_K))
        if not energy > 0.0:
            which = "kT" if kT is not None else "temperature_K"
            raise ValueError(f"{which}={kT if kT is not None else temperature_K}: nothing moves; give {which} > 0")
        if system.n_systems != 1:
            raise ValueError(
                f"system: a batch of {system.n_systems} is not one condition; give system[k], one StatePoint each"
            )
        if not (np.isfinite(weight) and weight > 0.0):
            raise ValueError(f"weight={weight}: a state point must count; give weight > 0")
        chosen = (targets,) if isinstance(targets, Target) else tuple(targets)
        density = system.n_atoms / float(system.get_volume()[0]) if bool(system.pbc.all()) else float("nan")
        values = {
            "system": system,
            "targets": _with_unique_names(chosen),
            "kT": energy,
            "weight": float(weight),
            "name": f"density {density:.4g}, kT {energy:.4g}" if name is None else name,
            "pressure": pressure,
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def density(self) -> float:
        """Number density, 1/length³."""
        return self.system.n_atoms / float(self.system.get_volume()[0])

    def distributions(self) -> list[tuple[int, Target, RDF]]:
        """Index, target and observable of the targets that are the g(r) of a pair; see `pair_distribution`."""
        found = [(t, target, target.observable.pair_distribution()) for t, target in enumerate(self.targets)]
        return [(t, target, rdf) for t, target, rdf in found if rdf is not None]

    def bound(self, potential: Potential) -> StatePoint:
        """The same with observables that follow this potential, no longer one that they were bound to before.

        See `Observable.bound`.
        """
        given = self if self._given is None else self._given
        observables = [t.observable.bound(potential) for t in given.targets]
        if all(o is t.observable for o, t in zip(observables, given.targets, strict=True)):
            return given
        targets = [replace(t, observable=o) for o, t in zip(observables, given.targets, strict=True)]
        found = StatePoint(self.system, targets, kT=self.kT, weight=self.weight, name=self.name, pressure=self.pressure)
        object.__setattr__(found, "_given", given)
        return found


def check_distributions(state_points: Sequence[StatePoint], user: str) -> None:
    """Refuse targets that are no g(r) of a pair, for a user that works with nothing else.

    Raises:
        ValueError: there is one.
    """
    for point in state_points:
        for target in point.targets:
            if target.observable.pair_distribution() is None:
                raise ValueError(
                    f"targets: {target.name} of {point.name} is a {type(target.observable).__name__}, and {user} works "
                    "with g(r) alone; give RDF targets (and a pressure as StatePoint(pressure=...)), or use DiffSim"
                )


def _with_unique_names(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """Number the names that occur more than once, so that reports and files do not collide."""
    names = [target.name for target in targets]
    result = []
    for k, target in enumerate(targets):
        repeated = names.count(target.name) > 1
        result.append(
            replace(target, name=f"{target.name}-{names[: k + 1].count(target.name)}") if repeated else target
        )
    return tuple(result)


def _values(name: str, values: ArrayLike | Tensor) -> Tensor:
    tensor = (
        values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values, dtype=np.float64).copy())
    )
    tensor = tensor.to(device="cpu", dtype=torch.float64)
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name}: a value is not finite; remove it or shorten the window")
    return tensor
