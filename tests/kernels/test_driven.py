"""Runs of a sum whose pair forces are compiled and whose other forces are not: the same as step by step in torch."""

import _thread
import threading
import time

import pytest
import torch

from asediff import (
    CheckpointAdjoint,
    InstabilityError,
    LennardJones,
    PairPotential,
    Potential,
    System,
    Topology,
    lattices,
    simulate,
)
from asediff.dynamics import Langevin, NoseHooverChain, VelocityVerlet
from asediff.kernels.cpu import driven, static, teamwork
from asediff.kernels.cpu.space import BLOCK, STEP
from asediff.kernels.cpu.team import APART, QUEUES, set_num_threads

INTEGRATORS = [VelocityVerlet(0.004), NoseHooverChain(0.004, kT=1.2, tdamp=0.1), Langevin(0.004, kT=0.8, friction=2.0)]


class Wells(Potential):
    """A well at the start of each atom, anharmonic; stiffness may be trained."""

    cutoff = None

    def __init__(self, places, stiffness=3.0):
        super().__init__()
        self.register_buffer("places", places)
        self.stiffness = torch.nn.Parameter(torch.tensor(stiffness, dtype=places.dtype))

    def energy(self, system, neighbors, kT=None):
        s = (system.positions - self.places).square().sum(1)
        return s.new_zeros(system.n_systems).index_add(0, system.system_idx, self.stiffness * (s + s * s))


def liquid(dtype=torch.float64, systems=2):
    boxes = [lattices.fcc("Ar", density=d, cells=4, mass=1.0, rattle=0.05, seed=k) for k, d in enumerate((0.7, 0.5))]
    boxes = [box[: 240 - 16 * k] for k, box in enumerate(boxes)][:systems]  # blocks that no team can share out evenly
    return System.from_atoms(boxes).thermalized(kT=1.0, seed=3).to(dtype=dtype)


def total(system):
    return PairPotential(LennardJones(1.0, 1.0), cutoff=2.2) + Wells(system.positions.clone())


@pytest.fixture
def threads():
    yield set_num_threads
    set_num_threads(None)


@pytest.fixture
def calls(monkeypatch):
    """Turns that compiled steps have taken."""
    found = []
    turn = driven.DrivenRun._turn
    monkeypatch.setattr(driven.DrivenRun, "_turn", lambda self, *a: (found.append(a), turn(self, *a)))
    return found


