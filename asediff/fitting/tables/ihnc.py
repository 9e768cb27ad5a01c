"""Iterative hypernetted-chain inversion: Gauss-Newton with the response dg/du of an integral equation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from asediff.fitting.tables.newton import GaussNewton


@dataclass(frozen=True)
class IHNC(GaussNewton):
    """`GaussNewton` with J = dg/du from the hypernetted-chain closure alone, for mixtures and several state points too.

    The Ornstein-Zernike equation and ln g + βu = h - c (arXiv:1806.11135) give the response from the run's g(r), here
    in the Gauss-Newton form of doi:10.1063/5.0038633. It has no noise, so short runs do for the first steps. RDFs
    should reach well beyond the cutoff. A wanted pressure is a constraint, whose response is measured.
    """

    kind: ClassVar[str] = "ihnc"
    prior_frames_per_row: float = math.inf
    growth: float = 2.0
