"""Saved potentials come back equal, trained values included."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asediff.lattices import fcc
from asediff.neighbors import NeighborList
from asediff.potentials import (
    ForceShifted,
    LennardJones,
    ModifiedMorse,
    NeuralRadial,
    PairPotential,
    Potential,
    Radial,
    Repulsion,
    Shifted,
    Switched,
    TabulatedRadial,
    TemperatureDependent,
    Truncated,
    load_potential,
    save_potential,
)
from asediff.potentials.io import build_potential, describe_potential
from asediff.system import System

RADIALS = {
    "lennard-jones": lambda: LennardJones(1.1, 0.9),
    "morse": lambda: ModifiedMorse(6.5, -0.45, 1.2, 0.8),
    "repulsion": lambda: Repulsion(0.4, 0.9, 10),
    "table": lambda: TabulatedRadial(np.linspace(0.1, 2.5, 9), np.linspace(3, -1, 9) ** 2),
    "neural": lambda: NeuralRadial(2.5, n_basis=8, width=0.5, hidden=(5, 4), activation="silu", scale=2.0, seed=3),
    "neural-float32": lambda: NeuralRadial(2.5, n_basis=8, hidden=(5,), dtype=torch.float32),
    "sum": lambda: Repulsion() + LennardJones() + NeuralRadial(2.5, n_basis=4, hidden=()),
    "temperature": lambda: TemperatureDependent(Repulsion() + LennardJones(), LennardJones(0.3)),
}


def _train(radial: torch.nn.Module) -> None:
    """Change every parameter, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in radial.parameters():
            p.mul_(1.01).add_(0.01 * torch.randn(p.shape, generator=generator))


@pytest.fixture
def argon() -> System:
    return System.from_atoms(fcc("Ar", density=0.7, cells=3))


@pytest.mark.parametrize("kind", RADIALS)
def test_every_radial_function_comes_back(kind: str, tmp_path: Path, argon: System):
    potential = PairPotential(RADIALS[kind](), 2.5, truncation=Switched(0.7), core=0.3, n_knots=123)
    _train(potential.radial())
    save_potential(potential, tmp_path / "potential.pt")
    loaded = load_potential(tmp_path / "potential.pt")
    assert (loaded.cutoff, loaded.truncation, loaded.core, loaded.n_knots) == (2.5, Switched(0.7), 0.3, 123)
    tables = [p.tabulate(argon, 0.8).coefficients for p in (potential, loaded)]
    assert torch.equal(*tables)
    assert [p.dtype for p in loaded.parameters()] == [p.dtype for p in potential.parameters()]
    assert len(list(loaded.parameters())) == len(list(potential.parameters()))


@pytest.mark.parametrize("truncation", [Truncated(), Shifted(), ForceShifted(), Switched(0.5)])
def test_every_truncation_comes_back(truncation, tmp_path: Path):
    save_potential(PairPotential(LennardJones(), 2.5, truncation=truncation), tmp_path / "p")
    assert load_potential(tmp_path / "p").truncation == truncation


def test_mixtures_come_back(tmp_path: Path):
    potential = PairPotential(
        {("Ar", "Ar"): LennardJones(), ("Ar", "Kr"): Repulsion(), ("Kr", "Kr"): LennardJones(2.0)}, 2.5
    )
    save_potential(potential, tmp_path / "p")
    loaded = load_potential(tmp_path / "p")
    assert loaded.pair_names() == potential.pair_names()
    assert loaded.radial("Kr-Kr").epsilon.item() == 2.0
    assert isinstance(loaded.radial("Ar-Kr"), Repulsion)


def test_refined_tables_stay_refined(tmp_path: Path):
    potential = PairPotential(LennardJones(), 2.5, n_knots=50)
    potential.refine(1.0)
    save_potential(potential, tmp_path / "p")
    assert load_potential(tmp_path / "p").n_knots == potential.n_knots


def test_a_description_is_a_snapshot_that_later_training_leaves_alone():
    potential = PairPotential(LennardJones(), 2.5)
    description = describe_potential(potential)
    with torch.no_grad():
        potential.radial().epsilon.fill_(7.0)
    assert build_potential(description).radial().epsilon.item() == 1.0


def test_a_missing_file_and_a_file_of_something_else_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"path: .*none\.pt does not exist; give a file written by save_potential"):
        load_potential(tmp_path / "none.pt")
    (tmp_path / "text").write_text("no potential")
    with pytest.raises(ValueError, match=r"path: .*text is not a saved potential; give a file written") as caught:
        load_potential(tmp_path / "text")
    assert "\n" not in str(caught.value)
    torch.save({"format": 99}, tmp_path / "future")
    with pytest.raises(ValueError, match="is not a saved potential of format 1"):
        load_potential(tmp_path / "future")


class _Foreign(Radial):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale, dtype=torch.float64))

    def forward(self, r, kT=None):
        return self.scale * r

    def config(self):
        return {}


