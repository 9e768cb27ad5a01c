"""Forward speed of OpenMM's CPU platform: the same Lennard-Jones fluid, Nosé-Hoover, mixed precision, one thread.

Runs in an environment of its own: `python peer_openmm.py FILE.npz STEPS REPEATS`; prints one line of JSON.
"""

import json
import statistics
import sys
import time

import numpy as np
import openmm

CUTOFF, TIMESTEP, KT = 2.5, 0.005, 1.0
BOLTZMANN = 0.00831446261815324
"""kJ/mol/K, with which a temperature is made of kT = 1 in OpenMM's units."""


def context(data):
    """The fluid of a file with x, v and box."""
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*(np.eye(3) * float(data["box"])))
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setUseDispersionCorrection(False)
    force.setCutoffDistance(CUTOFF)
    for _ in data["x"]:
        system.addParticle(1.0)
        force.addParticle(0.0, 1.0, 1.0)
    system.addForce(force)
    integrator = openmm.NoseHooverIntegrator(KT / BOLTZMANN, 2.0, TIMESTEP)
    platform = openmm.Platform.getPlatformByName("CPU")
    made = openmm.Context(system, integrator, platform, {"Threads": "1"})
    made.setPositions(data["x"])
    made.setVelocities(data["v"])
    return made, integrator


def main():
    path, steps, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    made, integrator = context(np.load(path))
    integrator.step(20)
    rates = []
    for _ in range(repeats):
        begin = time.perf_counter()
        integrator.step(steps)
        made.getState(positions=True)
        rates.append(steps / (time.perf_counter() - begin))
    print(json.dumps({"steps/s": statistics.median(rates), "version": openmm.version.version}))


main()
