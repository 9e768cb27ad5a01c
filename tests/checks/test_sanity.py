"""Numbers that cannot be meant: refused with their path, the range, its reason; in the units of the configuration."""

import math

import numpy as np
import pytest

from asediff.app.config import ConfigError, override, parse, plan, resolve
from asediff.checks import numbers as sanity


def write_curve(path, peak, end):
    r = np.linspace(0.02, end, 300)
    g = np.where(r < 0.85 * peak, 0.0, 1 + 1.5 * np.exp(-((r - peak) ** 2) / (0.02 * peak)))
    np.savetxt(path, np.column_stack([r, g]))


@pytest.fixture
def folder(tmp_path):
    write_curve(tmp_path / "lj.txt", 1.1, 4.0)
    write_curve(tmp_path / "metal.txt", 2.8, 10.0)
    return tmp_path


def lj():
    return {
        "units": "lj",
        "system": {"density": 0.7, "n_atoms": 256},
        "state_points": [{"kT": 1.0, "targets": [{"file": "lj.txt"}]}],
    }


def metal():
    return {
        "system": {"mass_density": 0.997, "mass": 18.0, "symbol": "O"},
        "state_points": [{"temperature_K": 298, "targets": [{"file": "metal.txt"}]}],
    }


@pytest.mark.parametrize(
    ("data", "assignment", "path"),
    [
        (metal, "state_points.0.temperature_K=1e9", "state_points[0].temperature_K: 1e+09 K is not within"),
        (metal, "state_points.0.temperature_K=1e-9", "state_points[0].temperature_K: 1e-09 K"),
        (metal, "state_points.0={kT: 2.48, targets: [{file: metal.txt}], weight: 1e300}", "state_points[0].weight"),
        (metal, "state_points.0={kT: 298, targets: [{file: metal.txt}]}", "state_points[0].kT: 298 eV is not within"),
        (lj, "state_points.0.kT=1e5", "state_points[0].kT: 100000 is not within 0.0001 ... 10000"),
        (metal, "system.mass_density=997", "system.mass_density: 997 g/cm³ is not within"),
        (metal, "system.mass_density=1e-9", "system.mass_density: 1e-09 g/cm³"),
        (lj, "system.density=1e9", "system.density: 1e+09 is not within"),
        (lj, "system.density=1e-9", "system.density: 1e-09 is not within"),
        (metal, "system.mass=1e-9", "system.mass: 1e-09 amu"),
        (metal, "system.mass=1e9", "system.mass: 1e+09 amu"),
        (metal, "system.masses={O: 1e9}", "system.masses.O: 1e+09 amu"),
        (metal, "method.timestep=1e9", "method.timestep: 1e+09 fs is not within"),
        (metal, "method.timestep=600", "method.timestep: 600 is 0.8 of the time in which an atom at thermal speed"),
        (lj, "validation.timestep=1.0", "validation.timestep: 1 is 0.91 of the time"),
        (lj, "method.timestep=1e-7", "method.timestep: 1e-07 is 9.1e-08 of the time"),
        (metal, "potential.cutoff=1e9", "potential.cutoff: 1e+09 Å"),
        (metal, "state_points.0.pressure=1013", "state_points[0].pressure: 1013 eV/Å³"),
        (lj, "seed=1180591620717411303424", "seed: 1.18059e+21 is not within 0 ... 4.29497e+09"),
        (lj, "method.epochs=1000000000000", "method.epochs: 1e+12"),
        (lj, "method.steps=0", "method.steps: 0 is not within"),
        (lj, "method.gradient={kind: checkpoint, every: 0}", "method.gradient.every: 0 is not within"),
        (lj, "method={kind: ibi, iterations: 0}", "method.iterations: 0 is not within"),
        (lj, "method={kind: ibi, engine: {kind: torch, steps: 50}}", "method.engine.steps: 50 with save_every 100"),
        (lj, "validation={kind: torch, steps: 199}", "validation.steps: 199 with save_every 100 keep 1 frames"),
        (lj, "validation.steps=900", "validation.steps: 900 with save_every 100 keep 9 frames, and the proof"),
        (lj, "state_points.0.targets.0.rdf.bins=1000000000", "state_points[0].targets[0].rdf.bins: 1e+09"),
        (lj, "potential.radial.hidden=[100000, 100000]", "potential.radial.hidden[0]: 100000"),
        (lj, "potential.radial={kind: lennard_jones, epsilon: 1e300}", "potential.radial.epsilon: 1e+300"),
        (lj, "method.averaging=1e300", "method.averaging: 1e+300"),
        (lj, "method.pressure_weight=1e300", "method.pressure_weight: 1e+300 is not within -1e+15"),
        (lj, "system.n_atoms=10000000000000", "system.n_atoms: 1e+13 is not within"),
        (lj, "system.composition={Ar: 0.5, Kr: 0.6}", "system.composition: the fractions add up to 1.1"),
        (lj, "system.n_atoms=20", "state_points[0]: cell: 20 atoms at this density fill a box 3.0571 high, less"),
        (lj, "state_points.0.targets.0.rdf.r_max=3.9", "less than twice the rdf.r_max 3.9; give at least 333 atoms"),
    ],
)  # fmt: skip
def test_a_number_that_cannot_be_meant_is_refused_with_its_path(folder, data, assignment, path):
    with pytest.raises(ConfigError) as error:
        resolve(parse(override(data(), [assignment])), folder)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [lj, metal])
