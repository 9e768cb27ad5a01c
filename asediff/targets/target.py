"""What a fit has to reproduce: observables with reference values, at thermodynamic state points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from asediff.observables import RDF, Observable
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
        reference: `(n_values,)`, its wanted values at `observable.centers`. To compare with a curve g(r) from
            elsewhere, use `Target.from_curve`, which smears it like the observable does.
        weight: of this target in the loss.
        loss: distance between measured values and reference.
        error: `(n_values,)` or one number, standard error of the reference, or None when it is not known.
        name: for reports and file names; made from the observable when None.

    Raises:
        ValueError: If the reference does not fit the observable or is not finite, or the weight is not positive.
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
                "give one value per centre, or Target.from_curve(observable, r, g)"
            )
        if isinstance(self.observable, RDF):
            if bool((reference < -1e-6).any()):
                k = int(reference.argmin())
                raise ValueError(
                    f"reference: g={float(reference[k]):.4g} at r={float(self.observable.centers[k]):.4g} is negative; "
                    "a radial distribution function is not"
                )
            if not bool((reference > 0).any()):
                raise ValueError("reference: all values are zero; give a g(r) with a peak inside the window")
        if not (np.isfinite(self.weight) and self.weight > 0.0):
            raise ValueError(f"weight={self.weight}: a target must count; give weight > 0")
        object.__setattr__(self, "reference", reference)
        if self.error is not None:
            error = _values("error", self.error).expand(n_values)
            if bool((error < 0).any()):
                raise ValueError(f"error: {float(error.min()):.4g} is negative; give standard errors >= 0")
            object.__setattr__(self, "error", error)
        if self.name is None:
            object.__setattr__(self, "name", _default_name(self.observable))

    @classmethod
    def from_curve(
        cls,
        observable: Observable,
        r: ArrayLike,
        g: ArrayLike,
        *,
        weight: float = 1.0,
        loss: Loss | None = None,
        error: ArrayLike | Tensor | None = None,
        name: str | None = None,
    ) -> Target:
        """Target from a g(r) on any grid: what the observable would measure if that were the truth.

        Args:
            observable: gives bins and kernel; see its `project`.
            r: `(n,)`, ascending distances, length.
            g: `(n,)`, g(r).
            weight, loss, error, name: as in the class.
        """
        radii, values = np.asarray(r, dtype=np.float64), np.asarray(g, dtype=np.float64)
        return cls(
            observable,
            observable.project(radii, values),
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


def _default_name(observable: Observable) -> str:
    name = type(observable).__name__.lower()
    pair = getattr(observable, "pair", None)
    return name if pair is None else f"{name}_{'-'.join(pair)}"


def _values(name: str, values: ArrayLike | Tensor) -> Tensor:
    tensor = (
        values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values, dtype=np.float64).copy())
    )
    tensor = tensor.to(device="cpu", dtype=torch.float64)
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name}: a value is not finite; remove it or shorten the window")
    return tensor
