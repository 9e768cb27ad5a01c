"""Pair tables: the spline they stand for, the file they are written to, the units of that file."""

import numpy as np
import pytest
import torch
from ase import units

from asediff.lammps.tables import PairTable, pair_section, read_tables, spline_tables, table_units, write_tables
from asediff.lammps.units import LammpsUnits
from asediff.potentials.pair import PairPotential
from asediff.potentials.radial import LennardJones
from asediff.system import System


def lennard_jones(r):
    return 4 * (r**-12 - r**-6) - 4 * (2.5**-12 - 2.5**-6)


def lennard_jones_force(r):
    return 48 * r**-13 - 24 * r**-7


@pytest.fixture
def table():
    return PairTable.from_function(lennard_jones, 2.5, r_core=0.7)


def two_atoms(numbers):
    n = len(numbers)
    return System(
        positions=torch.arange(3.0 * n, dtype=torch.float64).reshape(n, 3),
        velocities=torch.zeros(n, 3, dtype=torch.float64),
        masses=torch.ones(n, dtype=torch.float64),
        numbers=torch.tensor(numbers),
        cell=10 * torch.eye(3, dtype=torch.float64)[None],
        pbc=torch.ones(1, 3, dtype=torch.bool),
        system_idx=torch.zeros(n, dtype=torch.int64),
    )


def test_a_table_of_a_function_gives_the_function_and_its_derivative(table):
    r = np.linspace(0.9, 2.49, 500)
    u, f = table.evaluate(r)
    # The spline's error is of order spacing^4 in u and spacing^3 in f; 2001 points leave 1e-8 and 1e-5 of the depth.
    np.testing.assert_allclose(u, lennard_jones(r), atol=1e-7)
    np.testing.assert_allclose(f, lennard_jones_force(r), atol=3e-5)


def test_force_is_minus_the_derivative_of_the_energy_between_the_points(table):
    r = np.linspace(0.06, 2.49, 333)
    step = 1e-6
    numerical = -(table.evaluate(r + step)[0] - table.evaluate(r - step)[0]) / (2 * step)
    np.testing.assert_allclose(table.evaluate(r)[1], numerical, rtol=1e-6, atol=1e-6)


def test_zero_beyond_the_cutoff_and_a_finite_repulsive_wall_down_to_zero(table):
    u, f = table.evaluate([1e-6, 0.02, 0.05, 0.5, 2.5, 3.0])
    assert (u[-2:] == 0).all()
    assert (f[-2:] == 0).all()
    assert (np.diff(u[:4]) < 0).all()
    assert (f[:4] > 0).all()


def test_a_table_of_spline_coefficients_is_exact_at_every_distance():
    spline = PairPotential(LennardJones(1.0, 1.0), 2.5, n_knots=200, core=0.3).tabulate(two_atoms([18, 18]))
    for refine in (1, 3):
        table = spline_tables(spline, refine=refine)["Ar_Ar"]
        assert table.n_points == refine * spline.n_intervals + 1
        # Away from the core's edge, where the curvature of the spline jumps and the C2 spline of the table rings.
        s = torch.linspace(1.1**2, 2.5**2, 999, dtype=torch.float64)
        u, slope = (x.detach().numpy() for x in spline.evaluate(s, torch.zeros(999, dtype=torch.int64)))
        r = s.sqrt().numpy()
        np.testing.assert_allclose(table.evaluate(r)[0], u, atol=1e-11)
        np.testing.assert_allclose(table.evaluate(r)[1], -2 * r * slope, atol=1e-9)


def test_every_pair_of_species_has_a_section_in_lammps_order():
    pairs = {("O", "O"): LennardJones(1.0, 1.0), ("H", "O"): LennardJones(0.5, 0.9), ("H", "H"): LennardJones(0.2, 0.8)}
    tables = spline_tables(PairPotential(pairs, 2.5).tabulate(two_atoms([8, 1])))
    assert list(tables) == ["H_H", "H_O", "O_O"]
    assert tables["H_O"].evaluate(1.0)[0] < tables["H_H"].evaluate(1.0)[0]


