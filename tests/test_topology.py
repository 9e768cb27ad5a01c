"""Topologies: what they are made of and survive, and that no pair energy overlooks an exclusion."""

import itertools

import numpy as np
import pytest
import torch
from ase.io import read, write
from ase.md.verlet import VelocityVerlet as AseVerlet
from bead_chain import HarmonicBonds, chains, pairs

from asediff import (
    RDF,
    AsediffCalculator,
    CheckpointAdjoint,
    DiluteEngine,
    NoseHooverChain,
    Pressure,
    ReversibleAdjoint,
    StatePoint,
    Target,
    VelocityVerlet,
)
from asediff.fitting.statistics.histograms import count_pairs
from asediff.kernels.arrays import Exclusions
from asediff.kernels.reference import rdf as reference_rdf
from asediff.kernels.reference import torch_rdf
from asediff.kernels.reference.pair import pair_forces, pair_vjp
from asediff.neighbors import NeighborList, nearest_vectors
from asediff.potentials import LennardJones, PairPotential
from asediff.simulate import simulate
from asediff.system import System
from asediff.testing import check_potential
from asediff.topology import Topology
from asediff.trajectory import Trajectory

RING_WITH_TAIL = [(0, 1), (1, 2), (2, 3), (3, 0), (3, 4), (4, 5)]


# ---------------------------------------------------------------- what it is made of


def test_terms_follow_from_the_bonds():
    topology = Topology.from_bonds(RING_WITH_TAIL, exclude=1, weight_14=0.25)
    assert sorted(topology.angles.tolist()) == [
        [0, 1, 2], [0, 3, 2], [0, 3, 4], [1, 0, 3], [1, 2, 3], [2, 3, 4], [3, 4, 5],
    ]  # fmt: skip
    ends = {tuple(sorted((row[0], row[3]))) for row in topology.dihedrals.tolist()}
    assert ends == {(0, 1), (1, 2), (2, 3), (0, 3), (1, 4), (0, 5), (2, 5)}
    weights = dict(zip(map(tuple, topology.exclusions.tolist()), topology.weights.tolist(), strict=True))
    assert weights == {
        **dict.fromkeys([(0, 1), (1, 2), (2, 3), (0, 3), (3, 4), (4, 5)], 0.0),
        **dict.fromkeys([(0, 5), (1, 4), (2, 5)], 0.25),  # across the ring 0 and 2 are two bonds apart, not three
    }


