"""Integrators of any kind move the atoms of fits and engines."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from asediff.dynamics import Integrator, Langevin, NoseHooverChain, Stepper, Thermostatted, VelocityVerlet
from asediff.engines import TorchEngine
from asediff.fitting import DiffSim, fit
from asediff.fitting.gradients.comparison import compare_gradients
from asediff.potentials import LennardJones, PairPotential
from asediff.simulate import simulate

from .many_body import CUTOFF, KINDS, fluid


class WeakCoupling(Stepper):
    """Velocity Verlet with velocities scaled towards kT."""

    def second(self, state, forces, *, backward=False):
        state = super().second(state, forces, backward=backward)
        if backward:
            return state
        scale = torch.sqrt(1.0 + 0.05 * (self.kT * self.n_dof / self.twice_kinetic(state.velocities) - 1.0))
        return state._replace(velocities=state.velocities * scale[self.system_idx][:, None])


@dataclass(frozen=True)
class Berendsen(Thermostatted):
    """Of a user, with a temperature as asediff's own have it."""

    def stepper(self, system, kT=None):
        return WeakCoupling(self.timestep, system, self.thermal_energy(system, kT))


@dataclass(frozen=True)
class Handed(Integrator):
    """Of a user, with no temperature but that which `stepper` is handed."""

    def stepper(self, system, kT=None):
        return WeakCoupling(self.timestep, system, torch.as_tensor(kT).expand(system.n_systems))


INTEGRATORS = {
    "chain": NoseHooverChain(0.004, tdamp=0.1, tchain=2),
    "langevin": Langevin(0.004, friction=2.0, seed=5),
    "nve": VelocityVerlet(0.004),
    "user": Berendsen(0.004),
    "handed": Handed(0.004),
}
POINTS = [fluid(kT=1.3), fluid(kT=0.8)]


def lennard_jones() -> PairPotential:
    return PairPotential(LennardJones(0.8, 0.95), CUTOFF, n_knots=400)


def learn(integrator, potential=None, *, epochs=4, **options):
    method = DiffSim(
        integrator=integrator, epochs=epochs, steps=20, save_every=10, replicas=2, equilibration_steps=20,
        pretraining=None, checkpoint_every=2, decay=1.0,
    )  # fmt: skip
    potential = lennard_jones() if potential is None else potential
    return fit(potential, POINTS, method, progress=False, **({"validation": None} | options))


@pytest.mark.parametrize("kind", ["pairs", "many-body"])
@pytest.mark.parametrize("name", INTEGRATORS)
def test_a_resumed_fit_ends_with_the_same_bits(name, kind, tmp_path):
    integrator, make = INTEGRATORS[name], lennard_jones if kind == "pairs" else KINDS[kind]
    whole = learn(integrator, make())
    learn(integrator, make(), epochs=2, folder=tmp_path)
    resumed = learn(integrator, make(), folder=tmp_path, resume=True)
    assert [row["loss"] for row in whole.history] == [row["loss"] for row in resumed.history]
    for a, b in zip(whole.potential.parameters(), resumed.potential.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 20 + 4 * 20


def test_a_checkpoint_of_another_integrator_is_refused(tmp_path):
    learn(INTEGRATORS["langevin"], epochs=2, folder=tmp_path)
    with pytest.raises(ValueError, match="integrator: NoseHooverChain differs from Langevin of the checkpoint; give"):
        learn(INTEGRATORS["chain"], folder=tmp_path, resume=True)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_an_engine_goes_on_where_equilibration_ended(name):
    """So that the noise of production is not that of equilibration."""
    integrator, point = INTEGRATORS[name], POINTS[0]
    engine = TorchEngine(equilibration_steps=10, steps=20, save_every=10, integrator=integrator)
    run = engine.run(lennard_jones(), point, seed=3)
    start = point.system.thermalized(kT=1.3, seed=3)
    with torch.no_grad():
        once = simulate(start, lennard_jones(), integrator.at(1.3, seed=3), 30, save_every=10, kT=1.3)
    assert run.steps.tolist() == [20, 30]
    torch.testing.assert_close(run.positions, once.positions[1:], rtol=0, atol=1e-10)
    assert engine.timestep == 0.004


def test_runs_with_other_seeds_have_other_noise():
    engine = TorchEngine(equilibration_steps=10, steps=20, save_every=10, integrator=Langevin(0.004))
    still = POINTS[0].system
    stepper = [engine.integrator.at(1.0, seed=seed).stepper(still) for seed in (0, 1, 1)]
    assert not torch.equal(stepper[0]._kick(0), stepper[1]._kick(0))
    assert torch.equal(stepper[1]._kick(0), stepper[2]._kick(0))


def test_the_default_is_the_chain_of_timestep_and_tdamp():
    explicit = TorchEngine(
        equilibration_steps=10, steps=20, save_every=10, integrator=NoseHooverChain(0.004, tdamp=0.3)
    )
    short = TorchEngine(0.004, 10, 20, 10, tdamp=0.3)
    a, b = (engine.run(lennard_jones(), POINTS[0], seed=1).positions for engine in (explicit, short))
    assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["nve", "user"])
def test_the_same_integrator_validates_and_a_temperature_reaches_the_potential(name):
    engine = TorchEngine(equilibration_steps=10, steps=20, save_every=10, integrator=INTEGRATORS[name])
    result = learn(INTEGRATORS[name], KINDS["temperature"](), validation=engine)
    assert len(result.measurements) == 2


def test_gradients_are_compared_with_the_integrator_of_the_method():
    method = DiffSim(integrator=Langevin(0.004), steps=20, save_every=10, equilibration_steps=10)
    engine = TorchEngine(equilibration_steps=10, steps=40, save_every=10, integrator=Langevin(0.004))
    compared = compare_gradients(KINDS["many-body"](), [POINTS[0]], method, engine, repeats=2)
    assert compared.dynamics.shape == compared.reweighted.shape == (2, 2)
    assert not torch.equal(compared.dynamics[0], compared.dynamics[1])


@pytest.mark.parametrize("make", [DiffSim, TorchEngine])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"timestep: missing; give it, or an integrator such as Langevin\(timestep\)"),
        (
            {"timestep": 0.005, "integrator": VelocityVerlet(0.004)},
            "timestep: 0.005 is not that of the integrator",
        ),
        ({"tdamp": 0.5, "integrator": Langevin(0.004)}, "tdamp: 0.5 is given beside an integrator, which has its own"),
        ({"integrator": Langevin(0.004, kT=1.0)}, r"integrator: Langevin has a kT of its own \(1.0\); leave it out"),
        (
            {"integrator": NoseHooverChain(0.1, temperature_K=300)},
            "integrator: NoseHooverChain has a temperature_K of",
        ),
        ({"timestep": -1.0}, "timestep: -1.0 is not a positive finite number; give timestep > 0"),
        ({"timestep": 0.005, "tdamp": -1.0}, "tdamp: -1.0 is not a positive finite number"),
    ],
)
def test_contradictory_arguments_are_refused_in_one_line(make, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(**arguments)
    assert "\n" not in str(caught.value)


def test_a_timestep_that_is_the_integrators_may_be_repeated():
    assert DiffSim(0.004, integrator=VelocityVerlet(0.004)) == DiffSim(integrator=VelocityVerlet(0.004))
