"""Who runs the long simulations that sample a potential."""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff.engines.base import Engine, TrajectoryEngine
    from asediff.engines.dilute import DiluteEngine
    from asediff.engines.torch import TorchEngine

__all__ = ["DiluteEngine", "Engine", "TorchEngine", "TrajectoryEngine"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "asediff.engines.base": "Engine TrajectoryEngine",
        "asediff.engines.dilute": "DiluteEngine",
        "asediff.engines.torch": "TorchEngine",
        "asediff.lammps.engine": "LammpsEngine",  # lives with the rest of LAMMPS, above this package
    },
)
