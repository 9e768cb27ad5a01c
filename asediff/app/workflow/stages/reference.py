"""Stage `reference`: all-atom SPC/E water by LAMMPS, and its g(r) between oxygen atoms with standard errors."""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field

from asediff.app.config.schema import Settings
from asediff.app.config.sections import Count, Positive
from asediff.app.workflow.results import Results
from asediff.app.workflow.stages.base import Expected, Stage, Work

STEPS_PER_SECOND = 1.0e5
"""Of one molecule on one core."""
WORTH = 5_000.0
"""Simulated time times molecules, ps, after which bins of 0.05 Å are known to 1 %."""


class ReferenceSettings(Settings):
    """A run of SPC/E water at one state."""

    temperature_K: Positive = 300.0
    density_g_cm3: Positive = 1.0
    molecules: Count = 216
    production_ps: Positive = Field(10.0, description="of all replicas together")
    equilibration_ps: Positive = Field(5.0, description="of each replica")
    timestep_fs: Positive = 2.0
    every_ps: Positive = Field(0.1, description="time between frames")
    replicas: Count = 1
    seed: Count = 1
    r_max_A: Positive = 9.0
    bin_width_A: Positive = 0.05


def expected(settings: ReferenceSettings, _: Any = None) -> Expected:
    """Seconds on one core, and the standard error of g(r) per bin."""
    total = settings.production_ps + settings.replicas * settings.equilibration_ps
    steps = 1000.0 * total / settings.timestep_fs
    sampled = settings.production_ps * settings.molecules * settings.bin_width_A / 0.05
    return Expected(steps * settings.molecules / STEPS_PER_SECOND, 0.01 * (WORTH / sampled) ** 0.5)


def run(work: Work) -> Results:
    """See `Stage.run`."""
    import torch

    from asediff.lammps.reference import spce_reference
    from asediff.lammps.units import LammpsUnits
    from asediff.observables import RDF
    from asediff.targets.losses import block_average_error

    given: ReferenceSettings = work.settings
    began = time.perf_counter()
    every = max(1, round(1000.0 * given.every_ps / given.timestep_fs))
    steps = max(1, round(1000.0 * given.production_ps / given.timestep_fs / given.replicas / every)) * every
    equilibration = round(1000.0 * given.equilibration_ps / given.timestep_fs)
    trajectory, _ = spce_reference(
        given.molecules,
        temperature_K=given.temperature_K,
        density_g_cm3=given.density_g_cm3,
        steps=steps,
        save_every=every,
        equilibration_steps=equilibration,
        timestep_fs=given.timestep_fs,
        seed=given.seed,
        replicas=given.replicas,
        processes=min(work.cores, given.replicas),
        workdir=work.folder / "lammps",
    )
    observable = RDF(given.r_max_A, round(given.r_max_A / given.bin_width_A), width=0.0)
    with torch.no_grad():
        per_frame = observable.per_frame(trajectory)[:, 0]
    pressure = trajectory.pressure[:, 0] / LammpsUnits.named("metal").pressure
    return Results(
        {
            "temperature_K": given.temperature_K,
            "density_g_cm3": given.density_g_cm3,
            "molecules": given.molecules,
            "pressure_bar": float(pressure.mean()),
            "pressure_error_bar": float(block_average_error(pressure[:, None])[0]),
            "md_steps": given.replicas * (steps + equilibration),
            "seconds": time.perf_counter() - began,
        },
        {
            "r": observable.centers.numpy(),
            "g": per_frame.mean(0).numpy(),
            "g_error": block_average_error(per_frame).numpy(),
        },
        {"r": "Å", "g": "1", "g_error": "1"},
    )


STAGE = Stage(
    kind="reference",
    settings=ReferenceSettings,
    roles={},
    run=run,
    expected=expected,
    modules=(__name__, "asediff.lammps.reference"),
    inputs=("spce_nvt.lmp",),
    width=lambda settings: int(settings.replicas),
)
