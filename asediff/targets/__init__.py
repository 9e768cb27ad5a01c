"""What a fit has to reproduce, how far it is from it, and the curves of which it is made."""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff.targets.curves import read_curve
    from asediff.targets.losses import L2, JensenShannon, Loss, ShellL2, WeightedL2
    from asediff.targets.measurement import Deviation, Measurement, measure
    from asediff.targets.target import StatePoint, Target

__all__ = [
    "L2",
    "Deviation",
    "JensenShannon",
    "Loss",
    "Measurement",
    "ShellL2",
    "StatePoint",
    "Target",
    "WeightedL2",
    "measure",
    "read_curve",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "asediff.targets.curves": "read_curve",
        "asediff.targets.losses": "L2 JensenShannon Loss ShellL2 WeightedL2",
        "asediff.targets.measurement": "Deviation Measurement measure",
        "asediff.targets.target": "StatePoint Target",
    },
)
