"""When a noisy loss has stopped falling."""

from __future__ import annotations

import math


class Plateau:
    """Tells when a noisy loss, smoothed over about ten epochs, has stopped falling."""

    def __init__(self, patience: float, threshold: float) -> None:
        self.patience, self.threshold = patience, threshold
        self.smooth = self.best = math.inf
        self.waited = 0

    def reached(self, loss: float) -> bool:
        """Take the loss of one more epoch; true after `patience` epochs without improvement."""
        self.smooth = loss if math.isinf(self.smooth) else 0.9 * self.smooth + 0.1 * loss
        if self.smooth < self.best * (1 - self.threshold):
            self.best, self.waited = self.smooth, 0
            return False
        self.waited += 1
        if self.waited < self.patience:
            return False
        self.waited = 0
        return True

    def state(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"smooth": self.smooth, "best": self.best, "waited": self.waited}

    def restore(self, state: dict[str, float]) -> None:
        """From a checkpoint."""
        self.smooth, self.best, self.waited = state["smooth"], state["best"], int(state["waited"])
