"""Short fits of every kind that can be divided among processes."""

from __future__ import annotations

import torch

from asediff.dynamics import DirectAdjoint, Langevin, NoseHooverChain, ReversibleAdjoint
from asediff.fitting import BoltzmannPretraining, DiffSim, fit
from asediff.fitting.gradients.finish import LinearFinish
from asediff.observables import ADF, VACF, Pressure
from asediff.potentials import LennardJones, NeuralRadial, PairPotential, Repulsion
from asediff.targets.target import StatePoint, Target

from .many_body import CUTOFF, KINDS, fluid
from .test_any_integrator import Berendsen

STEP = 0.004
SHORT = {
    "epochs": 3,
    "steps": 20,
    "save_every": 5,
    "equilibration_steps": 20,
    "pretraining": None,
    "checkpoint_every": 2,
}
OTHERS = (
    Target(ADF(1.5, 8), torch.full((8,), 0.005)),
    Target(VACF(3, 5 * STEP), torch.tensor([1.0, 0.9, 0.8])),
    Target(Pressure(kT=1.0), torch.tensor([0.7])),
)


def lennard_jones() -> PairPotential:
    return PairPotential(LennardJones(0.8, 0.95), CUTOFF, n_knots=400)


def neural() -> PairPotential:
    radial = NeuralRadial(CUTOFF, hidden=(16,), n_basis=20) + Repulsion(0.5, 0.9)
    return PairPotential(radial, CUTOFF, n_knots=400)


def several() -> list[StatePoint]:
    """State points that differ in everything: density, temperature, weights, kinds of targets, a wanted pressure."""
    first, second = fluid(kT=1.3, pressure=0.8), fluid(kT=0.8, density=0.4)
    third = StatePoint(second.system, [*second.targets, *OTHERS], kT=1.0, weight=0.5)
    return [first, second, third]


def method(**options) -> DiffSim:
    return DiffSim(**({"timestep": STEP} | SHORT | options))


PAIRS = {
    "replicas": lambda: (lennard_jones(), [fluid(pressure=0.8)], method(replicas=3)),
    "state points": lambda: (lennard_jones(), several(), method(replicas=2)),
    "noise": lambda: (
        lennard_jones(),
        several(),
        # the rate must not depend on how many epochs are still to come
        method(timestep=None, replicas=1, decay=1.0, integrator=Langevin(STEP, friction=2.0, seed=2**62 - 2)),
    ),
    "network": lambda: (
        neural(),
        [fluid(kT=1.3, pressure=0.8), fluid(kT=0.8)],
        method(replicas=3, pretraining=BoltzmannPretraining(steps=20)),
    ),
    "temperatures": lambda: (KINDS["temperature"](), [fluid(kT=1.3), fluid(kT=0.8)], method(replicas=2)),
    "finish": lambda: (
        neural(),
        [fluid(kT=1.3, pressure=0.8), fluid(kT=0.8)],
        method(replicas=2, finish=LinearFinish(2, share=5.0, save_every=2, equilibration_steps=20, inner_steps=10)),
    ),
    "stepped back": lambda: (lennard_jones(), several(), method(gradient=ReversibleAdjoint(keep=0))),
}
"""Potentials that are sums over pairs, in compiled steps: the same bits however they are divided."""
OTHER = {
    "many-body": lambda: (KINDS["many-body"](), [fluid(pressure=0.8), fluid(kT=0.8)], method(replicas=2)),
    "sum": lambda: (KINDS["sum"](), several(), method()),
    "own thermostat": lambda: (lennard_jones(), several(), method(timestep=None, integrator=Berendsen(STEP))),
    "graph": lambda: (lennard_jones(), [fluid(pressure=0.8)], method(replicas=3, gradient=DirectAdjoint(), steps=10)),
    "chain": lambda: (
        KINDS["changed"](),
        several(),
        method(timestep=None, integrator=NoseHooverChain(STEP, tdamp=0.1, tchain=2)),
    ),
}
"""Fits whose sums are rounded in the order in which the atoms of a process stand."""
CASES = PAIRS | OTHER


def outcome(result) -> dict:
    """What has to be the same, as plain data."""
    columns = ("epoch", "iteration", "loss", "gradient_norm", "D", "md_steps")
    history = [{key: row[key] for key in columns if key in row} for row in result.history]
    state = {name: value.detach() for name, value in result.potential.state_dict().items()}
    return {"history": history, "notes": result.notes, "potential": state, "stopped": result.stopped}


def learn(case, **options) -> dict:
    potential, points, how = CASES[case]()
    return outcome(fit(potential, points, how, progress=False, seed=3, **({"validation": None} | options)))


def learn_all(ranks) -> dict[str, dict]:
    """Every case, among these processes."""
    return {case: learn(case, ranks=ranks) for case in CASES}
