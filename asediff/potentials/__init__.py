"""Potentials: radial functions, pair potentials made of them, and the interface for any other model."""

from asediff.potentials.base import Potential, SumPotential
from asediff.potentials.io import load_potential, save_potential
from asediff.potentials.neural import NeuralRadial
from asediff.potentials.pair import PairPotential
from asediff.potentials.radial import (
    LennardJones,
    ModifiedMorse,
    Radial,
    Repulsion,
    TabulatedRadial,
    TemperatureDependent,
)
from asediff.potentials.tabulated import Tabulated, TabulationError
from asediff.potentials.truncation import ForceShifted, Shifted, Switched, Truncated, Truncation

__all__ = [
    "ForceShifted",
    "LennardJones",
    "ModifiedMorse",
    "NeuralRadial",
    "PairPotential",
    "Potential",
    "Radial",
    "Repulsion",
    "Shifted",
    "SumPotential",
    "Switched",
    "Tabulated",
    "TabulatedRadial",
    "TabulationError",
    "TemperatureDependent",
    "Truncated",
    "Truncation",
    "load_potential",
    "save_potential",
]
