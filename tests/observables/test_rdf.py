"""RDF: ideal gas, ASE and LAMMPS as oracles, mixtures, batches, cells, projection, and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.geometry.rdf import get_rdf
from ase.io import write
from sampling import seed as shifted
from sampling import sigmas

from asediff.observables import RDF
from asediff.system import System
from asediff.trajectory import Trajectory

LENGTH = 9.0


def gas(n_atoms=200, seed=0, length=LENGTH, symbols=None):
    rng = np.random.default_rng(seed)
    return Atoms(symbols or f"Ar{n_atoms}", positions=length * rng.random((n_atoms, 3)), cell=[length] * 3, pbc=True)


def fluid(seed=0, mixture=False):
    """A rattled crystal: peaks and valleys, so that equality means something."""
    atoms = bulk("Ar", "fcc", a=2.3, cubic=True).repeat(4)
    atoms.rattle(0.25, seed=seed)
    if mixture:
        atoms.symbols = np.where(np.random.default_rng(seed).random(len(atoms)) < 0.3, "Ar", "Kr")
    return atoms


def trajectory_of(images):
    system = System.from_atoms(images[-1])
    positions = torch.stack([torch.from_numpy(image.get_positions()) for image in images])
    zero = torch.zeros(len(images), 1, dtype=torch.float64)
    return Trajectory(
        system=system,
        positions=positions,
        velocities=torch.zeros_like(positions),
        steps=torch.arange(1, len(images) + 1),
        timestep=1.0,
        potential_energy=zero,
        pressure=zero,
    )


@pytest.mark.sampled
@pytest.mark.parametrize("width", [None, 0.0])
def test_ideal_gas_is_one_minus_one_over_n(width):
    n_frames, n_atoms = 400, 50
    rdf = RDF(4.0, 10, width=width, r_min=0.7)
    g = rdf(trajectory_of([gas(n_atoms, shifted(k)) for k in range(n_frames)]))[0]
    pairs = n_frames * n_atoms**2 / 2 / LENGTH**3 * rdf.shell_volumes
    # Every pair is found independently of the others: Poisson errors, of 2000 pairs or more in each bin, whose
    # skewness adds a tenth of an error at this distance. A kernel only makes them smaller.
    assert float(pairs.min()) > 2000
    assert bool(((g - (1.0 - 1.0 / n_atoms)).abs() < (sigmas(comparisons=10) + 0.1) / pairs.sqrt()).all())


def test_plain_bins_equal_ase():
    atoms = fluid()
    expected, centers = get_rdf(atoms, 4.5, 45)
    rdf = RDF(4.5, 45, width=0.0)
    assert np.allclose(rdf.centers.numpy(), centers)
    assert np.allclose(rdf(System.from_atoms(atoms))[0].numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("pair", [("Ar", "Ar"), ("Ar", "Kr"), ("Kr", "Ar"), ("Kr", "Kr")])
def test_partial_functions_equal_ase(pair):
    atoms = fluid(mixture=True)
    expected, _ = get_rdf(atoms, 4.5, 45, elements=pair)
    assert np.allclose(RDF(4.5, 45, width=0.0, pair=pair)(System.from_atoms(atoms))[0].numpy(), expected, atol=1e-10)


def test_narrow_kernel_tends_to_plain_bins():
    # on the narrowest kernel, weight passes from bin to bin over 2 % of a bin: about 1 % of the pairs
    system = System.from_atoms(fluid())
    plain, narrow = RDF(4.5, 30, width=0.0)(system), RDF(4.5, 30, width=0.015)(system)
    assert float((narrow - plain).abs().mean()) < 0.005


def lammps_rdf(atoms, r_max, bins, folder: Path, n_types):
    write(folder / "frame.data", atoms, format="lammps-data", specorder=["Ar", "Kr"][:n_types])
    pairs = "1 1" if n_types == 1 else "1 1 1 2 2 2"
    (folder / "rdf.in").write_text(
        "units lj\natom_style atomic\nread_data frame.data\nmass * 1.0\n"
        f"pair_style zero {r_max + 0.2}\npair_coeff * *\n"
        f"compute g all rdf {bins} {pairs} cutoff {r_max}\n"
        "fix out all ave/time 1 1 1 c_g[*] file rdf.out mode vector\nrun 0\n"
    )
    program = Path(sys.executable).with_name("lmp")
    subprocess.run([program, "-in", "rdf.in", "-log", "none"], cwd=folder, check=True, capture_output=True)
    return np.loadtxt(folder / "rdf.out", skiprows=4)


def test_plain_bins_equal_lammps(tmp_path):
    atoms = fluid()
    table = lammps_rdf(atoms, 4.5, 50, tmp_path, 1)
    rdf = RDF(4.5, 50, width=0.0)
    g = rdf(System.from_atoms(atoms))[0].numpy()
    n = len(atoms)
    assert np.allclose(table[:, 1], rdf.centers.numpy(), rtol=1e-5)
    # LAMMPS divides by N (N - 1) and prints six digits
    assert np.allclose(table[:, 2] * (n - 1) / n, g, rtol=1e-5, atol=1e-5)
    coordination = rdf.coordination_number(torch.from_numpy(g), n / atoms.get_volume())
    assert np.allclose(table[:, 3], coordination.numpy(), rtol=1e-5, atol=1e-5)


def test_partial_functions_equal_lammps(tmp_path):
    atoms = fluid(mixture=True)
    table = lammps_rdf(atoms, 4.5, 50, tmp_path, 2)
    system = System.from_atoms(atoms)
    for column, pair in ((2, ("Ar", "Ar")), (4, ("Ar", "Kr")), (6, ("Kr", "Kr"))):
        g = RDF(4.5, 50, width=0.0, pair=pair)(system)[0].numpy()
        n = int((system.numbers == {"Ar": 18, "Kr": 36}[pair[0]]).sum())
        factor = (n - 1) / n if pair[0] == pair[1] else 1.0
        assert np.allclose(table[:, column] * factor, g, rtol=1e-5, atol=1e-5)


def test_coordination_number_of_a_crystal_counts_its_shells():
    atoms = bulk("Ar", "fcc", a=2.0, cubic=True).repeat(5)
    rdf = RDF(2.2, 110, width=0.02)
    neighbours = rdf.coordination_number(rdf(System.from_atoms(atoms))[0], len(atoms) / atoms.get_volume())
    at = [int((rdf.edges - r).abs().argmin()) - 1 for r in (1.7, 2.19)]
    # 12 at sqrt(2), 6 at 2
    assert float(neighbours[at[0]]) == pytest.approx(12.0, abs=1e-9)
    assert float(neighbours[at[1]]) == pytest.approx(18.0, abs=1e-6)


def test_partial_functions_are_symmetric_and_sum_to_the_total():
    system = System.from_atoms(fluid(mixture=True))
    x = float((system.numbers == 18).double().mean())
    partial = {
        p: RDF(4.5, 60, r_min=0.5, pair=p)(system) for p in (("Ar", "Ar"), ("Ar", "Kr"), ("Kr", "Ar"), ("Kr", "Kr"))
    }
    assert torch.allclose(partial["Ar", "Kr"], partial["Kr", "Ar"], rtol=0, atol=1e-13)
    total = x * x * partial["Ar", "Ar"] + 2 * x * (1 - x) * partial["Ar", "Kr"] + (1 - x) ** 2 * partial["Kr", "Kr"]
    assert torch.allclose(total, RDF(4.5, 60, r_min=0.5)(system), rtol=0, atol=1e-12)


def test_batch_equals_its_members():
    images = [fluid(1), gas(120, 2), bulk("Ar", "hcp", a=1.7).repeat((7, 7, 4))]
    images[-1].rattle(0.1, seed=3)
    rdf = RDF(3.4, 40, r_min=0.6)
    together = rdf(System.from_atoms(images))
    for k, image in enumerate(images):
        assert torch.equal(together[k], rdf(System.from_atoms(image))[0])


def test_triclinic_cell_gives_what_the_orthorhombic_cell_gives():
    box = fluid()
    skewed = box.copy()
    a, b, c = np.asarray(box.cell)
    # other lattice vectors of the same lattice, turned in space
    skewed.set_cell(np.array([a, b + a, c - b]), scale_atoms=False)
    skewed.rotate(35, (1, 2, 3), rotate_cell=True)
    rdf = RDF(2.6, 80, r_min=0.5)
    expected = rdf(System.from_atoms(box))
    assert torch.allclose(rdf(System.from_atoms(skewed)), expected, rtol=0, atol=1e-10)


def test_rotation_translation_and_wrapping_change_nothing():
    atoms = fluid()
    moved = atoms.copy()
    moved.positions += [17.0, -43.0, 4.4]
    moved.positions[::3] += 5 * np.asarray(atoms.cell)[1]
    rdf = RDF(4.5, 60)
    assert torch.allclose(rdf(System.from_atoms(moved)), rdf(System.from_atoms(atoms)), rtol=0, atol=1e-10)


def test_trajectory_is_the_mean_of_its_frames():
    images = [fluid(seed) for seed in range(3)]
    rdf = RDF(4.0, 30)
    trajectory = trajectory_of(images)
    per_frame = rdf.per_frame(trajectory)
    assert per_frame.shape == (3, 1, 30)
    for k, image in enumerate(images):
        assert torch.allclose(per_frame[k], rdf(System.from_atoms(image)), rtol=0, atol=1e-12)
    assert torch.allclose(rdf(trajectory), per_frame.mean(0))


def test_counts_give_the_plain_function():
    trajectory = trajectory_of([fluid(seed, mixture=True) for seed in (0, 0)])
    for pair in (None, ("Ar", "Kr"), ("Kr", "Kr")):
        rdf = RDF(4.0, 30, pair=pair)
        counts = rdf.counts(trajectory)
        assert counts.dtype == torch.int64
        plain = RDF(4.0, 30, pair=pair, width=0.0).per_frame(trajectory)
        assert torch.allclose(rdf.from_counts(counts, trajectory.system), plain, rtol=0, atol=1e-12)


def test_gradient_reaches_the_positions_of_all_frames():
    trajectory = trajectory_of([fluid(seed) for seed in range(2)])
    positions = trajectory.positions.clone().requires_grad_()
    rdf = RDF(4.0, 40, r_min=0.6)
    moving = Trajectory(
        **{
            name: getattr(trajectory, name)
            for name in ("system", "velocities", "steps", "timestep", "potential_energy", "pressure")
        },
        positions=positions,
    )
    rdf(moving).square().mean().backward()
    assert float(positions.grad.abs().sum(-1).min()) > 0.0
    # g depends on differences of positions only
    assert float(positions.grad.sum(1).abs().max()) < 1e-12


@pytest.mark.sampled
def test_projection_is_what_the_observable_measures():
    # a gas with a known g(r): pairs (i, 2i) bound at distances drawn around 2, on an ideal background
    rng = np.random.default_rng(shifted(0))
    n_pairs, n_frames, length = 40, 600, 12.0
    images = []
    for _ in range(n_frames):
        centres = length * rng.random((n_pairs, 3))
        direction = rng.normal(size=(n_pairs, 3))
        direction /= np.linalg.norm(direction, axis=1)[:, None]
        partner = centres + direction * rng.normal(2.0, 0.1, n_pairs)[:, None]
        images.append(
            Atoms(f"Ar{2 * n_pairs}", positions=np.concatenate([centres, partner]), cell=[length] * 3, pbc=True)
        )
    n = 2 * n_pairs
    r = np.linspace(0.0, 4.0, 2001)
    bound = np.exp(-((r - 2.0) ** 2) / 0.02) / math.sqrt(0.02 * math.pi)
    g = (n - 2) / n + bound * length**3 / n / (4 * math.pi * np.maximum(r, 1e-9) ** 2)
    rdf = RDF(3.0, 20, r_min=1.0)
    measured = rdf(trajectory_of(images))[0]
    expected = rdf.project(r, g)
    pairs = expected * n_frames * n**2 / 2 / length**3 * rdf.shell_volumes
    # independent pairs, 1500 or more in each bin: Poisson errors
    assert float(pairs.min()) > 1000
    assert bool(((measured - expected).abs() < (sigmas(comparisons=20) + 0.1) * expected / pairs.sqrt()).all())


@pytest.mark.parametrize("width", [0.0, 0.012, 0.05, 0.1, 0.3])
def test_projection_of_a_constant_is_the_constant(width):
    rdf = RDF(4.0, 40, width=width)
    ones = torch.ones(40, dtype=torch.float64)
    assert torch.allclose(rdf.project(np.linspace(0.0, 4.0, 80), np.ones(80)), ones, rtol=0, atol=1e-12)


def test_volumes_are_the_shells_for_plain_bins_and_gaussian_otherwise():
    plain = RDF(4.0, 40, width=0.0)
    assert torch.equal(plain.volumes, plain.shell_volumes)
    assert float(plain.shell_volumes.sum()) == pytest.approx(4 / 3 * math.pi * 64, rel=1e-12)
    rdf = RDF(4.0, 40)
    d, mu = rdf.bin_width, rdf.centers[20:]
    # second moment of a Gaussian; the normalising sum is constant to exp(-2 pi²)
    assert torch.allclose(rdf.volumes[20:], 4 * math.pi * d * (mu**2 + d**2), rtol=1e-7)


def test_float32_system_gives_float32():
    atoms = fluid()
    rdf = RDF(4.0, 40, r_min=0.6)
    single = rdf(System.from_atoms(atoms, dtype=torch.float32))
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), rdf(System.from_atoms(atoms)), rtol=0, atol=1e-3)


def test_equal_settings_are_equal_objects():
    assert RDF(3.0, 10, pair=("Ar", "Kr")) == RDF(3.0, 10, pair=("Ar", "Kr"))
    assert hash(RDF(3.0, 10)) == hash(RDF(3.0, 10))
    assert RDF(3.0, 10) != RDF(3.0, 11)


def test_r_max_beyond_half_the_box_is_refused():
    system = System.from_atoms([gas(length=9.0), gas(length=8.0)])
    with pytest.raises(ValueError, match=r"r_max=4.2: more than half the height 8 of system 1.*lower r_max to 4"):
        RDF(4.2, 10)(system)
    RDF(4.0, 10)(system)


def test_boxes_that_are_not_periodic_are_refused():
    atoms = gas()
    atoms.pbc = (True, True, False)
    with pytest.raises(ValueError, match="pbc: system 0 is not periodic"):
        RDF(3.0, 10)(System.from_atoms(atoms))


def test_missing_species_is_refused_with_those_present():
    with pytest.raises(ValueError, match=r"system 0 has no 'Kr' atoms; .*\(Ar\)"):
        RDF(3.0, 10, pair=("Ar", "Kr"))(System.from_atoms(gas()))


@pytest.mark.parametrize("pair", [("Ar", "Xx1"), ("Ar",)])
def test_bad_pairs_are_refused(pair):
    with pytest.raises(ValueError, match="pair="):
        RDF(3.0, 10, pair=pair)


def test_empty_trajectory_is_refused():
    trajectory = trajectory_of([gas()])[:0]
    with pytest.raises(ValueError, match="trajectory: holds no frames"):
        RDF(3.0, 10)(trajectory)


def test_short_curves_are_refused():
    r = np.linspace(0.0, 2.5, 50)
    with pytest.raises(ValueError, match=r"ends at 2.5, inside r_max=3"):
        RDF(3.0, 30).project(r, np.ones(50))
    with pytest.raises(ValueError, match=r"starts at 1 with g=1"):
        RDF(3.0, 30).project(r + 1.0, np.ones(50))
