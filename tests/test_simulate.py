"""simulate(): frames, continuation, thermodynamics, fused against general runs, refusals."""

import dataclasses
import importlib
import math

import numpy as np
import pytest
import torch
from sampling import seed as shifted

from asediff.dynamics import Integrator, Langevin, NoseHooverChain, VelocityVerlet
from asediff.dynamics.adjoints import Adjoint, CheckpointAdjoint, DirectAdjoint, ReversibleAdjoint
from asediff.lattices import fcc, mixture
from asediff.neighbors import NeighborList
from asediff.potentials import (
    ForceShifted,
    LennardJones,
    PairPotential,
    Potential,
    Repulsion,
    Shifted,
    TabulatedRadial,
    TemperatureDependent,
    Truncated,
    Truncation,
)
from asediff.simulate import InstabilityError, simulate
from asediff.system import System
from asediff.testing import HarmonicDimer
from asediff.trajectory import Trajectory

INTEGRATORS = {
    "verlet": VelocityVerlet(0.005),
    "chain-1": NoseHooverChain(0.005, kT=1.2, tdamp=0.2, tchain=1),
    "chain-2": NoseHooverChain(0.005, kT=1.2, tdamp=0.2, tchain=2),
    "chain-5": NoseHooverChain(0.005, kT=1.2, tdamp=0.2, tchain=5),
    "langevin": Langevin(0.005, kT=1.2, friction=1.0, seed=11),
}


@pytest.fixture
def general(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("asediff.simulate"), "fused_form", lambda *run: None)


# The fused kernels are compiled once per floating-point type, which takes minutes on a fresh installation.
SINGLE = pytest.mark.parametrize("engine", ["general", pytest.param("fused", marks=pytest.mark.slow)], indirect=True)


@pytest.fixture(params=["general", "fused"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "general":
        request.getfixturevalue("general")
    return request.param


@pytest.fixture
def lj() -> PairPotential:
    return PairPotential(LennardJones(), 2.5).requires_grad_(False)


@pytest.fixture
def argon() -> System:
    return System.from_atoms(fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.05)).thermalized(
        kT=1.2, seed=shifted(3)
    )


def _sheared_blend() -> System:
    """A triclinic mixture with unequal masses and a cubic one, of unequal sizes, in one batch."""
    systems = []
    for k, cells in enumerate(((3, 3, 3), (4, 3, 3))):
        atoms = mixture(fcc("Ar", density=0.6, cells=cells, rattle=0.05, seed=k), {"Ar": 0.5, "Kr": 0.5}, seed=k)
        atoms.set_masses(np.where(atoms.numbers == 18, 1.0, 2.5))
        if k:
            cell = atoms.cell.array.copy()
            cell[1, 0], cell[2, 1] = 1.2, -0.8
            atoms.set_cell(cell, scale_atoms=True)
        systems.append(atoms)
    return System.from_atoms(systems).thermalized(kT=torch.tensor([0.8, 1.3], dtype=torch.float64), seed=5)


def _assert_same(one: Trajectory, two: Trajectory, tolerance: float) -> None:
    assert torch.equal(one.steps, two.steps)
    for name in ("positions", "velocities", "potential_energy", "pressure", "conserved", "thermostat"):
        scale = max(1.0, float(getattr(two, name).abs().max()) if getattr(two, name).numel() else 1.0)
        torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=0, atol=tolerance * scale, msg=name)
    torch.testing.assert_close(one.system.positions, two.system.positions, rtol=0, atol=tolerance)
    torch.testing.assert_close(one.system.velocities, two.system.velocities, rtol=0, atol=tolerance)


# ------------------------------------------------------------------------------------------- frames


def test_frames_are_taken_at_multiples_of_save_every(argon: System, lj: PairPotential, engine: str):
    trajectory = simulate(argon, lj, INTEGRATORS["chain-2"], 12, save_every=4)
    assert trajectory.steps.tolist() == [4, 8, 12]
    assert torch.equal(trajectory.positions[-1], trajectory.system.positions)
    assert torch.equal(trajectory.velocities[-1], trajectory.system.velocities)
    for frame, steps in enumerate((4, 8)):
        shorter = simulate(argon, lj, INTEGRATORS["chain-2"], steps)
        torch.testing.assert_close(trajectory.positions[frame], shorter.positions[-1], rtol=0, atol=1e-12)


