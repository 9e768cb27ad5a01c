"""Numbers of dynamics that asediff's integrators and LAMMPS runs share; importing them costs nothing."""


def relaxation_time(timestep: float, tdamp: float | None) -> float:
    """Of a Nosé-Hoover thermostat: `tdamp`, or 100 timesteps where it is None."""
    return 100.0 * timestep if tdamp is None else tdamp
