"""What every observable offers: values per system, their reference, how far they are from it, labels and a figure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from asediff.observables.deviation import Deviation
from asediff.potentials.base import Potential
from asediff.system import System
from asediff.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from asediff.plotting import Run


@dataclass(frozen=True)
class Units:
    """What units are called in labels; the default is ASE's."""

    length: str = "Å"
    time: str = "Å√(u/eV)"
    energy: str = "eV"

    def of(self, unit: str) -> str:
        """A unit such as `1/length` by its name, `1/Å`."""
        for name in ("length", "time", "energy"):
            unit = unit.replace(name, getattr(self, name))
        return unit


ASE, REDUCED = Units(), Units("σ", "τ", "ε")


class Observable(ABC):
    """A function of a trajectory, averaged over its frames.

    `centers` and `per_frame` are all that a subclass has to define to be fitted, measured and reported; the rest has
    defaults, which may be replaced.

    Attributes:
        kind: short name, for files and names of targets; the class name in lower case by default.
        abscissa: name of what the values are a function of, for tables and plots.
        ordinate: name of the values.
        abscissa_unit, ordinate_unit: in the words length, time and energy, such as `1/length`; anything else is shown
            as it is, nothing where there is no unit.
        uncorrelated: value without any structure, a faint line in figures; None: there is none.
        peaked: whether the height of the highest peak says something.
        of_single_frames: whether each frame has values of its own that depend on its positions alone, which reweighting
            needs.
    """

    kind: ClassVar[str]
    abscissa: ClassVar[str] = "x"
    ordinate: ClassVar[str] = "value"
    abscissa_unit: ClassVar[str] = ""
    ordinate_unit: ClassVar[str] = ""
    uncorrelated: ClassVar[float | None] = None
    peaked: ClassVar[bool] = False
    of_single_frames: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not hasattr(cls, "kind"):
            cls.kind = cls.__name__.lower()

    @property
    @abstractmethod
    def centers(self) -> Tensor:
        """Where the values belong on the abscissa, `(n_values,)` float64."""

    @abstractmethod
    def per_frame(self, trajectory: Trajectory | System) -> Tensor:
        """Values of each frame, `(n_frames, n_systems, n_values)`; a `System` is one frame."""

    def __call__(self, trajectory: Trajectory | System) -> Tensor:
        """Average over the frames, `(n_systems, n_values)`."""
        return self.per_frame(trajectory).mean(0)

    @property
    def default_name(self) -> str:
        """Of targets that are given none."""
        return self.kind

    def bound(self, potential: Potential) -> Observable:
        """The same, for frames that move under this potential; another object where the values depend on it."""
        return self

    def pair_distribution(self) -> Any:
        """This observable as the `RDF` of a pair of species; None: it is no g(r).

        Methods that work with g(r) alone (tables, Boltzmann inversion, integral equations) ask for it.
        """
        return None

    def shell_weights(self) -> Tensor | None:
        """Weights of the spherical shells that the values are averages over, `(n_values,)`; None: they are not."""
        return None

    def density_weights(self) -> Tensor | None:
        """Factors that make the values the density of a distribution, `(n_values,)`; None: they are none."""
        return None

    def project(self, x: ArrayLike, values: ArrayLike) -> Tensor:
        """What this observable would measure if a curve were the truth: by default the curve at `centers`.

        Args:
            x: `(n,)`, ascending; monotone cubics interpolate between its points.
            values: `(n,)`.

        Returns:
            `(n_values,)` float64.

        Raises:
            ValueError: the curve does not ascend, is not finite, or does not cover the centres.
        """
        x, values = self.check_curve(x, values, fewest=1)
        centers = self.centers.numpy()
        if x.shape == centers.shape and np.allclose(x, centers, rtol=1e-9, atol=0.0):
            return torch.from_numpy(values.copy())
        self.check_range(x, float(centers[0]), float(centers[-1]))
        inside = np.clip(centers, x[0], x[-1])
        return torch.from_numpy(values[:1].copy() if len(x) == 1 else PchipInterpolator(x, values)(inside))

    def check_curve(
        self, x: ArrayLike, values: ArrayLike, fewest: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Two columns as arrays, or an error that names what is wrong with them."""
        a, b = self.abscissa, self.ordinate
        points, heights = (np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in (x, values))
        if points.ndim != 1 or points.shape != heights.shape or points.size < fewest:
            raise ValueError(
                f"{a}, {b}: shapes {points.shape} and {heights.shape} are not two columns of at least {fewest} points; "
                "give equal 1-d arrays"
            )
        if not (np.isfinite(points).all() and np.isfinite(heights).all()):
            raise ValueError(f"{a}, {b}: a value is not finite; remove it from the curve")
        if not (np.diff(points) > 0.0).all():
            raise ValueError(f"{a}: the points do not ascend; sort the curve and remove duplicates")
        return points, heights

    def check_range(self, x: NDArray[np.float64], low: float, high: float, slack: float = 0.0) -> None:
        """Refuse a curve that does not reach from low to high, but for the slack."""
        slack += 1e-9 * max(abs(low), abs(high))
        if x[0] > low + slack or x[-1] < high - slack:
            raise ValueError(
                f"{self.abscissa}: the curve covers {x[0]:.6g} ... {x[-1]:.6g}, and {type(self).__name__} needs it "
                f"from {low:.6g} to {high:.6g}; give a longer curve or a narrower {type(self).__name__}"
            )

    def check_reference(self, reference: Tensor) -> None:  # noqa: B027 -- nothing to refuse is an answer
        """Refuse finite values `(n_values,)` that it cannot have.

        Raises:
            ValueError: with the first such value.
        """

    def refuse_negative(self, reference: Tensor, what: str) -> None:
        """Raise a ValueError if a value is negative, which `what` is not."""
        if bool((reference < -1e-6).any()):
            k = int(reference.argmin())
            raise ValueError(
                f"reference: {self.ordinate}={float(reference[k]):.4g} at {self.abscissa}="
                f"{float(self.centers[k]):.4g} is negative; {what} is not"
            )

    def compared(self, reference: Tensor) -> slice:
        """Which of the values `(n_values,)` tell whether a run differs from the reference: all, by default."""
        return slice(None)

    def deviation(self, values: Tensor, errors: Tensor, reference: Tensor, system: System) -> Deviation:
        """How far measured values are from the reference.

        Args:
            values: `(n_values,)`.
            errors: `(n_values,)`, their standard errors.
            reference: `(n_values,)`.
            system: that they were measured in, or one like it.
        """
        difference = (values - reference).abs()
        return Deviation(float(difference.mean()), float(errors.mean()), float(difference.max()))

    def told(self, values: Tensor, errors: Tensor | None = None, units: Units = ASE) -> str:
        """The values in a few words, for tables: the only one, the highest peak, or nothing.

        Args:
            values: `(n_values,)`.
            errors: `(n_values,)`, where they were measured: then it is told how well, or where the peak is.
            units: for what is told.
        """
        k = int(values.argmax())
        if len(values) == 1:
            spread = "" if errors is None or bool(errors.isnan().any()) else f" ± {float(errors[0]):.2g}"
            return f"{float(values[0]):.5g}{spread} {units.of(self.ordinate_unit)}".rstrip()
        if not self.peaked:
            return ""
        place = "" if errors is None else f" at {float(self.centers[k]):.3g} {units.of(self.abscissa_unit)}"
        return f"{float(values[k]):.4g}{place}"

    def labels(self, units: Units = ASE) -> tuple[str, str]:
        """Names of abscissa and ordinate with their units."""
        x, y = units.of(self.abscissa_unit), units.of(self.ordinate_unit)
        return (
            self.abscissa + (f" ({x})" if x else ""),
            f"{self.ordinate}({self.abscissa})" + (f" ({y})" if y else ""),
        )

    def plot(self, reference: Tensor, runs: Mapping[str, Run], *, units: Units = ASE, ax: Axes | None = None) -> Axes:
        """The reference and what runs gave, with bands of two standard errors; below, their differences.

        Args:
            reference: `(n_values,)`.
            runs: label -> measured values and errors.
            units: for the labels.
            ax: axes to draw into, without the differences; a new figure by default.

        Returns:
            The axes of the reference.
        """
        from asediff import plotting

        if len(reference) == 1:
            return plotting.plot_value(float(reference), runs, label=self.labels(units)[1], ax=ax)
        return plotting.plot_comparison(
            self.centers, reference, runs, labels=self.labels(units), baseline=self.uncorrelated, ax=ax
        )


def frames_of(trajectory: Trajectory | System) -> tuple[Tensor, System]:
    """Positions `(n_frames, n_atoms, 3)` and the system that owns cell and types.

    Raises:
        ValueError: If there is no frame to average over.
    """
    if isinstance(trajectory, System):
        return trajectory.positions[None], trajectory
    if not len(trajectory.positions):
        raise ValueError("trajectory: holds no frames; simulate more steps or lower save_every")
    return trajectory.positions, trajectory.system
