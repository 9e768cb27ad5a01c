"""What every observable offers: values per system of a batch, from a trajectory or from one frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from asediff.system import System
from asediff.trajectory import Trajectory


class Observable(ABC):
    """A function of a trajectory, averaged over its frames.

    Attributes:
        abscissa: name of what the values are a function of, for tables and plots.
        ordinate: name of the values.
        of_single_frames: whether each frame has values of its own, which reweighting needs.
    """

    kind: ClassVar[str] = "own"
    abscissa: ClassVar[str] = "x"
    ordinate: ClassVar[str] = "value"
    of_single_frames: ClassVar[bool] = True

    @property
    @abstractmethod
    def centers(self) -> Tensor:
        """Where the values belong on the abscissa, `(n_values,)` float64."""

    @abstractmethod
    def per_frame(self, trajectory: Trajectory | System) -> Tensor:
        """Values of each frame, `(n_frames, n_systems, n_values)`; a `System` is one frame."""

    def project(self, x: ArrayLike, values: ArrayLike) -> Tensor:
        """What this observable would measure if a curve were the truth: by default the curve at `centers`."""
        points, heights = np.asarray(x, dtype=np.float64), np.asarray(values, dtype=np.float64)
        return torch.from_numpy(np.interp(self.centers.numpy(), points, heights))

    def __call__(self, trajectory: Trajectory | System) -> Tensor:
        """Average over the frames, `(n_systems, n_values)`."""
        return self.per_frame(trajectory).mean(0)


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
