"""Agreement with an installed VOTCA, operator by operator, on random tables."""

import numpy as np
import pytest
from ase import Atoms
from votca_programs import operator, random_potential, random_rdf, resample, run, settings

from asediff import votca
from asediff.votca import Table, VotcaError, read_table, write_table

pytestmark = pytest.mark.votca

GRIDS = [(0, 0.01, 0.9), (0.3, 0.02, 1.2), (0.1, 0.1 / 3, 1.3), (0.24, 0.005, 0.6)]
EXACT = 1e-12  # the scripts print 15 digits
FILE = 1e-9  # the compiled programs print 10 digits


def text(grid):
    return ":".join(repr(float(value)) for value in grid)


def agree(ours, theirs, tolerance):
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-9)
    np.testing.assert_allclose(ours.y, theirs.y, rtol=tolerance, atol=tolerance)
    assert "".join(ours.flag) == "".join(theirs.flag)


@pytest.fixture(params=range(8))
def case(request):
    """Random generator, grid and its points as files carry them."""
    grid = GRIDS[request.param % len(GRIDS)]
    x = np.array([float(f"{value:.10g}") for value in votca.grid_points(*grid)])
    return np.random.default_rng(request.param), grid, x


def test_raw_update(case, tmp_path):
    rng, _, x = case
    for _ in range(4):
        target = random_rdf(rng, x, holes=bool(rng.integers(2)), flags=True)
        current, potential = random_rdf(rng, x, holes=bool(rng.integers(2))), random_potential(rng, x)
        theirs = operator(tmp_path, "update ibi_pot", [target, current, potential], "2.49435")
        agree(votca.update_ibi_pot(target, current, potential, 2.49435), theirs, EXACT)


def test_shift_smooth_scale_and_add(case, tmp_path):
    rng, _, x = case
    a, b = random_potential(rng, x), random_potential(rng, x)
    agree(votca.shift_nonbonded(a), operator(tmp_path, "potential shift", [a]), EXACT)
    bonded = operator(tmp_path, "potential shift", [a], before=("--type", "bond"))
    agree(votca.shift_bonded(a), bonded, EXACT)
    agree(votca.smooth(a), operator(tmp_path, "table smooth", [a]), EXACT)
    agree(votca.scale(a, 0.7), operator(tmp_path, "table linearop", [a], "0.7", "0"), EXACT)
    agree(votca.add(a, b), operator(tmp_path, "table add", [a, b]), EXACT)


@pytest.mark.parametrize("function", ["constant", "linear", "quadratic", "exponential", "sasha"])
def test_extrapolation(function, tmp_path):
    rng = np.random.default_rng(5)
    x = 0.02 * np.arange(50)
    for region, points in (("left", 3), ("right", 1), ("leftright", 5)):
        table = random_potential(rng, x)
        table = table.replace(y=table.y + 30)
        before = ("--function", function, "--region", region, "--avgpoints", str(points))
        theirs = operator(tmp_path, "table extrapolate", [table], before=before)
        agree(votca.extrapolate(table, function, region, points), theirs, EXACT)


@pytest.mark.parametrize("kind", ["akima", "cubic", "linear"])
def test_resampling(case, kind, tmp_path):
    rng, grid, x = case
    for table in (random_potential(rng, x), random_rdf(rng, x, holes=True)):
        for new in (grid, (0.0, grid[1] * 0.37, grid[2] * 1.2), (grid[0] + 0.0123, 0.0071, grid[2] * 0.9)):
            theirs = resample(tmp_path, table, text(new), "--type", kind)
            agree(votca.resample(table, new, kind), theirs, FILE)


def test_splinesmooth(case, tmp_path):
    rng, grid, x = case
    table = random_potential(rng, x)
    valid = table.flag == "i"
    inner = Table(table.x[valid], table.y[valid])
    step = float(f"{7.3 * grid[1]:.4g}")
    knots = f"{float(inner.x[0])!r}:{step!r}:{float(inner.x[-1])!r}"
    theirs = resample(tmp_path, inner, text(grid), "--type", "cubic", "--fitgrid", knots)
    agree(votca.splinesmooth(table, step), theirs, FILE)


