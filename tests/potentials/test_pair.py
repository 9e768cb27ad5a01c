"""Pair potentials: their tables against the functions, mixtures, temperatures, refusals."""

import math

import numpy as np
import pytest
import torch

from asediff.lattices import fcc, mixture
from asediff.potentials import (
    ForceShifted,
    LennardJones,
    NeuralRadial,
    PairPotential,
    Repulsion,
    Shifted,
    Switched,
    TemperatureDependent,
    Truncated,
    Truncation,
)
from asediff.potentials.splines import PairSpline
from asediff.system import System

TRUNCATIONS = [Truncated(), Shifted(), ForceShifted(), Switched()]


@pytest.fixture
def argon() -> System:
    return System.from_atoms(fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.05))


@pytest.fixture
def blend() -> System:
    atoms = mixture(fcc("Ar", density=0.7, cells=3, rattle=0.05), {"Ar": 0.4, "Kr": 0.4, "Xe": 0.2})
    return System.from_atoms([atoms, atoms, atoms])


def _three_species() -> PairPotential:
    names = ("Ar", "Kr", "Xe")
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i:]]
    return PairPotential({pair: LennardJones(1.0 + 0.1 * k) for k, pair in enumerate(pairs)}, 2.3)


def _u(tables: PairSpline, r: torch.Tensor, table: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """u and du/dr of one table."""
    u, slope = tables.evaluate(r * r, torch.full(r.shape, table))
    return u.detach(), (2 * r * slope).detach()


@pytest.mark.parametrize("truncation", TRUNCATIONS, ids=lambda t: type(t).__name__)
def test_the_table_is_the_truncated_function(argon: System, truncation: Truncation):
    potential = PairPotential(LennardJones(), 2.5, truncation=truncation, n_knots=2000)
    r = torch.linspace(0.85, 2.4999, 1111, dtype=torch.float64, requires_grad=True)
    exact = potential.function(r)
    (slope,) = torch.autograd.grad(exact.sum(), r)
    u, du = _u(potential.tabulate(argon), r.detach())
    # Fourth order in the spacing for u and third for u': 1e-9 and 1e-6 of the largest values, 24 and 600, would do.
    torch.testing.assert_close(u, exact.detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(du, slope, rtol=0, atol=5e-4)


@pytest.mark.parametrize(
    ("truncation", "energy", "force"),
    [
        (Truncated(), -0.016316891136, -0.038999477),
        (Shifted(), 0.0, -0.038999477),
        (ForceShifted(), 0.0, 0.0),
        (Switched(), 0.0, 0.0),
    ],
    ids=lambda t: type(t).__name__ if isinstance(t, Truncation) else "",
)
def test_the_end_of_the_table_is_the_documented_one(argon: System, truncation: Truncation, energy: float, force: float):
    # The well-known Lennard-Jones values at 2.5 sigma: u = -0.0163, F = -0.0390.
    tables = PairPotential(LennardJones(), 2.5, truncation=truncation).tabulate(argon)
    u, du = _u(tables, torch.tensor([2.5 - 1e-12, 2.5, 2.6], dtype=torch.float64))
    assert u.tolist() == pytest.approx([energy, 0.0, 0.0], abs=1e-9)
    assert (-du).tolist() == pytest.approx([force, 0.0, 0.0], abs=1e-8)


@pytest.mark.parametrize("truncation", TRUNCATIONS, ids=lambda t: type(t).__name__)
def test_the_function_is_zero_from_the_cutoff_on(truncation: Truncation):
    potential = PairPotential(LennardJones(), 2.5, truncation=truncation)
    assert not potential.function(torch.tensor([2.5, 2.50001, 4.0], dtype=torch.float64)).any()


def test_the_core_continues_linearly_in_the_squared_distance(argon: System):
    potential = PairPotential(LennardJones(), 2.5, core=0.3)
    tables = potential.tabulate(argon)
    edge = 0.75
    r = torch.tensor([edge + 5e-3, 0.7, 0.5, 0.2, 0.01, 0.0], dtype=torch.float64)
    u, slope = tables.evaluate(r * r, torch.zeros(6, dtype=torch.int64))
    assert torch.isfinite(u).all()
    assert torch.equal(slope[1:], slope[1].expand(5)) or torch.allclose(slope[1:], slope[1].expand(5), rtol=1e-10)
    torch.testing.assert_close(u[2:], u[1] + slope[1] * (r[2:] ** 2 - r[1] ** 2), rtol=1e-10, atol=1e-8)
    # The core begins at the knot nearest to its edge, so its slope is that of the function within a spacing.
    exact = torch.tensor([edge], dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(potential.function(exact).sum(), exact)
    assert slope[1].item() == pytest.approx(derivative.item() / (2 * edge), rel=0.06)


def test_energy_and_slope_do_not_jump_at_the_core(argon: System):
    tables = PairPotential(LennardJones(), 2.5).tabulate(argon)
    c = tables.coefficients[0].detach()
    ends, slopes = c.sum(-1)[:-1], c[:-1] @ torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(ends, c[1:, 0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(slopes, c[1:, 1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("truncation", TRUNCATIONS, ids=lambda t: type(t).__name__)
def test_the_coefficients_are_differentiable_in_the_parameters(argon: System, truncation: Truncation):
    potential = PairPotential(LennardJones(), 2.5, truncation=truncation, n_knots=16)
    weights = torch.linspace(-1.0, 1.0, 4, dtype=torch.float64)

    def coefficients(epsilon, sigma):
        values = {"radials.all.epsilon": epsilon, "radials.all.sigma": sigma}
        # The core of Lennard-Jones is 1e7 high: compare logarithms of the wall, which keeps the scales alike.
        table = torch.func.functional_call(
            _Tabulate(potential), {f"potential.{k}": v for k, v in values.items()}, argon
        )
        return torch.asinh(table * weights)

    values = tuple(torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (1.1, 0.9))
    assert torch.autograd.gradcheck(coefficients, values)


def test_tables_of_a_fixed_potential_need_no_gradient(argon: System):
    for truncation in TRUNCATIONS:
        potential = PairPotential(LennardJones(), 2.5, truncation=truncation)
        assert potential.tabulate(argon).coefficients.requires_grad
        assert not potential.requires_grad_(False).tabulate(argon).coefficients.requires_grad


class _Tabulate(torch.nn.Module):
    def __init__(self, potential: PairPotential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, system: System) -> torch.Tensor:
        return self.potential.tabulate(system).coefficients


def test_one_function_serves_every_species(blend: System):
    tables = PairPotential(LennardJones(), 2.3).tabulate(blend)
    assert tables.coefficients.shape[0] == 1
    assert tables.species.tolist() == [18, 36, 54]
    assert not tables.table_index.any()


def test_each_pair_of_species_has_its_function(blend: System):
    potential = _three_species()
    tables = potential.tabulate(blend)
    assert potential.pair_names() == ["Ar-Ar", "Ar-Kr", "Ar-Xe", "Kr-Kr", "Kr-Xe", "Xe-Xe"]
    assert tables.table_index.shape == (3, 3, 3)
    assert torch.equal(tables.table_index, tables.table_index.transpose(1, 2))
    r = torch.tensor([1.05, 1.5], dtype=torch.float64)
    for i, a in enumerate(("Ar", "Kr", "Xe")):
        for j, b in enumerate(("Ar", "Kr", "Xe")):
            u, _ = _u(tables, r, int(tables.table_index[1, i, j]))
            torch.testing.assert_close(u, potential.function(r, (a, b)).detach(), rtol=0, atol=1e-6)


def test_a_pair_may_be_named_in_either_order(blend: System):
    potential = PairPotential(
        {("Kr", "Ar"): LennardJones(2.0), ("Kr", "Kr"): LennardJones(3.0), ("Ar", "Ar"): LennardJones(1.0)}, 2.3
    )
    assert [potential.radial(name).epsilon.item() for name in ("Ar-Kr", "Kr-Ar", ("Kr", "Ar"))] == [2.0, 2.0, 2.0]
    assert potential.radial("Ar-Ar").epsilon.item() == 1.0


def test_each_temperature_has_its_table_and_equal_ones_share_it(blend: System):
    potential = PairPotential(TemperatureDependent(LennardJones(), Repulsion(0.3, 1.0, 4)), 2.3)
    kT = torch.tensor([1.2, 0.8, 1.2], dtype=torch.float64)
    tables = potential.tabulate(blend, kT)
    assert tables.coefficients.shape[0] == 2
    r = torch.tensor([1.0, 1.4, 1.9], dtype=torch.float64)
    for k in range(3):
        u, _ = _u(tables, r, int(tables.table_index[k, 0, 1]))
        torch.testing.assert_close(u, potential.function(r, kT=float(kT[k])).detach(), rtol=0, atol=1e-6)


def test_mixtures_and_temperatures_together(blend: System):
    fixed, entropic = LennardJones(1.5), TemperatureDependent(LennardJones(), Repulsion(0.3, 1.0, 4))
    potential = PairPotential({("Ar", "Ar"): fixed, ("Ar", "Kr"): entropic, ("Kr", "Kr"): fixed}, 2.3)
    numbers = torch.where(blend.numbers == 54, 36, blend.numbers)
    tables = potential.tabulate(blend.replace(numbers=numbers), torch.tensor([0.5, 1.0, 0.5]))
    r = torch.tensor([1.1, 1.6], dtype=torch.float64)
    for k, kT in enumerate((0.5, 1.0, 0.5)):
        for pair, (i, j) in {("Ar", "Ar"): (0, 0), ("Ar", "Kr"): (1, 0), ("Kr", "Kr"): (1, 1)}.items():
            u, _ = _u(tables, r, int(tables.table_index[k, i, j]))
            torch.testing.assert_close(u, potential.function(r, pair, kT=kT).detach(), rtol=0, atol=1e-6)


def test_temperature_is_asked_for(blend: System):
    with pytest.raises(ValueError, match=r"kT: missing for a temperature-dependent potential; give kT"):
        PairPotential(TemperatureDependent(LennardJones(), Repulsion()), 2.3).tabulate(blend)


def test_the_tables_have_the_type_of_the_system(argon: System):
    potential = PairPotential(LennardJones(), 2.5)
    tables = potential.tabulate(argon.to(dtype=torch.float32))
    assert tables.coefficients.dtype == torch.float32
    tables.coefficients[:, 500:].sum().backward()
    assert potential.radial().epsilon.grad.dtype == torch.float64


def test_the_tabulation_error_is_what_independent_points_show(argon: System):
    potential = PairPotential(LennardJones(), 2.5, n_knots=200)
    error = potential.tabulation_error(1.0)
    tables = potential.tabulate(argon)

    def beyond(nearest: float) -> tuple[float, float]:
        r = torch.linspace(nearest, 2.4999, 20000, dtype=torch.float64, requires_grad=True)
        exact = potential.function(r)
        (slope,) = torch.autograd.grad(exact.sum(), r)
        u, du = _u(tables, r.detach())
        return (u - exact.detach()).abs().max().item(), ((du - slope).abs().max() / slope.abs().max()).item()

    # u - min u reaches 20 kT at r = 0.846 sigma; an interval is 0.018 wide there.
    assert 0.95 * beyond(0.864)[0] <= error.energy <= 1.05 * beyond(0.828)[0]
    assert 0.5 * beyond(0.846)[1] <= error.force <= 2 * beyond(0.846)[1]
    assert error.n_knots == 200


def test_the_tabulation_error_falls_with_the_fourth_and_third_power():
    errors = [PairPotential(LennardJones(), 2.5, n_knots=n).tabulation_error(1.0) for n in (500, 1000)]
    assert math.log2(errors[0].energy / errors[1].energy) == pytest.approx(4.0, abs=0.3)
    assert math.log2(errors[0].force / errors[1].force) == pytest.approx(3.0, abs=0.3)


def test_the_default_table_of_lennard_jones_is_within_the_bounds():
    for truncation in TRUNCATIONS:
        assert PairPotential(LennardJones(), 2.5, truncation=truncation).tabulation_error(1.0).within()


def test_refine_doubles_the_knots_until_the_bounds_hold():
    potential = PairPotential(LennardJones(), 2.5, n_knots=50)
    assert not potential.tabulation_error(1.0).within()
    error = potential.refine(1.0)
    assert error.within()
    assert error.n_knots == potential.n_knots
    assert potential.n_knots in {100, 200, 400, 800}


def test_refine_gives_up_on_a_function_that_is_not_smooth():
    radial = NeuralRadial(2.5, n_basis=2, width=1e-5, hidden=())
    with torch.no_grad():
        radial.centers.copy_(torch.tensor([1.00001, 1.7]))
        radial.mlp[-1].weight.fill_(1.0)
    # A needle of width 1e-5 is invisible to most tables; the second, at the middle of the range, is not.
    potential = PairPotential(Repulsion() + radial, 2.5, n_knots=2**15)
    assert not potential.tabulation_error(1.0).within()
    with pytest.raises(ValueError, match="radial: a table of 32768 knots is still off"):
        potential.refine(1.0)


def test_energy_forces_are_those_of_the_table(argon: System):
    from asediff.neighbors import NeighborList

    potential = PairPotential(LennardJones(), 2.5)
    neighbors = NeighborList(2.5).update(argon)
    energy, forces = potential.energy_forces(argon, neighbors)
    tabulated = potential.tabulate(argon).energy_forces(argon, neighbors)
    torch.testing.assert_close(energy, tabulated[0])
    torch.testing.assert_close(forces, tabulated[1])
    torch.testing.assert_close(potential.energy(argon, neighbors), energy)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PairPotential(LennardJones(), 0.0), r"cutoff: 0\.0 is not a positive length; give"),
        (lambda: PairPotential(LennardJones(), math.nan), "cutoff: nan is not a positive"),
        (lambda: PairPotential(LennardJones(), math.inf), "cutoff: inf is not"),
        (lambda: PairPotential(LennardJones(), 2.5, core=0.01), r"core: 0\.01 is not within \(0\.02, 1\); give"),
        (lambda: PairPotential(LennardJones(), 2.5, core=1.0), r"core: 1\.0 is not within"),
        (lambda: PairPotential(LennardJones(), 2.5, n_knots=15), "n_knots: 15 is too small; give at least 16"),
        (lambda: PairPotential({}, 2.5), "radial: no pair is given"),
        (
            lambda: PairPotential({("Ar", "Ar"): LennardJones(), ("Ar", "Kr"): LennardJones()}, 2.5),
            "radial: pair Kr-Kr is missing; give a function for every pair of",
        ),
        (
            lambda: PairPotential({("Ar", "Kr"): LennardJones(), ("Kr", "Ar"): LennardJones()}, 2.5),
            "radial: pair Ar-Kr is given twice",
        ),
        (lambda: PairPotential({("A", "A"): LennardJones()}, 2.5), "pair: 'A' is not a chemical symbol; name a bead"),
        (lambda: _three_species().radial(), "pair: missing; choose one of Ar-Ar, Ar-Kr"),
        (lambda: _three_species().radial("Ar-Ne"), "pair: Ne-Ar is unknown; choose one of"),
        (lambda: _three_species().radial("Ar"), "pair: 'Ar' does not name two species"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(build, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_the_grid_ends_exactly_at_the_cutoff(argon: System):
    for core in (0.05, 0.2, 0.6):
        tables = PairPotential(LennardJones(), 2.7, core=core, n_knots=321).tabulate(argon)
        assert tables.s_lo + tables.n_intervals * tables.spacing == pytest.approx(2.7**2, rel=1e-14)
        wall = np.flatnonzero(tables.coefficients[0, :, 2].detach().numpy() == 0)
        assert tables.n_intervals + 1 - len(wall) == 321