def test_section_names_do_not_depend_on_the_order_of_the_pair():
    assert pair_section(8, 1) == pair_section(1, 8) == "H_O"


@pytest.mark.parametrize("name", ["lj", "real", "metal"])
def test_a_file_read_back_is_the_table_that_was_written(tmp_path, table, name):
    path = table.write(tmp_path / "a.table", "Ar_Ar", name)
    again = PairTable.read(path)
    assert table_units(path) == name
    # 17 digits round-trip; the conversion of the energy unit costs one rounding each way.
    np.testing.assert_allclose(again.r, table.r, rtol=1e-15)
    np.testing.assert_allclose(again.u, table.u, rtol=1e-15, atol=0)
    np.testing.assert_allclose(again.f, table.f, rtol=1e-15, atol=0)
    np.testing.assert_allclose(again.f_slopes, table.f_slopes, rtol=1e-15)


def test_real_units_are_kcal_per_mol(tmp_path):
    table = PairTable.from_function(lambda r: (3.0 - r) ** 3 * units.kcal / units.mol, 3.0, r_core=0.1)
    path = table.write(tmp_path / "a.table", "O_O", "real")
    rows = [line.split() for line in path.read_text().splitlines() if line[:1].isdigit()]
    _, r, u, f = (float(word) for word in rows[1200])
    assert u == pytest.approx((3.0 - r) ** 3, rel=1e-9)
    assert f == pytest.approx(3 * (3.0 - r) ** 2, rel=1e-5)


def test_several_pairs_share_a_file(tmp_path, table):
    other = PairTable.from_function(lambda r: 2 * lennard_jones(r), 2.5, r_core=0.7)
    path = write_tables(tmp_path / "two.table", {"A_A": table, "A_B": other}, "lj", comment="two\nlines")
    tables = read_tables(path)
    assert list(tables) == ["A_A", "A_B"]
    np.testing.assert_array_equal(tables["A_B"].u, other.u)
    assert PairTable.read(path, "A_B").n_points == other.n_points
    with pytest.raises(ValueError, match="section: 'B_B' is not in"):
        PairTable.read(path, "B_B")


def test_tables_of_others_on_an_r_grid_are_read(tmp_path):
    r = np.linspace(0.8, 2.5, 800)
    rows = [f"{k} {x:.12g} {lennard_jones(x):.12g} {lennard_jones_force(x):.12g}" for k, x in enumerate(r, 1)]
    path = tmp_path / "other.table"
    path.write_text("\n".join(["# by hand", "", "LJ", f"N {len(r)} R 0.8 2.5", "", *rows, ""]))
    with pytest.raises(ValueError, match="does not state its units"):
        read_tables(path)
    table = PairTable.read(path, units="lj")
    inner = np.linspace(0.9, 2.45, 100)
    # Two splines of 800 points each.
    np.testing.assert_allclose(table.evaluate(inner)[0], lennard_jones(inner), atol=1e-4)
    assert table.r_lo == pytest.approx(0.8)


def test_a_table_that_starts_too_far_out_is_refused_and_can_be_extended(tmp_path):
    table = PairTable.from_function(lennard_jones, 2.5, r_core=0.8, r_lo=0.8)
    path = tmp_path / "a.table"
    path.write_text("earlier work")
    with pytest.raises(ValueError, match=r"table Ar_Ar: starts at r = 0.8.*table.extended"):
        table.write(path, "Ar_Ar", "lj")
    assert path.read_text() == "earlier work"
    wider = table.extended()
    assert wider.r_lo == pytest.approx(0.05)
    wider.write(path, "Ar_Ar", "lj")
    r = np.linspace(0.9, 2.4, 50)
    np.testing.assert_allclose(wider.evaluate(r)[0], table.evaluate(r)[0], atol=1e-6)
    np.testing.assert_allclose(wider.evaluate(0.3)[0], table.evaluate(0.3)[0], rtol=1e-6)
    assert table.extended(0.9) is table


