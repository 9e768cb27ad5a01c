"""Checks for authors of potentials and losses, and systems whose dynamics is known in closed form.

`check_potential` compares a potential with finite differences and with the symmetries that every interaction has;
`check_gradient` compares the gradient of a loss, through any adjoint, with central differences. Both return the errors
that they found and raise an AssertionError that says which one is too large.
"""

from asediff.testing.checks import GradientCheck, PotentialCheck, check_gradient, check_potential
from asediff.testing.closed_forms import HarmonicDimer, HarmonicRadial, HarmonicTrap, verlet_oscillator

__all__ = [
    "GradientCheck",
    "HarmonicDimer",
    "HarmonicRadial",
    "HarmonicTrap",
    "PotentialCheck",
    "check_gradient",
    "check_potential",
    "verlet_oscillator",
]
