"""What a fit learns from its steps: Broyden's update with the trapezoidal rule, weighed against noise."""

from __future__ import annotations

import pytest
import torch
from sampling import seed as shifted

from asediff.engines import DiluteEngine, TorchEngine
from asediff.fitting import IHNC, GaussNewton, Tikhonov, fit
from asediff.fitting.tables.secant import Experience, Visit
from asediff.lattices import fcc
from asediff.observables import RDF
from asediff.system import System
from asediff.targets.target import StatePoint, Target

from .closed_form import dilute_point, lennard_jones, shallower

ROWS, VALUES = 6, 8
COLUMNS = torch.arange(1, 5)


def matrix(seed, scale=1.0):
    return scale * torch.randn(VALUES, len(COLUMNS), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def visit(x, g, jacobian, error=0.0):
    """A visit of one state point with one target; only the columns of x count."""
    tables = torch.zeros(ROWS, dtype=torch.float64)
    tables[COLUMNS] = x
    return Visit(tables, COLUMNS, [[g]], [[torch.full((VALUES,), error, dtype=torch.float64)]], [[jacobian]])


def learnt(steps, truth, believed, error=0.0):
    """Experience of a walk through these steps where g = truth x and the response is believed to be another."""
    experience = Experience()
    x = torch.zeros(len(COLUMNS), dtype=torch.float64)
    for step in [torch.zeros_like(x), *steps]:
        x = x + step
        experience.learn(visit(x, truth @ x, believed, error))
    return experience


def corrected(experience, believed):
    return experience.corrected([believed], COLUMNS, 0, 0.02)[0]


def test_steps_that_the_response_did_not_foresee_are_foreseen_then():
    truth, believed = matrix(0), matrix(0) + matrix(1, 0.3)
    steps = [torch.tensor(s, dtype=torch.float64) for s in ([1.0, 0, 0, 0], [0.5, 0.8, 0, 0.1])]
    after_one, after_two = (corrected(learnt(steps[:n], truth, believed), believed) for n in (1, 2))
    torch.testing.assert_close(after_one @ steps[0], truth @ steps[0])
    torch.testing.assert_close(after_two @ steps[1], truth @ steps[1])
    error, before = ((j - truth).norm() for j in (after_two, believed))
    assert error < 0.8 * before


def test_a_correct_response_that_changes_along_the_step_is_left_alone():
    # g = A x + (b.x)² c: the mean of the responses at both ends gives the change exactly
    a, c = matrix(0), matrix(2)[:, 0]
    b = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64)
    experience = Experience()
    for x in (torch.zeros(4, dtype=torch.float64), torch.tensor([1.0, 0.5, -0.5, 2.0], dtype=torch.float64)):
        here = a + 2.0 * (b @ x) * torch.outer(c, b)
        experience.learn(visit(x, a @ x + (b @ x) ** 2 * c, here))
    torch.testing.assert_close(corrected(experience, here), here, rtol=0, atol=1e-12)


def test_noise_teaches_nothing():
    truth, believed = matrix(0), matrix(0) + matrix(1, 0.1)
    step = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert torch.equal(corrected(learnt([step], truth, believed, error=10.0), believed), believed)
    # in between 1 - noise/unforeseen of the way, each weighed by 1/(variance + 0.02²)
    for error in (0.0, 0.02, 0.05):
        missed = (truth - believed) @ step
        unforeseen, noise = float(missed @ missed), VALUES * 2.0 * error**2
        assert noise < 0.9 * unforeseen
        found = corrected(learnt([step], truth, believed, error), believed) @ step
        torch.testing.assert_close(found, believed @ step + (1.0 - noise / unforeseen) * missed)


def test_steps_that_the_response_does_not_describe_at_all_teach_nothing():
    truth, believed = matrix(0), -0.1 * matrix(0)
    step = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert torch.equal(corrected(learnt([step], truth, believed), believed), believed)


def test_experience_is_restored():
    truth, believed = matrix(0), matrix(1)
    experience = learnt([torch.ones(4, dtype=torch.float64)], truth, believed)
    again = Experience(experience.state())
    x = torch.full((4,), 0.5, dtype=torch.float64)
    for one in (experience, again):
        one.learn(visit(x, truth @ x, believed))
    assert torch.equal(corrected(experience, believed), corrected(again, believed))
    assert len(again.lessons) == 2


class Softer(IHNC):
    """IHNC that believes the response to be 0.6 of what it is."""

    def jacobians(self, problem, s):
        return [0.6 * j for j in super().jacobians(problem, s)]


@pytest.mark.parametrize("secant", [False, True])
def test_a_fit_with_a_wrong_response_is_faster_with_it(secant):
    point = dilute_point(lennard_jones(), density=1e-6)
    method = Softer(DiluteEngine(), 6, regularization=Tikhonov(1e-9), trust_radius=1.0, cutoff=2.0, secant=secant)
    result = fit(shallower(lennard_jones()), point, method, validation=DiluteEngine(), progress=False)
    history = [row["mean_dg"] for row in result.history]
    # alone, every step overshoots by 1/0.6 and leaves 2/3 of the difference
    assert (history[-1] / history[1] < 0.05) == secant


@pytest.mark.sampled
def test_a_fit_goes_on_bit_for_bit(tmp_path):
    system = System.from_atoms(fcc("Ar", density=0.5, cells=2, mass=1.0, rattle=0.02))
    rdf = RDF(1.58, 40)
    wanted = torch.where(rdf.centers > 1.0, 1.0 + torch.exp(-6.0 * (rdf.centers - 1.0)), 0.0)
    point = StatePoint(system, Target(rdf, wanted), kT=1.0)
    engine = TorchEngine(0.005, equilibration_steps=50, steps=400, save_every=10)

    def learned(count, folder=None, *, resume=False):
        method = GaussNewton(engine, count, growth=1.0)
        options = {"seed": shifted(0), "folder": folder, "resume": resume}
        return fit(None, point, method, validation=None, progress=False, **options).potential

    learned(2, tmp_path)
    for a, b in zip(learned(4).parameters(), learned(4, tmp_path, resume=True).parameters(), strict=True):
        assert torch.equal(a, b)
