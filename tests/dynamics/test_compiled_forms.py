"""The kernels run what an object is, not what it descends from: changed steps, energies and adjoints are honoured."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from ase.build import bulk
from torch import Tensor

from asediff.calculator import AsediffCalculator
from asediff.dynamics import (
    ChainStepper,
    Integrator,
    Langevin,
    LangevinStepper,
    NoseHooverChain,
    State,
    Stepper,
    VelocityVerlet,
)
from asediff.dynamics.adjoints import (
    Adjoint,
    BacksolveAdjoint,
    CheckpointAdjoint,
    DirectAdjoint,
    ReversibleAdjoint,
)
from asediff.engines import DiluteEngine, TorchEngine
from asediff.fitting import IBI, DiffSim, GaussNewton, Reweighting, fit
from asediff.lammps.engine import LammpsEngine
from asediff.lammps.export import export_lammps
from asediff.lammps.run import LammpsRun
from asediff.lammps.verify import verify_export
from asediff.lattices import fcc
from asediff.neighbors import NeighborList
from asediff.observables import RDF, Pressure
from asediff.potentials import (
    LennardJones,
    PairPotential,
    Potential,
    Repulsion,
    Shifted,
    load_potential,
    save_potential,
)
from asediff.potentials.base import SumPotential
from asediff.potentials.splines import PairSpline
from asediff.simulate import simulate
from asediff.system import System
from asediff.targets.target import StatePoint, Target

CUTOFF = 1.5


@pytest.fixture(scope="module")
def fluid() -> System:
    return System.from_atoms(fcc("Ar", density=0.7, cells=2, mass=1.0, rattle=0.02)).thermalized(kT=1.0, seed=2)


def _pair(epsilon: float = 1.0) -> PairPotential:
    return PairPotential(LennardJones(epsilon), CUTOFF)


# ----------------------------------------------------------------------- integrators


class Berendsen(Stepper):
    """Weak coupling to a bath (Berendsen et al., J. Chem. Phys. 81, 3684 (1984)): not one of asediff's."""

    def second(self, state: State, forces: Tensor, *, backward: bool = False) -> State:
        state = super().second(state, forces, backward=backward)
        if backward:
            return state
        kT = self.twice_kinetic(state.velocities) / self.n_dof
        scale = torch.sqrt(1.0 + 0.1 * (self.kT / kT - 1.0))
        return state._replace(velocities=state.velocities * scale[self.system_idx][:, None])


class Draggy(ChainStepper):
    def first(self, state: State, forces: Tensor, *, backward: bool = False) -> State:
        factor = 1.0 / 0.99 if backward else 0.99
        if not backward:
            state = state._replace(velocities=factor * state.velocities)
        state = super().first(state, forces, backward=backward)
        return state._replace(velocities=factor * state.velocities) if backward else state


class Louder(LangevinStepper):
    def _kick(self, step: int) -> Tensor:
        return 2.0 * super()._kick(step)


class Slower(Stepper):
    def move(self, state: State, step: int, *, backward: bool = False) -> State:
        moved = super().move(state, step, backward=backward)
        return moved._replace(positions=0.5 * (moved.positions + state.positions))


def _kT(system: System) -> Tensor:
    return torch.ones(system.n_systems, dtype=system.dtype)


STEPPERS = {
    "a thermostat of one's own": lambda system: Berendsen(0.005, system, _kT(system)),
    "a changed chain": lambda system: Draggy(0.005, system, _kT(system), 0.5, 3),
    "changed noise": lambda system: Louder(0.005, system, _kT(system), 1.0, 7),
    "a changed drift": lambda system: Slower(0.005, system, None),
}
OURS = {
    "verlet": VelocityVerlet(0.005),
    "chain": NoseHooverChain(0.005, kT=1.0),
    "langevin": Langevin(0.005, kT=1.0),
}


@dataclass(frozen=True)
class Custom(Integrator):
    """An integrator that makes a named stepper of this file."""

    name: str = ""

    def stepper(self, system: System, kT: Tensor | float | None = None) -> Stepper:
        return STEPPERS[self.name](system)


def _gradients(start: System, potential: Potential, integrator: Integrator, adjoint: Adjoint | None) -> list[Tensor]:
    moved = simulate(start, potential, integrator, 20, save_every=10, adjoint=adjoint)
    loss = moved.positions.square().mean() + moved.velocities.square().mean()
    return [moved.positions.detach(), *torch.autograd.grad(loss, list(potential.parameters()))]


