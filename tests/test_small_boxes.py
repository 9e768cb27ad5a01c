"""Cells shorter than twice the cutoff: what uses all images agrees with a repeated cell, the rest says so."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from asediff import (
    RDF,
    AsediffCalculator,
    DiffSim,
    LennardJones,
    NoseHooverChain,
    PairPotential,
    Pressure,
    StatePoint,
    Target,
    VelocityVerlet,
    fit,
)
from asediff.dynamics.adjoints import CheckpointAdjoint
from asediff.fitting.api import Method
from asediff.simulate import simulate
from asediff.system import System

POTENTIAL = PairPotential(LennardJones(), 2.5).requires_grad_(False)


class Untabulated(PairPotential):
    """The same energy without the ability to run compiled."""

    def energy(self, system, neighbors, kT=None):
        return super().energy(system, neighbors, kT)


def primitive(repeat: int = 1) -> Atoms:
    """Two atoms in a skewed cell with heights below the cutoff, the second one off its place; or copies of them."""
    atoms = bulk("Ar", "fcc", a=1.6) * (2, 1, 1)
    atoms.positions[1] += [0.03, -0.02, 0.05]
    atoms.set_masses(np.ones(2))
    atoms.set_velocities([[0.1, 0.0, -0.2], [-0.1, 0.0, 0.2]])
    return atoms * repeat


def test_the_calculator_agrees_with_a_repeated_cell():
    for potential in (POTENTIAL, Untabulated(LennardJones(), 2.5)):
        small, large = primitive(), primitive(5)
        for atoms in (small, large):
            atoms.calc = AsediffCalculator(potential)
        per_atom = large.get_potential_energy() / len(large)
        assert small.get_potential_energy() / 2 == pytest.approx(per_atom, rel=1e-12)
        np.testing.assert_allclose(np.tile(small.get_forces(), (125, 1)), large.get_forces(), atol=1e-11)
        np.testing.assert_allclose(small.get_stress(), large.get_stress(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("potential", [POTENTIAL, Untabulated(LennardJones(), 2.5).requires_grad_(False)])
@pytest.mark.parametrize("integrator", [VelocityVerlet(0.002), NoseHooverChain(0.002, kT=0.1, tdamp=0.1)])
def test_dynamics_agrees_with_a_repeated_cell(potential, integrator):
    small, large = (System.from_atoms(primitive(repeat)) for repeat in (1, 4))
    if isinstance(integrator, NoseHooverChain):
        large = small  # the degrees of freedom of the thermostat are not those of a repeated cell
    runs = [simulate(start, potential, integrator, 20, save_every=10) for start in (small, large)]
    copies = large.n_atoms // 2
    energies = [run.potential_energy / run.n_atoms for run in runs]
    torch.testing.assert_close(*energies, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(runs[0].pressure, runs[1].pressure, rtol=1e-11, atol=0.0)
    torch.testing.assert_close(runs[0].velocities.repeat(1, copies, 1), runs[1].velocities, rtol=0.0, atol=1e-11)
    with torch.no_grad():
        measured = Pressure(potential).per_frame(runs[0])[..., 0]
    torch.testing.assert_close(measured, runs[0].pressure, rtol=1e-12, atol=0.0)
    assert float((runs[0].conserved - runs[0].conserved[0]).abs().max()) < 1e-2


def test_gradients_in_a_small_box_equal_central_differences():
    start, radial = System.from_atoms(primitive()), LennardJones()

    def loss() -> torch.Tensor:
        run = simulate(start, PairPotential(radial, 2.5), VelocityVerlet(0.002), 8, adjoint=CheckpointAdjoint(every=3))
        return (run.positions[-1] - start.positions)[0].sum()

    (gradient,) = torch.autograd.grad(loss(), radial.sigma)
    ends = []
    for shift in (1e-4, -2e-4):
        with torch.no_grad():
            radial.sigma += shift
            ends.append(float(loss()))
    assert float(gradient) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-6)


def test_a_small_system_of_a_batch_does_not_change_the_others():
    roomy = System.from_atoms(primitive(5))
    both = simulate(System.concatenate([roomy, System.from_atoms(primitive())]), POTENTIAL, VelocityVerlet(0.002), 10)
    alone = simulate(roomy, POTENTIAL, VelocityVerlet(0.002), 10)
    torch.testing.assert_close(both.positions[:, : roomy.n_atoms], alone.positions, rtol=0.0, atol=1e-12)


def test_what_needs_one_image_says_so():
    with pytest.raises(ValueError, match=r"r_max=2\.5: more than half the height .* of system 0") as caught:
        RDF(2.5, 50)(System.from_atoms(primitive()))
    assert "\n" not in str(caught.value)


class CountsPairs(Method):
    def run(self, job):
        return "at once"


def test_a_fit_through_dynamics_takes_a_small_box_and_methods_that_count_pairs_do_not():
    start = System.from_atoms(primitive(2))
    rdf = RDF(0.9, 20)
    point = StatePoint(start, Target(rdf, rdf(start)[0]), kT=0.1)
    method = DiffSim(timestep=0.002, epochs=2, steps=20, equilibration_steps=10, save_every=10, pretraining=None)
    result = fit(PairPotential(LennardJones(), 2.5), point, method, validation=None, progress=False)
    assert len(result.history) == 2
    with pytest.raises(ValueError, match=r"cell: system 0 is .* high .*, less than twice the cutoff 2\.5") as caught:
        fit(PairPotential(LennardJones(), 2.5), point, CountsPairs(), validation=None, progress=False)
    assert "\n" not in str(caught.value)