def test_target_and_start(case, tmp_path):
    rng, grid, _ = case
    raw = random_rdf(rng, votca.grid_points(0.07, 0.013, 1.0), flags=bool(rng.integers(2)))
    raw = raw.replace(y=np.where((raw.y > 0) & (raw.y < 1e-6), 0.5, raw.y))
    write_table(tmp_path / "raw.dist", raw, digits=10)
    raw = read_table(tmp_path / "raw.dist")
    settings(tmp_path, min=grid[0], max=grid[2], step=grid[1], target="raw.dist", kT=2.49435)
    options = ["--ia-type", "non-bonded", "--ia-name", "A-A", "--options", "settings.xml"]
    try:
        ours = votca.initial_potential(raw, 2.49435, grid=grid)
    except VotcaError:
        with pytest.raises(AssertionError, match="points are valid after Boltzmann inversion"):
            run(tmp_path, "csg_call", *options, "prepare_single", "ibi")
        return
    run(tmp_path, "csg_call", *options, "prepare_single", "ibi")
    agree(votca.resample_target(raw, grid), read_table(tmp_path / "A-A.dist.tgt"), EXACT)
    theirs = read_table(tmp_path / "A-A.pot.new")
    agree(ours, theirs, FILE)
    agree(votca.initial_potential(read_table(tmp_path / "A-A.dist.tgt"), 2.49435), theirs, FILE)


def test_given_start(case, tmp_path):
    rng, grid, x = case
    table = random_potential(rng, x)
    table = table.replace(y=table.y + 30)
    write_table(tmp_path / "A-A.pot.in", table)
    settings(tmp_path, min=grid[0], max=grid[2], step=grid[1])
    options = ["--ia-type", "non-bonded", "--ia-name", "A-A", "--options", "settings.xml"]
    run(tmp_path, "csg_call", *options, "prepare_single", "ibi")
    agree(votca.given_potential(table, grid), read_table(tmp_path / "A-A.pot.new"), FILE)


@pytest.mark.parametrize("pressure", [-1200.0, 90.0, 100.0, 107.0, 5000.0])
def test_pressure_corrections(pressure, tmp_path):
    grid = (0, 0.01, 0.9)
    rdf = random_rdf(np.random.default_rng(1), votca.grid_points(*grid))
    write_table(tmp_path / "cur.tab", rdf)
    common = [repr(pressure), "out.tab", "2.49435", text(grid)]
    run(tmp_path, "csg_call", "pressure_cor", "simple", *common, "0.0003", "100", "0.1")
    simple = votca.pressure_simple(pressure, 100.0, 2.49435, grid, 0.0003)
    agree(simple, read_table(tmp_path / "out.tab"), EXACT)
    run(tmp_path, "csg_call", "pressure_cor", "wjk", *common, "0.5", "100", "0.1", "33.4", "cur.tab")
    wjk = votca.pressure_wjk(pressure, 100.0, 2.49435, grid, 33.4, rdf, scale=0.5)
    agree(wjk, read_table(tmp_path / "out.tab"), EXACT)


@pytest.mark.parametrize("norm", [1, 2])
def test_convergence(norm, tmp_path):
    rng, x = np.random.default_rng(2), 0.02 * np.arange(50)
    target, current = random_rdf(rng, x), random_rdf(rng, x)
    write_table(tmp_path / "tgt.tab", target)
    write_table(tmp_path / "new.tab", current)
    operation = ["--sum", "--withflag", "i", "--op", "d" if norm == 1 else "d2"]
    printed = run(tmp_path, "csg_call", "table", "combine", *operation, "new.tab", "tgt.tab")
    assert votca.convergence(target, current, norm) == pytest.approx(float(printed.split()[-1]), rel=EXACT)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"table_begin": 0.05, "table_bins": 0.002},
        {"scale": 10, "y_scale": 0.239006, "table_begin": 0.123, "table_end": 0.95},
        {"scale": 9.87654321, "left": "linear", "right": "linear", "table_begin": 0.0, "table_end": 1.0},
    ],
)
def test_lammps_table(options, tmp_path):
    grid = (0.1, 0.01, 0.9)
    table = random_potential(np.random.default_rng(3), np.round(votca.grid_points(*grid), 10))
    table = table.replace(y=table.y + 30)
    tags = {"left": "table_left_extrapolation", "right": "table_right_extrapolation"}
    entries = "".join(f"<{tags.get(k, k)}>{v}</{tags.get(k, k)}>" for k, v in options.items())
    settings(tmp_path, min=0.1, max=0.9, step=0.01, inverse=f"<lammps><table>t</table>{entries}</lammps>")
    write_table(tmp_path / "p.tab", table)
    call = ["--ia-type", "non-bonded", "--ia-name", "A-A", "--options", "settings.xml", "convert_potential"]
    run(tmp_path, "csg_call", *call, "lammps", "p.tab", "theirs.table")
    votca.write_lammps_table(tmp_path / "ours.table", table, **options)
    ours, theirs = ((tmp_path / name).read_text().splitlines() for name in ("ours.table", "theirs.table"))
    assert ours[:3] == theirs[:3]
    a, b = votca.read_lammps_table(tmp_path / "ours.table"), votca.read_lammps_table(tmp_path / "theirs.table")
    np.testing.assert_allclose(a.r, b.r, rtol=1e-12)
    np.testing.assert_allclose(a.energy, b.energy, rtol=FILE, atol=FILE)
    np.testing.assert_allclose(a.force, b.force, rtol=FILE, atol=FILE)


