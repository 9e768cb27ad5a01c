"""Saved potentials come back equal, trained values included."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asediff.lattices import fcc
from asediff.potentials import (
    ForceShifted,
    LennardJones,
    ModifiedMorse,
    NeuralRadial,
    PairPotential,
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


def _train(radial: Radial) -> None:
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
    def forward(self, r, kT=None):
        return r

    def config(self):
        return {}


def test_a_function_of_a_user_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ValueError, match=r"potential: _Foreign is not one of asediff's radial functions"):
        save_potential(PairPotential(_Foreign(), 2.5), tmp_path / "p")
    assert not (tmp_path / "p").exists()
