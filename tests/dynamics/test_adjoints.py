"""Gradients through dynamics: all exact adjoints agree with each other and with central differences.

`DirectAdjoint` is autograd through every step in torch. The others are run twice, in torch ("general") and in the
fused kernels ("fused").
"""

import importlib
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asediff.dynamics import Integrator, Langevin, NoseHooverChain, State, VelocityVerlet
from asediff.dynamics.adjoints import (
    Adjoint,
    BacksolveAdjoint,
    CheckpointAdjoint,
    DirectAdjoint,
    ReversibleAdjoint,
)
from asediff.lattices import fcc, mixture
from asediff.neighbors import Neighbors
from asediff.observables import RDF
from asediff.potentials import (
    LennardJones,
    PairPotential,
    Potential,
    Repulsion,
    TabulatedRadial,
    TemperatureDependent,
)
from asediff.simulate import simulate
from asediff.system import System
from asediff.testing import HarmonicDimer, HarmonicTrap, check_gradient, check_potential

INTEGRATORS = {
    "verlet": VelocityVerlet(0.005),
    "chain-1": NoseHooverChain(0.005, kT=1.2, tdamp=0.2, tchain=1),
    "chain-3": NoseHooverChain(0.005, kT=1.2, tdamp=0.2, tchain=3),
    "langevin": Langevin(0.005, kT=1.2, friction=1.0, seed=11),
}
# The general path repeats in torch what the fused kernels do, so fewer steps serve it.
STEPS = {"fused": 120, "general": 20}


