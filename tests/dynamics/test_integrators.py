"""Time steppers: closed forms, order, reversibility, conserved quantities, exactness of BAOAB."""

import math

import numpy as np
import pytest
import torch
from sampling import seed as shifted
from sampling import sigmas
from scipy.integrate import solve_ivp
from scipy.linalg import solve_discrete_lyapunov

from asediff.dynamics import (
    ChainStepper,
    Integrator,
    Langevin,
    LangevinStepper,
    NoseHooverChain,
    State,
    VelocityVerlet,
)
from asediff.lattices import fcc
from asediff.neighbors import NeighborList
from asediff.potentials import LennardJones, PairPotential
from asediff.system import System
from asediff.testing import verlet_oscillator


def _particles(n: int, n_systems: int = 1, mass: float = 1.0, seed: int = 0) -> System:
    """Free particles with random positions and velocities, without a cell; the centre of mass is at rest."""
    generator = torch.Generator().manual_seed(seed)
    total = n * n_systems
    system = System(
        positions=torch.randn(total, 3, generator=generator, dtype=torch.float64),
        velocities=torch.zeros(total, 3, dtype=torch.float64),
        masses=mass * (1.0 + torch.rand(total, generator=generator, dtype=torch.float64)),
        numbers=torch.full((total,), 18),
        cell=torch.zeros(n_systems, 3, 3, dtype=torch.float64),
        pbc=torch.zeros(n_systems, 3, dtype=torch.bool),
        system_idx=torch.arange(n_systems).repeat_interleave(n),
    )
    return system.thermalized(kT=1.0, seed=seed)


@pytest.fixture(scope="module")
def liquid() -> tuple[System, "LJ"]:
    """108 Lennard-Jones atoms at density 0.7, warmed for 200 steps."""
    system = System.from_atoms(fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.02)).thermalized(kT=1.5, seed=3)
    forces = LJ(system)
    state = _run(system, NoseHooverChain(0.005, kT=1.0, tdamp=0.1), forces, 200)[0]
    return system.replace(positions=state.positions, velocities=state.velocities), forces


