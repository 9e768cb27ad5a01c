"""What moves the atoms where a fit, an engine or a command is told little: the default is made here alone."""

from __future__ import annotations

from asediff.dynamics.integrators import Integrator
from asediff.dynamics.nose_hoover import NoseHooverChain


def default_integrator(timestep: float, tdamp: float | None = None) -> Integrator:
    """What moves atoms where nothing else is chosen; it has no temperature yet, see `Integrator.at`."""
    return NoseHooverChain(timestep, tdamp=tdamp)


def chosen_integrator(integrator: Integrator | None, timestep: float | None, tdamp: float | None) -> Integrator:
    """The integrator that a method or engine is given, or the default with its `timestep` and `tdamp`.

    Raises:
        ValueError: neither or contradictory ones are given, or the integrator has a temperature of its own.
    """
    if integrator is None:
        if timestep is None:
            raise ValueError("timestep: missing; give it, or an integrator such as Langevin(timestep)")
        return default_integrator(timestep, tdamp)
    if timestep is not None and timestep != integrator.timestep:
        raise ValueError(f"timestep: {timestep} is not that of the integrator, {integrator.timestep}; give it once")
    if tdamp is not None:
        raise ValueError(f"tdamp: {tdamp} is given beside an integrator, which has its own; give it to the integrator")
    integrator.at(1.0)  # refuses one with a temperature of its own
    return integrator
