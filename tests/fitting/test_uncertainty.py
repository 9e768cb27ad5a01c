"""The error band of a potential and the directions that g(r) does not determine."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from sampling import seed

from asediff.engines import DiluteEngine, TorchEngine
from asediff.fitting import sample
from asediff.fitting.statistics.uncertainty import uncertainty_band
from asediff.lattices import fcc
from asediff.observables import RDF
from asediff.potentials import LennardJones, PairPotential, Shifted
from asediff.system import System
from asediff.targets.target import StatePoint, Target

pytestmark = pytest.mark.sampled

mpl.use("Agg")
ENGINE = TorchEngine(0.005, equilibration_steps=1_000, steps=10_000, save_every=20)


def at(density: float, pressure: float | None = None) -> StatePoint:
    system = System.from_atoms(fcc("Ar", density=density, cells=2, mass=1.0, rattle=0.02))
    return StatePoint(system, Target(RDF(1.6, 64), torch.ones(64)), kT=1.0, pressure=pressure)


@pytest.fixture(scope="module")
def potential():
    return PairPotential(LennardJones(), 1.6, truncation=Shifted())


@pytest.fixture(scope="module")
def samples(potential):
    return {rho: sample(ENGINE, potential, at(rho), seed=seed(1)) for rho in (0.3, 0.7)}


def test_band_lies_between_zero_and_the_prior(potential, samples):
    band = uncertainty_band(potential, [samples[0.7]], prior=0.5)
    assert band.error.shape == band.u.shape == (1, 100)
    assert float(band.error.max()) <= 0.5 + 1e-9
    # over 8 seeds 0.020 with a scatter of 0.002, and 12 directions
    assert float(band.error.min()) < 0.1
    assert 1 <= band.n_determined < 100


def test_band_is_the_inverse_of_information_plus_prior(potential, samples):
    coarse = uncertainty_band(potential, [samples[0.7]], rows=20, prior=1.0, length=0.05)
    # (JᵀWJ + 1/K)⁻¹ by its other form: fewer data leave the prior; half the noise shrinks the band
    worse = uncertainty_band(potential, [samples[0.7]], rows=20, prior=1.0, length=0.05, error_floor=0.5)
    assert (worse.error >= coarse.error - 1e-9).all()


def test_another_state_point_narrows_the_band(potential, samples):
    one = uncertainty_band(potential, [samples[0.7]])
    both = uncertainty_band(potential, [samples[0.7], samples[0.3]])
    overlap = slice(10, None)
    first = np.interp(both.r[overlap], one.r, one.error[0])
    # Data can only narrow a band. This holds for every sample, up to the interpolation between two grids.
    assert (both.error[0][overlap] <= first * 1.02 + 1e-6).all()
    assert both.error.mean() < one.error.mean()


def test_a_pressure_narrows_the_band(potential, samples):
    plain = samples[0.7]
    with_pressure = sample(ENGINE, potential, at(0.7, pressure=1.0), seed=seed(1))
    a = uncertainty_band(potential, [plain])
    b = uncertainty_band(potential, [with_pressure])
    # the same frames and one more number: true of every sample
    assert b.error.sum() < a.error.sum()


def test_insensitive_modes_hardly_change_g(potential, samples):
    band = uncertainty_band(potential, [samples[0.7]], n_modes=2)
    assert band.modes.shape == (2, 1, 100)
    # the data leave 0.005 of the prior's variance over 8 seeds, to a factor of 1.2, and a ratio of 4, to one of 1.4
    assert (band.known < 0.999).all()
    assert np.abs(band.modes[0]).max() >= np.abs(band.modes[1]).max() * 0.2


def test_it_draws_itself(potential, samples):
    ax = uncertainty_band(potential, [samples[0.7]]).plot()
    assert ax.get_xlabel() == "r"
    assert len(ax.lines) == 5


def test_the_dilute_limit_has_no_frames(potential):
    point = at(0.3)
    with pytest.raises(ValueError, match="frames"):
        uncertainty_band(potential, [sample(DiluteEngine(), potential, point, seed=0)])