@pytest.mark.parametrize(("exclude", "n"), [(0, 1), (1, 4), (2, 6), (3, 6)])
def test_pairs_are_excluded_up_to_a_number_of_bonds(exclude, n):
    topology = Topology.from_bonds([(0, 1), (1, 2), (2, 3)], exclude=exclude, weight_14=0.5)
    assert len(topology.exclusions) == n
    assert topology.weights.tolist().count(0.5) == (exclude < 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Topology([(0, -1)]), "bonds: atom -1 is not there; count atoms from 0"),
        (lambda: Topology([(3, 3)]), r"bonds: \[3, 3\] names an atom twice"),
        (lambda: Topology(angles=[(1, 0, 1)]), r"angles: \[1, 0, 1\] names an atom twice"),
        (lambda: Topology([(0, 1), (1, 0)]), r"bonds: \[1, 0\] is there more than once"),
        (lambda: Topology(angles=[(0, 1, 2), (2, 1, 0)]), "angles: .* more than once"),
        (lambda: Topology(dihedrals=[(0, 1, 2, 3)] * 2), "dihedrals: .* more than once"),
        (lambda: Topology([(0, 1)], bond_types=[-1]), "bond_types: -1 is out of range"),
        (lambda: Topology([(0, 1)], bond_types=[0, 0]), r"bond_types: shape \(2,\) for 1 bonds"),
        (lambda: Topology([(0, 1, 2)]), r"bonds: torch.int64 of shape \(1, 3\); give whole numbers of shape \(n, 2\)"),
        (lambda: Topology([(0.5, 1.0)]), "bonds: torch.float32 of shape"),
        (lambda: Topology(exclusions=[(0, 1)], weights=[1.5]), "weights: 1.5 is out of range; give numbers from 0.0"),
        (lambda: Topology(exclusions=[(0, 1)], weights=[float("nan")]), "weights: nan is out of range"),
        (lambda: Topology(exclusions=[(0, 1), (1, 0)]), "exclusions: .* more than once"),
        (lambda: Topology.from_bonds([(0, 7)], n_atoms=7), r"bonds: atom 7 is not among the 7; use 0 \.\.\. 6"),
        (lambda: Topology.from_bonds([(0, 1)], exclude=4), "exclude: 4 is no number of bonds"),
        (lambda: Topology.from_bonds([(0, 1)], weight_14=-0.1), "weight_14: -0.1 is no weight"),
        (lambda: chains().replace(topology=Topology([(0, 40)])), "bonds: atom 40 is not among the 40"),
        (
            lambda: System.concatenate([chains(1), chains(1)]).replace(topology=Topology([(4, 5)])),
            r"bonds: \[4, 5\] are atoms of different systems",
        ),
    ],
)  # fmt: skip
def test_what_is_no_topology_is_refused(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_one_dihedral_may_have_terms_of_several_types():
    assert len(Topology(dihedrals=[(0, 1, 2, 3), (3, 2, 1, 0)], dihedral_types=[0, 1]).dihedrals) == 2


def test_rows_are_those_of_both_atoms():
    topology = Topology(exclusions=[(3, 1), (0, 3), (1, 2)], weights=[0.5, 0.0, 1.0])
    rows = topology.rows(5)
    assert rows.first.tolist() == [0, 1, 2, 2, 4, 4]
    assert rows.partner.tolist() == [3, 3, 0, 1]
    assert rows.weight.tolist() == [0.0, 0.5, 0.0, 0.5]
    assert Topology([(0, 1)], exclusions=[(0, 1)], weights=[1.0]).rows(2) is None


# ---------------------------------------------------------------- what it survives


def test_a_batch_numbers_atoms_on_and_its_parts_number_them_back():
    first, second = chains(2, 4), chains(3, 5)
    bare = chains(1, 3).replace(topology=None)
    batch = System.concatenate([first, bare, second])
    assert int(batch.topology.bonds.min()) == 0
    assert batch.topology.bonds[len(first.topology.bonds) :].min() == first.n_atoms + bare.n_atoms
    assert batch[0].topology.same_as(first.topology)
    assert batch[2].topology.same_as(second.topology)
    assert not len(batch[1].topology.bonds)
    assert System.concatenate([bare, bare]).topology is None


def test_a_topology_follows_its_system():
    system = chains()
    topology = system.topology
    assert system.replace(positions=system.positions + 1.0).topology is topology
    assert system.detach().topology is topology
    assert system.to(dtype=torch.float32).topology.same_as(topology)
    assert system.wrapped().thermalized(kT=1.0, seed=1).topology is topology


def test_atoms_keep_a_topology_through_copies_slices_and_files(tmp_path):
    system = chains(3, 4, weight_14=1.0 / 3.0)
    (atoms,) = system.to_atoms()
    write(tmp_path / "chains.extxyz", atoms)
    for kept in (atoms, atoms.copy(), read(tmp_path / "chains.extxyz"), atoms[:]):
        assert System.from_atoms(kept).topology.same_as(system.topology)
    # the second chain and one bead of the third, backwards
    part = System.from_atoms(atoms[[8, 7, 6, 5, 4]]).topology
    assert sorted(sorted(row) for row in part.bonds.tolist()) == [[1, 2], [2, 3], [3, 4]]
    assert part.exclusions.tolist() == [[1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]]
    with pytest.raises(ValueError, match="after repeating or joining atoms"):
        System.from_atoms(atoms * 2)
    joined = atoms.copy()
    joined.extend(chains(1, 4).replace(topology=None).to_atoms()[0])
    assert System.from_atoms(joined).topology.same_as(system.topology)


def test_trajectories_keep_a_topology(tmp_path):
    system = chains(2, 4)
    run = simulate(
        system, pairs().requires_grad_(False) + HarmonicBonds().requires_grad_(False), VelocityVerlet(0.002), 2
    )
    run.save(tmp_path / "run.npz")
    for kept in (Trajectory.load(tmp_path / "run.npz"), run.select([0]), run[:1], run.to(dtype=torch.float32)):
        assert kept.system.topology.same_as(system.topology)
    assert System.from_atoms(run.to_atoms()[0]).topology.same_as(system.topology)
    other = Trajectory(**{**vars(run), "system": run.system.replace(topology=None)})
    with pytest.raises(ValueError, match="item 1 has another topology"):
        Trajectory.concatenate([run, other])


# ---------------------------------------------------------------- pairs


def brute_force(system: System, cutoff: float) -> tuple[float, np.ndarray]:
    """Energy and forces of `pairs(cutoff)` in numpy: all images, the nearest one of each listed pair weighted."""
    potential, reach = pairs(cutoff), range(-3, 4)
    x, cell = system.positions.numpy(), system.cell[0].numpy()
    weights = {
        tuple(p): w for p, w in zip(system.topology.exclusions.tolist(), system.topology.weights.tolist(), strict=True)
    }
    spline = potential.tabulate(system)
    forces, total = np.zeros_like(x), 0.0
    shifts = np.array(list(itertools.product(reach, repeat=3))) @ cell
    for i in range(len(x)):
        for j in range(i, len(x)):
            centre = x[j] - x[i] - np.round((x[j] - x[i]) @ np.linalg.inv(cell)) @ cell
            d = centre + shifts
            s = (d * d).sum(1)
            w = np.ones(len(s)) if i != j else np.where(s < 1e-9, 0.0, 0.5)
            if (i, j) in weights:
                w[s.argmin()] = weights[i, j]
            with torch.no_grad():
                u, slope = (
                    a.numpy() for a in spline.evaluate(torch.from_numpy(s), torch.zeros(len(s), dtype=torch.int64))
                )
            u[s >= cutoff**2] = 0.0
            total += (w * u).sum()
            push = ((2.0 * w * slope)[:, None] * d).sum(0)
            forces[i] += push
            forces[j] -= push
    return total, forces


@pytest.mark.parametrize("box", [6.5, 3.1], ids=["roomy", "shorter than twice the cutoff"])
@pytest.mark.parametrize("exclude", [1, 2, 3])
def test_lists_weigh_the_nearest_image_of_excluded_pairs(box, exclude):
    system = chains(2, 4, box=box, exclude=exclude)
    energy, forces = brute_force(system, 2.4)
    potential = pairs(2.4).requires_grad_(False)
    neighbors = NeighborList(2.4, 0.3).update(system)
    found = potential.energy_forces(system, neighbors)
    assert float(found[0][0]) == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(found[1], forces, atol=1e-11 * np.abs(forces).max())
    (atoms,) = system.to_atoms()
    atoms.calc = AsediffCalculator(potential)
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-11 * np.abs(forces).max())


