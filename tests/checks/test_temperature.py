"""Kelvin and fs become internal units in one place each."""

import re
from pathlib import Path

import pytest
import torch
from ase import units

import asediff
from asediff.app.config.atoms import time_unit
from asediff.checks.temperature import energy_of, kelvin_of, resolve_kT

SOURCES = Path(asediff.__file__).parent


@pytest.mark.parametrize("value", [300.0, torch.tensor([250.0, 300.0], dtype=torch.float64)])
def test_kelvin_and_energies_are_each_others_inverse(value):
    energy = energy_of(value)
    assert torch.equal(torch.as_tensor(energy), torch.as_tensor(value * units.kB))
    assert torch.equal(torch.as_tensor(resolve_kT(temperature_K=value)), torch.as_tensor(energy))
    torch.testing.assert_close(kelvin_of(energy), value, rtol=1e-14, atol=0.0)


def test_a_unit_of_time_is_a_femtosecond_unless_units_are_reduced():
    assert (time_unit("metal"), time_unit("real"), time_unit("lj")) == (units.fs, units.fs, 1.0)


@pytest.mark.parametrize(
    ("pattern", "home"), [(r"units\.kB", "checks/temperature.py"), (r"def time_unit", "app/config/atoms.py")]
)
def test_one_file_converts(pattern, home):
    found = [p.relative_to(SOURCES).as_posix() for p in SOURCES.rglob("*.py") if re.search(pattern, p.read_text())]
    assert found == [home]
