"""The steps that a potential takes in a fit: remembered, shortened, and taken back when they made things worse."""

from __future__ import annotations

import copy
from typing import Any

import torch

WORSE, CLEARLY = 1.5, 3.0
"""A step is taken back when D grew by this factor, and by this many standard errors."""
REGAINED = 1.5
"""Factor by which steps lengthen again after each one that is kept."""


class Steps:
    """The last step of a potential, from `begin` to the present parameters.

    Args:
        potential: changed in place.

    Attributes:
        caution: factor of the next step: halved whenever a step was taken back.
    """

    def __init__(self, potential: torch.nn.Module) -> None:
        self.potential = potential
        self.before: dict[str, Any] | None = None
        self.caution = 1.0
        self._known: tuple[float, float] | None = None

    def begin(self) -> None:
        """Remember the parameters that the next step starts from."""
        self.before = copy.deepcopy(self.potential.state_dict())

    def shorten(self, factor: float) -> None:
        """Go back to `factor` of the last step."""
        if self.before is None:
            raise ValueError("steps: there is no step to shorten; begin one first")
        now = self.potential.state_dict()
        mixed = {
            key: factor * value + (1.0 - factor) * self.before[key] if value.is_floating_point() else value
            for key, value in now.items()
        }
        self.potential.load_state_dict(mixed)

    def keep(self, deviation: float, noise: float) -> bool:
        """Judge the last step by D and its noise; False, and only half of it is left, when D is clearly worse."""
        if self.before is not None and self._known is not None:
            best, its_noise = self._known
            if deviation > WORSE * best and deviation - best > CLEARLY * (noise + its_noise):
                self.caution *= 0.5
                self.shorten(0.5)
                return False
        self._known = (deviation, noise)
        self.caution = min(1.0, REGAINED * self.caution)
        return True

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"before": self.before, "caution": self.caution, "known": self._known}

    def load(self, saved: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.before, self.caution, self._known = saved["before"], saved["caution"], saved["known"]