class Density(Potential):
    """Square root of the number of neighbors, smoothly counted: an energy that is no sum over pairs."""

    def __init__(self, size: int = 2, cutoff: float = 2.5, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.weights = torch.nn.Parameter(torch.arange(1.0, size + 1.0, dtype=dtype))

    def energy(self, system, neighbors, kT=None):
        r = neighbors.displacements(system).norm(dim=1)
        bump = torch.where(r < self.cutoff, (1.0 - (r / self.cutoff) ** 2) ** 3, 0.0)
        density = torch.zeros(system.n_atoms, dtype=system.dtype)
        density = density.index_add(0, neighbors.first, bump).index_add(0, neighbors.second, bump)
        powers = torch.arange(1, len(self.weights) + 1) / 2.0
        return system.sum_by_system((self.weights * (density[:, None] + 1e-9) ** powers).sum(1))


def _energy(potential: Potential, system: System) -> torch.Tensor:
    return potential.energy(system, NeighborList(potential.cutoff).update(system)).detach()


OF_USERS = {
    "function": lambda scale: PairPotential(_Foreign(scale), 2.5, n_knots=50),
    "potential": lambda scale: Density() if scale == 1.0 else Density().requires_grad_(False),
    "sum": lambda scale: PairPotential(LennardJones(scale), 2.5, n_knots=50) + Density(),
}


@pytest.mark.parametrize("kind", OF_USERS)
def test_what_a_user_has_written_comes_back_into_an_object_of_its_class(kind: str, tmp_path: Path, argon: System):
    potential = OF_USERS[kind](1.0)
    _train(potential)
    for part in potential.tabulated():
        part.n_knots = 77
    save_potential(potential, tmp_path / "p")
    with pytest.raises(
        ValueError, match=r"into: missing; .*p holds the values of a .*; make one and give it"
    ) as caught:
        load_potential(tmp_path / "p")
    assert "\n" not in str(caught.value)
    empty = OF_USERS[kind](0.5)
    loaded = load_potential(tmp_path / "p", into=empty)
    assert loaded is empty
    assert torch.equal(_energy(loaded, argon), _energy(potential, argon))
    assert [part.n_knots for part in loaded.tabulated()] == [77 for _ in potential.tabulated()]


@pytest.mark.parametrize(
    ("into", "message"),
    [
        (
            lambda: PairPotential(LennardJones(), 2.5),
            r"into: a asediff.*PairPotential, and the file holds a .*Density; ",
        ),
        (
            lambda: Density(3),
            r"into: its weights is \(torch.float64, 3\) and that of the file \(torch.float64, 2\); make",
        ),
        (lambda: Density(cutoff=2.0), r"into: its cutoff is 2.0 and that of the file 2.5; make it with the arguments"),
        (lambda: Density(dtype=torch.float32), r"into: its weights is \(torch.float32, 2\) and that of the file"),
        (lambda: Density() + Density(), r"into: a .* \+ .*, and the file holds"),
    ],
    ids=["class", "size", "cutoff", "type", "sum"],
)
def test_an_object_that_is_not_like_the_saved_one_is_refused_and_left_alone(into, message: str, tmp_path: Path):
    save_potential(Density(), tmp_path / "p")
    given = into()
    before = [p.detach().clone() for p in given.parameters()]
    with pytest.raises(ValueError, match=message) as caught:
        load_potential(tmp_path / "p", into=given)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(before, given.parameters(), strict=True))


def test_sums_of_pair_potentials_come_back_by_themselves(tmp_path: Path, argon: System):
    potential = PairPotential(LennardJones(), 2.5, n_knots=60) + PairPotential(Repulsion(), 2.0, n_knots=70)
    _train(potential)
    save_potential(potential, tmp_path / "p")
    loaded = load_potential(tmp_path / "p")
    assert torch.equal(_energy(loaded, argon), _energy(potential, argon))
    other = PairPotential(LennardJones(2.0), 2.5) + PairPotential(Repulsion(), 2.0)
    assert torch.equal(_energy(load_potential(tmp_path / "p", into=other), argon), _energy(potential, argon))


def test_what_a_file_would_lose_is_not_saved(tmp_path: Path):
    class Noted(Density):
        def get_extra_state(self):
            return {"by": "hand"}

    with pytest.raises(ValueError, match=r"potential: _extra_state of its state dict is no tensor, which a file loses"):
        save_potential(Noted(), tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_code_in_a_file_of_a_user_is_not_run(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (Path.mkdir, (tmp_path / "evil",))

    torch.save({"format": 1, "values of": "m.Density", "cutoff": 2.5, "knots": [], "state": Evil()}, tmp_path / "p")
    with pytest.raises(ValueError, match="is not a saved potential"):
        load_potential(tmp_path / "p", into=Density())
    assert not (tmp_path / "evil").exists()
