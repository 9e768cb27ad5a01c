import numpy as np
import pytest
from brute_force import batch, chains, forces, lattice, tables

from asediff.kernels.cpu.space import BUILDS
from asediff.kernels.cpu.static import PairEvaluator, pair_forces, pair_vjp

SKEWED = [[1.0, 0.0, 0.0], [0.9, 1.0, 0.0], [-0.8, 0.7, 1.0]]
MIXED = {"n_tables": 3, "table_index": ((0, 1), (1, 2))}


def _case(name):
    """Positions, batch and tables of a named situation."""
    if name.endswith(", bonded"):
        x, b, t = _case(name.removesuffix(", bonded"))
        return x, b._replace(exclusions=chains(b.offsets)), t
    if name == "cubic":
        x, cell = lattice(6, 0.8)
        return x, batch([cell], [len(x)]), tables()
    if name == "hardly wider than twice the cutoff":
        x, cell = lattice(5, 125 / 5.02**3)
        return x, batch([cell], [len(x)]), tables()
    if name == "skewed":
        x, cell = lattice(9, 0.6, SKEWED)
        return x, batch([cell], [len(x)]), tables()
    if name == "atoms far outside of the cell":
        x, cell = lattice(6, 0.8, [[1, 0, 0], [0.3, 1, 0], [0, -0.2, 1]])
        rng = np.random.default_rng(1)
        return x + rng.integers(-30, 30, size=x.shape) @ cell, batch([cell], [len(x)]), tables()
    if name == "slab":
        x, cell = lattice(6, 0.8)
        return x, batch([cell], [len(x)], pbc=[[True, True, False]]), tables()
    if name == "wire without the free lattice vectors":
        x, cell = lattice(6, 0.8)
        cell = np.where([[False], [True], [False]], cell, 0.0)
        return x, batch([cell], [len(x)], pbc=[[False, True, False]]), tables()
    if name == "cluster":
        x, _ = lattice(4, 0.8)
        return x, batch([np.zeros((3, 3))], [len(x)], pbc=[[False, False, False]]), tables()
    if name == "thin gas":
        rng = np.random.default_rng(2)
        x = rng.uniform(0, 300.0, size=(60, 3))
        x[30:] = x[:30] + rng.uniform(0.5, 0.8, size=(30, 3))
        return x, batch([np.eye(3) * 300.0], [len(x)]), tables()
    if name == "pairs far apart, hardly within the cutoff":
        rng = np.random.default_rng(6)
        corners = rng.integers(0, 2, size=(60, 3)) * 2e5
        x = np.repeat(corners + rng.uniform(0, 3e3, size=(60, 3)), 2, axis=0)
        along = rng.normal(size=(60, 3))
        x[1::2] += (2.5 - 1e-5) * along / np.linalg.norm(along, axis=1, keepdims=True)
        return x, batch([np.zeros((3, 3))], [len(x)], pbc=[[False, False, False]]), tables()
    if name == "mixture":
        x, cell = lattice(6, 0.8, [[1, 0, 0], [0.2, 1, 0], [0, 0.1, 1.1]])
        types = np.random.default_rng(3).integers(0, 2, len(x))
        return x, batch([cell], [len(x)], types=types), tables(**MIXED)
    if name == "one atom":
        return np.zeros((1, 3)), batch([np.eye(3) * 6.0], [1]), tables()
    if name == "closer than the table":
        x, cell = lattice(6, 0.8)
        x[1] = x[0] + [0.3, 0.2, 0.1]
        return x, batch([cell], [len(x)]), tables()
    parts = [lattice(5, 0.5), lattice(6, 0.8, [[1, 0, 0], [0.4, 1, 0], [0, 0, 1]]), lattice(4, 0.4, seed=4)]
    counts = [len(x) for x, _ in parts]
    types = np.random.default_rng(5).integers(0, 2, sum(counts))
    t = tables(**MIXED, n_systems=3)
    index = t.table_index.copy()
    index[2] = [[2, 2], [2, 0]]
    b = batch([cell for _, cell in parts], counts, types=types)
    return np.concatenate([x for x, _ in parts]), b, t._replace(table_index=index)


CASES = [
    "cubic",
    "hardly wider than twice the cutoff",
    "skewed",
    "atoms far outside of the cell",
    "slab",
    "wire without the free lattice vectors",
    "cluster",
    "thin gas",
    "pairs far apart, hardly within the cutoff",
    "mixture",
    "one atom",
    "closer than the table",
    "batch",
]
BONDED = ["hardly wider than twice the cutoff", "skewed", "atoms far outside of the cell", "slab", "mixture", "batch"]