def test_rdf_of_a_trajectory(tmp_path):
    rng = np.random.default_rng(4)
    types = rng.choice([1, 2], 300)
    frames, text_lines = [], []
    for k in range(5):
        edges = rng.uniform(18, 22, 3)
        atoms = Atoms(numbers=types, positions=rng.random((300, 3)) * edges, cell=edges, pbc=True)
        atoms.arrays["type"] = types
        frames.append(atoms)
        text_lines += [f"ITEM: TIMESTEP\n{k}\nITEM: NUMBER OF ATOMS\n300\nITEM: BOX BOUNDS pp pp pp"]
        text_lines += [f"0 {float(edge)!r}" for edge in edges] + ["ITEM: ATOMS id type x y z"]
        for i, (t, p) in enumerate(zip(types, atoms.positions.tolist(), strict=True), start=1):
            text_lines.append(f"{i} {t} {p[0]!r} {p[1]!r} {p[2]!r}")
    (tmp_path / "t.dump").write_text("\n".join(text_lines) + "\n")
    entry = "<non-bonded><name>{0}{1}</name><type1>{0}</type1><type2>{1}</type2><min>{2}</min><max>0.9</max>"
    pairs = [(1, 1, 0.0), (1, 2, 0.0), (2, 2, 0.05)]
    entries = "".join(entry.format(*pair) + "<step>0.01</step></non-bonded>" for pair in pairs)
    (tmp_path / "s.xml").write_text(f"<cg>{entries}</cg>")
    run(tmp_path, "csg_stat", "--options", "s.xml", "--top", "t.dump", "--trj", "t.dump", "--first-frame", "2")
    for first, second, low in pairs:
        ours = votca.rdf(frames[1:], (low, 0.01, 0.9), first, second, length_scale=0.1)
        agree(ours, read_table(tmp_path / f"{first}{second}.dist.new"), FILE)


def test_rdf_of_mapped_molecules(tmp_path):
    rng, n, edge = np.random.default_rng(6), 60, 19.0
    centres = rng.random((n, 1, 3)) * edge
    positions = (centres + np.concatenate([np.zeros((n, 1, 3)), 0.5 * rng.normal(size=(n, 2, 3))], axis=1)) % edge
    lines = ["water", str(3 * n)]
    for i, p in enumerate(positions.reshape(-1, 3) / 10):
        name = ("OW", "HW1", "HW2")[i % 3]
        lines.append(f"{i // 3 + 1:5d}SOL  {name:>5s}{i + 1:5d}{p[0]:8.3f}{p[1]:8.3f}{p[2]:8.3f}")
    lines.append(f"{edge / 10:10.5f}{edge / 10:10.5f}{edge / 10:10.5f}")
    (tmp_path / "w.gro").write_text("\n".join(lines) + "\n")
    molecules = f'<clear/><define name="SOL" first="1" nbeads="3" nmols="{n}"/>'
    (tmp_path / "top.xml").write_text(f'<topology base="w.gro"><molecules>{molecules}</molecules></topology>')
    (tmp_path / "water.xml").write_text(
        """<cg_molecule><name>SOL</name><ident>SOL</ident><topology><cg_beads><cg_bead><name>W</name><type>W</type>
        <mapping>A</mapping><beads>1:SOL:OW 1:SOL:HW1 1:SOL:HW2</beads></cg_bead></cg_beads></topology>
        <maps><map><name>A</name><weights>16 1 1</weights></map></maps></cg_molecule>"""
    )
    (tmp_path / "s.xml").write_text(
        """<cg><non-bonded><name>WW</name><type1>W</type1><type2>W</type2><min>0</min><max>0.9</max>
        <step>0.02</step></non-bonded></cg>"""
    )
    command = ["csg_stat", "--options", "s.xml", "--top", "top.xml", "--trj", "w.gro", "--cg", "water.xml"]
    run(tmp_path, *command)
    beads = votca.map_frames(votca.read_frames(tmp_path / "w.gro"), tmp_path / "water.xml")
    agree(votca.rdf(beads, (0, 0.02, 0.9), "W", "W"), read_table(tmp_path / "WW.dist.new"), FILE)