def test_from_arrays_splines_any_ascending_grid():
    r = np.concatenate([np.linspace(0.8, 1.5, 400), np.linspace(1.52, 2.5, 300)])
    table = PairTable.from_arrays(r, lennard_jones(r))
    inner = np.linspace(0.95, 2.45, 100)
    np.testing.assert_allclose(table.evaluate(inner)[0], lennard_jones(inner), atol=1e-6)
    assert table.r_lo == pytest.approx(0.05)


def test_temperatures_pressures_and_times_convert_like_ase():
    real, metal, reduced = (LammpsUnits.named(name) for name in ("real", "metal", "lj"))
    # LAMMPS' Boltzmann constants differ from CODATA 2014 in the sixth digit.
    assert real.temperature(300 * units.kB) == pytest.approx(300, rel=1e-5)
    assert metal.temperature(300 * units.kB) == pytest.approx(300, rel=1e-5)
    assert real.thermal_energy(real.temperature(0.025)) == pytest.approx(0.025, rel=1e-14)
    assert reduced.temperature(1.3) == 1.3
    assert real.time == units.fs
    assert metal.time == pytest.approx(1000 * units.fs)
    assert metal.pressure == pytest.approx(units.bar)
    assert real.pressure == pytest.approx(1.01325 * units.bar)
    assert metal.velocity == pytest.approx(1 / (1000 * units.fs))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# UNITS: lj\n", "no table in it"),
        ("# UNITS: lj\nA_A\n", "no parameter line"),
        ("# UNITS: lj\nA_A\nN 5 RSQ 0.1 1.0\n\n1 0.1 1 1\n2 0.5 1 1\n", "line 3: 2 of 5 complete rows"),
        ("# UNITS: lj\nA_A\nN 2 RSQ 0.1 1.0\n\n1 0.1 x 1\n2 0.5 1 1\n", "line 3: could not convert"),
        ("# UNITS: lj\nA_A\nM 2\n\n1 0.1 1 1\n2 0.5 1 1\n", "line 3: 'N' is not in list"),
        ("# UNITS: si\nA_A\nN 2 RSQ 0.1 1.0\n\n1 0.1 1 1\n2 0.5 1 1\n", "units: 'si' is not supported"),
    ],
)
def test_broken_files_are_refused_with_the_place(tmp_path, text, message):
    path = tmp_path / "broken.table"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_tables(path)


def test_units_that_contradict_the_file_are_refused(tmp_path, table):
    path = table.write(tmp_path / "a.table", "A_A", "lj")
    with pytest.raises(ValueError, match=r"real was asked for but .* states lj"):
        read_tables(path, "real")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PairTable.from_function(lennard_jones, 2.5, r_core=3.0), "r_core: 3 is not within"),
        (lambda: PairTable.from_coefficients(np.zeros((5, 3)), 0.1, 0.1), "coefficients: shape"),
        (lambda: PairTable.from_coefficients(np.zeros((5, 4)), 0.1, 0.1, refine=0), "refine: 0"),
        (lambda: PairTable.from_arrays([0.0, 1, 2, 3], [1, 2, 3, 4]), "drop r = 0"),
        (lambda: PairTable(np.linspace(1, 2, 9), np.zeros(9), np.zeros(9), (0, 0)), "equidistant in r²"),
        (lambda: PairTable.from_function(lambda r: np.log(r - 1), 2.5, r_core=1.0, r_lo=0.5), "finite values"),
        (lambda: write_tables("x", {}, "lj"), "tables: none given"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered in log:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*encountered in subtract:RuntimeWarning")
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unequal_tables_and_bad_section_names_are_refused(tmp_path, table):
    fewer = PairTable.from_function(lennard_jones, 2.5, r_core=0.7, n_points=500)
    with pytest.raises(ValueError, match="unequal numbers of points"):
        write_tables(tmp_path / "a.table", {"A_A": table, "A_B": fewer}, "lj")
    with pytest.raises(ValueError, match="is not one word"):
        write_tables(tmp_path / "a.table", {"A A": table}, "lj")
    assert list(tmp_path.iterdir()) == []
