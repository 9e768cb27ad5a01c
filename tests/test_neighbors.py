"""Neighbor lists against a brute-force sum over images, for every kind of cell and position."""

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation

from asediff.checks.systems import periodic_heights
from asediff.neighbors import NeighborList, check_box
from asediff.system import System

CUBIC = np.diag([7.0, 7.0, 7.0])
SKEWED = np.array([[8.0, 0.0, 0.0], [7.0, 7.5, 0.0], [-6.0, 6.5, 7.0]])
LEFT_HANDED = np.array([[0.0, 8.0, 0.5], [7.0, 0.0, 0.0], [0.0, 1.0, 7.5]])
CUTOFF = 2.5
SKIN = 0.4


def make(cell=CUBIC, pbc=True, n=60, seed=0, spread=1.0) -> Atoms:
    rng = np.random.default_rng(seed)
    scaled = rng.uniform(-spread, spread, (n, 3))
    return Atoms(numbers=np.full(n, 18), positions=scaled @ np.asarray(cell), cell=cell, pbc=pbc)


def brute_force(atoms: Atoms, r_max: float) -> np.ndarray:
    """Sorted distances of all pairs and images closer than r_max, each pair once."""
    cell, pbc = atoms.cell.array, atoms.pbc
    positions = atoms.positions.copy()
    if pbc.any():
        # The pseudo-inverse of the periodic vectors wraps along them and leaves the other directions alone.
        rows = cell[pbc]
        positions -= np.floor(positions @ np.linalg.pinv(rows)) @ rows
    # Wrapped, two atoms differ by less than one lattice vector in each direction.
    reach = [0 if not periodic else 3 for periodic in pbc]
    found = []
    for image in itertools.product(*(range(-n, n + 1) for n in reach)):
        between = positions[None] - positions[:, None] + np.array(image) @ cell
        distances = np.linalg.norm(between, axis=2)
        close = distances < r_max
        if not any(image):
            np.fill_diagonal(close, False)
        found.append(distances[close])
    return np.sort(np.concatenate(found))[::2]


def listed(atoms: Atoms | list[Atoms], r_max: float = CUTOFF + SKIN) -> np.ndarray:
    system = System.from_atoms(atoms)
    neighbors = NeighborList(CUTOFF, SKIN).update(system)
    distances = neighbors.displacements(system).norm(dim=1).numpy()
    return np.sort(distances[distances < r_max])


@pytest.mark.parametrize("cell", [CUBIC, SKEWED, LEFT_HANDED], ids=["cubic", "skewed", "left-handed"])
@pytest.mark.parametrize("pbc", list(itertools.product([True, False], repeat=3)), ids=str)
def test_list_equals_brute_force(cell, pbc):
    # Skewed cells have their own lattice planes: a cutoff that suits the flattest of them.
    atoms = make(cell, pbc)
    heights = periodic_heights(torch.tensor(cell)[None], torch.tensor([pbc]))
    cutoff = min(CUTOFF, 0.5 * float(heights.min()))
    system = System.from_atoms(atoms)
    neighbors = NeighborList(cutoff, SKIN).update(system)
    distances = np.sort(neighbors.displacements(system).norm(dim=1).numpy())
    expected = brute_force(atoms, cutoff + SKIN)
    assert len(distances) == len(expected)
    np.testing.assert_allclose(distances, expected, atol=1e-12)


def test_rotated():
    atoms = make(CUBIC)
    rotation = Rotation.from_euler("xyz", [0.3, 1.1, -2.0]).as_matrix()
    turned = Atoms(numbers=atoms.numbers, positions=atoms.positions @ rotation, cell=CUBIC @ rotation, pbc=True)
    np.testing.assert_allclose(listed(turned), listed(atoms), atol=1e-12)


@pytest.mark.parametrize("offset", [0.123, -50.0, 1e6])
def test_translated(offset):
    atoms = make(SKEWED * 1.4)
    moved = atoms.copy()
    moved.positions += offset
    # a coordinate of 1e6 carries 1e-10 of round-off
    np.testing.assert_allclose(listed(moved), listed(atoms), atol=1e-12 * max(1.0, abs(offset)))


