"""How atoms move and how gradients come back: integrators, chains of steps, adjoints, the way to compiled loops."""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff.dynamics.adjoints import Adjoint, BacksolveAdjoint, CheckpointAdjoint, DirectAdjoint, ReversibleAdjoint
    from asediff.dynamics.chain import Chain
    from asediff.dynamics.integrators import Integrator, Thermostatted, VelocityVerlet
    from asediff.dynamics.langevin import Langevin, LangevinStepper
    from asediff.dynamics.nose_hoover import ChainStepper, NoseHooverChain
    from asediff.dynamics.steppers import State, Stepper

__all__ = [
    "Adjoint",
    "BacksolveAdjoint",
    "Chain",
    "ChainStepper",
    "CheckpointAdjoint",
    "DirectAdjoint",
    "Integrator",
    "Langevin",
    "LangevinStepper",
    "NoseHooverChain",
    "ReversibleAdjoint",
    "State",
    "Stepper",
    "Thermostatted",
    "VelocityVerlet",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "asediff.dynamics.adjoints": "Adjoint BacksolveAdjoint CheckpointAdjoint DirectAdjoint ReversibleAdjoint",
        "asediff.dynamics.chain": "Chain",
        "asediff.dynamics.integrators": "Integrator Thermostatted VelocityVerlet",
        "asediff.dynamics.langevin": "Langevin LangevinStepper",
        "asediff.dynamics.nose_hoover": "ChainStepper NoseHooverChain",
        "asediff.dynamics.steppers": "State Stepper",
    },
)