def test_one_frame_is_the_default(argon: System, lj: PairPotential):
    trajectory = simulate(argon, lj, INTEGRATORS["verlet"], 7)
    assert trajectory.steps.tolist() == [7]
    assert trajectory.timestep == 0.005


def test_the_start_is_left_alone(argon: System, lj: PairPotential, engine: str):
    before = argon.positions.clone(), argon.velocities.clone()
    simulate(argon, lj, INTEGRATORS["verlet"], 10)
    assert torch.equal(argon.positions, before[0])
    assert torch.equal(argon.velocities, before[1])


@pytest.mark.parametrize("name", INTEGRATORS)
def test_a_continued_run_is_one_run(argon: System, lj: PairPotential, engine: str, name: str):
    whole = simulate(argon, lj, INTEGRATORS[name], 20, save_every=5)
    first = simulate(argon, lj, INTEGRATORS[name], 10, save_every=5)
    second = simulate(first, lj, INTEGRATORS[name], 10, save_every=5)
    assert second.steps.tolist() == [15, 20]
    _assert_same(Trajectory.concatenate([first, second]), whole, 1e-12)


def test_a_run_repeats_bit_for_bit(argon: System, lj: PairPotential, engine: str):
    for name in ("chain-2", "langevin"):
        one, two = (simulate(argon, lj, INTEGRATORS[name], 20, save_every=10) for _ in range(2))
        assert torch.equal(one.positions, two.positions)
        assert torch.equal(one.potential_energy, two.potential_energy)


def test_the_skin_changes_nothing(argon: System, lj: PairPotential, engine: str):
    runs = [simulate(argon, lj, INTEGRATORS["chain-2"], 60, skin=skin) for skin in (0.02, 0.15)]
    # 60 steps: round-off grows by a small factor.
    torch.testing.assert_close(runs[0].positions, runs[1].positions, rtol=0, atol=1e-10)


def test_another_chain_length_starts_the_thermostat_at_rest(argon: System, lj: PairPotential):
    first = simulate(argon, lj, INTEGRATORS["chain-2"], 10)
    second = simulate(first, lj, INTEGRATORS["chain-5"], 5)
    fresh = simulate(first.system, lj, INTEGRATORS["chain-5"], 5)
    assert torch.equal(second.positions, fresh.positions)
    assert second.thermostat.shape == (1, 2, 5)


# ------------------------------------------------------------------------------------------- thermodynamics


def test_energy_and_pressure_of_each_frame(engine: str):
    batch = _sheared_blend()
    potential = PairPotential(
        {("Ar", "Ar"): LennardJones(), ("Ar", "Kr"): LennardJones(1.1, 1.0), ("Kr", "Kr"): Repulsion()}, 2.4
    ).requires_grad_(False)
    integrator = NoseHooverChain(0.004, kT=torch.tensor([0.8, 1.3]), tdamp=0.3)
    trajectory = simulate(batch, potential, integrator, 20, save_every=10)
    tables = potential.tabulate(batch)
    for k in range(2):
        frame = trajectory.frame(k)
        energy, _, virial = tables.energy_forces(frame, NeighborList(2.4).update(frame))
        torch.testing.assert_close(trajectory.potential_energy[k], energy)
        pressure = (2 * frame.get_kinetic_energy() + virial) / (3 * frame.get_volume())
        torch.testing.assert_close(trajectory.pressure[k], pressure)