@pytest.mark.parametrize("integrator", INTEGRATORS, ids=lambda i: i.kind)
def test_frames_are_those_of_steps_in_torch(integrator, calls):
    start = liquid()
    potential = total(start)
    slow = simulate(start, potential, integrator, 30, save_every=10, adjoint=CheckpointAdjoint(1))
    assert not calls
    with torch.no_grad():
        fast = simulate(start, potential, integrator, 30, save_every=10)
        onward = simulate(simulate(start, potential, integrator, 20), potential, integrator, 10)
    assert len(calls) == 32 + 22 + 12
    for name in ("positions", "velocities", "potential_energy", "pressure", "conserved", "thermostat"):
        expected = getattr(slow, name).detach()
        torch.testing.assert_close(getattr(fast, name), expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(getattr(onward, name)[-1], expected[-1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("systems", [1, 2])
def test_any_number_of_threads_gives_the_same_bits(systems, dtype, threads):
    start = liquid(dtype, systems)
    runs = []
    for n_threads in (1, 2, 3, 4):
        threads(n_threads)
        with torch.no_grad():
            runs.append(simulate(start, total(start), INTEGRATORS[1], 40, save_every=20))
    assert all(torch.equal(run.positions, runs[0].positions) for run in runs)
    assert all(torch.equal(run.thermostat, runs[0].thermostat) for run in runs)


def test_the_team_has_begun_with_pair_forces_when_the_others_are_found(threads, monkeypatch):
    start, taken = liquid(systems=1), []
    find = driven.DrivenRun._find_others

    def late(self):
        control, n_threads = self._systems[0][0].control, self._systems[0][2]
        give_up = time.monotonic() + 20.0
        while control[QUEUES::APART].sum() < -(-start.n_atoms // BLOCK) + n_threads and time.monotonic() < give_up:
            time.sleep(1e-3)
        taken.append(time.monotonic() < give_up)
        find(self)

    threads(2)
    with torch.no_grad():
        expected = simulate(start, total(start), INTEGRATORS[1], 3)
        monkeypatch.setattr(driven.DrivenRun, "_find_others", late)
        run = simulate(start, total(start), INTEGRATORS[1], 3)
    assert taken == 4 * [True]
    assert torch.equal(run.positions, expected.positions)


def test_frames_need_no_list_of_their_own(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pair forces of a frame were found once more")

    monkeypatch.setattr(static.PairEvaluator, "forces", refuse)
    start = liquid()
    with torch.no_grad():
        simulate(start, total(start), INTEGRATORS[0], 4, save_every=2)


def test_lists_that_outgrow_their_arrays_are_enlarged_on_the_way(threads, monkeypatch):
    gas = lattices.fcc("Ar", density=0.45, cells=4, mass=1.0)
    gas.pbc = False
    start = System.from_atoms(gas)
    start = start.replace(velocities=start.positions.mean(0) - start.positions)  # to one point at time 1
    potential = PairPotential(LennardJones(0.01, 0.6), cutoff=1.5) + Wells(start.positions.clone(), stiffness=1e-3)
    enlarged, enlarge = [], teamwork.enlarge
    monkeypatch.setattr(teamwork, "enlarge", lambda space: (enlarged.append(space.control[STEP]), enlarge(space))[1])
    runs = []
    for n_threads in (1, 3):
        threads(n_threads)
        with torch.no_grad():
            runs.append(simulate(start, potential, VelocityVerlet(0.005), 90, save_every=30, skin=0.1).positions)
    assert max(enlarged) > 0
    assert torch.equal(*runs)
    slow = simulate(start, potential, VelocityVerlet(0.005), 90, save_every=30, adjoint=CheckpointAdjoint(1))
    torch.testing.assert_close(runs[0], slow.positions.detach(), rtol=1e-9, atol=1e-9)


def fail():
    raise ArithmeticError("no such energy")


@pytest.mark.parametrize(("end", "error"), [(fail, ArithmeticError), (_thread.interrupt_main, KeyboardInterrupt)])
def test_a_failure_or_an_interrupt_ends_the_run_and_frees_its_team(end, error, threads):
    start = liquid(systems=1)

    class Broken(Wells):
        evaluations = 0

        def energy(self, system, neighbors, kT=None):
            self.evaluations += 1
            if self.evaluations == 4:
                end()
            return super().energy(system, neighbors, kT)

    threads(3)
    potential = PairPotential(LennardJones(1.0, 1.0), cutoff=2.2) + Broken(start.positions.clone())
    with torch.no_grad():
        with pytest.raises(error):
            simulate(start, potential, INTEGRATORS[0], 10_000)
        before = threading.active_count()
        simulate(start, potential, INTEGRATORS[0], 10)
    assert threading.active_count() == before


def test_exclusions_and_float32():
    start = liquid(torch.float32)
    bonds = torch.arange(0, start.n_atoms, 2)[:, None] + torch.tensor([0, 1])
    start = start.replace(topology=Topology(exclusions=bonds, weights=torch.full((len(bonds),), 0.5)))
    potential = total(start)
    slow = simulate(start, potential, INTEGRATORS[0], 10, adjoint=CheckpointAdjoint(1))
    with torch.no_grad():
        fast = simulate(start, potential, INTEGRATORS[0], 10)
    torch.testing.assert_close(fast.positions, slow.positions.detach(), rtol=1e-5, atol=1e-5)


def test_a_run_that_blows_up_is_named():
    start = liquid()
    with torch.no_grad(), pytest.raises(InstabilityError, match=r"timestep: with 0\.8 the atoms blew up"):
        simulate(start, total(start), VelocityVerlet(0.8), 50)
