import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from asediff import votca
from asediff.votca import VotcaError


def gas(n_atoms=200, edge=10.0, seed=0, cell=None):
    rng = np.random.default_rng(seed)
    cell = np.diag([edge] * 3) if cell is None else np.asarray(cell)
    return Atoms(numbers=rng.choice([1, 2], n_atoms), positions=rng.random((n_atoms, 3)) @ cell, cell=cell, pbc=True)


def brute_force(frames, grid, first, second):
    """Nested sums over pairs and images, written from the definition."""
    x = votca.grid_points(*grid)
    counts, volume = np.zeros(len(x)), 0.0
    for atoms in frames:
        shifts = np.array([[a, b, c] for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)]) @ atoms.cell.array
        p = atoms.get_positions(wrap=True)
        d = np.linalg.norm(p[:, None, None] - p[None, :, None] + shifts, axis=-1).min(axis=-1)
        a, b = np.flatnonzero(atoms.numbers == first), np.flatnonzero(atoms.numbers == second)
        d = d[np.ix_(a, b)][np.triu_indices(len(a), 1)] if first == second else d[np.ix_(a, b)].reshape(-1)
        for k, centre in enumerate(x):
            counts[k] += ((d >= centre - grid[1] / 2) & (d < centre + grid[1] / 2)).sum()
        volume += atoms.get_volume()
    c = 2 / len(a) ** 2 if first == second else 1 / (len(a) * len(b))
    low, high = x - grid[1] / 2, x + grid[1] / 2
    g = volume / len(frames) * c * counts / len(frames) / (4 / 3 * np.pi * (high**3 - low**3))
    return np.where(low < 0, 0, g)


@pytest.mark.parametrize("cell", [None, [[11, 0, 0], [3, 12, 0], [-2, 1, 13]]])
@pytest.mark.parametrize("pair", [(1, 1), (1, 2)])
def test_equals_a_sum_over_all_pairs(cell, pair):
    numbers = gas().numbers
    frames = [gas(seed=s, cell=cell) for s in range(3)]
    for frame in frames:
        frame.numbers = numbers
    grid = (0.0, 0.2, 4.8)
    result = votca.rdf(frames, grid, *pair)
    np.testing.assert_allclose(result.y, brute_force(frames, grid, *pair), rtol=1e-12)
    assert (result.flag == "i").all()


def test_normalisation_is_n_squared():
    # fcc: 12 neighbours at a/sqrt(2) in one bin: g = V 12 N/2 2/N^2 / shell = 12 V/N / shell.
    crystal = bulk("Ar", "fcc", a=4.0, cubic=True).repeat(3)
    result = votca.rdf(crystal, (0.2, 0.2, 4.0))
    shell = 4 / 3 * np.pi * (2.9**3 - 2.7**3)
    assert result.y[13] == pytest.approx(12 * 16 / shell)
    assert result.y[12] == 0


def test_frames_can_be_arrays_and_lengths_scaled():
    frames = [gas(seed=s) for s in range(2)]
    expected = votca.rdf(frames, (0.0, 0.2, 4.8))
    positions = np.array([frame.positions for frame in frames])
    assert (votca.rdf(positions, (0.0, 0.2, 4.8), cell=[10, 10, 10]).y == expected.y).all()
    assert (votca.rdf([(p, np.eye(3) * 10) for p in positions], "0:0.2:4.8").y == expected.y).all()
    scaled = votca.rdf(frames, (0.0, 0.02, 0.48), length_scale=0.1)
    np.testing.assert_allclose(scaled.y, expected.y, rtol=1e-12)


def test_unwrapped_positions_make_no_difference():
    frame = gas()
    moved = frame.copy()
    moved.positions += np.random.default_rng(1).integers(-3, 4, (len(frame), 3)) * 10.0
    np.testing.assert_allclose(votca.rdf(moved, (0, 0.2, 4.8)).y, votca.rdf(frame, (0, 0.2, 4.8)).y, rtol=1e-12)


def test_types_are_bead_names_lammps_types_symbols_or_given():
    frame = gas()
    expected = votca.rdf(frame, (0, 0.2, 4.8), "H", "He").y
    lammps_type = frame.numbers + 4
    frame.arrays["type"] = lammps_type
    assert (votca.rdf(frame, (0, 0.2, 4.8), 5, "6").y == expected).all()
    assert (votca.rdf(frame, (0, 0.2, 4.8), "Bead5", "Bead6").y == expected).all()
    names = np.where(frame.numbers == 1, "A", "B")
    assert (votca.rdf(frame, (0, 0.2, 4.8), "A", "B", types=names).y == expected).all()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"grid": (0, 0.2, 5.2)}, "exceeds half of the shortest box height"),
        ({"type1": "Xe"}, "no bead of type 'Xe'"),
        ({"frames": []}, "no frames"),
        ({"frames": Atoms("H2", positions=[[0, 0, 0], [1, 0, 0]])}, "not periodic"),
        ({"frames": Atoms("H2", positions=[[0, 0, 0], [9, 9, 9]], cell=[40] * 3, pbc=True)}, "all zero"),
        ({"frames": np.zeros((2, 5, 3))}, "without `cell`"),
        ({"type1": "*", "type2": "H"}, "share beads"),
    ],
)
def test_bad_input_is_named(options, word):
    arguments = {"frames": gas(), "grid": (0, 0.2, 4.8), **options}
    with pytest.raises(VotcaError, match=word):
        votca.rdf(**arguments)


def test_frames_of_different_systems_are_refused():
    with pytest.raises(VotcaError, match="frame 2 has 150"):
        votca.rdf([gas(), gas(150)], (0, 0.2, 4.8))