def test_pressure_of_a_potential_that_is_no_pair_potential(argon: System, lj: PairPotential):
    # A sum takes the general path, where the virial is a derivative with respect to a scale of the box.
    both = simulate(argon, lj + PairPotential(Repulsion(0.1), 2.0).requires_grad_(False), INTEGRATORS["verlet"], 4)
    joined = PairPotential(LennardJones(), 2.5).requires_grad_(False)
    frame = both.frame(0)
    neighbors = NeighborList(2.5).update(frame)
    _, _, one = joined.tabulate(frame).energy_forces(frame, neighbors)
    _, _, two = PairPotential(Repulsion(0.1), 2.0).requires_grad_(False).tabulate(frame).energy_forces(frame, neighbors)
    expected = (2 * frame.get_kinetic_energy() + one + two) / (3 * frame.get_volume())
    torch.testing.assert_close(both.pressure[0], expected)


def test_an_ideal_gas_has_its_pressure(argon: System, engine: str):
    nothing = PairPotential(Repulsion(1e-300), 1.0).requires_grad_(False)
    trajectory = simulate(argon, nothing, INTEGRATORS["verlet"], 5)
    # The centre of mass is at rest: 3 N - 3 degrees of freedom.
    expected = 0.7 * 1.2 * (1 - 1 / 108)
    torch.testing.assert_close(trajectory.pressure, torch.full((1, 1), expected, dtype=torch.float64))


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["verlet", "chain-1", "chain-2", "chain-5"])
def test_the_conserved_quantity_is_conserved(argon: System, lj: PairPotential, engine: str, name: str):
    integrator = dataclasses.replace(INTEGRATORS[name], timestep=0.0025)
    trajectory = simulate(argon, lj, integrator, 100, save_every=10)
    moved, error = (float((e - e[0]).abs().max()) for e in (trajectory.potential_energy, trajectory.conserved))
    # Over 8 seeds the potential energy moves by 70, with a scatter of 6; the error of this time step is 0.01, to a
    # factor of 1.35: the limit is 6 standard deviations of its logarithm away.
    assert moved > 20.0
    assert error < 0.06


def test_the_dimer_follows_its_closed_form(engine: str):
    dimer = HarmonicDimer()
    trajectory = simulate(dimer.system(), dimer.potential(), VelocityVerlet(0.05), 200, save_every=50)
    for frame, steps in enumerate((50, 100, 150, 200)):
        separation, velocity = dimer.after(0.05, steps)
        x, v = trajectory.positions[frame].detach(), trajectory.velocities[frame].detach()
        torch.testing.assert_close(x[1] - x[0], separation, rtol=0, atol=1e-12)
        torch.testing.assert_close(v[1] - v[0], velocity, rtol=0, atol=1e-12)


