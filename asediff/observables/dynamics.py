"""Time correlation of the velocities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from asediff.checks.described import Doc
from asediff.observables.base import ASE, Observable, Units
from asediff.system import System
from asediff.trajectory import Trajectory


@dataclass(frozen=True)
class VACF(Observable):
    """Velocity autocorrelation function, differentiable with respect to the velocities.

        C(k) = < v_i(t) · v_i(t + k spacing) >,

    averaged over atoms and over all time origins t for which every lag exists. Divided by C(0) when normalised;
    otherwise its integral from 0 to infinity is three times the diffusion coefficient.
    """

    kind: ClassVar[str] = "vacf"
    abscissa: ClassVar[str] = "time"
    ordinate: ClassVar[str] = "vacf"
    abscissa_unit: ClassVar[str] = "time"
    uncorrelated: ClassVar[float | None] = 0.0
    of_single_frames: ClassVar[bool] = False

    n_lags: Annotated[int, Doc("number of lags, 0 included")]
    spacing: Annotated[float, Doc("time between frames; those of a trajectory have to be so far apart", unit="time")]
    normalized: Annotated[bool, Doc("divide by the value at lag 0 (of the mean over origins)")] = True

    def __post_init__(self) -> None:
        if self.n_lags < 1:
            raise ValueError(f"n_lags={self.n_lags}: no lag is left; give at least 1")
        if not self.spacing > 0.0:
            raise ValueError(f"spacing={self.spacing}: frames are apart in time; give save_every * timestep")

    @property
    def centers(self) -> Tensor:
        """Lag times, `(n_lags,)` float64."""
        return self.spacing * torch.arange(self.n_lags, dtype=torch.float64)

    def check_reference(self, reference: Tensor) -> None:
        """See `Observable.check_reference`: nowhere above 1 when normalised, positive at lag 0."""
        if not float(reference[0]) > 0.0:
            raise ValueError(
                f"reference: vacf={float(reference[0]):.4g} at time=0 is not positive; a mean square velocity is"
            )
        if self.normalized and bool((reference.abs() > 1.05).any()):
            k = int(reference.abs().argmax())
            raise ValueError(
                f"reference: vacf={float(reference[k]):.4g} at time={float(self.centers[k]):.4g} exceeds 1, which a "
                "normalised one does not; divide it by its value at 0 or give VACF(normalized=False)"
            )

    def labels(self, units: Units = ASE) -> tuple[str, str]:
        """See `Observable.labels`."""
        x, y = super().labels(units)
        return x, y if self.normalized else f"{y} ({units.of('length²/time²')})"

    def per_frame(self, trajectory: Trajectory | System) -> Tensor:
        """Correlation from each time origin, `(n_frames - n_lags + 1, n_systems, n_lags)`.

        Raises:
            ValueError: If the frames are too few, or not evenly spaced by `spacing`.
        """
        if isinstance(trajectory, System):
            raise ValueError("trajectory: one System has no time; give a Trajectory")
        n_origins = len(trajectory) - self.n_lags + 1
        if n_origins < 1:
            raise ValueError(
                f"n_lags={self.n_lags}: more than the {len(trajectory)} frames; lower n_lags or save more frames"
            )
        times = trajectory.steps.to(torch.float64) * trajectory.timestep
        uneven = (torch.diff(times) - self.spacing).abs() > 1e-6 * self.spacing
        if bool(uneven.any()):
            k = int(uneven.nonzero()[0])
            raise ValueError(
                f"spacing={self.spacing}: frames {k} and {k + 1} are {float(times[k + 1] - times[k]):.6g} apart; "
                "give save_every * timestep as the spacing"
            )
        v, system = trajectory.velocities, trajectory.system
        products = torch.stack(
            [(v[:n_origins] * v[lag : lag + n_origins]).sum(-1) for lag in range(self.n_lags)], dim=-1
        )
        sums = v.new_zeros(system.n_systems, n_origins, self.n_lags)
        sums = sums.index_add(0, system.system_idx, products.transpose(0, 1))
        correlation = (sums / system.counts[:, None, None]).transpose(0, 1)
        if self.normalized:
            correlation = correlation / correlation[:, :, :1].mean(0)
        return correlation