def test_a_list_knows_which_image_is_nearest_while_atoms_move():
    # two atoms that meet in two images, as far away as each other: a step makes the other one the nearest
    system = chains(1, 2, box=3.0, exclude=1)
    kept = NeighborList(2.0, 0.5)
    for place in (1.45, 1.48, 1.52, 1.6):
        positions = torch.tensor([[0.0, 0.0, 0.0], [place, 0.0, 0.0]], dtype=torch.float64)
        moved = system.replace(positions=positions)
        between = kept.update(moved).displacements(moved)[:, 0].abs()
        other = max(place, 3.0 - place)
        along = between[(between > 1e-9) & (between < 2.0)]
        assert along.tolist() == pytest.approx([other])


def test_lists_without_exclusions_carry_no_weights():
    system = chains(2, 4, exclude=3)
    assert NeighborList(2.0).update(system).weights is None
    assert NeighborList(2.0).update(system.replace(topology=None)).weights is None
    assert NeighborList(2.5).update(chains(2, 4)).weights is not None


def test_a_changed_topology_makes_a_new_list():
    system, kept = chains(2, 4), NeighborList(2.0)
    with_exclusions = len(kept.update(system))
    assert len(kept.update(system.replace(topology=None))) > with_exclusions


def test_the_reference_kernels_weigh_excluded_pairs():
    system = System.concatenate([chains(2, 4), chains(1, 6, seed=1), chains(1, 3).replace(topology=None)])
    spline = pairs(2.5).tabulate(system)
    batch, tables = spline.arrays(system)
    batch = batch._replace(
        **{name: torch.from_numpy(value) for name, value in batch._asdict().items() if name != "exclusions"},
        exclusions=Exclusions(*(torch.from_numpy(value) for value in batch.exclusions)),
    )
    index = torch.from_numpy(tables.table_index)
    tables = tables._replace(coefficients=spline.coefficients.detach().requires_grad_(), table_index=index)
    x = system.positions.clone().requires_grad_()
    out = pair_forces(x, batch, tables)
    energy, forces, virial = spline.energy_forces(system, NeighborList(2.5).update(system))
    torch.testing.assert_close(out.energy, energy, rtol=1e-13, atol=0.0)
    torch.testing.assert_close(out.forces, forces, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(out.virial.diagonal(dim1=1, dim2=2).sum(-1), virial, rtol=1e-12, atol=1e-10)
    weights = [torch.randn(a.shape, generator=torch.Generator().manual_seed(k)).double() for k, a in enumerate(out)]
    loss = sum((w * a).sum() for w, a in zip(weights, out, strict=True))
    expected = torch.autograd.grad(loss, (x, tables.coefficients))
    with torch.no_grad():
        found = pair_vjp(x, batch, tables, weights[1], weights[0], weights[2])
    for value, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(value, exact, rtol=1e-11, atol=1e-12 * float(exact.abs().max()))


def test_nearest_vectors_cross_the_boundary():
    system = chains(2, 4)
    first, second = system.topology.bonds.unbind(1)
    lengths = nearest_vectors(system.wrapped(), first, second).norm(dim=1)
    torch.testing.assert_close(lengths, (system.positions[second] - system.positions[first]).norm(dim=1))


# ---------------------------------------------------------------- a chain of beads, everywhere


def bead_spring() -> tuple[System, HarmonicBonds]:
    return chains(4, 5).thermalized(kT=0.5, seed=3), HarmonicBonds()


def test_terms_without_a_cutoff_add_to_others():
    bonds = HarmonicBonds()
    assert bonds.cutoff is None
    assert (bonds + pairs(2.5)).cutoff == 2.5
    assert (bonds + HarmonicBonds()).cutoff is None


@pytest.mark.parametrize("with_pairs", [True, False])
def test_energy_and_forces_of_a_chain_belong_together(with_pairs):
    check_potential(HarmonicBonds() + pairs(2.5) if with_pairs else HarmonicBonds(), chains(2, 5))


@pytest.mark.parametrize("box", [6.5, 4.5], ids=["roomy", "shorter than twice the cutoff"])
def test_a_chain_conserves_its_energy(box):
    system = chains(4, 5, box=box).thermalized(kT=0.5, seed=3)
    potential = (pairs(2.5) + HarmonicBonds()).requires_grad_(False)
    runs = [simulate(system, potential, VelocityVerlet(dt), round(0.6 / dt), save_every=10) for dt in (0.004, 0.002)]
    wander = [float((run.conserved - run.conserved[:1]).abs().max()) for run in runs]
    assert wander[0] < 2e-2
    assert wander[1] < 0.35 * wander[0]  # the error of the steps, of second order, and no other


def test_a_bonded_term_alone_is_simulated():
    system, bonds = bead_spring()
    run = simulate(system, bonds.requires_grad_(False), VelocityVerlet(0.002), 200, save_every=20)
    assert float((run.conserved - run.conserved[0]).abs().max()) < 1e-3


def test_exclusions_are_in_the_fused_form_or_on_the_general_path_but_never_overlooked():
    system = chains(4, 5).thermalized(kT=0.5, seed=3)
    potential = pairs(2.5).requires_grad_(False)
    run = simulate(system, potential, VelocityVerlet(0.001), 10, save_every=5)
    frame = run.frame(0)
    energy, _ = potential.energy_forces(frame, NeighborList(2.5).update(frame))
    assert float(run.potential_energy[0, 0]) == pytest.approx(float(energy[0]), rel=1e-12)
    with torch.no_grad():
        measured = Pressure(potential)(run)[0, 0]
    assert float(measured) == pytest.approx(float(run.pressure.mean()), rel=1e-12)


@pytest.mark.parametrize("adjoint", [CheckpointAdjoint(every=4), ReversibleAdjoint(snapshot_every=4, keep=0)])
@pytest.mark.parametrize("integrator", [VelocityVerlet(0.004), NoseHooverChain(0.004, kT=0.5, tdamp=0.2)])
def test_gradients_through_a_chain_equal_central_differences(adjoint, integrator):
    system, bonds = bead_spring()
    potential = bonds + pairs(2.5)
    parameters = dict(potential.named_parameters())

    def loss() -> torch.Tensor:
        run = simulate(system, potential, integrator, 12, save_every=6, adjoint=adjoint)
        return (
            (run.positions[-1] - system.positions)
            * torch.cos(torch.arange(system.n_atoms * 3.0).double()).reshape(-1, 3)
        ).sum()

    gradients = torch.autograd.grad(loss(), list(parameters.values()))
    for parameter, gradient in zip(parameters.values(), gradients, strict=True):
        h = 1e-3 * float(parameter.detach())
        ends = []
        for shift in (-2 * h, -h, h, 2 * h):
            with torch.no_grad():
                parameter += shift
                ends.append(float(loss()))
                parameter -= shift
        numerical = (8.0 * (ends[2] - ends[1]) - (ends[3] - ends[0])) / (12.0 * h)
        assert float(gradient) == pytest.approx(numerical, rel=1e-6)


def test_the_calculator_reads_the_topology_and_sees_it_change():
    system, bonds = bead_spring()
    potential = (bonds + pairs(2.5)).requires_grad_(False)
    (atoms,) = system.to_atoms()
    atoms.calc = AsediffCalculator(potential)
    with torch.no_grad():
        energy, forces = potential.energy_forces(system, NeighborList(2.5).update(system))
    assert atoms.get_potential_energy() == pytest.approx(float(energy[0]), rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-10)
    start = atoms.get_total_energy()
    AseVerlet(atoms, timestep=0.002).run(50)
    assert atoms.get_total_energy() == pytest.approx(start, abs=2e-3)
    before = atoms.get_potential_energy()
    system.replace(topology=Topology.from_bonds(system.topology.bonds, exclude=0)).topology.put_into(atoms)
    assert atoms.get_potential_energy() != pytest.approx(before, rel=1e-3)


# ---------------------------------------------------------------- what counts pairs


def test_rdf_leaves_out_excluded_pairs_and_counts_weighted_ones_in_full():
    system = System.concatenate([chains(3, 5), chains(2, 4, seed=1), chains(1, 6).replace(topology=None)])
    system = system.wrapped()
    rdf = RDF(2.5, 25, width=0.0)
    counts = rdf.counts(system)
    expected = rdf.counts(system.replace(topology=None)).clone()
    dropped = system.topology.exclusions[system.topology.weights == 0.0]
    r = nearest_vectors(system, *dropped.unbind(1)).norm(dim=1)
    for pair, distance in zip(dropped.tolist(), r.tolist(), strict=True):
        if distance < 2.5:
            expected[0, int(system.system_idx[pair[0]]), int(distance / 0.1)] -= 1
    assert torch.equal(counts, expected)
    torch.testing.assert_close(rdf.from_counts(counts[0], system), rdf(system), rtol=1e-12, atol=0.0)


def test_smeared_counts_of_the_references_agree():
    system = System.concatenate([chains(3, 5), chains(3, 5, seed=1), chains(2, 4)])
    frames = torch.stack([system.positions, system.positions.flip(0).roll(1, 0)])
    types = torch.arange(system.n_atoms) % 2
    channels = torch.tensor([[0, 1], [1, -1]])
    grid = RDF(2.5, 25).grid
    found = []
    for kernels in (torch_rdf, reference_rdf):
        x = frames.clone().requires_grad_()
        counts = kernels.smeared_counts(x, system.cell, system.offsets, types, channels, grid, system.exclusions())
        (gradient,) = torch.autograd.grad(
            (counts * torch.sin(torch.arange(counts.numel())).reshape(counts.shape)).sum(), x
        )
        found.append((counts.detach(), gradient))
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-9 * float(exact.abs().max()))