def test_open_boundaries(engine: str):
    dimer = HarmonicDimer()
    system = dimer.system().replace(pbc=torch.zeros(1, 3, dtype=torch.bool))
    trajectory = simulate(system, dimer.potential(), VelocityVerlet(0.05), 200)
    x = trajectory.positions[-1].detach()
    torch.testing.assert_close(x[1] - x[0], dimer.after(0.05, 200)[0], rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------- fused and general


@pytest.mark.parametrize("name", INTEGRATORS)
@pytest.mark.parametrize("adjoint", [CheckpointAdjoint(), CheckpointAdjoint(7), ReversibleAdjoint(9, keep=0)])
def test_fused_runs_are_general_runs(argon: System, lj: PairPotential, name: str, adjoint: Adjoint):
    general = simulate(argon, lj, INTEGRATORS[name], 40, save_every=10, adjoint=DirectAdjoint())
    fused = simulate(argon, lj, INTEGRATORS[name], 40, save_every=10, adjoint=adjoint)
    _assert_same(fused, general, 1e-12)


@pytest.mark.parametrize("kind", ["verlet", "chain", "langevin"])
def test_fused_batches_of_sheared_mixtures_at_two_temperatures(kind: str):
    batch, kT = _sheared_blend(), torch.tensor([0.8, 1.3], dtype=torch.float64)
    entropic = TemperatureDependent(LennardJones(), Repulsion(0.2, 1.0, 6))
    potential = PairPotential(
        {("Ar", "Ar"): LennardJones(), ("Ar", "Kr"): entropic, ("Kr", "Kr"): LennardJones(1.2, 1.05)}, 2.4
    )
    integrator: Integrator = {
        "verlet": VelocityVerlet(0.004),
        "chain": NoseHooverChain(0.004, kT=kT, tdamp=0.2),
        "langevin": Langevin(0.004, kT=kT, friction=2.0, seed=3),
    }[kind]
    results = []
    for adjoint in (DirectAdjoint(), CheckpointAdjoint(), CheckpointAdjoint(6), ReversibleAdjoint(keep=0)):
        trajectory = simulate(batch, potential, integrator, 30, save_every=10, adjoint=adjoint, kT=kT)
        loss = trajectory.positions.sin().mean() + trajectory.velocities.pow(4).mean()
        results.append((trajectory.detach(), torch.stack(torch.autograd.grad(loss, list(potential.parameters())))))
    for trajectory, gradient in results[1:]:
        _assert_same(trajectory, results[0][0], 1e-11)
        assert (gradient - results[0][1]).norm() / results[0][1].norm() < 1e-9


@SINGLE
def test_single_precision_is_close_and_stays_single(argon: System, lj: PairPotential, engine: str):
    double = simulate(argon, lj, INTEGRATORS["chain-2"], 40)
    single = simulate(argon.to(dtype=torch.float32), lj, INTEGRATORS["chain-2"], 40)
    for name in ("positions", "velocities", "potential_energy", "pressure", "conserved", "thermostat"):
        assert getattr(single, name).dtype == torch.float32, name
    # Positions of size 5 have a round-off of 3e-7; forces multiply it by their stiffness.
    torch.testing.assert_close(single.positions.double(), double.positions, rtol=0, atol=1e-4)


@SINGLE
def test_gradients_in_single_precision(argon: System, engine: str):
    gradients = []
    for system in (argon, argon.to(dtype=torch.float32)):
        potential = PairPotential(LennardJones(), 2.5)
        trajectory = simulate(system, potential, INTEGRATORS["chain-2"], 20)
        gradients.append(
            torch.stack(torch.autograd.grad(trajectory.positions.double().sin().mean(), list(potential.parameters())))
        )
    assert gradients[1].dtype == torch.float64
    assert (gradients[0] - gradients[1]).norm() / gradients[0].norm() < 1e-3


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps: 0 is not a number of steps; give at least 1"),
        ({"steps": -3}, "steps: -3 is not a number of steps"),
        ({"steps": 10, "save_every": 3}, r"save_every: 3 does not divide steps \(10\); choose a divisor"),
        ({"steps": 10, "save_every": 0}, "save_every: 0 does not divide steps"),
        ({"steps": 10, "save_every": 20}, "save_every: 20 does not divide steps"),
    ],
)
def test_bad_numbers_of_steps_are_refused(argon: System, lj: PairPotential, arguments: dict, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        simulate(argon, lj, INTEGRATORS["verlet"], **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("potential", "integrator", "message"),
    [
        (PairPotential({("Kr", "Kr"): LennardJones()}, 2.5), VelocityVerlet(0.005), "system: atomic number 18"),
        (PairPotential(LennardJones(), 2.5), NoseHooverChain(0.005), "kT: missing"),
        (
            PairPotential(TemperatureDependent(LennardJones(), Repulsion()), 2.5),
            VelocityVerlet(0.005),
            "kT: missing for a temperature-dependent potential; give kT",
        ),
    ],
)
def test_runs_that_cannot_be_are_refused(
    argon: System, engine: str, potential: Potential, integrator: Integrator, message: str
):
    with pytest.raises(ValueError, match=message) as caught:
        simulate(argon, potential, integrator, 5)
    assert "\n" not in str(caught.value)


def test_the_temperature_of_a_call_reaches_integrator_and_potential(argon: System, engine: str):
    potential = PairPotential(TemperatureDependent(LennardJones(), Repulsion(0.1)), 2.5).requires_grad_(False)
    given = simulate(argon, potential, NoseHooverChain(0.005, tdamp=0.2), 10, kT=0.9)
    own = simulate(argon, potential, NoseHooverChain(0.005, kT=0.9, tdamp=0.2), 10)
    assert torch.equal(given.positions, own.positions)


def test_a_time_step_that_blows_up_is_named_with_its_remedy(argon: System, lj: PairPotential, engine: str):
    with pytest.raises(
        InstabilityError, match=r"timestep: with 1 the atoms blew up; use a shorter time step"
    ) as caught:
        simulate(argon, lj, VelocityVerlet(1.0), 200)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_overlapping_atoms_are_named_with_their_remedy(argon: System, lj: PairPotential, engine: str):
    positions = argon.positions.clone()
    positions[1] = positions[0] + 1e-3
    with pytest.raises(InstabilityError, match="a start without overlaps"):
        simulate(argon.replace(positions=positions), lj, VelocityVerlet(0.05), 100)


def test_atoms_on_top_of_each_other_have_finite_energy(lj: PairPotential, argon: System, engine: str):
    positions = argon.positions.clone()
    positions[1] = positions[0]
    trajectory = simulate(argon.replace(positions=positions), lj, VelocityVerlet(1e-9), 1)
    assert math.isfinite(trajectory.potential_energy.item())


# ------------------------------------------------------------------------------------------- unusual systems


def _compare_engines(system: System, potential: PairPotential, steps: int = 20) -> None:
    integrator = NoseHooverChain(0.004, kT=1.0, tdamp=0.2)
    runs = [simulate(system, potential, integrator, steps, adjoint=a) for a in (DirectAdjoint(), ReversibleAdjoint())]
    _assert_same(runs[1], runs[0], 1e-11)


def test_atoms_far_outside_their_cell(argon: System, lj: PairPotential):
    jumps = torch.randint(-3, 4, (108, 3), generator=torch.Generator().manual_seed(1)).double()
    moved = argon.replace(positions=argon.positions + jumps @ argon.cell[0])
    _compare_engines(moved, lj)
    for adjoint in (DirectAdjoint(), CheckpointAdjoint()):
        far, near = (simulate(s, lj, INTEGRATORS["verlet"], 20, adjoint=adjoint) for s in (moved, argon))
        torch.testing.assert_close(far.potential_energy, near.potential_energy)
        torch.testing.assert_close(far.velocities, near.velocities, rtol=0, atol=1e-10)


def test_slabs_wires_and_clusters(argon: System, lj: PairPotential):
    for pbc in ([True, True, False], [False, True, False], [False, False, False]):
        _compare_engines(argon.replace(pbc=torch.tensor([pbc])), lj)


def test_systems_of_one_and_two_atoms_beside_a_large_one(argon: System, lj: PairPotential):
    dimer = HarmonicDimer().system()
    single = System.from_atoms(dimer.to_atoms()[0][:1])
    moving = single.replace(velocities=torch.tensor([[0.3, 0.0, -0.1]], dtype=torch.float64))
    batch = System.concatenate([moving, argon, dimer])
    runs = [simulate(batch, lj, VelocityVerlet(0.004), 20, adjoint=a) for a in (DirectAdjoint(), ReversibleAdjoint())]
    _assert_same(runs[1], runs[0], 1e-11)
    free = moving.positions + 20 * 0.004 * moving.velocities
    torch.testing.assert_close(runs[1].positions[-1, :1], free)


def test_the_smallest_box_allowed(lj: PairPotential):
    atoms = fcc("Ar", density=108 / 5.0**3, cells=3, mass=1.0, rattle=0.05)
    _compare_engines(System.from_atoms(atoms).thermalized(kT=1.0, seed=2), lj)


@pytest.mark.parametrize("truncation", [Truncated(), Shifted(), ForceShifted()], ids=lambda t: type(t).__name__)
def test_forces_that_jump_at_the_cutoff(argon: System, truncation: Truncation):
    potential = PairPotential(LennardJones(), 2.5, truncation=truncation).requires_grad_(False)
    _compare_engines(argon, potential)


def test_a_potential_that_pulls_atoms_together(argon: System):
    # Without a wall, atoms meet: the core's linear continuation keeps forces finite.
    potential = PairPotential(TabulatedRadial([0.0, 0.8, 1.6, 2.4], [-1.0, -0.8, -0.3, 0.0]), 2.4)
    _compare_engines(argon, potential.requires_grad_(False), steps=60)
