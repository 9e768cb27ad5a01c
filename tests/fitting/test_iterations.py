"""How long the runs of a fit are, and when it may stop."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
from sampling import seed as shifted

from asediff.engines import DiluteEngine, TorchEngine
from asediff.fitting import IHNC, IMC, GaussNewton, Reweighting, fit
from asediff.fitting.iterations import run_lengths, worth_of_signal
from asediff.lammps.engine import LammpsEngine
from asediff.lattices import fcc
from asediff.observables import RDF
from asediff.system import System
from asediff.targets.target import StatePoint, Target

from .closed_form import dilute_point, lennard_jones, shallower


def test_runs_grow_and_cost_the_same():
    lengths = run_lengths(4, 2.0)
    assert sum(lengths) == pytest.approx(4.0)
    assert [b / a for a, b in pairwise(lengths)] == pytest.approx([2.0] * 3)
    assert run_lengths(3, 1.0) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("growth", [0.5, float("nan")])
def test_runs_do_not_shrink(growth):
    with pytest.raises(ValueError, match="growth"):
        IMC(DiluteEngine(), growth=growth)


@pytest.mark.parametrize("engine", [TorchEngine(0.005, 100, 2_000, 20), LammpsEngine(0.005, 2_000, 20)])
def test_scaled_engines_record_whole_frames(engine):
    assert engine.scaled(0.333).steps == 660
    assert engine.scaled(1e-9).steps == 200  # ten frames are left for covariances
    assert dataclasses.replace(engine, steps=60).scaled(0.1).steps == 60
    assert dataclasses.replace(engine.scaled(2.0), steps=engine.steps) == engine
    assert DiluteEngine().scaled(0.1) == DiluteEngine()


@pytest.mark.sampled
def test_a_fit_makes_runs_of_these_lengths():
    system = System.from_atoms(fcc("Ar", density=0.5, cells=2, mass=1.0, rattle=0.02))
    rdf = RDF(1.58, 40)
    wanted = torch.where(rdf.centers > 1.0, 1.0 + torch.exp(-6.0 * (rdf.centers - 1.0)), 0.0)
    point = StatePoint(system, Target(rdf, wanted), kT=1.0)
    engine = TorchEngine(0.005, equilibration_steps=50, steps=600, save_every=10)
    result = fit(None, point, IHNC(engine, 3, growth=2.0), validation=None, seed=shifted(0), progress=False)
    steps = [row["md_steps"] for row in result.history]
    # 600 x 3/7, 6/7 and 12/7 in whole frames of 10 steps
    assert [b - a - 50 for a, b in pairwise([0, *steps])] == [260, 510, 1030]


class Uncertain(DiluteEngine):
    """Error bars so large that every target is met."""

    def measure(self, potential, state_point, *, seed, start=None):
        exact = super().measure(potential, state_point, seed=seed, start=start)
        return dataclasses.replace(exact, errors=tuple(torch.ones_like(v) for v in exact.values))


def test_short_runs_do_not_end_a_fit():
    point = dilute_point(lennard_jones())
    method = IMC(Uncertain(), 3, growth=2.0, stop_within_noise=True)
    result = fit(shallower(lennard_jones()), point, method, validation=None, progress=False)
    assert "after 2 updates" in result.stopped


@pytest.mark.parametrize(
    "method",
    [
        GaussNewton(Uncertain(), 1, trust_radius=100.0),
        IMC(Uncertain(), 1, trust_radius=100.0),
        Reweighting(Uncertain(), 1, inner_steps=20, learning_rate=0.01, pretraining=None),
    ],
)
def test_a_change_within_the_noise_is_made_to_a_fifth(method):
    start = shallower(lennard_jones())
    tables = []
    for damp in (False, True):
        damped = dataclasses.replace(method, damp_noise=damp)
        result = fit(start, dilute_point(lennard_jones()), damped, validation=None, progress=False)
        tables.append(result.potential.function(torch.linspace(1.0, 1.9, 10, dtype=torch.float64)).detach())
    before = start.function(torch.linspace(1.0, 1.9, 10, dtype=torch.float64)).detach()
    assert float((tables[0] - before).abs().max()) > 0.05
    torch.testing.assert_close(tables[1] - before, 0.2 * (tables[0] - before), rtol=1e-6, atol=1e-9)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    point = dilute_point(lennard_jones())

    def learn(start, seed=0):
        return fit(
            start,
            point,
            IMC(DiluteEngine(), 1),
            validation=None,
            folder=tmp_path,
            resume=True,
            seed=seed,
            progress=False,
        )

    start = shallower(lennard_jones())
    learn(start)
    with pytest.raises(ValueError, match="seed: 1 differs from 0"):
        learn(start, seed=1)
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    torch.save(state | {"format": 1}, path)
    with pytest.raises(ValueError, match="another version of asediff; start anew"):
        learn(start)


def test_only_noise_shortens_a_change():
    assert worth_of_signal(4.0, 1.0) == 0.75
    assert worth_of_signal(1.0, 0.9) == worth_of_signal(1.0, 2.0) == worth_of_signal(0.0, 0.0) * 0.2 == 0.2