@pytest.mark.parametrize("name", STEPPERS)
@pytest.mark.parametrize("adjoint", [None, CheckpointAdjoint(7), ReversibleAdjoint(10, keep=0)])
def test_a_changed_step_is_the_one_that_is_taken(fluid: System, name: str, adjoint: Adjoint | None):
    expected = _gradients(fluid, _pair(), Custom(0.005, name), DirectAdjoint())
    for a, b in zip(_gradients(fluid, _pair(), Custom(0.005, name), adjoint), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    for integrator in OURS.values():
        plain = simulate(fluid, _pair(), integrator, 20).detach().positions
        assert float((plain[-1] - expected[0][-1]).abs().max()) > 1e-5


def test_our_own_steppers_have_a_compiled_form_and_their_subclasses_none(fluid: System):
    for integrator in OURS.values():
        assert integrator.stepper(fluid, 1.0).compiled(0) is not None
    for make in STEPPERS.values():
        assert make(fluid).compiled(0) is None


def test_a_subclass_may_say_that_a_compiled_form_is_its_own(fluid: System):
    class Renamed(ChainStepper):
        def compiled(self, first_step: int):
            return ChainStepper(self.timestep, fluid, self.kT, 0.5, self.tchain).compiled(first_step)

    stepper = Renamed(0.005, fluid, _kT(fluid), 0.5, 3)

    class Chain(Integrator):
        def stepper(self, system: System, kT=None) -> Stepper:
            return stepper

    own = simulate(fluid, _pair(), Chain(0.005), 20).positions
    assert torch.equal(own, simulate(fluid, _pair(), NoseHooverChain(0.005, kT=1.0, tdamp=0.5), 20).positions)


def test_equations_of_motion_of_another_step_are_refused(fluid: System):
    with pytest.raises(ValueError, match="Berendsen changes the step of Stepper but not its equations of motion"):
        simulate(fluid, _pair(), Custom(0.005, "a thermostat of one's own"), 5, adjoint=BacksolveAdjoint())


def test_a_changed_adjoint_is_the_one_that_runs(fluid: System):
    asked = []

    class Noted(CheckpointAdjoint):
        def run(self, problem, start):
            asked.append(problem.n_steps)
            return super().run(problem, start)

    simulate(fluid, _pair(), VelocityVerlet(0.005), 5, adjoint=Noted())
    assert asked == [5]


# ----------------------------------------------------------------------- potentials


class Trapped(PairPotential):
    """Adds k/2 x² to every atom."""

    stiffness = 3.0

    def energy(self, system: System, neighbors, kT=None) -> Tensor:
        wells = 0.5 * self.stiffness * system.sum_by_system(system.positions.square().sum(-1))
        return super().energy(system, neighbors, kT) + wells

    def energy_forces(self, system: System, neighbors, kT=None):
        return Potential.energy_forces(self, system, neighbors, kT)


class Halved(PairPotential):
    """Half the energy: what a Lennard-Jones potential with half its epsilon has."""

    def energy(self, system: System, neighbors, kT=None) -> Tensor:
        return 0.5 * super().energy(system, neighbors, kT)

    energy_forces = Potential.energy_forces


class Wells(Potential):
    """What `Trapped` adds, alone."""

    cutoff = CUTOFF

    def energy(self, system: System, neighbors, kT=None) -> Tensor:
        return 0.5 * Trapped.stiffness * system.sum_by_system(system.positions.square().sum(-1))


def _forces(potential: Potential, system: System) -> tuple[Tensor, Tensor]:
    neighbors = NeighborList(potential.cutoff).update(system)
    with torch.no_grad():
        return potential.energy_forces(system, neighbors)


@pytest.mark.parametrize("adjoint", [None, CheckpointAdjoint(7), ReversibleAdjoint(10, keep=0)])
def test_a_changed_energy_moves_the_atoms(fluid: System, adjoint: Adjoint | None):
    changed = Trapped(LennardJones(), CUTOFF)
    # a sum of potentials has no compiled form: the general path
    expected = _gradients(fluid, SumPotential(_pair(), Wells()), OURS["chain"], DirectAdjoint())
    for a, b in zip(_gradients(fluid, changed, OURS["chain"], adjoint), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_an_energy_changed_on_one_object_counts(fluid: System):
    potential = _pair()
    assert potential.compiled(fluid) is not None
    plain = potential.energy
    potential.energy = lambda *state: 2.0 * plain(*state)  # type: ignore[method-assign]
    assert potential.compiled(fluid) is None


def test_a_subclass_that_only_builds_its_functions_stays_compiled(fluid: System):
    class Argon(PairPotential):
        def __init__(self) -> None:
            super().__init__(LennardJones(), CUTOFF)

    assert Argon().compiled(fluid) is not None
    a, b = (simulate(fluid, p, OURS["chain"], 20).positions for p in (Argon(), _pair()))
    assert torch.equal(a, b)


def test_pressure_is_that_of_the_changed_energy(fluid: System):
    frames = simulate(fluid, _pair(), OURS["chain"], 10).detach()
    halved, half = Halved(LennardJones(1.0), CUTOFF), _pair(0.5)
    torch.testing.assert_close(Pressure(halved)(frames), Pressure(half)(frames), rtol=1e-10, atol=1e-12)


def test_calculator_sees_the_changed_energy(fluid: System):
    atoms = bulk("Ar", a=1.6, cubic=True) * 2
    atoms.rattle(0.05, seed=1)
    results = []
    for potential in (Halved(LennardJones(1.0), CUTOFF), _pair(0.5), SumPotential(Halved(LennardJones(1.0), CUTOFF))):
        atoms.calc = AsediffCalculator(potential)
        results.append([atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()])
    for other in (results[0], results[2]):
        for a, b in zip(other, results[1], strict=True):
            assert a == pytest.approx(b, rel=1e-10, abs=1e-11)


def test_a_changed_sum_is_not_taken_for_its_terms():
    class Doubled(SumPotential):
        def energy(self, system: System, neighbors, kT=None) -> Tensor:
            return 2.0 * super().energy(system, neighbors, kT)

    atoms = bulk("Ar", a=1.6, cubic=True) * 2
    atoms.calc = AsediffCalculator(SumPotential(_pair()))
    energy = atoms.get_potential_energy()
    atoms.calc = AsediffCalculator(Doubled(_pair()))
    assert atoms.get_potential_energy() == pytest.approx(2.0 * energy, rel=1e-12)


# ----------------------------------------------------------------------- fits


def _point(system: System) -> StatePoint:
    observable = RDF(CUTOFF, 20)
    with torch.no_grad():
        return StatePoint(system, Target(observable, observable(system)[0]), kT=1.0)


def _descent(**changes) -> DiffSim:
    settings = {"epochs": 3, "steps": 20, "save_every": 10, "equilibration_steps": 20, "pretraining": None}
    return DiffSim(0.005, **(settings | changes))


def test_diffsim_fits_the_changed_energy(fluid: System):
    """Half the energy with epsilon e is the energy with e/2: the same loss before the first update."""
    changed = fit(Halved(LennardJones(2.0), CUTOFF), _point(fluid), _descent(), validation=None, progress=False)
    plain = fit(_pair(1.0), _point(fluid), _descent(), validation=None, progress=False)
    first, second = changed.history[0]["loss"], plain.history[0]["loss"]
    assert first == pytest.approx(second, rel=1e-9)


def test_half_the_energy_has_half_the_gradient(fluid: System):
    changed = _gradients(fluid, Halved(LennardJones(2.0), CUTOFF), OURS["chain"], None)
    plain = _gradients(fluid, _pair(1.0), OURS["chain"], None)
    for a, b, factor in zip(changed, plain, (1.0, 0.5, 1.0), strict=True):  # positions, in epsilon, in sigma
        torch.testing.assert_close(a, factor * b, rtol=1e-8, atol=1e-9)


def test_a_file_of_a_changed_energy_needs_an_object_that_has_it(tmp_path):
    class Blunt(Shifted):
        pass

    class LennardJones(Repulsion):
        """Named like one of asediff's."""

    for potential in (
        Halved(Repulsion(), CUTOFF),
        PairPotential(Repulsion(), CUTOFF, truncation=Blunt()),
        PairPotential(LennardJones(), CUTOFF),
    ):
        save_potential(potential, tmp_path / "potential.pt")
        with pytest.raises(ValueError, match=r"into: missing; .* holds the values of a .*(Halved|PairPotential)"):
            load_potential(tmp_path / "potential.pt")


def test_a_term_that_has_no_table_after_all_is_not_left_out(fluid: System):
    class Undecided(Wells):
        def split(self):
            return [self], []

    found, expected = (
        simulate(fluid, _pair() + wells, OURS["chain"], 10, adjoint=CheckpointAdjoint()).detach().positions
        for wells in (Undecided(), Wells())
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "method",
    [
        Reweighting(DiluteEngine(), 1),
        IBI(DiluteEngine(), 1),
        GaussNewton(DiluteEngine(), 1),
    ],
    ids=lambda method: type(method).__name__,
)
def test_methods_of_pair_functions_refuse_it(fluid: System, method):
    with pytest.raises(ValueError, match="potential: Halved overrides the energy of PairPotential, and "):
        fit(Halved(LennardJones(), CUTOFF), _point(fluid), method, validation=None, progress=False)


def test_validation_that_reads_pair_functions_is_refused_before_the_fit(fluid: System):
    changed = Halved(LennardJones(), CUTOFF)
    with pytest.raises(ValueError, match="and DiluteEngine would see its pair functions alone"):
        fit(changed, _point(fluid), _descent(epochs=10**6), validation=DiluteEngine(), progress=False)


def test_engines_and_exports_refuse_it(fluid: System, tmp_path):
    changed, point = Halved(LennardJones(), CUTOFF), _point(fluid)
    frames = simulate(fluid, _pair(), OURS["chain"], 20, save_every=1).detach()
    lammps = LammpsEngine(timestep=0.005, equilibration_steps=10, steps=10, save_every=10, units="lj")
    calls = (
        lambda: lammps.run(changed, point, seed=1),
        lambda: DiluteEngine().measure(changed, point, seed=1),
        lambda: export_lammps(changed, point, tmp_path, LammpsRun(0.005, 10, 10, units="lj")),
        lambda: verify_export(tmp_path / "cg.table", changed, frames, kT=1.0),
    )
    for call in calls:
        with pytest.raises(ValueError, match="Halved overrides the energy of PairPotential"):
            call()
    assert not list(tmp_path.iterdir())


def test_the_torch_engine_runs_it(fluid: System):
    engine = TorchEngine(0.005, equilibration_steps=5, steps=10, save_every=5)
    with torch.no_grad():
        halved = engine.run(Halved(LennardJones(2.0), CUTOFF), _point(fluid), seed=3)
        plain = engine.run(copy.deepcopy(_pair(1.0)), _point(fluid), seed=3)
    torch.testing.assert_close(halved.positions, plain.positions, rtol=1e-9, atol=1e-9)


# ----------------------------------------------------------------------- sums


class Tethers(Potential):
    """k/2 x² with a trainable k: a small remainder of a sum."""

    cutoff = CUTOFF

    def __init__(self) -> None:
        super().__init__()
        self.k = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def energy(self, system: System, neighbors, kT=None) -> Tensor:
        return 0.5 * self.k * system.sum_by_system(system.positions.square().sum(-1))


@pytest.mark.parametrize("adjoint", [CheckpointAdjoint(7), ReversibleAdjoint(10, keep=0)])
@pytest.mark.parametrize("integrator", OURS)
def test_a_sum_runs_its_pairs_in_kernels_and_its_remainder_in_torch(
    fluid: System, adjoint: Adjoint, integrator: str, monkeypatch: pytest.MonkeyPatch
):
    potential = _pair() + Tethers() + PairPotential(LennardJones(0.3, 0.9), 1.2)
    expected = _gradients(fluid, potential, OURS[integrator], DirectAdjoint())
    assert len(expected) == 1 + 5

    def torn(*arguments):
        raise AssertionError("the pair tables were evaluated in torch")

    monkeypatch.setattr(PairSpline, "energy_forces", torn)
    for a, b in zip(_gradients(fluid, potential, OURS[integrator], adjoint), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_thermodynamics_of_a_sum_are_those_of_its_terms(fluid: System):
    def run(potential: Potential, adjoint: Adjoint | None = None):
        return simulate(fluid, potential, OURS["chain"], 10, save_every=5, adjoint=adjoint).detach()

    potential = _pair() + Tethers()
    found, expected = run(potential), run(potential, DirectAdjoint())
    for name in ("potential_energy", "pressure", "conserved"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-10, atol=1e-10)
    halves = run(SumPotential(_pair(0.5), _pair(0.5)))
    whole = run(_pair(1.0))
    torch.testing.assert_close(halves.positions, whole.positions, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(halves.pressure, whole.pressure, rtol=1e-9, atol=1e-9)