def test_atoms_that_left_the_cell_keep_their_pairs():
    atoms = make(SKEWED * 1.4)
    far = atoms.copy()
    images = np.random.default_rng(3).integers(-1000, 1000, (len(atoms), 3))
    far.positions += images @ atoms.cell.array
    np.testing.assert_allclose(listed(far), listed(atoms), atol=1e-9)


def test_each_pair_stands_once():
    system = System.from_atoms(make(n=80))
    neighbors = NeighborList(CUTOFF, SKIN).update(system)
    keys = set()
    for i, j, shift in zip(
        neighbors.first.tolist(), neighbors.second.tolist(), neighbors.shifts.int().tolist(), strict=True
    ):
        keys.add((i, j, *shift))
        keys.add((j, i, *(-s for s in shift)))
    assert len(keys) == 2 * len(neighbors)


def test_no_pairs():
    lonely = Atoms("Ar", cell=CUBIC, pbc=True)
    apart = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 3.4]], cell=CUBIC, pbc=True)
    for atoms in (lonely, apart, [lonely, apart]):
        system = System.from_atoms(atoms)
        neighbors = NeighborList(CUTOFF, SKIN).update(system)
        assert neighbors.n_pairs == 0
        assert neighbors.displacements(system).shape == (0, 3)
        assert neighbors.shifts.shape == (0, 3)


def test_no_cell_at_all():
    atoms = make(CUBIC, pbc=False)
    atoms.cell = None
    np.testing.assert_allclose(listed(atoms), brute_force(atoms, CUTOFF + SKIN), atol=1e-12)


def test_batch_equals_its_members():
    members = [
        make(CUBIC, n=60, seed=1),
        Atoms("Ar", cell=CUBIC, pbc=True),
        make(SKEWED * 1.4, n=35, seed=2),
        make(CUBIC, pbc=False, n=20, seed=3),
    ]
    batch = System.from_atoms(members)
    neighbors = NeighborList(CUTOFF, SKIN).update(batch)
    displacements = neighbors.displacements(batch)
    owner = batch.system_idx[neighbors.first]
    assert torch.equal(owner, batch.system_idx[neighbors.second])
    for k, atoms in enumerate(members):
        alone = System.from_atoms(atoms)
        single = NeighborList(CUTOFF, SKIN).update(alone)
        assert torch.equal(single.first, neighbors.first[owner == k] - batch.offsets[k])
        assert torch.equal(single.second, neighbors.second[owner == k] - batch.offsets[k])
        torch.testing.assert_close(single.displacements(alone), displacements[owner == k], atol=1e-14, rtol=0)


def test_list_stays_complete_along_a_random_walk():
    rng = np.random.default_rng(0)
    cells = [CUBIC, SKEWED * 1.4]
    system = System.from_atoms([make(cell, n=50, seed=k) for k, cell in enumerate(cells)])
    kept = NeighborList(CUTOFF, SKIN)
    for _ in range(100):
        neighbors = kept.update(system)
        fresh = NeighborList(CUTOFF, 0.0).update(system)
        distances = neighbors.displacements(system).norm(dim=1)
        expected = fresh.displacements(system).norm(dim=1)
        torch.testing.assert_close(
            distances[distances < CUTOFF].sort()[0], expected[expected < CUTOFF].sort()[0], atol=1e-12, rtol=0
        )
        step = torch.from_numpy(rng.normal(scale=0.02, size=(system.n_atoms, 3)))
        system = system.replace(positions=system.positions + step)
    assert 2 < kept.n_builds < 60


def test_list_is_kept_until_half_the_skin():
    system = System.from_atoms(make(n=30))
    kept = NeighborList(CUTOFF, SKIN)
    first = kept.update(system)
    step = torch.zeros_like(system.positions)
    step[7, 2] = 0.499 * SKIN
    assert kept.update(system.replace(positions=system.positions + step)) is first
    step[7, 2] = 0.501 * SKIN
    assert kept.update(system.replace(positions=system.positions + step)) is not first


def test_list_is_remade_for_another_system():
    system = System.from_atoms(make(n=30))
    kept = NeighborList(CUTOFF, SKIN)
    for other in (
        system,
        system.replace(cell=system.cell * 1.01),
        system.replace(pbc=~system.pbc),
        system.to(dtype=torch.float32),
        System.from_atoms(make(n=31)),
        System.concatenate([system, system]),
    ):
        builds = kept.n_builds
        neighbors = kept.update(other)
        assert kept.n_builds == builds + 1
        assert neighbors.shifts.dtype == other.dtype
        assert neighbors.reference_positions.shape == other.positions.shape