@pytest.mark.parametrize("name", [*CASES, *(f"{name}, bonded" for name in BONDED)])
def test_energy_forces_and_virial_equal_the_sum_over_all_pairs(name):
    x, b, t = _case(name)
    energy, expected, virial = forces(x, b, t)
    found = pair_forces(x, b, t)
    size = max(1.0, np.abs(expected).max())
    # sums of about 100 terms of that size, each exact to 1e-16 of its coordinates
    np.testing.assert_allclose(found.forces, expected, rtol=0, atol=1e-11 * size)
    np.testing.assert_allclose(found.energy, energy, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(found.virial, virial, rtol=0, atol=1e-10 * max(1.0, np.abs(virial).max()))


@pytest.mark.parametrize("name", ["cubic", "skewed", "mixture", "batch, bonded", "slab", "closer than the table"])
def test_reverse_pass_equals_central_differences(name):
    x, b, t = _case(name)
    rng = np.random.default_rng(7)
    w_forces, w_energy = rng.normal(size=x.shape), rng.normal(size=b.n_systems)
    w_virial = rng.normal(size=(b.n_systems, 3, 3))

    def loss(x, coefficients):
        found = pair_forces(x, b, t._replace(coefficients=coefficients))
        return (found.forces * w_forces).sum() + (found.energy * w_energy).sum() + (found.virial * w_virial).sum()

    by_x, by_c = pair_vjp(x, b, t, w_forces, w_energy, w_virial)
    along, h = rng.normal(size=x.shape), 1e-6
    slope = (loss(x + h * along, t.coefficients) - loss(x - h * along, t.coefficients)) / (2 * h)
    # the curvature of the steepest pairs times h, and round-off of the loss over h, relative to all terms
    np.testing.assert_allclose((by_x * along).sum(), slope, rtol=1e-6, atol=1e-9 * np.abs(by_x * along).sum())
    along = rng.normal(size=t.coefficients.shape)
    slope = 0.5 * (loss(x, t.coefficients + along) - loss(x, t.coefficients - along))  # exactly linear
    np.testing.assert_allclose((by_c * along).sum(), slope, rtol=1e-9)


def test_many_frames_equal_one_at_a_time():
    x, b, t = _case("batch")
    rng = np.random.default_rng(8)
    frames = x + 0.05 * rng.normal(size=(3, *x.shape))
    weights = rng.normal(size=frames.shape)
    found = pair_forces(frames, b, t)
    by_x, by_c = pair_vjp(frames, b, t, weights, found.energy)
    singles = [pair_vjp(f, b, t, w, e) for f, w, e in zip(frames, weights, found.energy, strict=True)]
    for k, frame in enumerate(frames):
        single = pair_forces(frame, b, t)
        assert np.array_equal(single.forces, found.forces[k])
        assert np.array_equal(single.energy, found.energy[k])
        assert np.array_equal(single.virial, found.virial[k])
        assert np.array_equal(singles[k][0], by_x[k])
    np.testing.assert_allclose(sum(c for _, c in singles), by_c, rtol=0, atol=1e-11 * np.abs(by_c).max())


def test_forces_are_translation_invariant_and_sum_to_zero():
    x, b, t = _case("skewed")
    found = pair_forces(x, b, t)
    moved = pair_forces(x + np.array([123.4, -56.7, 8.9]), b, t)
    np.testing.assert_allclose(moved.forces, found.forces, rtol=0, atol=1e-10 * np.abs(found.forces).max())
    np.testing.assert_allclose(found.forces.sum(0), 0.0, atol=1e-11 * np.abs(found.forces).sum())


def test_a_crowd_makes_rows_and_images_grow():
    rng = np.random.default_rng(9)
    x = rng.uniform(0.0, 1.5, size=(400, 3)) + np.array([5.9, 0.0, 0.0])  # all in one corner of a large cell
    b, t = batch([np.eye(3) * 6.0], [400]), tables(s_lo=1.0)
    energy, expected, _ = forces(x, b, t)
    found = pair_forces(x, b, t)
    np.testing.assert_allclose(found.forces, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    np.testing.assert_allclose(found.energy, energy, rtol=1e-11)


def test_float32_agrees_to_its_precision():
    x, b, t = _case("mixture")
    found = pair_forces(x.astype(np.float32), b._replace(masses=b.masses.astype(np.float32)), t)
    expected = pair_forces(x, b, t)
    assert found.forces.dtype == np.float32
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=2e-5 * np.abs(expected.forces).max())
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-5)


def test_a_narrow_cell_is_an_error_that_says_so():
    x, cell = lattice(5, 125 / 4.9**3)
    with pytest.raises(ValueError, match=r"cell: system 0 is 4\.9 wide, less than twice the cutoff 2\.5"):
        pair_forces(x, batch([cell], [len(x)]), tables())
    sheared = cell @ np.array([[1, 0, 0], [2.0, 1, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="less than twice the cutoff"):
        pair_forces(x * 1.1, batch([sheared * 1.1], [len(x)]), tables())


def test_arrays_that_do_not_fit_are_errors():
    x, b, t = _case("cubic")
    with pytest.raises(ValueError, match="positions: shape"):
        pair_forces(x[:-1], b, t)
    with pytest.raises(ValueError, match="positions: type float32 differs from the masses' float64"):
        pair_forces(x.astype(np.float32), b, t)


def test_lists_last_while_configurations_follow_each_other():
    """A walk of small steps: the forces of fresh lists, from lists that are built now and then."""
    positions, together, splines = _case("mixture")
    evaluator = PairEvaluator(together, splines, skin=0.3)
    rng = np.random.default_rng(3)
    for _ in range(12):
        positions = positions + 0.02 * rng.normal(size=positions.shape)
        fresh = pair_forces(positions, together, splines)
        found = evaluator.forces(positions)
        for a, b in zip(found, fresh, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
        quick = evaluator.forces(positions, energies=False)
        np.testing.assert_array_equal(quick.forces, found.forces)
        w = rng.normal(size=positions.shape)
        pulled = evaluator.vjp(positions, w, np.zeros(1), np.zeros((1, 3, 3)))
        for a, b in zip(pulled, pair_vjp(positions, together, splines, w), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * np.abs(b).max())
    builds = [int(one.space.control[BUILDS]) for one in evaluator._systems.values()]
    assert all(1 <= n < 8 for n in builds)
