"""Runs of a sum whose pair forces are compiled and whose other forces are not: the same as step by step in torch."""

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
from asediff.kernels.cpu import driven
from asediff.kernels.cpu.team import set_num_threads

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


def liquid(dtype=torch.float64):
    boxes = [lattices.fcc("Ar", density=d, cells=4, mass=1.0, rattle=0.05, seed=k) for k, d in enumerate((0.7, 0.5))]
    return System.from_atoms(boxes).thermalized(kT=1.0, seed=3).to(dtype=dtype)


def total(system):
    return PairPotential(LennardJones(1.0, 1.0), cutoff=2.2) + Wells(system.positions.clone())


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
    assert len(calls) == 34 + 22 + 12
    for name in ("positions", "velocities", "potential_energy", "pressure", "conserved", "thermostat"):
        expected = getattr(slow, name).detach()
        torch.testing.assert_close(getattr(fast, name), expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(getattr(onward, name)[-1], expected[-1], rtol=1e-9, atol=1e-9)


def test_any_number_of_threads_gives_the_same_bits():
    start = liquid()
    runs = []
    try:
        for n_threads in (1, 2, 3):
            set_num_threads(n_threads)
            with torch.no_grad():
                runs.append(simulate(start, total(start), INTEGRATORS[1], 40, save_every=20).positions)
    finally:
        set_num_threads(None)
    assert all(torch.equal(run, runs[0]) for run in runs)


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