class LJ:
    """Forces of Lennard-Jones with the smooth default cutoff; remembers the energy of the last call."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.tables = PairPotential(LennardJones(), 2.5).requires_grad_(False).tabulate(system)
        self.list = NeighborList(2.5)

    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        moved = self.system.replace(positions=positions)
        self.energy, forces, _ = self.tables.energy_forces(moved, self.list.update(moved))
        return forces


class Springs:
    """Every coordinate on its own spring to the origin; remembers the energy of the last call."""

    def __init__(self, stiffness: float) -> None:
        self.stiffness = stiffness

    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        self.energy = (0.5 * self.stiffness * positions.square().sum())[None]
        return -self.stiffness * positions


def _run(system: System, integrator: Integrator, forces, steps: int) -> tuple[State, list[torch.Tensor]]:
    """Final state and the conserved quantity after each step."""
    stepper = integrator.stepper(system, None)
    state, force = stepper.start(system), forces(system.positions)
    conserved = [stepper.conserved(state, forces.energy)]
    for step in range(steps):
        state, force = stepper.step(state, force, forces, step)
        conserved.append(stepper.conserved(state, forces.energy))
    return state, conserved


def _order(errors: list[float]) -> float:
    """Slope of log(error) against log(timestep) for time steps that double."""
    return float(np.polyfit(np.arange(len(errors)) * math.log(2.0), np.log(errors), 1)[0])


ALL = [
    VelocityVerlet(0.01),
    *(NoseHooverChain(0.01, kT=torch.tensor([0.8, 1.3]), tdamp=0.2, tchain=m) for m in (1, 2, 3, 5)),
    Langevin(0.01, kT=torch.tensor([0.8, 1.3]), friction=0.7, seed=4),
]
NAMES = ["verlet", "chain-1", "chain-2", "chain-3", "chain-5", "langevin"]


# ------------------------------------------------------------------------------------------- velocity Verlet


def test_velocity_verlet_follows_the_closed_form_of_the_oscillator():
    system = _particles(5)
    state, _ = _run(system, VelocityVerlet(0.1), Springs(1.7), 300)
    squared = 1.7 / system.masses[:, None]
    x, v = verlet_oscillator(system.positions, system.velocities, squared, 0.1, 300)
    torch.testing.assert_close(state.positions, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.velocities, v, rtol=0, atol=1e-12)


def test_free_flight_is_uniform():
    system = _particles(4)
    state, _ = _run(system, VelocityVerlet(0.25), Springs(0.0), 8)
    torch.testing.assert_close(state.positions, system.positions + 2.0 * system.velocities)


def test_constant_force_gives_the_parabola():
    system = _particles(3)
    push = torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64)
    stepper = VelocityVerlet(0.1).stepper(system)
    state, force = stepper.start(system), push.expand(3, 3)
    for step in range(20):
        state, force = stepper.step(state, force, lambda x: push.expand(3, 3), step)
    acceleration = push / system.masses[:, None]
    torch.testing.assert_close(state.positions, system.positions + 2.0 * system.velocities + 2.0 * acceleration)
    torch.testing.assert_close(state.velocities, system.velocities + 2.0 * acceleration)


def test_velocity_verlet_is_symplectic():
    system = _particles(3)
    stepper = VelocityVerlet(0.2).stepper(system)
    masses = system.masses.repeat_interleave(3)

    def anharmonic(x):
        return -x - x**3 + 0.3 * (x.roll(1, 0) + x.roll(-1, 0))

    def step(flat):
        x, p = flat.reshape(2, 3, 3)
        state = State(x, p / system.masses[:, None], torch.zeros(1, 2, 0, dtype=torch.float64))
        after, _ = stepper.step(state, anharmonic(x), anharmonic, 0)
        return torch.cat([after.positions.reshape(-1), masses * after.velocities.reshape(-1)])

    flat = torch.cat([system.positions.reshape(-1), masses * system.velocities.reshape(-1)])
    jacobian = torch.autograd.functional.jacobian(step, flat)
    form = torch.zeros(18, 18, dtype=torch.float64)
    form[:9, 9:], form[9:, :9] = torch.eye(9), -torch.eye(9)
    torch.testing.assert_close(jacobian.T @ form @ jacobian, form, rtol=0, atol=1e-12)


def test_energy_error_falls_with_the_square_of_the_time_step(liquid):
    system, forces = liquid
    errors = []
    for dt in (0.002, 0.004, 0.008):
        _, energies = _run(system, VelocityVerlet(dt), forces, round(0.32 / dt))
        errors.append(float((torch.cat(energies) - energies[0]).square().mean().sqrt()))
    assert _order(errors) == pytest.approx(2.0, abs=0.1)


def test_momentum_is_conserved(liquid):
    system, forces = liquid
    for integrator in (VelocityVerlet(0.005), NoseHooverChain(0.005, kT=1.0)):
        state, _ = _run(system, integrator, forces, 20)
        momentum = (system.masses[:, None] * state.velocities).sum(0)
        assert momentum.abs().max() < 1e-11


# ------------------------------------------------------------------------------------------- reversibility


@pytest.mark.parametrize("integrator", ALL, ids=NAMES)
def test_steps_are_undone_exactly(liquid, integrator: Integrator):
    one, _ = liquid
    system = System.concatenate([one, one.thermalized(kT=1.3, seed=9)])
    forces = LJ(system)
    stepper = integrator.stepper(system, None)
    start = stepper.start(system)
    generator = torch.Generator().manual_seed(2)
    thermostat = torch.randn(start.thermostat.shape, generator=generator, dtype=torch.float64)
    start = start._replace(thermostat=0.3 * thermostat.sin())
    state, force = start, forces(start.positions)
    for step in range(50):
        state, force = stepper.step(state, force, forces, step)
    assert (state.positions - start.positions).abs().max() > 0.05
    for step in reversed(range(50)):
        state, force = stepper.step_back(state, force, forces, step)
    for back, began in zip(state, start, strict=True):
        # 100 steps, forces of order 100: a few thousand round-offs.
        torch.testing.assert_close(back, began, rtol=0, atol=1e-11)


@pytest.mark.parametrize("integrator", ALL, ids=NAMES)
def test_a_batch_equals_its_members(liquid, integrator: Integrator):
    one, _ = liquid
    members = [one, one.thermalized(kT=1.3, seed=9)]
    together = _run(System.concatenate(members), integrator, LJ(System.concatenate(members)), 20)
    for k, member in enumerate(members):
        alone = integrator
        if isinstance(integrator, NoseHooverChain):
            alone = NoseHooverChain(0.01, kT=float(integrator.kT[k]), tdamp=0.2, tchain=integrator.tchain)
        if isinstance(integrator, Langevin):
            alone = Langevin(0.01, kT=float(integrator.kT[k]), friction=0.7, seed=4 + k)
        state, conserved = _run(member, alone, LJ(member), 20)
        part = slice(108 * k, 108 * (k + 1))
        torch.testing.assert_close(together[0].positions[part], state.positions, rtol=0, atol=1e-11)
        torch.testing.assert_close(together[0].velocities[part], state.velocities, rtol=0, atol=1e-11)
        torch.testing.assert_close(together[0].thermostat[k : k + 1], state.thermostat, rtol=0, atol=1e-11)
        torch.testing.assert_close(together[1][-1][k : k + 1], conserved[-1], rtol=0, atol=1e-9)


# ------------------------------------------------------------------------------------------- Nosé-Hoover chain


@pytest.mark.parametrize("tchain", [1, 2, 3, 5])
def test_the_equations_of_motion_conserve_the_conserved_quantity(tchain: int):
    system, forces = _particles(6, n_systems=2), Springs(1.1)
    stepper = NoseHooverChain(0.01, kT=torch.tensor([0.7, 1.4]), tdamp=0.6, tchain=tchain).stepper(system)
    thermostat = torch.randn(2, 2, tchain, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    state = State(*(t.requires_grad_() for t in stepper.start(system)._replace(thermostat=thermostat)))
    energy = system.sum_by_system(0.5 * 1.1 * state.positions.square().sum(1))
    gradient = torch.autograd.grad(stepper.conserved(state, energy).sum(), state)
    rates = stepper.rates(state, forces(state.positions))
    change = sum((g * r).sum() for g, r in zip(gradient, rates, strict=True))
    assert change.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("tchain", [1, 2, 4])
def test_the_chain_is_second_order_in_the_time_step(tchain: int):
    system, forces = _particles(3), Springs(1.3)
    stepper = NoseHooverChain(0.01, kT=0.5, tdamp=0.5, tchain=tchain).stepper(system)
    start = stepper.start(system)
    shapes = [t.shape for t in start]
    sizes = [t.numel() for t in start]

    def unflatten(flat):
        return State(*(p.reshape(s) for p, s in zip(torch.as_tensor(flat).split(sizes), shapes, strict=True)))

    def rates(_, flat):
        state = unflatten(flat)
        return torch.cat([r.reshape(-1) for r in stepper.rates(state, forces(state.positions))]).numpy()

    initial = torch.cat([t.reshape(-1) for t in start]).numpy()
    exact = solve_ivp(rates, (0.0, 2.0), initial, method="DOP853", rtol=1e-9, atol=1e-10).y[:, -1]
    errors = []
    for dt in (0.01, 0.02, 0.04):
        state, _ = _run(system, NoseHooverChain(dt, kT=0.5, tdamp=0.5, tchain=tchain), forces, round(2.0 / dt))
        errors.append(np.abs(torch.cat([t.reshape(-1) for t in state]).numpy() - exact).max())
    assert errors[0] < 1e-3
    assert _order(errors) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("tchain", [1, 3])
def test_the_error_of_the_conserved_quantity_falls_with_the_square_of_the_time_step(liquid, tchain: int):
    system, forces = liquid
    errors = []
    for dt in (0.002, 0.004, 0.008):
        integrator = NoseHooverChain(dt, kT=1.2, tdamp=0.2, tchain=tchain)
        _, conserved = _run(system, integrator, forces, round(0.32 / dt))
        errors.append(float((torch.cat(conserved) - conserved[0]).square().mean().sqrt()))
    assert _order(errors) == pytest.approx(2.0, abs=0.1)


def test_thermostat_masses_follow_the_relaxation_time():
    system = _particles(4, n_systems=2)
    stepper = NoseHooverChain(0.01, kT=torch.tensor([0.5, 2.0]), tdamp=0.3, tchain=3).stepper(system)
    expected = [[9 * 0.5 * 0.09, 0.5 * 0.09, 0.5 * 0.09], [9 * 2.0 * 0.09, 2.0 * 0.09, 2.0 * 0.09]]
    torch.testing.assert_close(stepper.chain_masses, torch.tensor(expected, dtype=torch.float64))


def test_the_default_relaxation_time_is_a_hundred_steps():
    system = _particles(4)
    default = NoseHooverChain(0.02, kT=1.0).stepper(system)
    given = NoseHooverChain(0.02, kT=1.0, tdamp=2.0).stepper(system)
    assert isinstance(default, ChainStepper)
    torch.testing.assert_close(default.chain_masses, given.chain_masses)


# ------------------------------------------------------------------------------------------- Langevin


def _linear_step(dt: float, stiffness: float, friction: float, kT: float) -> tuple[np.ndarray, np.ndarray]:
    """Matrix A and noise vector b of one BAOAB step (x, v) -> A (x, v) + b eta of an oscillator of mass 1."""
    system = _particles(2).replace(masses=torch.ones(2, dtype=torch.float64))
    stepper = Langevin(dt, kT=kT, friction=friction).stepper(system)
    assert isinstance(stepper, LangevinStepper)
    forces = Springs(stiffness)

    def step(x: float, v: float, eta: float) -> np.ndarray:
        stepper._kick = lambda step: eta * stepper.spread  # type: ignore[method-assign]
        at = State(torch.full((2, 3), x).double(), torch.full((2, 3), v).double(), torch.zeros(1, 2, 0))
        after, _ = stepper.step(at, forces(at.positions), forces, 0)
        return np.array([after.positions[0, 0], after.velocities[0, 0]])

    return np.stack([step(1.0, 0.0, 0.0), step(0.0, 1.0, 0.0)], axis=1), step(0.0, 0.0, 1.0)


@pytest.mark.parametrize("timestep", [0.05, 0.5, 1.5])
@pytest.mark.parametrize("friction", [0.1, 1.0, 20.0])
def test_baoab_samples_the_positions_of_an_oscillator_exactly(timestep: float, friction: float):
    stiffness, kT = 1.2, 0.7
    matrix, noise = _linear_step(timestep, stiffness, friction, kT)
    covariance = solve_discrete_lyapunov(matrix, np.outer(noise, noise))
    # Leimkuhler and Matthews (2013): <x²> = kT/k at any time step, <v²> = (kT/m) (1 - k dt²/(4 m)).
    assert covariance[0, 0] == pytest.approx(kT / stiffness, rel=1e-10)
    assert covariance[1, 1] == pytest.approx(kT * (1 - stiffness * timestep**2 / 4), rel=1e-10)
    assert covariance[0, 1] == pytest.approx(0.0, abs=1e-12)


def test_langevin_without_forces_has_the_exact_velocity_distribution():
    matrix, noise = _linear_step(0.3, 0.0, 1.7, 0.6)
    assert noise[1] ** 2 / (1 - matrix[1, 1] ** 2) == pytest.approx(0.6, rel=1e-12)
    assert matrix[1, 1] == pytest.approx(math.exp(-0.3 * 1.7), rel=1e-14)


def test_weak_friction_is_velocity_verlet():
    system = _particles(4)
    langevin, _ = _run(system, Langevin(0.05, kT=1.0, friction=1e-14), Springs(1.0), 50)
    verlet, _ = _run(system, VelocityVerlet(0.05), Springs(1.0), 50)
    # The noise has amplitude sqrt(2 friction dt) = 3e-8 per step.
    torch.testing.assert_close(langevin.positions, verlet.positions, rtol=0, atol=3e-6)


@pytest.mark.sampled
def test_noise_is_scaled_by_temperature_and_mass():
    system = _particles(500, mass=2.0)
    stepper = Langevin(0.1, kT=0.8, friction=1.0, seed=shifted(5)).stepper(system)
    kicks = torch.stack([stepper._kick(step) for step in range(20)])
    scaled = kicks.square() * system.masses[:, None] / (0.8 * (1 - math.exp(-0.2)))
    # 30000 squares of normal numbers: a standard error of sqrt(2/30000) = 0.008
    assert scaled.mean().item() == pytest.approx(1.0, abs=sigmas() * math.sqrt(2 / 30_000))


def test_the_noise_is_replayed_and_depends_on_seed_and_step():
    system, forces = _particles(4), Springs(1.0)
    one, again, other = (_run(system, Langevin(0.05, kT=1.0, seed=s), forces, 10)[0].positions for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    stepper = Langevin(0.05, kT=1.0, seed=1).stepper(system)
    assert not torch.allclose(stepper._kick(3), stepper._kick(4))


def test_langevin_has_no_equations_of_motion():
    stepper = Langevin(0.05, kT=1.0).stepper(_particles(2))
    with pytest.raises(ValueError, match="integrator: Langevin dynamics has no continuous adjoint; use"):
        stepper.rates(stepper.start(_particles(2)), torch.zeros(2, 3))


# ------------------------------------------------------------------------------------------- arguments


def test_temperature_in_kelvin_is_converted():
    stepper = NoseHooverChain(0.2, temperature_K=300.0).stepper(_particles(3))
    assert stepper.kT.item() == pytest.approx(300.0 * 8.617333e-5, rel=1e-6)


def test_the_temperature_may_come_with_the_call():
    system = _particles(3, n_systems=2)
    stepper = NoseHooverChain(0.2).stepper(system, torch.tensor([1.0, 2.0]))
    assert stepper.kT.tolist() == [1.0, 2.0]
    assert VelocityVerlet(0.2).stepper(system).kT is None
    assert VelocityVerlet(0.2).stepper(system, 0.5).kT.tolist() == [0.5, 0.5]


def test_integrators_are_completed_with_a_temperature():
    verlet = VelocityVerlet(0.2)
    assert verlet.at(1.0) is verlet
    assert NoseHooverChain(0.2, tdamp=3.0, tchain=2).at(0.7) == NoseHooverChain(0.2, kT=0.7, tdamp=3.0, tchain=2)
    assert Langevin(0.2, friction=0.1, seed=4).at(0.7) == Langevin(0.2, kT=0.7, friction=0.1, seed=4)
    assert Langevin(0.2, seed=2**62 - 1).at(0.7, seed=3).seed < 2**62
    with pytest.raises(ValueError, match="integrator: Langevin has a kT of its own"):
        Langevin(0.2, kT=1.0).at(0.7)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VelocityVerlet(0.0), r"timestep: 0\.0 is not a positive finite number; give timestep > 0"),
        (lambda: VelocityVerlet(math.nan), "timestep: nan is not"),
        (lambda: VelocityVerlet(math.inf), "timestep: inf is not"),
        (lambda: NoseHooverChain(0.1, kT=-1.0), r"kT: -1\.0 is not a temperature; give a finite number above zero"),
        (lambda: Langevin(0.1, temperature_K=0.0), r"temperature_K: 0\.0 is not a temperature"),
        (lambda: Langevin(0.1, kT=1.0, temperature_K=300.0), "kT, temperature_K: both are given; give exactly one"),
        (lambda: NoseHooverChain(0.1, kT=1.0, tdamp=0.0), r"tdamp: 0\.0 is not a positive"),
        (lambda: NoseHooverChain(0.1, kT=1.0, tchain=0), "tchain: 0 is too short; give at least 1"),
        (lambda: Langevin(0.1, kT=1.0, friction=-1.0), r"friction: -1\.0 is not a positive"),
        (lambda: Langevin(0.1, kT=1.0, seed=-1), "seed: -1 is not within"),
        (lambda: NoseHooverChain(0.1).stepper(_particles(2)), "kT: missing in NoseHooverChain; give the integrator kT"),
        (
            lambda: NoseHooverChain(0.1, kT=torch.ones(3)).stepper(_particles(2, n_systems=2)),
            r"kT: shape \(3,\) does not fit 2 systems; give one number or a tensor of shape \(2,\)",
        ),
        (lambda: VelocityVerlet(0.1).stepper(_particles(2), -1.0), r"kT: .*-1\.0.* is not a temperature"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(build, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)
