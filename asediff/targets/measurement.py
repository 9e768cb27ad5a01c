"""What an equilibrium run says about a state point: values, error bars, and how far they are from the targets."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from asediff.observables import RDF
from asediff.targets.target import StatePoint, Target, block_average_error, structural_deviation
from asediff.trajectory import Trajectory


@dataclass(frozen=True)
class Deviation:
    """How far a measured curve is from its target.

    Attributes:
        mean: mean |g - g_ref| over the bins.
        mean_error: standard error that the run's noise alone puts on `mean`: mean over bins of the error bars.
        largest: max |g - g_ref|.
        structural: D of eq. 18 of arXiv:2209.07679, 4πρ ∫ r² (g - g_ref)² dr; NaN for observables other than RDF.
        structural_noise: D that noise alone would give, from the error bars.
        peak: height of the measured first peak divided by the target's, minus 1.
    """

    mean: float
    mean_error: float
    largest: float
    structural: float
    structural_noise: float
    peak: float

    @property
    def within_noise(self) -> bool:
        """Whether the difference is no larger than the error bars explain."""
        return self.mean <= self.mean_error

    def text(self, symbol: str = "g") -> str:
        """The numbers that exist, in words; `symbol` is what was measured."""
        parts = [f"mean |d{symbol}| {self.mean:.4f} (noise {self.mean_error:.4f})", f"max {self.largest:.4f}"]
        if not math.isnan(self.structural):
            parts.append(f"D {self.structural:.4g} (noise {self.structural_noise:.2g})")
        if not math.isnan(self.peak):
            parts.append(f"first peak {100 * self.peak:+.1f} %")
        return ", ".join(parts)

    def numbers(self) -> dict[str, float | None]:
        """As plain data; None for what does not exist."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Measurement:
    """Averages of one equilibrium run at one state point.

    Attributes:
        values: one tensor per target.
        errors: standard error of each value, block-averaged over the frames.
        pressure: energy/length³.
        pressure_error: its standard error.
        kT: mean kinetic temperature, energy.
        trajectory: the frames, when there are any.
    """

    values: tuple[Tensor, ...]
    errors: tuple[Tensor, ...]
    pressure: float
    pressure_error: float
    kT: float
    trajectory: Trajectory | None

    def deviations(self, state_point: StatePoint) -> list[Deviation]:
        """One `Deviation` per target of the state point."""
        return [
            deviation(target, state_point, value, error)
            for target, value, error in zip(state_point.targets, self.values, self.errors, strict=True)
        ]


def measure(trajectory: Trajectory, state_point: StatePoint) -> Measurement:
    """Evaluate the targets of a state point on a trajectory of its system (one system).

    Raises:
        ValueError: fewer than two frames, so that no error bar exists.
    """
    if len(trajectory) < 2:
        raise ValueError(f"trajectory: {len(trajectory)} frames are too few for an error bar; save at least 2")
    values, errors = [], []
    with torch.no_grad():
        for target in state_point.targets:
            per_frame = target.observable.per_frame(trajectory)[:, 0]
            values.append(per_frame.mean(0))
            errors.append(block_average_error(per_frame))
        pressure = trajectory.pressure[:, 0]
        degrees = 3.0 * trajectory.n_atoms - 3.0
        kinetic = 2.0 * trajectory.kinetic_energy[:, 0] / degrees
    return Measurement(
        values=tuple(values),
        errors=tuple(errors),
        pressure=float(pressure.mean()),
        pressure_error=float(block_average_error(pressure[:, None])[0]),
        kT=float(kinetic.mean()),
        trajectory=trajectory,
    )


def deviation(target: Target, state_point: StatePoint, value: Tensor, error: Tensor) -> Deviation:
    """Compare a measured value with its target; see `Deviation`."""
    reference = target.reference.to(value)
    difference = (value - reference).abs()
    structural = noise = peak = float("nan")
    observable = target.observable
    if isinstance(observable, RDF):
        r = observable.centers.to(value)
        density = state_point.system.n_atoms / float(state_point.system.get_volume()[0])
        structural = float(structural_deviation(r, value, reference, density))
        noise = float(structural_deviation(r, reference + error, reference, density))
        peak = float(value.max() / reference.max() - 1.0)
    return Deviation(
        mean=float(difference.mean()),
        mean_error=float(error.mean()),
        largest=float(difference.max()),
        structural=structural,
        structural_noise=noise,
        peak=peak,
    )