def test_histograms_for_reweighting_count_pairs_by_their_weights():
    """With narrow bins their energies are those of the frames, for each species pair."""
    system = chains(8, 5, weight_14=0.25)
    numbers = torch.where(torch.arange(system.n_atoms) % 3 == 0, 36, 18)
    system = system.replace(numbers=numbers)
    radials = {("Ar", "Ar"): LennardJones(0.4, 0.9), ("Ar", "Kr"): LennardJones(), ("Kr", "Kr"): LennardJones(0.7, 1.1)}
    potential = PairPotential(radials, 2.5).requires_grad_(False)
    run = simulate(system, potential, VelocityVerlet(0.001), 4, save_every=2)
    bins = 100_000
    counts = count_pairs(run, potential, bins)
    r = 2.5 / bins * (torch.arange(bins).double() + 0.5)
    energies = sum(
        n @ potential.function(r, name) for n, name in zip(counts.unbind(1), potential.pair_names(), strict=True)
    )
    torch.testing.assert_close(energies, run.potential_energy[:, 0], rtol=1e-5, atol=1e-6)
    assert float(energies.abs().min()) > 0.1


def test_the_dilute_limit_knows_no_molecules():
    """g(r) = exp(-u/kT) would be wrong within them, so it is refused before anything is computed."""
    system, _ = bead_spring()
    rdf = RDF(1.2, 6)
    point = StatePoint(system, Target(rdf, torch.ones(6)), kT=1.0, name="melt")
    for work in (lambda: DiluteEngine().check([point]), lambda: DiluteEngine().measure(pairs(), point, seed=0)):
        with pytest.raises(ValueError, match=r"system: melt has exclusions.* or use TorchEngine"):
            work()
