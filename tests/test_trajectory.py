"""Trajectory: parts, pieces, files."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from asediff.system import System
from asediff.trajectory import Trajectory


def make(n_frames=6, *, start=0, every=10, conserved=True, seed=0) -> Trajectory:
    rng = np.random.default_rng(seed)
    system = System.from_atoms([bulk("Ar", cubic=True), bulk("Fe", cubic=True)]).thermalized(kT=1.0, seed=seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape))

    return Trajectory(
        system=system,
        positions=random(n_frames, 6, 3),
        velocities=random(n_frames, 6, 3),
        steps=start + every * torch.arange(1, n_frames + 1),
        timestep=0.5,
        potential_energy=random(n_frames, 2),
        pressure=random(n_frames, 2),
        conserved=random(n_frames, 2) if conserved else None,
        thermostat=random(2, 2, 3) if conserved else None,
    )


def same(a: Trajectory, b: Trajectory) -> bool:
    names = ("positions", "velocities", "steps", "potential_energy", "pressure")
    equal = all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)
    if a.conserved is None or b.conserved is None:
        return equal and a.conserved is b.conserved
    return equal and torch.equal(a.conserved, b.conserved)


def test_frames_are_systems():
    trajectory = make()
    assert len(trajectory) == trajectory.n_frames == 6
    for k, frame in enumerate(trajectory):
        assert torch.equal(frame.positions, trajectory.positions[k])
        assert torch.equal(frame.velocities, trajectory.velocities[k])
        assert frame.masses is trajectory.system.masses
    assert torch.equal(trajectory.frame(-1).positions, trajectory.positions[5])
    with pytest.raises(IndexError, match="outside the 6 frames"):
        trajectory.frame(6)


def test_kinetic_energy_is_that_of_the_frames():
    trajectory = make()
    expected = torch.stack([frame.get_kinetic_energy() for frame in trajectory])
    torch.testing.assert_close(trajectory.kinetic_energy, expected, rtol=1e-14, atol=0)


def test_times():
    assert make(3).times.tolist() == [5.0, 10.0, 15.0]


def test_slices():
    trajectory = make()
    part = trajectory[1:4]
    assert part.steps.tolist() == [20, 30, 40]
    assert torch.equal(part.positions, trajectory.positions[1:4])
    assert torch.equal(part.system.positions, trajectory.positions[3])
    assert part.thermostat is None
    assert trajectory[2:].thermostat is trajectory.thermostat
    assert trajectory[2:].system is trajectory.system
    assert trajectory[::2].steps.tolist() == [10, 30, 50]
    assert len(trajectory[4:2]) == 0
    with pytest.raises(TypeError, match=r"use trajectory.frame\(2\)"):
        trajectory[2]
    with pytest.raises(ValueError, match="back in time"):
        trajectory[::-1]


def test_discard_keeps_the_final_state():
    trajectory = make()
    assert same(trajectory.discard(2), trajectory[2:])
    assert trajectory.discard(2).system is trajectory.system
    with pytest.raises(ValueError, match="discarding 6 of 6 frames leaves none"):
        trajectory.discard(6)


def test_select_takes_systems_in_the_order_given():
    trajectory = make()
    turned = trajectory.select([1, 0])
    assert torch.equal(turned.system.counts, trajectory.system.counts.flip(0))
    assert torch.equal(turned.potential_energy, trajectory.potential_energy.flip(1))
    assert torch.equal(turned.thermostat, trajectory.thermostat.flip(0))
    assert same(turned.select([1, 0]), trajectory)
    one = trajectory.select([1])
    torch.testing.assert_close(one.kinetic_energy[:, 0], trajectory.kinetic_energy[:, 1])
    for wrong in ([], [2], [-1]):
        with pytest.raises(ValueError, match="does not name systems of a batch of 2"):
            trajectory.select(wrong)


def test_concatenate_undoes_slices():
    trajectory = make()
    assert same(Trajectory.concatenate([trajectory[:2], trajectory[2:5], trajectory[5:]]), trajectory)


def test_concatenate_counts_on():
    joined = Trajectory.concatenate([make(2), make(3, seed=1), make(2, start=100)])
    assert joined.steps.tolist() == [10, 20, 30, 40, 50, 110, 120]
    assert Trajectory.concatenate([make(2), make(2, conserved=False)]).conserved is None


def test_concatenate_refuses_other_systems():
    first, second = make(), make()
    other = Trajectory(
        **{
            **{name: getattr(second, name) for name in Trajectory.__dataclass_fields__},
            "system": second.system.replace(masses=2.0 * second.system.masses),
        }
    )
    with pytest.raises(ValueError, match="item 1 has other masses"):
        Trajectory.concatenate([first, other])
    with pytest.raises(ValueError, match="at least one Trajectory"):
        Trajectory.concatenate([])


def test_to_atoms_keeps_momenta():
    trajectory = make(3)
    for k in (0, 1, -1):
        images = trajectory.to_atoms(k)
        assert len(images) == 3
        for atoms, frame in zip(images, trajectory, strict=True):
            np.testing.assert_array_equal(atoms.positions, frame[k].positions)
            np.testing.assert_allclose(atoms.get_velocities(), frame[k].velocities, rtol=1e-14)
            assert atoms.pbc.all()


@pytest.mark.parametrize("conserved", [True, False])
def test_saved_bit_for_bit(tmp_path, conserved):
    trajectory = make(conserved=conserved)
    path = tmp_path / "run.npz"
    trajectory.save(path)
    make(2).save(tmp_path / "other.npz")
    loaded = Trajectory.load(path)
    assert same(loaded, trajectory)
    assert loaded.timestep == trajectory.timestep
    assert torch.equal(loaded.system.velocities, trajectory.system.velocities)
    assert (loaded.thermostat is None) == (not conserved)
    if conserved:
        assert torch.equal(loaded.thermostat, trajectory.thermostat)
    assert torch.equal(loaded.system.pbc, trajectory.system.pbc)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.npz", "run.npz"]


def test_load_refuses_another_file(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"written by Trajectory\.save"):
        Trajectory.load(tmp_path / "a.npz")


def test_to_and_detach():
    trajectory = make().to(dtype=torch.float32)
    assert trajectory.positions.dtype == trajectory.system.dtype == torch.float32
    assert trajectory.steps.dtype == torch.int64
    trajectory.positions.requires_grad_()
    assert not trajectory.detach().positions.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": torch.zeros(6, 5, 3, dtype=torch.float64)}, "positions: shape"),
        ({"velocities": torch.zeros(5, 6, 3, dtype=torch.float64)}, "velocities: shape"),
        ({"pressure": torch.zeros(6, dtype=torch.float64)}, "pressure: shape"),
        ({"conserved": torch.zeros(6, 1, dtype=torch.float64)}, "conserved: shape"),
        ({"thermostat": torch.zeros(1, 2, 3, dtype=torch.float64)}, "thermostat: shape"),
        ({"steps": torch.arange(6.0)}, "steps: type"),
        ({"steps": torch.tensor([1, 2, 3, 3, 4, 5])}, "steps: do not ascend"),
    ],
)
def test_misfits_are_refused(change, message):
    values = {name: getattr(make(), name) for name in Trajectory.__dataclass_fields__}
    with pytest.raises(ValueError, match=message):
        Trajectory(**(values | change))


def test_repr_is_short():
    assert "6 frames, steps 10-60" in repr(make())
    assert "0 frames" in repr(make()[:0])