def test_displacements_are_differentiable():
    system = System.from_atoms([make(SKEWED * 1.4, n=6, seed=1), make(CUBIC, n=5, seed=2)])
    neighbors = NeighborList(CUTOFF, SKIN).update(system)
    assert neighbors.shifts.abs().sum() > 0

    def total(positions: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        moved = system.replace(positions=positions, cell=cell)
        return neighbors.displacements(moved).square().sum(1).sin()

    inputs = (system.positions.clone().requires_grad_(), system.cell.clone().requires_grad_())
    assert torch.autograd.gradcheck(total, inputs)


def test_heights_are_volume_over_face_area():
    cell = torch.tensor(SKEWED)[None]
    volume = abs(np.linalg.det(SKEWED))
    areas = [np.linalg.norm(np.cross(SKEWED[(i + 1) % 3], SKEWED[(i + 2) % 3])) for i in range(3)]
    heights = periodic_heights(cell, torch.ones(1, 3, dtype=torch.bool))
    np.testing.assert_allclose(heights[0], volume / np.array(areas), rtol=1e-13)


def test_heights_ignore_what_is_not_periodic():
    cell = torch.tensor([[[4.0, 0, 0], [3.0, 5.0, 0], [9.0, 9.0, 0.0]]])
    pbc = torch.tensor([[True, True, False]])
    # The lattice of the first two vectors: area 20, lengths 4 and sqrt(34).
    expected = [20.0 / np.sqrt(34.0), 5.0, np.inf]
    np.testing.assert_allclose(periodic_heights(cell, pbc)[0], expected, rtol=1e-13)


def test_a_short_box_is_refused_with_the_remedy():
    cell = torch.stack([torch.eye(3) * 9.0, torch.diag(torch.tensor([9.0, 3.0, 9.0]))]).double()
    pbc = torch.ones(2, 3, dtype=torch.bool)
    check_box(cell, pbc, 1.5)
    with pytest.raises(ValueError, match=r"cell: system 1 is 3 high along lattice vector b") as error:
        check_box(cell, pbc, 4.0)
    assert "repeat the cell 3 times" in str(error.value)
    assert "a cutoff of at most 1.5" in str(error.value)
    check_box(cell, pbc, None)
    pbc[1, 1] = False
    check_box(cell, pbc, 4.0)


@pytest.mark.parametrize("cell", [CUBIC, SKEWED, LEFT_HANDED], ids=["cubic", "skewed", "left-handed"])
def test_in_a_short_box_every_image_is_listed(cell):
    atoms = make(cell / 3.0, n=5)
    system = System.from_atoms(atoms)
    distances = np.sort(NeighborList(CUTOFF, SKIN).update(system).displacements(system).norm(dim=1).numpy())
    repeated = listed(atoms * 3)  # nearest images of the repeated cell alone: heights of 2.2 (CUTOFF + SKIN) and more
    np.testing.assert_allclose(np.repeat(distances, 27), repeated, atol=1e-12)


def test_a_list_without_a_cutoff_is_empty():
    neighbors = NeighborList(None).update(System.from_atoms(make(n=4)))
    assert len(neighbors) == 0
    assert neighbors.displacements(System.from_atoms(make(n=4))).shape == (0, 3)


def test_a_lost_atom_is_refused():
    system = System.from_atoms(make(n=30))
    kept = NeighborList(CUTOFF, SKIN)
    kept.update(system)
    for value in (torch.nan, torch.inf):
        positions = system.positions.clone()
        positions[12, 1] = value
        with pytest.raises(ValueError, match=r"positions: atom 12 is at .*shorter timestep"):
            kept.update(system.replace(positions=positions))


@pytest.mark.parametrize(("cutoff", "skin"), [(0.0, 0.1), (-1.0, 0.1), (np.nan, 0.1), (1.0, -0.1), (1.0, np.inf)])
def test_senseless_lengths_are_refused(cutoff, skin):
    with pytest.raises(ValueError, match="is not a distance"):
        NeighborList(cutoff, skin)
