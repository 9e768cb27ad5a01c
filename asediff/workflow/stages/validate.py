"""Stage `validate`: the potential of a fit in an independent LAMMPS run at the state of any reference."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from asediff.app.config.schema import Settings
from asediff.app.config.sections import Count, Positive
from asediff.workflow.results import Results
from asediff.workflow.stages.base import Expected, Record, Role, Stage, Work
from asediff.workflow.stages.fit import LAMMPS_SPEED, POTENTIAL, START_SECONDS, WATER_MASS, compared

FITS = ("ibi", "gauss_newton", "diffsim", "reweighting")


class ValidateSettings(Settings):
    """A run of beads in LAMMPS, and the g(r) that is compared bin by bin with that of the reference."""

    n_atoms: Count | None = Field(None, description="beads in the box; as many as molecules of the reference")
    mass: Positive = Field(WATER_MASS, description="of a bead, amu")
    symbol: str = Field("O", description="of a bead")
    timestep_fs: Positive = 4.0
    equilibration_ps: Positive = 10.0
    production_ps: Positive = 100.0
    every_ps: Positive = Field(0.2, description="time between frames")
    r_max_A: Positive = Field(7.5, description="bins of the reference beyond are left out")
    seed: int = Field(1, ge=1, description="another seed, another run")


def expected(settings: Any, parents: Mapping[str, Sequence[Mapping[str, Any]]]) -> Expected:
    """Seconds on one core."""
    steps = 1000.0 * (settings.production_ps + settings.equilibration_ps) / settings.timestep_fs
    atoms = settings.n_atoms or parents["reference"][0]["molecules"]
    return Expected(START_SECONDS / 2.0 + steps * atoms / LAMMPS_SPEED)


def run(work: Work) -> Results:
    """See `Stage.run`."""
    import numpy as np
    import torch
    from ase import units

    from asediff.checks.temperature import energy_of, kelvin_of
    from asediff.lammps.engine import LammpsEngine
    from asediff.lammps.units import LammpsUnits
    from asediff.lattices import lattice_with_atoms
    from asediff.observables import RDF
    from asediff.potentials import load_potential
    from asediff.system import System
    from asediff.targets.target import StatePoint, Target

    given, began = work.settings, time.perf_counter()
    (fitted,), (reference,) = work.parents["potential"], work.parents["reference"]
    state, curve, fit = Record.load(reference).settings, Results.load(reference).arrays, Results.load(fitted)
    potential = load_potential(fitted / POTENTIAL)
    r, width = curve["r"], float(curve["r"][1] - curve["r"][0])
    bins = int(np.sum(r < given.r_max_A))
    temperature = float(state["temperature_K"])
    n_atoms = given.n_atoms or state["molecules"]
    density = state["density_g_cm3"] * 0.602214076 / given.mass
    atoms = lattice_with_atoms(
        given.symbol, n_atoms, density=density, mass=given.mass, rattle=0.02 * density ** (-1 / 3), seed=given.seed
    )
    target = Target(RDF(bins * width, bins, width=0.0), torch.from_numpy(curve["g"][:bins]))
    point = StatePoint(System.from_atoms(atoms), target, kT=energy_of(temperature), name=f"{temperature:g} K")
    every = max(1, round(1000.0 * given.every_ps / given.timestep_fs))
    steps = max(2, round(1000.0 * given.production_ps / given.timestep_fs / every)) * every
    equilibration = round(1000.0 * given.equilibration_ps / given.timestep_fs)
    engine = LammpsEngine(
        timestep=given.timestep_fs * units.fs,
        equilibration_steps=equilibration,
        steps=steps,
        save_every=every,
        units="real",
    )
    measured = engine.measure(potential, point, seed=given.seed)
    g, error = measured.values[0].numpy(), measured.errors[0].numpy()
    bar = LammpsUnits.named("metal").pressure
    return Results(
        {
            "method": fit.scalars["method"],
            "temperature_K": temperature,
            "measured_temperature_K": kelvin_of(measured.kT),
            "pressure_bar": measured.pressure / bar,
            "pressure_error_bar": measured.pressure_error / bar,
            **compared(r[:bins], g, error, curve["g"][:bins], curve["g_error"][:bins], point.density),
            "md_steps": equilibration + steps,
            "seconds": time.perf_counter() - began,
        },
        {
            "fitted_at": fit.arrays["temperature"],
            "r": r[:bins],
            "g": g,
            "g_error": error,
            "g_reference": curve["g"][:bins],
            "g_reference_error": curve["g_error"][:bins],
        },
        {"fitted_at": "K", "r": "Å", "g": "1", "g_error": "1", "g_reference": "1", "g_reference_error": "1"},
    )


STAGE = Stage(
    kind="validate",
    settings=ValidateSettings,
    roles={"potential": Role(FITS), "reference": Role(("reference",))},
    run=run,
    expected=expected,
    modules=(__name__,),
    inputs=("cg_nvt.lmp",),
)
