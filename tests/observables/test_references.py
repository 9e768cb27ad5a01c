"""What observables say about references: what a curve becomes, what cannot be, how far it is, what it is called."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from asediff import lattices
from asediff.observables import ADF, RDF, REDUCED, VACF, Observable, Pressure, StructureFactor, Units
from asediff.observables.deviation import decimal
from asediff.plotting import Run, png
from asediff.potentials import LennardJones, PairPotential
from asediff.system import System
from asediff.targets.target import Target

EVERY = [RDF(1.9, 20), ADF(1.6, 12), StructureFactor(9.0, 10, q_min=4.0), VACF(5, spacing=0.1), Pressure()]
NAMES = ["rdf", "adf", "structure_factor", "vacf", "pressure"]
CURVES = EVERY[:4]
THETA = np.linspace(0.0, 180.0, 181)
SINE = 0.5 * np.sin(np.deg2rad(THETA)) * math.pi / 180.0


class Distance(Observable):
    """Mean distance of neighbouring atoms in the list, and its square: no more than has to be defined."""

    @property
    def centers(self):
        return torch.tensor([1.0, 2.0], dtype=torch.float64)

    def per_frame(self, trajectory):
        x = trajectory.positions if trajectory.positions.ndim == 3 else trajectory.positions[None]
        mean = torch.linalg.vector_norm(x[:, 1:] - x[:, :-1], dim=-1).mean(-1)
        return torch.stack([mean, mean**2], dim=-1)[:, None]


@pytest.fixture(scope="module")
def system():
    return System.from_atoms(lattices.fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.05, seed=3))


def flat(observable, value=0.5):
    return torch.full((len(observable.centers),), value, dtype=torch.float64)


def test_each_has_a_kind_and_names_targets_after_it():
    assert [o.kind for o in EVERY] == NAMES
    assert [Target(o, flat(o)).name for o in EVERY] == NAMES
    assert Target(RDF(3.0, 5, pair=("O", "H")), torch.ones(5)).name == "rdf_O-H"
    assert Distance.kind == "distance"
    assert type("Smoothed", (RDF,), {}).kind == "rdf"


@pytest.mark.parametrize("observable", EVERY, ids=NAMES)
def test_its_own_centres_and_values_make_a_target(observable):
    x = observable.centers.numpy()
    target = Target.from_curve(observable, x, flat(observable), name="flat")
    # below its first point a g(r) is zero, and a density of angles falls to zero at 0 and 180 degrees
    inner = {"rdf": slice(8, None), "adf": slice(4, -4)}.get(observable.kind, slice(None))
    assert target.reference[inner].numpy() == pytest.approx(0.5, abs=1e-5)


def test_a_pressure_is_a_single_value():
    assert Target.from_curve(Pressure(), 0.0, 0.7).reference.tolist() == [0.7]
    with pytest.raises(ValueError, match=r"index: the curve covers 1 \.\.\. 1, and Pressure needs it from 0 to 0"):
        Target.from_curve(Pressure(), 1.0, 0.7)


def test_by_default_a_curve_is_interpolated_at_the_centres():
    vacf = VACF(5, spacing=0.1)
    t = np.linspace(0.0, 0.5, 200)
    assert torch.allclose(vacf.project(t, np.exp(-t)), torch.exp(-vacf.centers), rtol=0, atol=1e-6)
    assert torch.allclose(Distance().project([0.0, 3.0], [0.0, 6.0]), torch.tensor([2.0, 4.0]).double())


def test_a_structure_factor_is_the_mean_over_the_shell():
    factor = StructureFactor(6.0, 3, q_min=2.0)
    q = np.linspace(1.0, 7.0, 50)
    edges = np.linspace(2.0, 6.0, 4)
    expected = 0.75 * np.diff(edges**4) / np.diff(edges**3)  # of S = q, weighted by q²
    assert factor.project(q, q).numpy() == pytest.approx(expected, rel=1e-4)


def test_a_density_of_angles_is_smeared_by_the_kernel():
    adf = ADF(2.0, 36, width=10.0)
    expected = np.interp(adf.centers.numpy(), THETA, SINE) * math.exp(-0.5 * math.radians(10.0) ** 2)
    inner = slice(14, -14)  # seven widths from the ends
    assert adf.project(THETA, SINE)[inner].numpy() == pytest.approx(expected[inner], rel=1e-3)
    narrow = ADF(2.0, 36, width=1.0)
    assert float(narrow.project(THETA, SINE).sum() * 5.0) == pytest.approx(1.0, abs=2e-3)
    # a histogram's own centres begin half a bin from the ends
    half = narrow.project(THETA[5:-5:10], SINE[5:-5:10])
    assert half.numpy() == pytest.approx(narrow.project(THETA, SINE).numpy(), abs=1e-4)


@pytest.mark.parametrize("observable", [*CURVES, Distance()], ids=[*NAMES[:4], "own"])
def test_bad_curves_are_refused(observable):
    x = np.linspace(0.0, 200.0, 400)
    y = np.full(400, 0.1)
    name = observable.abscissa
    for bad_x, bad_y, message in (
        (x, np.where(x > 5, np.nan, y), "a value is not finite; remove it from the curve"),
        (np.append(np.inf, x[1:]), y, "a value is not finite"),
        (x[::-1], y, f"^{name}: the points do not ascend"),
        (np.sort(np.append(x[1:], x[5])), y, f"^{name}: the points do not ascend"),
        (x, y[1:], "are not two columns of at least"),
        (x[:0], y[:0], "are not two columns of at least"),
    ):
        with pytest.raises(ValueError, match=message):
            Target.from_curve(observable, bad_x, bad_y)
    high = float(observable.centers[-1])
    with pytest.raises(ValueError, match=f"^{name}: the curve"):
        Target.from_curve(observable, x[:5] / 4.0 * 0.5 * high, y[:5])
    with pytest.raises(ValueError, match=f"^{name}: the curve"):
        Target.from_curve(observable, high + 50.0 + x, y)


@pytest.mark.parametrize(
    ("observable", "value", "message"),
    [
        (RDF(1.9, 20), -1.0, "reference: g=-1 at r=0.0475 is negative; a radial distribution function is not"),
        (RDF(1.9, 20), 0.0, "reference: all values are zero"),
        (ADF(1.6, 12), -1.0, "reference: p=-1 at theta=7.5 is negative; a density of angles is not"),
        (ADF(1.6, 12), 0.0, "reference: all values are zero"),
        (StructureFactor(9.0, 5, q_min=4.0), -1.0, "reference: S=-1 at q=4.5 is negative; a structure factor is not"),
        (VACF(5, spacing=0.1), 3.0, r"vacf=3 at time=0 exceeds 1, .* give VACF\(normalized=False\)"),
        (VACF(5, spacing=0.1, normalized=False), -1.0, "vacf=-1 at time=0 is not positive"),
        (Pressure(), math.nan, "reference: a value is not finite"),
    ],
)
def test_values_that_cannot_be_are_refused(observable, value, message):
    with pytest.raises(ValueError, match=message):
        Target(observable, flat(observable, value))


def test_values_that_can_be_are_taken():
    Target(VACF(3, spacing=0.1), [1.0, 0.2, -0.4])
    Target(VACF(3, spacing=0.1, normalized=False), [2.9, 0.2, -0.4])
    Target(Pressure(), [-0.3])
    Target(Distance(), [-0.3, 0.0])


@pytest.mark.parametrize("observable", EVERY, ids=NAMES)
def test_every_deviation_has_the_numbers_that_exist(system, observable):
    reference = flat(observable)
    found = observable.deviation(reference + 0.1, flat(observable, 0.02), reference, system)
    assert found.mean == pytest.approx(0.1)
    assert found.mean_error == pytest.approx(0.02)
    assert found.largest == pytest.approx(0.1)
    of_pairs = observable.kind == "rdf"
    assert [found.numbers()[name] is not None for name in ("structural", "peak", "outside_core")] == [of_pairs] * 3


def test_the_deviation_outside_the_core_begins_where_the_target_does(system):
    rdf = RDF(1.9, 20)
    reference = torch.where(rdf.centers < 0.95, 0.0, 1.0).double()
    found = rdf.deviation(reference + 0.1 * (reference > 0), 0.01 * reference, reference, system)
    assert found.outside_core == pytest.approx(0.1)
    assert found.mean == pytest.approx(0.05)


def test_values_in_a_few_words():
    rdf, reduced = RDF(2.0, 2), torch.tensor([1.5, 2.25]).double()
    assert rdf.told(reduced, reduced) == "2.25 at 1.5 Å"
    assert rdf.told(reduced) == "2.25"
    assert StructureFactor(2.0, 2).told(reduced, reduced, REDUCED) == "2.25 at 1.5 1/σ"
    assert VACF(2, spacing=0.1).told(reduced, reduced) == ""
    assert Pressure().told(torch.tensor([0.25]), torch.tensor([0.013]), REDUCED) == "0.25 ± 0.013 ε/σ³"
    assert Pressure().told(torch.tensor([0.25]), torch.tensor([math.nan]), REDUCED) == "0.25 ε/σ³"


def test_small_numbers_keep_their_digits():
    assert [decimal(x) for x in (0.0, 0.25, 1.5e-5)] == ["0.0000", "0.2500", "1.5e-05"]


def test_labels_have_units():
    assert RDF(1.0, 2).labels() == ("r (Å)", "g(r)")
    assert StructureFactor(1.0, 2).labels(REDUCED) == ("q (1/σ)", "S(q)")
    assert ADF(1.0, 2).labels() == ("theta (°)", "p(theta) (1/°)")
    assert VACF(2, spacing=0.1).labels(REDUCED) == ("time (τ)", "vacf(time)")
    assert VACF(2, spacing=0.1, normalized=False).labels(Units("nm", "ps", "kJ"))[1] == "vacf(time) (nm²/ps²)"
    assert Pressure().labels() == ("", "P (eV/Å³)")
    assert Distance().labels() == ("x", "value(x)")


@pytest.mark.parametrize("observable", [*EVERY, Distance()], ids=[*NAMES, "own"])
def test_each_draws_the_reference_the_runs_and_their_differences(observable):
    reference = flat(observable)
    run = Run(reference.numpy() + 0.1, np.full(len(reference), 0.05))
    ax = observable.plot(reference, {"run": run}, units=REDUCED)
    axes = ax.get_figure().axes
    assert len(axes) == (1 if observable.kind == "pressure" else 2)
    assert ax.get_ylabel() == observable.labels(REDUCED)[1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["target", "run"]
    assert png(ax).startswith(b"\x89PNG")


def test_a_pressure_follows_the_potential_that_it_is_bound_to(system):
    weak, strong = (PairPotential(LennardJones(epsilon, 1.0), 1.9) for epsilon in (0.5, 1.0))
    free = Pressure(kT=1.0)
    assert torch.equal(free.bound(strong)(system), Pressure(strong, kT=1.0)(system))
    assert free.bound(weak).bound(strong).potential is weak
    assert RDF(1.9, 5).bound(weak) == RDF(1.9, 5)
    with pytest.raises(ValueError, match="potential: missing; give the Pressure of a single System"):
        free(system)


def test_only_a_g_of_r_is_the_distribution_of_a_pair():
    assert [o.pair_distribution() is not None for o in EVERY] == [True, False, False, False, False]
    assert RDF(2.0, 5).pair_distribution().pair_name == "all"
    assert RDF(2.0, 5, pair=("Kr", "Ar")).pair_distribution().pair_name == "Ar-Kr"


def test_a_g_of_r_in_disguise_can_be_one():
    @dataclass(frozen=True)
    class Named(Distance):
        rdf: RDF

        def pair_distribution(self):
            return self.rdf

    assert Named(RDF(2.0, 5)).pair_distribution() == RDF(2.0, 5)
