"""Thermostats sample the canonical ensemble of a Lennard-Jones liquid.

Run with `pytest -m slow tests/physics`; about six minutes on one core. The kinetic energies and, from runs at two
temperatures, the potential energies are checked with the physical-validation package (Merz and Shirts, PLoS ONE 13,
e0202764 (2018)), which finds the correlation times itself. Its results are distances in standard errors.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from sampling import FALSE_ALARM, seed, sigmas
from scipy import stats

from asediff.dynamics import Integrator, Langevin, NoseHooverChain
from asediff.lattices import fcc, mixture
from asediff.potentials import LennardJones, PairPotential
from asediff.simulate import simulate
from asediff.system import System
from asediff.trajectory import Trajectory

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TEMPERATURES = (1.0, 1.12)  # the energy distributions of 108 atoms overlap by about two thirds
STANDARD_ERRORS = sigmas(comparisons=18)

KT = torch.tensor(TEMPERATURES, dtype=torch.float64)
INTEGRATORS: dict[str, Integrator] = {
    "chain-1": NoseHooverChain(0.004, kT=KT, tdamp=0.3, tchain=1),
    "chain-3": NoseHooverChain(0.004, kT=KT, tdamp=0.3, tchain=3),
    # <v²> of BAOAB is low by (curvature/m) dt²/4: 0.03 % here, a fifth of a standard error.
    "langevin": Langevin(0.002, kT=KT, friction=1.0, seed=seed(8)),
}
STEPS, EVERY = 400_000, 100


@cache
def _run(name: str) -> Trajectory:
    """Both temperatures side by side, equilibrated for a tenth of the production."""
    atoms = System.from_atoms(fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.02))
    start = System.concatenate([atoms, atoms]).thermalized(kT=2 * KT, seed=seed(21))
    potential = PairPotential(LennardJones(), 2.5).requires_grad_(False)
    warm = simulate(start, potential, INTEGRATORS[name], STEPS // 10)
    return simulate(warm, potential, INTEGRATORS[name], STEPS, save_every=EVERY)


def _data(name: str, k: int):
    from physical_validation.data import EnsembleData, ObservableData, SimulationData, SystemData, UnitData

    trajectory = _run(name)
    kinetic = trajectory.kinetic_energy[:, k].numpy()
    potential = trajectory.potential_energy[:, k].numpy()
    return SimulationData(
        units=UnitData(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        dt=INTEGRATORS[name].timestep * EVERY,
        system=SystemData(
            natoms=108,
            nconstraints=0,
            ndof_reduction_tra=0 if name == "langevin" else 3,
            ndof_reduction_rot=0,
            mass=np.ones(108),
        ),
        ensemble=EnsembleData("NVT", natoms=108, volume=108 / 0.7, temperature=TEMPERATURES[k]),
        observables=ObservableData(
            kinetic_energy=kinetic, potential_energy=potential, total_energy=kinetic + potential
        ),
    )


@pytest.mark.parametrize("k", [0, 1], ids=[f"kT={kT}" for kT in TEMPERATURES])
@pytest.mark.parametrize("name", INTEGRATORS)
def test_kinetic_energies_are_gamma_distributed(name: str, k: int):
    from physical_validation import kinetic_energy

    mean, width = kinetic_energy.distribution(_data(name, k), strict=False, verbosity=0, bootstrap_seed=1)
    p_value = kinetic_energy.distribution(_data(name, k), strict=True, verbosity=0)
    print(f"{name} kT={TEMPERATURES[k]}: T(mean) {mean:.2f}, T(width) {width:.2f} standard errors, p = {p_value:.3f}")
    assert max(mean, width) < STANDARD_ERRORS
    assert p_value > FALSE_ALARM


@pytest.mark.parametrize("name", INTEGRATORS)
def test_potential_energies_at_two_temperatures_have_the_boltzmann_ratio(name: str):
    from physical_validation import ensemble

    (quantiles,) = ensemble.check(_data(name, 0), _data(name, 1), verbosity=0)
    print(f"{name}: slope of ln P2(U)/P1(U) off by {quantiles:.2f} standard errors")
    assert quantiles < STANDARD_ERRORS


@pytest.mark.parametrize("name", ["chain-1", "chain-3", "langevin"])
def test_all_thermostats_agree_on_the_mean_potential_energy(name: str):
    means, errors = [], []
    for energy in (_run(name).potential_energy[:, 0], _run("chain-3").potential_energy[:, 0]):
        blocks = energy.reshape(40, -1).mean(1)
        means.append(blocks.mean().item())
        errors.append(blocks.std().item() / np.sqrt(40))
    print(f"{name}: U/N = {means[0] / 108:.5f} +- {errors[0] / 108:.5f}")
    # The time steps' own errors are of order 1e-3 in U/N, as large as the statistical ones.
    assert abs(means[0] - means[1]) < sigmas(40) * np.hypot(*errors) + 108 * 2e-3


def test_species_of_unequal_mass_have_one_temperature():
    atoms = mixture(fcc("Ar", density=0.7, cells=3, rattle=0.02), {"Ar": 0.5, "Kr": 0.5})
    atoms.set_masses(np.where(atoms.numbers == 18, 1.0, 4.0))
    potential = PairPotential(LennardJones(), 2.5).requires_grad_(False)
    integrator = NoseHooverChain(0.004, kT=1.0, tdamp=0.3)
    warm = simulate(System.from_atoms(atoms).thermalized(kT=2.0, seed=seed(4)), potential, integrator, 20_000)
    run = simulate(warm, potential, integrator, 200_000, save_every=100)
    energy = run.system.masses * run.velocities.square().sum(-1) / 3
    for number in (18, 36):
        blocks = energy[:, run.system.numbers == number].mean(1).reshape(40, -1).mean(1)
        mean, error = blocks.mean().item(), blocks.std().item() / np.sqrt(40)
        print(f"{number}: kT = {mean:.4f} +- {error:.4f}")
        # <p²/m>/3 = kT (1 - m/M) since the centre of mass is at rest; M is the mass of all atoms.
        expected = 1 - {18: 1.0, 36: 4.0}[number] / 270.0
        assert abs(mean - expected) < sigmas(40, comparisons=2) * error + 1e-3


def test_two_atoms_have_the_boltzmann_distribution_of_distances():
    # 128 boxes of two atoms: P(r) = 4 pi r² exp(-u/kT) / Z with Z = V + integral of 4 pi r² (exp(-u/kT) - 1).
    edge, kT, n = 5.4, 0.8, 128
    one = torch.tensor([[0.0, 0.0, 0.0], [1.2, 0.0, 0.0]], dtype=torch.float64)
    system = System(
        positions=one.repeat(n, 1),
        velocities=torch.zeros(2 * n, 3, dtype=torch.float64),
        masses=torch.ones(2 * n, dtype=torch.float64),
        numbers=torch.full((2 * n,), 18),
        cell=(edge * torch.eye(3, dtype=torch.float64)).repeat(n, 1, 1),
        pbc=torch.ones(n, 3, dtype=torch.bool),
        system_idx=torch.arange(n).repeat_interleave(2),
    )
    potential = PairPotential(LennardJones(), 2.5).requires_grad_(False)
    integrator = Langevin(0.01, kT=kT, friction=2.0, seed=seed(5))
    run = simulate(simulate(system, potential, integrator, 2000), potential, integrator, 60_000, save_every=300)
    separation = run.positions[:, 1::2] - run.positions[:, ::2]
    separation = separation - edge * (separation / edge).round()
    r = separation.norm(dim=-1).reshape(-1).numpy()

    fine = np.linspace(1e-3, edge / 2, 270_001)
    weight = 4 * np.pi * fine**2 * np.exp(-potential.function(torch.tensor(fine)).numpy() / kT)
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (weight[1:] + weight[:-1]) * np.diff(fine))])
    total = edge**3 - 4 / 3 * np.pi * (edge / 2) ** 3 + cumulative[-1]
    edges = np.linspace(0.9, edge / 2, 31)
    expected = np.diff(np.interp(edges, fine, cumulative)) / total * len(r)
    observed, _ = np.histogram(r, edges)
    chi_squared = ((observed - expected) ** 2 / expected).mean()
    print(f"chi²/bins = {chi_squared:.2f} of {len(r)} distances in 30 bins, g at contact {expected.max():.0f}")
    # 1.0 for independent distances, 3 time units apart
    assert chi_squared < stats.chi2.isf(FALSE_ALARM, 30) / 30
