"""Who runs the long simulations that sample a potential."""

from asediff.engines.base import Engine, TrajectoryEngine
from asediff.engines.dilute import DiluteEngine
from asediff.engines.torch import TorchEngine

__all__ = ["DiluteEngine", "Engine", "TorchEngine", "TrajectoryEngine"]