@pytest.fixture
def general(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every run of this test a general one."""
    monkeypatch.setattr(importlib.import_module("asediff.simulate"), "fused_form", lambda *run: None)


@pytest.fixture(params=["general", "fused"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "general":
        request.getfixturevalue("general")
    return request.param


def _potential() -> PairPotential:
    """Lennard-Jones with a tabulated correction: 14 parameters."""
    r = np.linspace(0.7, 2.5, 12)
    return PairPotential(LennardJones() + TabulatedRadial(r, 0.1 * np.sin(3 * r)), 2.5)


@pytest.fixture(scope="module")
def liquid() -> System:
    """108 Lennard-Jones atoms at density 0.7 and temperature 1.2, no longer a crystal."""
    system = System.from_atoms(fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.02)).thermalized(kT=2.4, seed=3)
    potential = PairPotential(LennardJones(), 2.5).requires_grad_(False)
    warm = simulate(system, potential, Langevin(0.005, kT=1.2, friction=2.0), 300, adjoint=DirectAdjoint())
    return warm.system


RDF_OF_LIQUID = RDF(r_max=2.5, bins=50, r_min=0.75)


def _rdf_loss(
    start: System, potential: Potential, integrator: Integrator, adjoint: Adjoint, steps: int = 120
) -> Tensor:
    """Mean square deviation of g(r), over four frames, from a target that is not met."""
    trajectory = simulate(start, potential, integrator, steps, save_every=steps // 4, adjoint=adjoint)
    target = 1.0 + 0.5 * torch.cos(4.0 * RDF_OF_LIQUID.centers)
    return (RDF_OF_LIQUID(trajectory) - target).square().mean()


def _flat_gradient(loss: Tensor, tensors: list[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(loss, tensors, allow_unused=True, materialize_grads=True)
    return torch.cat([g.reshape(-1) for g in gradients])


def _leaves(system: System) -> tuple[System, list[Tensor]]:
    """The same system with positions and velocities that gradients reach."""
    x, v = system.positions.clone().requires_grad_(), system.velocities.clone().requires_grad_()
    return system.replace(positions=x, velocities=v), [x, v]


@pytest.fixture(scope="module")
def direct(liquid: System) -> Callable[[str, int], Tensor]:
    """Gradients of the RDF loss by autograd, in parameters, positions and velocities, by integrator and steps."""
    known: dict[tuple[str, int], Tensor] = {}

    def gradient(name: str, steps: int) -> Tensor:
        if (name, steps) not in known:
            potential, (start, leaves) = _potential(), _leaves(liquid)
            loss = _rdf_loss(start, potential, INTEGRATORS[name], DirectAdjoint(), steps)
            known[name, steps] = _flat_gradient(loss, [*potential.parameters(), *leaves])
        return known[name, steps]

    return gradient


# ----------------------------------------------------------------------- exact adjoints, RDF of a liquid


@pytest.mark.parametrize("name", INTEGRATORS)
@pytest.mark.parametrize(
    "adjoint",
    [CheckpointAdjoint(), CheckpointAdjoint(11), ReversibleAdjoint(keep=0), ReversibleAdjoint(9, keep=0)],
    ids=["kept", "checkpoint", "reversible", "reversible-9"],
)
def test_exact_adjoints_agree_with_autograd(
    liquid: System, direct: Callable[[str, int], Tensor], engine: str, adjoint: Adjoint, name: str
):
    potential, (start, leaves) = _potential(), _leaves(liquid)
    loss = _rdf_loss(start, potential, INTEGRATORS[name], adjoint, STEPS[engine])
    gradient = _flat_gradient(loss, [*potential.parameters(), *leaves])
    expected = direct(name, STEPS[engine])
    # 120 steps multiply round-off by the growth of a perturbation, about 10 in 0.6 time units.
    for part in (slice(0, 14), slice(14, None)):
        error = (gradient[part] - expected[part]).norm() / expected[part].norm()
        assert error < 1e-10


@pytest.mark.parametrize("name", INTEGRATORS)
def test_gradients_in_the_parameters_agree_with_central_differences(liquid: System, name: str):
    potential = _potential()
    check = check_gradient(
        lambda: _rdf_loss(liquid, potential, INTEGRATORS[name], ReversibleAdjoint(keep=0)),
        list(potential.parameters()),
        step=3e-7,
    )
    assert check.error < 1e-6


@pytest.mark.parametrize("name", INTEGRATORS)
def test_gradients_in_the_start_agree_with_central_differences(liquid: System, name: str):
    potential = _potential().requires_grad_(False)
    x, v = liquid.positions.clone().requires_grad_(), liquid.velocities.clone().requires_grad_()

    def loss() -> Tensor:
        start = liquid.replace(positions=x, velocities=v)
        return _rdf_loss(start, potential, INTEGRATORS[name], ReversibleAdjoint(keep=0))

    assert check_gradient(loss, [x, v], step=3e-8).error < 1e-6


def test_losses_of_velocities_and_of_the_last_state(liquid: System, engine: str):
    gradients = []
    for adjoint in (DirectAdjoint(), CheckpointAdjoint(every=7), ReversibleAdjoint(keep=0)):
        potential, (start, leaves) = _potential(), _leaves(liquid)
        trajectory = simulate(start, potential, INTEGRATORS["chain-3"], 20, save_every=4, adjoint=adjoint)
        loss = trajectory.velocities[1:4].pow(4).mean() + (trajectory.system.positions - liquid.positions).pow(2).mean()
        loss = loss + trajectory.thermostat.square().sum() + trajectory.system.velocities[0].sum()
        gradients.append(_flat_gradient(loss, [*potential.parameters(), *leaves]))
    for gradient in gradients[1:]:
        assert (gradient - gradients[0]).norm() / gradients[0].norm() < 1e-10


def test_a_continued_run_is_one_run_forward_and_backward(liquid: System, engine: str):
    for name in ("chain-3", "langevin"):
        outcomes = []
        for pieces in ((20,), (8, 12)):
            potential, (start, leaves) = _potential(), _leaves(liquid)
            state: object = start
            for steps in pieces:
                state = simulate(state, potential, INTEGRATORS[name], steps, save_every=4)  # type: ignore[arg-type]
            loss = state.positions[-1].pow(2).mean()  # type: ignore[attr-defined]
            outcomes.append((state, _flat_gradient(loss, [*potential.parameters(), *leaves])))
        (one, gradient), (two, gradient_of_two) = outcomes
        torch.testing.assert_close(one.positions[-1], two.positions[-1], rtol=0, atol=1e-12)
        assert one.steps[-1] == two.steps[-1] == 20
        assert (gradient - gradient_of_two).norm() / gradient.norm() < 1e-10


def test_a_second_backward_pass_gives_the_same(liquid: System, engine: str):
    potential = _potential()
    loss = _rdf_loss(liquid, potential, INTEGRATORS["chain-3"], CheckpointAdjoint(), 12)
    parameters = list(potential.parameters())
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    second = torch.autograd.grad(loss, parameters)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_a_second_derivative_is_refused(liquid: System, general: None):
    potential = PairPotential(LennardJones(), 2.5)
    loss = simulate(liquid, potential, INTEGRATORS["verlet"], 4).positions.square().mean()
    with pytest.raises(RuntimeError, match="differentiable once; use DirectAdjoint"):
        torch.autograd.grad(loss, list(potential.parameters()), create_graph=True)


def test_autograd_has_second_derivatives(liquid: System):
    potential = PairPotential(LennardJones(), 2.5)
    epsilon, sigma = potential.parameters()

    @torch.enable_grad()
    def slope() -> Tensor:
        loss = simulate(liquid, potential, INTEGRATORS["verlet"], 6, adjoint=DirectAdjoint()).positions.sin().mean()
        return torch.autograd.grad(loss, sigma, create_graph=True)[0]

    check_gradient(slope, [epsilon, sigma], tolerance=1e-4)


def test_detaching_cuts_the_past_off(liquid: System):
    potential = PairPotential(LennardJones(), 2.5)
    first = simulate(liquid, potential, INTEGRATORS["chain-3"], 10)
    second = simulate(first.detach(), potential, INTEGRATORS["chain-3"], 10)
    alone = simulate(
        simulate(liquid, potential.requires_grad_(False), INTEGRATORS["chain-3"], 10),
        potential.requires_grad_(True),
        INTEGRATORS["chain-3"],
        10,
    )
    ours, theirs = (_flat_gradient(t.positions.square().mean(), list(potential.parameters())) for t in (second, alone))
    torch.testing.assert_close(ours, theirs)


# ----------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("adjoint", [DirectAdjoint(), CheckpointAdjoint(), ReversibleAdjoint()])
def test_the_dimer_has_its_closed_form_gradient(engine: str, adjoint: Adjoint):
    dimer, potential = HarmonicDimer(), HarmonicDimer().potential()
    trajectory = simulate(dimer.system(), potential, VelocityVerlet(0.07), 150, adjoint=adjoint)
    weights = torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64)
    gradient = torch.autograd.grad(
        ((trajectory.positions[0, 1] - trajectory.positions[0, 0]) * weights).sum(), list(potential.parameters())
    )
    stiffness = torch.tensor(dimer.stiffness, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad((dimer.after(0.07, 150, stiffness)[0] * weights).sum(), stiffness)
    torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=0)


def _backsolve_error(start: System, potential: Potential, integrator: Integrator, steps: int) -> float:
    """Relative error of the continuous adjoint against autograd through the steps."""
    gradients = []
    for adjoint in (BacksolveAdjoint(), DirectAdjoint()):
        trajectory = simulate(start, potential, integrator, steps, adjoint=adjoint)
        loss = trajectory.positions[-1, 0].sum() + trajectory.velocities[-1, 1].square().sum()
        gradients.append(_flat_gradient(loss, list(potential.parameters())))
    return ((gradients[0] - gradients[1]).norm() / gradients[1].norm()).item()


@pytest.mark.parametrize("thermostat", [False, True])
def test_the_error_of_backsolve_falls_with_the_time_step_and_is_no_round_off(thermostat: bool):
    start = HarmonicDimer().system()
    errors = []
    for dt in (0.1, 0.05, 0.025):
        integrator: Integrator = VelocityVerlet(dt)
        if thermostat:
            integrator = NoseHooverChain(dt, kT=0.4, tdamp=1.0, tchain=2)
        errors.append(_backsolve_error(start, HarmonicDimer().potential(), integrator, round(2.0 / dt)))
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes == pytest.approx([2.0, 2.0], abs=0.4)
    assert errors[-1] > 1e-6


def test_backsolve_of_a_liquid_is_close_but_not_exact(liquid: System):
    coarse = _backsolve_error(liquid, PairPotential(LennardJones(), 2.5), VelocityVerlet(0.005), 20)
    fine = _backsolve_error(liquid, PairPotential(LennardJones(), 2.5), VelocityVerlet(0.0025), 40)
    assert 1e-6 < fine < 0.5 * coarse < 0.1


def test_backsolve_refuses_langevin(liquid: System):
    with pytest.raises(ValueError, match="integrator: Langevin dynamics has no continuous adjoint; use Reversible"):
        simulate(liquid, PairPotential(LennardJones(), 2.5), INTEGRATORS["langevin"], 4, adjoint=BacksolveAdjoint())


# ----------------------------------------------------------------------- potentials that are no pair potentials


class ManyBody(Potential):
    """E = Σ_i MLP(ρ_i), ρ_ik = Σ_j exp(-8 (r_ij - μ_k)²) (1 - (r_ij/r_c)²)³: an embedded-atom network."""

    def __init__(self, cutoff: float = 1.9) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("centers", torch.linspace(0.8, 1.6, 4, dtype=torch.float64))
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.mlp = nn.Sequential(
                nn.Linear(4, 6, dtype=torch.float64), nn.Tanh(), nn.Linear(6, 1, dtype=torch.float64)
            )
        self.frozen = nn.Parameter(torch.tensor(2.0, dtype=torch.float64), requires_grad=False)

    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        r = neighbors.displacements(system).norm(dim=1)
        envelope = (1 - (r / self.cutoff).square()).clamp(min=0.0) ** 3
        basis = torch.exp(-8 * (r[:, None] - self.centers) ** 2) * envelope[:, None]
        density = torch.zeros(system.n_atoms, 4, dtype=r.dtype)
        density = density.index_add(0, neighbors.first, basis).index_add(0, neighbors.second, basis)
        return system.sum_by_system(self.frozen * self.mlp(density)[:, 0])


def _cluster() -> System:
    system = System.from_atoms(fcc("Ar", density=0.55, cells=2, mass=1.0, rattle=0.1, seed=4))
    return system.thermalized(kT=0.5, seed=2)


def test_the_many_body_potential_is_a_potential():
    check_potential(ManyBody(), _cluster())


@pytest.mark.parametrize("name", ["verlet", "chain-3", "langevin"])
def test_many_body_gradients_agree_for_all_adjoints(name: str):
    potential = ManyBody() + PairPotential(Repulsion(), 1.9)
    gradients = []
    for adjoint in (DirectAdjoint(), CheckpointAdjoint(), CheckpointAdjoint(4), ReversibleAdjoint(keep=0)):
        start, leaves = _leaves(_cluster())
        trajectory = simulate(start, potential, INTEGRATORS[name], 12, save_every=4, adjoint=adjoint)
        loss = trajectory.positions.sin().mean() + trajectory.velocities[1].square().mean()
        trainable = [p for p in potential.parameters() if p.requires_grad]
        gradients.append(_flat_gradient(loss, [*trainable, *leaves]))
    for gradient in gradients[1:]:
        assert (gradient - gradients[0]).norm() / gradients[0].norm() < 1e-10


def test_many_body_gradients_agree_with_central_differences():
    potential, start = ManyBody() + PairPotential(Repulsion(), 1.9), _cluster()

    def loss() -> Tensor:
        trajectory = simulate(start, potential, INTEGRATORS["chain-3"], 9, save_every=3)
        return trajectory.positions.sin().mean() + trajectory.velocities[1].square().mean()

    check_gradient(loss, [p for p in potential.parameters() if p.requires_grad], n_directions=2)


def test_a_trap_is_differentiated_too():
    trap = HarmonicTrap(1.3, cutoff=1.0)
    start = _cluster()
    check_gradient(
        lambda: simulate(start, trap, VelocityVerlet(0.05), 20).positions.square().mean(), list(trap.parameters())
    )


# ----------------------------------------------------------------------- mixtures, temperatures, batches


def _blend(seed: int) -> System:
    atoms = mixture(fcc("Ar", density=0.6, cells=3, rattle=0.05, seed=seed), {"Ar": 0.5, "Kr": 0.5}, seed=seed)
    atoms.set_masses(np.where(atoms.numbers == 18, 1.0, 2.0))
    return System.from_atoms(atoms).thermalized(kT=1.0, seed=seed)


def test_each_pair_of_a_mixture_has_its_own_gradient(engine: str):
    potential = PairPotential(
        {
            ("Ar", "Ar"): LennardJones(1.0, 0.9),
            ("Ar", "Kr"): LennardJones(1.1, 1.0),
            ("Kr", "Kr"): LennardJones(0.9, 1.1),
        },
        2.4,
    )
    batch = System.concatenate([_blend(1), _blend(2)])
    gradients = []
    for adjoint in (DirectAdjoint(), ReversibleAdjoint(keep=0)):
        trajectory = simulate(batch, potential, INTEGRATORS["chain-3"], 30, save_every=10, adjoint=adjoint)
        gradients.append(_flat_gradient(trajectory.positions.pow(3).mean(), list(potential.parameters())))
    assert (gradients[0].abs() > 0).all()
    assert (gradients[0] - gradients[1]).norm() / gradients[0].norm() < 1e-10


def test_the_gradient_of_a_batch_is_the_sum_over_its_members(engine: str):
    members = [_blend(1), _blend(2)]
    potential = PairPotential(LennardJones(), 2.4)
    parameters = list(potential.parameters())

    def gradient(system: System, kT) -> Tensor:
        trajectory = simulate(system, potential, NoseHooverChain(0.005, kT=kT, tdamp=0.2), 20, save_every=10)
        return _flat_gradient(trajectory.positions.square().sum(), parameters)

    together = gradient(System.concatenate(members), torch.tensor([0.8, 1.3], dtype=torch.float64))
    alone = gradient(members[0], 0.8) + gradient(members[1], 1.3)
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)


def test_the_entropy_part_gets_minus_kT_times_the_gradient_of_the_energy_part(engine: str):
    r = np.linspace(0.7, 2.4, 10)
    for kT in (0.7, 1.6):
        parts = [TabulatedRadial(r, np.zeros(10)) for _ in range(2)]
        potential = PairPotential(TemperatureDependent(LennardJones() + parts[0], parts[1]), 2.4)
        trajectory = simulate(_blend(1), potential, Langevin(0.005, kT=kT), 25, save_every=5)
        by_energy, by_entropy = torch.autograd.grad(trajectory.positions.pow(3).mean(), [part.values for part in parts])
        torch.testing.assert_close(by_entropy, -kT * by_energy, rtol=1e-10, atol=1e-14)


def test_each_temperature_of_a_batch_is_differentiated(engine: str):
    batch = System.concatenate([_blend(1), _blend(2), _blend(3)])
    r = np.linspace(0.7, 2.4, 8)
    potential = PairPotential(
        TemperatureDependent(LennardJones() + TabulatedRadial(r, 0.1 * r), TabulatedRadial(r, 0.2 * np.cos(r))), 2.4
    )
    integrator = NoseHooverChain(0.005, kT=torch.tensor([0.6, 1.5, 0.6]), tdamp=0.2)
    gradients = [
        _flat_gradient(
            simulate(batch, potential, integrator, 20, save_every=10, adjoint=a).positions.pow(3).mean(),
            list(potential.parameters()),
        )
        for a in (DirectAdjoint(), CheckpointAdjoint(6))
    ]
    assert (gradients[0] - gradients[1]).norm() / gradients[0].norm() < 1e-10


# ----------------------------------------------------------------------- what is kept


def test_nothing_requires_a_gradient_when_no_input_does(liquid: System, engine: str):
    potential = PairPotential(LennardJones(), 2.5)
    with torch.no_grad():
        quiet = simulate(liquid, potential, INTEGRATORS["chain-3"], 10)
    potential.requires_grad_(False)
    for adjoint in (DirectAdjoint(), CheckpointAdjoint(), ReversibleAdjoint(), BacksolveAdjoint()):
        fixed = simulate(liquid, potential, INTEGRATORS["chain-3"], 10, adjoint=adjoint)
        for trajectory in (quiet, fixed):
            assert trajectory.positions.grad_fn is None
            assert trajectory.system.velocities.grad_fn is None
            assert not trajectory.positions.requires_grad


def test_thermodynamics_carry_no_gradient(liquid: System, engine: str):
    trajectory = simulate(liquid, PairPotential(LennardJones(), 2.5), INTEGRATORS["chain-3"], 10)
    assert trajectory.positions.requires_grad
    for value in (trajectory.potential_energy, trajectory.pressure, trajectory.conserved):
        assert not value.requires_grad


@pytest.mark.parametrize(
    ("adjoint", "states"),
    [(CheckpointAdjoint(every=20), 5), (ReversibleAdjoint(25, keep=99), 4), (ReversibleAdjoint(keep=100), 100)],
)
def test_only_snapshots_are_kept(liquid: System, general: None, adjoint: Adjoint, states: int):
    trajectory = simulate(liquid, PairPotential(LennardJones(), 2.5), INTEGRATORS["chain-3"], 100, adjoint=adjoint)
    # The state after the last step may be among them.
    assert len(trajectory.positions.grad_fn.walk.snapshots) in {states, states + 1}


def test_checkpoints_are_the_square_root_of_the_steps_apart(liquid: System):
    start = State(liquid.positions, liquid.velocities, liquid.positions.new_zeros(1, 2, 3))
    steps = (0, 1, 128, 129, 144, 10_000)
    assert [CheckpointAdjoint().schedule(n, start).every for n in steps] == [1, 1, 1, 12, 12, 100]
    assert CheckpointAdjoint(every=3).schedule(100, start) == (3, False)


def test_a_large_system_does_not_keep_every_state():
    many = torch.zeros(1, 3, dtype=torch.float64).expand(50_000, 3)
    start = State(many, many, torch.zeros(1, 2, 0, dtype=torch.float64))
    assert CheckpointAdjoint().schedule(100, start) == (1, False)
    assert CheckpointAdjoint().schedule(121, start) == (11, False)
    assert ReversibleAdjoint().schedule(121, start) == (250, True)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CheckpointAdjoint(every=0), "every: 0 is not a number of steps; give at least 1, or None"),
        (lambda: ReversibleAdjoint(snapshot_every=0), "snapshot_every: 0 is not a number of steps; give at least 1"),
        (lambda: ReversibleAdjoint(keep=-1), "keep: -1 is not a number of steps; give at least 0"),
        (lambda: BacksolveAdjoint(snapshot_every=-1), "snapshot_every: -1 is not a number of steps"),
    ],
)
def test_bad_intervals_are_refused(build, message: str):
    with pytest.raises(ValueError, match=message):
        build()
