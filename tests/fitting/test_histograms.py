"""Stored pair histograms: averages under other potentials and their derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampling import seed, sigmas

from asediff.engines import TorchEngine
from asediff.fitting.statistics.averages import potential_curve
from asediff.fitting.statistics.histograms import FrameStatistics
from asediff.fitting.statistics.samples import sample
from asediff.lammps.engine import LammpsEngine
from asediff.lattices import fcc, mixture
from asediff.observables import RDF
from asediff.observables.pressure import Pressure
from asediff.potentials import LennardJones, PairPotential, Shifted, TabulatedRadial
from asediff.system import System
from asediff.targets.target import StatePoint, Target
from asediff.trajectory import Trajectory

from .closed_form import lennard_jones, liquid, uniform_frames

pytestmark = pytest.mark.sampled

ENGINE = TorchEngine(0.005, equilibration_steps=500, steps=4_000, save_every=20)


@pytest.fixture(scope="module")
def run():
    """A short run of 32 atoms, with its statistics."""
    point = liquid()
    potential = lennard_jones()
    trajectory = ENGINE.run(potential, point, seed=seed(3))
    return point, potential, trajectory, FrameStatistics.of(trajectory, potential, point)


def test_unchanged_potential_gives_plain_averages(run):
    point, potential, trajectory, statistics = run
    averages = statistics.averages(potential_curve(potential, 1.0))
    torch.testing.assert_close(averages.values[0], point.targets[0].observable(trajectory)[0])
    assert float(averages.efficiency) == pytest.approx(1.0)


def test_fine_histogram_sums_to_the_energy(run):
    _, potential, trajectory, statistics = run
    energies = statistics.energies(potential_curve(potential, 1.0)).detach()
    difference = energies - trajectory.potential_energy[:, 0]
    # Energies at bin centres: each pair is off by u' times its distance from the centre, of variance h²/12. Within a
    # bin there are more pairs where u is low, which leaves a bias of that variance over kT, and half of it from u''.
    h = float(statistics.r[1] - statistics.r[0])
    variance = float((statistics._flat @ (h * statistics.slope.reshape(-1)).square()).mean()) / 12.0
    # its estimate scatters by 7 %
    assert difference.std().item() < 1.5 * variance**0.5
    n = len(difference)
    assert abs(difference.mean().item()) < 1.5 * variance + sigmas(n) * difference.std().item() / n**0.5
    assert energies.std().item() > 20.0 * difference.std().item()


def test_pressure_is_that_of_the_trajectory(run):
    point, potential, trajectory, statistics = run
    averages = statistics.averages(potential_curve(potential, 1.0))
    # the kinetic part is taken at kT: it differs by the noise of the kinetic temperature
    excess = 2.0 * trajectory.kinetic_energy.mean().item() - 3.0 * 31
    expected = trajectory.pressure.mean().item() - excess / (3.0 * point.system.get_volume().item())
    assert averages.pressure.item() == pytest.approx(expected, rel=1e-9)


def test_weights_match_energies_of_frames(run):
    _, _, _, statistics = run
    other = lennard_jones(1.02, 1.001)
    u = potential_curve(other, 1.0)
    change = statistics.energies(u) - statistics._flat @ statistics.energy.reshape(-1)
    weights = torch.softmax(-change, 0)
    torch.testing.assert_close(statistics.averages(u).values[0], weights @ statistics.values[0])
    efficiency = torch.exp(-(weights * weights.log()).sum()) / len(weights)
    assert float(statistics.averages(u).efficiency) == pytest.approx(efficiency.item())
    # 1 - efficiency is half the variance of the energy differences: 0.007 with a scatter of 0.001 over 20 seeds
    assert 0.9 < efficiency.item() < 0.999


def test_gradient_in_parameters_equals_central_difference(run):
    _, _, _, statistics = run
    loss = torch.linspace(-1.0, 1.0, 40, dtype=torch.float64)

    def value(epsilon: float, sigma: float) -> torch.Tensor:
        u = potential_curve(lennard_jones(epsilon, sigma), 1.0)
        return statistics.averages(u).values[0] @ loss

    potential = lennard_jones(1.01, 1.0)
    result = statistics.averages(potential_curve(potential, 1.0)).values[0] @ loss
    gradients = torch.autograd.grad(result, list(potential.parameters()))
    h = 1e-6
    numerical = [
        (value(1.01 + h, 1.0) - value(1.01 - h, 1.0)) / (2 * h),
        (value(1.01, 1.0 + h) - value(1.01, 1.0 - h)) / (2 * h),
    ]
    for a, b in zip(gradients, numerical, strict=True):
        # an average of order one is known to 1e-15; over 2 h that is 1e-9, of gradients that may happen to be small
        assert a.item() == pytest.approx(b.item(), rel=1e-6, abs=2e-8)


def test_pressure_gradient_equals_central_difference():
    point = liquid()
    point = StatePoint(point.system, point.targets, kT=1.0, pressure=0.5)
    statistics = FrameStatistics.of(ENGINE.run(lennard_jones(), point, seed=seed(3)), lennard_jones(), point)

    def pressure(epsilon: float) -> torch.Tensor:
        return statistics.averages(potential_curve(lennard_jones(epsilon), 1.0)).pressure

    potential = lennard_jones(1.01)
    (gradient, _) = torch.autograd.grad(
        statistics.averages(potential_curve(potential, 1.0)).pressure, list(potential.parameters())
    )
    numerical = (pressure(1.01 + 1e-5) - pressure(1.01 - 1e-5)) / 2e-5
    assert gradient.item() == pytest.approx(numerical.item(), rel=1e-6, abs=1e-7)


def test_linear_response_is_the_tangent_of_exact_weights(run):
    _, potential, _, statistics = run

    def bump(amplitude: float):
        u = potential_curve(potential, 1.0)
        return lambda r, pair: u(r, pair) + amplitude * torch.exp(-(((r - 1.2) / 0.2) ** 2))

    for amplitude in (1e-3, 1e-4):
        exact = statistics.averages(bump(amplitude)).values[0]
        linear = statistics.averages(bump(amplitude), linear=True).values[0]
        size = (exact - statistics.averages(bump(0.0)).values[0]).abs().max()
        # 0.6 to 2.7 times the amplitude over 20 seeds; a wrong tangent would leave a share that does not fall with it
        assert ((exact - linear).abs().max() / size).item() < 20 * amplitude


def test_response_is_the_derivative_of_the_averages(run):
    point, potential, _, _ = run
    point = StatePoint(point.system, point.targets, kT=1.0, pressure=0.5)
    statistics = FrameStatistics.of(ENGINE.run(potential, point, seed=seed(4)), potential, point)

    def basis(r, pair):
        return torch.stack([torch.exp(-(((r - c) / 0.2) ** 2)) for c in (1.0, 1.3, 1.7)], dim=1)

    response = statistics.response(basis)
    amplitudes = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    u = potential_curve(potential, 1.0)
    averages = statistics.averages(lambda r, pair: u(r, pair) + basis(r, pair) @ amplitudes)
    for k in (5, 20, 30):
        (expected,) = torch.autograd.grad(averages.values[0][k], amplitudes, retain_graph=True)
        torch.testing.assert_close(response.values[0][k], expected, rtol=1e-9, atol=1e-12)
    # the slope of the basis is a central difference over a thousandth of a bin there
    (expected,) = torch.autograd.grad(averages.pressure, amplitudes)
    torch.testing.assert_close(response.pressure, expected, rtol=1e-5, atol=1e-8)


def test_matrix_of_an_ideal_gas_is_minus_beta_g():
    n_frames, n_atoms, edge = 4_000, 30, 6.0
    atoms = fcc("Ar", density=n_atoms / edge**3, cells=2, mass=1.0)[:n_atoms]
    atoms.set_cell([edge] * 3)
    system = System.from_atoms(atoms)
    positions = torch.from_numpy(uniform_frames(n_frames, n_atoms, edge, seed(0)))
    flat = PairPotential(TabulatedRadial(np.linspace(0.1, 2.0, 20), np.zeros(20)), 2.0, truncation=Shifted())
    zeros = torch.zeros(n_frames, 1, dtype=torch.float64)
    trajectory = Trajectory(
        system=system, positions=positions, velocities=torch.zeros_like(positions),
        steps=torch.arange(1, n_frames + 1), timestep=1.0, potential_energy=zeros, pressure=zeros,
    )  # fmt: skip
    observable = RDF(2.0, 10, width=0)
    point = StatePoint(system, Target(observable, torch.ones(10)), kT=2.0)
    statistics = FrameStatistics.of(trajectory, flat, point)

    def bins(r, pair):
        return torch.stack([((r > 0.2 * k) & (r < 0.2 * (k + 1))).double() for k in range(10)], dim=1)

    jacobian = statistics.response(bins).values[0]
    matrix = statistics.covariance(bins)
    counts = observable.ideal_counts(system)
    # n_a g-normalised is n_a / ideal counts, so that -kT ideal J is the covariance of the counts: symmetric
    torch.testing.assert_close(-2.0 * counts[:, None] * jacobian, matrix)
    torch.testing.assert_close(matrix, matrix.T)
    # Pairs of an ideal gas are found in bin k with probability p_k, one as independently of another as if they shared
    # no atom: <n_k> = N p_k and Cov(n_k, n_l) = N p_k (δ_kl - p_l). A covariance of n frames has the variance
    # (Var n_k Var n_l (1 + δ_kl) + δ_kl <n_k>)/n; the last term is the fourth cumulant of a Poisson variable.
    p, same = observable.shell_volumes / edge**3, torch.eye(10, dtype=torch.float64)
    mean = n_atoms * (n_atoms - 1) / 2 * p
    errors = ((torch.outer(mean, mean) * (1 + same) + torch.diag(mean)) / n_frames).sqrt() / mean[:, None]
    pulls = (2.0 * jacobian - (p - same)) / errors
    assert float(errors.diagonal()[2:].max()) < 0.03
    assert float(pulls[2:, 2:].abs().max()) < sigmas(comparisons=64)


def test_joined_runs_are_the_concatenated_frames(run):
    point, potential, trajectory, whole = run
    parts = [FrameStatistics.of(t, potential, point) for t in (trajectory[:80], trajectory[80:])]
    joined = parts[0].joined(parts[1])
    u = potential_curve(lennard_jones(1.05), 1.0)
    torch.testing.assert_close(joined.averages(u).values[0], whole.averages(u).values[0])


def test_runs_of_other_potentials_are_not_joined(run):
    point, potential, trajectory, whole = run
    other = FrameStatistics.of(trajectory, lennard_jones(0.9), point)
    with pytest.raises(ValueError, match="another potential"):
        whole.joined(other)
    del potential


def test_mixture_has_one_histogram_per_pair():
    atoms = mixture(fcc("Ar", density=0.3, cells=2, rattle=0.02), {"Ar": 0.5, "Kr": 0.5})
    pairs = [("Ar", "Ar"), ("Ar", "Kr"), ("Kr", "Kr")]
    potential = PairPotential({p: LennardJones() for p in pairs}, 2.0, truncation=Shifted())
    targets = [Target(RDF(2.0, 20, pair=p, width=0), torch.ones(20)) for p in pairs]
    point = StatePoint(System.from_atoms(atoms), targets, kT=1.0)
    engine = TorchEngine(0.005, equilibration_steps=100, steps=200, save_every=20)
    trajectory = engine.run(potential, point, seed=seed(1))
    statistics = FrameStatistics.of(trajectory, potential, point)
    assert statistics.names == ("Ar-Ar", "Ar-Kr", "Kr-Kr")
    for k, target in enumerate(targets):
        coarse = target.observable.counts(trajectory).sum(-1)[:, 0]
        assert torch.equal(statistics.counts[:, k].sum(-1).long(), coarse)


@pytest.mark.slow
def test_reweighted_response_is_that_of_new_simulations():
    """pytest -m slow tests/fitting/test_histograms.py: J against central differences of re-simulated g(r)."""
    point = liquid(density=0.4, bins=20)
    engine = TorchEngine(0.005, equilibration_steps=5_000, steps=400_000, save_every=20)
    r = np.arange(1, 81) * 0.025
    base = lennard_jones()
    with torch.no_grad():
        u = base.function(torch.from_numpy(r)).clamp(max=1e3).numpy()
    bump = np.exp(-(((r - 1.25) / 0.15) ** 2)) - 0.5 * np.exp(-(((r - 1.65) / 0.12) ** 2))

    def potential(amplitude: float) -> PairPotential:
        return PairPotential(TabulatedRadial(r, u + amplitude * bump), 2.0, truncation=Shifted())

    h = 0.15
    up, down, middle = (engine.measure(potential(a), point, seed=seed(7 + k)) for k, a in enumerate((h, -h, 0.0)))
    simulated = (up.values[0] - down.values[0]) / (2 * h)
    error = (up.errors[0] ** 2 + down.errors[0] ** 2).sqrt() / (2 * h)
    assert middle.trajectory is not None
    statistics = FrameStatistics.of(middle.trajectory, potential(0.0), point)
    parts = [statistics.frames(slice(k * 500, (k + 1) * 500)) for k in range(40)]

    def basis(x, pair):
        def shape(d):
            return torch.exp(-(((d - 1.25) / 0.15) ** 2)) - 0.5 * torch.exp(-(((d - 1.65) / 0.12) ** 2))

        return torch.where(x < 2.0, shape(x) - shape(torch.tensor(2.0)), 0.0)[:, None]

    estimates = torch.stack([part.response(basis).values[0][:, 0] for part in parts])
    predicted, spread = estimates.mean(0), estimates.std(0) / 40**0.5
    total = (error**2 + spread**2).sqrt()
    used = middle.values[0] > 0.05
    pulls = ((predicted - simulated) / total)[used]
    # Curvature of g in u adds about h² = 2 % of the response to what noise allows.
    assert float(pulls.abs().max()) < sigmas(40, comparisons=int(used.sum()))
    # over 4 seeds 0.035 with a scatter of 0.007, as noise alone would give
    assert float((predicted - simulated)[used].norm() / simulated[used].norm()) < 0.1


def test_frames_of_lammps_are_reweighted_like_those_of_torch():
    point = liquid()
    potential = lennard_jones()
    engine = LammpsEngine(0.005, equilibration_steps=500, steps=2_000, save_every=20, units="lj")
    one = sample(engine, potential, point, seed=seed(3))
    assert isinstance(one.statistics, FrameStatistics)
    averages = one.statistics.averages(potential_curve(potential, 1.0))
    torch.testing.assert_close(averages.values[0], one.measurement.values[0])
    # The fine histogram knows the virial: LAMMPS' own pressure, of 3 N - 3 degrees of freedom where `Pressure` has 3 N.
    trajectory = one.measurement.trajectory
    assert trajectory is not None
    pressure = Pressure(potential, kT=1.0)(trajectory).item() - 1.0 / point.system.get_volume().item()
    assert averages.pressure.item() == pytest.approx(pressure, abs=1e-6)
    # over 12 seeds 0.970 to 0.990
    other = one.statistics.averages(potential_curve(lennard_jones(1.05), 1.0))
    assert 0.8 < other.efficiency.item() < 0.9999