def test_defaults_and_extremes_that_people_use_are_accepted(folder, data):
    wide = ["method.epochs=100000", "validation.steps=10000000", "validation.save_every=10000", "seed=4294967295"]
    resolve(parse(override(data(), wide)), folder)


def test_more_atoms_than_the_memory_holds_are_refused_with_a_remedy(folder, monkeypatch):
    monkeypatch.setattr(sanity, "memory", lambda: 8e9)
    message = r"method: steps: 24 frames of 100000000 atoms need about 165 GB, and this machine has 8 GB; lower steps"
    with pytest.raises(ConfigError, match=message):
        resolve(parse(override(metal(), ["system.n_atoms=100000000"])), folder)
    monkeypatch.setattr(sanity, "memory", lambda: math.inf)
    resolve(parse(override(metal(), ["system.n_atoms=100000000"])), folder)


def test_a_resolved_configuration_that_was_edited_is_checked_again(folder):
    resolved = resolve(parse(lj()), folder)
    edited = resolved.model_copy(update={"seed": 2**70})
    with pytest.raises(ConfigError, match=r"seed: 1\.18059e"):
        plan(edited, folder)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("validation={kind: lammps, input: none.lmp}", "validation: input: 'none.lmp' is not among"),
        ("method={kind: ibi, engine: {kind: lammps, input: none.lmp}}", "method.engine: input: 'none.lmp'"),
        ("validation={kind: torch, equilibration_steps: 0}", "validation: equilibration_steps: 0 is not a number"),
    ],
)
def test_engines_are_made_before_the_fit(folder, engine, message):
    with pytest.raises(ConfigError, match=message):
        plan(resolve(parse(override(lj(), [engine])), folder), folder)


@pytest.mark.parametrize("name", ["''", '"a\\nb"', "x" * 101, '"a\\0"'])
@pytest.mark.parametrize("key", ["state_points.0.name", "state_points.0.targets.0.name"])
def test_names_that_are_no_line_of_text_are_refused(key, name):
    with pytest.raises(ConfigError, match=r"name: .* is not accepted"):
        parse(override(lj(), [f"{key}={name}"]))


def test_every_range_has_a_reason_and_holds_something():
    for key, quantity in sanity.BY_KEY.items():
        for one in (quantity.metal, quantity.reduced):
            assert one.low < one.high, key
            assert one.why, key


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_outside_every_range(value):
    for quantity in (*sanity.BY_KEY.values(), sanity.OTHER):
        with pytest.raises(ValueError, match=r"x: .* is not within"):
            quantity.metal.check("x", value)


def test_the_memory_of_this_machine_is_known():
    assert sanity.memory() > 1e8
