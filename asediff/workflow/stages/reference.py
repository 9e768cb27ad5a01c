"""Stage `reference`: all-atom SPC/E water by LAMMPS: partial g(r), pressure and diffusion, with standard errors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from asediff.app.config.schema import Settings
from asediff.app.config.sections import Count, Positive
from asediff.lammps.water import INPUT, PAIRS, WaterRun
from asediff.workflow.results import Results
from asediff.workflow.stages.base import Expected, Stage, Work

if TYPE_CHECKING:
    from asediff.lammps.water_averages import WaterAverages

STEPS_PER_SECOND = 0.8e5
"""Of one molecule on one core: measured with 500 molecules on busy cores; alone it is about a quarter more."""
WORTH_PS = 5_000.0
"""Simulated time times molecules after which bins of 0.05 Å are known to 1 %; about 6 where g(r) has its first peak."""
RUNS = "lammps"
"""Folder of the runs, in that of the stage."""
LONGEST_LAG_PS = 10.0
NAMES = {"n_molecules": "molecules", "r_max": "r_max_A", "steps": "production_ps"}
"""Settings by the name that `WaterRun` has for what follows from them."""


class ReferenceSettings(Settings):
    """Runs of SPC/E water at one state. Times are rounded to samples, and those to blocks."""

    temperature_K: Positive = 300.0
    density_g_cm3: Positive = 1.0
    molecules: Count = 216
    production_ps: Positive = Field(10.0, description="of all replicas together")
    equilibration_ps: Positive = Field(5.0, description="of each replica")
    timestep_fs: Positive = 2.0
    every_ps: Positive = Field(0.1, description="time between samples of g(r), temperature and pressure")
    frame_ps: Positive = Field(0.2, description="time between frames of the oxygens, which are kept")
    block_ps: Positive = Field(1.0, description="of which each g(r) is averaged; shorter in runs of less than four")
    piece_ps: Positive = Field(10.0, description="time between restart files; a killed run goes on from the last")
    diffusion_ps: list[Positive] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="lags of the line through the displacement; 2 to 10, in short runs a tenth to a half of them",
    )
    replicas: Count = 1
    seed: int = Field(1, ge=1, description="of the first replica; the next ones have the next")
    ranks: Count = Field(1, description="MPI processes of each replica; another number gives other bits, as a seed")
    r_max_A: Positive = Field(9.0, description="of g(r), half the cell at most")
    bin_width_A: Positive = 0.05

    @model_validator(mode="after")
    def _can_be_run(self) -> ReferenceSettings:
        water_run(self).lags(lags_ps(self))
        return self


def water_run(given: ReferenceSettings) -> WaterRun:
    """The runs that the settings mean.

    Raises:
        ValueError: runs that are too short to have errors, or settings that `WaterRun` refuses.
    """
    every = max(1, round(1000.0 * given.every_ps / given.timestep_fs))
    samples = round(1000.0 * given.production_ps / given.replicas / given.timestep_fs / every)
    if samples < 4:
        raise ValueError(
            f"production_ps: {given.production_ps:g} ps in {given.replicas} replicas are {samples} samples of each, "
            f"too few for errors; give at least {4 * given.replicas * given.every_ps:g}"
        )
    block = max(1, min(round(given.block_ps / given.every_ps), samples // 4))
    piece = max(1, round(given.piece_ps / given.every_ps / block))
    frame = max(1, min(round(given.frame_ps / given.every_ps), samples // 8))
    try:
        return WaterRun(
            given.molecules,
            given.temperature_K,
            given.density_g_cm3,
            steps=samples // block * block * every,
            equilibration_steps=round(1000.0 * given.equilibration_ps / given.timestep_fs),
            save_every=every,
            frame_every=frame * every,
            block_steps=block * every,
            piece_steps=piece * block * every,
            timestep_fs=given.timestep_fs,
            r_max=given.r_max_A,
            bins=max(1, round(given.r_max_A / given.bin_width_A)),
            seed=given.seed,
            replicas=given.replicas,
        )
    except ValueError as error:
        name, colon, reason = str(error).partition(":")
        raise ValueError(NAMES.get(name, name) + colon + reason) from None


def lags_ps(given: ReferenceSettings) -> tuple[float, float]:
    """Shortest and longest lag of the straight line whose slope is the diffusion coefficient, ps."""
    if given.diffusion_ps is not None:
        return given.diffusion_ps[0], given.diffusion_ps[1]
    run = water_run(given)
    longest = min(LONGEST_LAG_PS, 0.5e-3 * run.steps * run.timestep_fs)
    return max(0.2 * longest, run.frame_ps), max(longest, 2.0 * run.frame_ps)


def expected(given: ReferenceSettings, _: Mapping[str, Sequence[Mapping[str, Any]]]) -> Expected:
    """Seconds on one core, and the standard error of the g(r) of the oxygens per bin, where g is 1."""
    run = water_run(given)
    steps = run.replicas * (run.steps + run.equilibration_steps)
    sampled = 1e-3 * run.replicas * run.steps * run.timestep_fs * run.n_molecules * given.bin_width_A / 0.05
    return Expected(steps * run.n_molecules / STEPS_PER_SECOND, 0.01 * (WORTH_PS / sampled) ** 0.5)


def run(work: Work) -> Results:
    """See `Stage.run`."""
    from asediff.lammps.water_averages import averages
    from asediff.lammps.water_runs import run_water

    given: ReferenceSettings = work.settings
    began, runs, lags = time.perf_counter(), water_run(given), lags_ps(given)
    cost = expected(given, {})
    work.say(
        f"SPC/E water, {runs.n_molecules} molecules at {runs.temperature_K:g} K: about {cost.seconds:.0f} s on one "
        f"core; g(r) will be known to about {cost.error:.2g} per bin of {given.bin_width_A:g} Å"
    )
    processes = max(1, min(work.cores // given.ranks, runs.replicas))
    folders = run_water(runs, work.folder / RUNS, resume=True, processes=processes, ranks=given.ranks)
    found = averages(runs, folders, lags)
    write_curves(work.folder, found, f"SPC/E water, {runs.temperature_K:g} K")
    return collected(runs, found, lags, time.perf_counter() - began)


def collected(runs: WaterRun, found: WaterAverages, lags: tuple[float, float], seconds: float) -> Results:
    """The numbers and curves of finished runs; `g` is that of the oxygens."""
    from asediff.lammps.water_averages import finite_size_correction

    numbers = {
        "measured_temperature{}_K": found.temperature_K,
        "pressure{}_bar": found.pressure_bar,
        "energy{}_kJ_per_mol": found.energy_kJ_per_mol,
        "diffusion{}_A2_per_ps": found.diffusion_A2_per_ps,
    }
    scalars: dict[str, float | int | bool | str] = {
        "temperature_K": runs.temperature_K,
        "density_g_cm3": runs.density_g_cm3,
        "molecules": runs.n_molecules,
        "cell_A": runs.box,
        "diffusion_from_ps": lags[0],
        "diffusion_to_ps": lags[1],
        # the coefficient of an infinite box is that of this one plus this number divided by the viscosity in mPa s
        "diffusion_finite_size_A2_mPas_per_ps": finite_size_correction(runs.temperature_K, runs.box),
        "blocks": found.n_blocks,
        "frames": found.n_frames,
        "mean_g_error": float(found.g.error[0][found.g.value[0] > 0.01].mean()),
        "md_steps": runs.replicas * (runs.steps + runs.equilibration_steps),
        "seconds": seconds,
        "not_converged": False,
    }
    for name, average in numbers.items():
        scalars[name.format("")] = float(average.value)
        scalars[name.format("_error")] = float(average.error)
    arrays = {"r": found.r, "lag": found.lag_ps}
    arrays |= {"displacement": found.displacement_A2.value, "displacement_error": found.displacement_A2.error}
    for pair, g, error in zip(PAIRS, found.g.value, found.g.error, strict=True):
        arrays |= {f"g_{pair}": g, f"g_{pair}_error": error}
    arrays |= {"g": arrays["g_OO"], "g_error": arrays["g_OO_error"]}
    units = {"r": "Å", "lag": "ps", "displacement": "Å²", "displacement_error": "Å²"}
    return Results(scalars, arrays, {name: units.get(name, "1") for name in arrays})


def write_curves(folder: Path, found: WaterAverages, title: str) -> None:
    """Write each g(r) and the displacement as CSV, and a figure of each; the g(r) are targets of `asediff fit`."""
    from asediff import plotting
    from asediff.fitting.result import write_columns
    from asediff.host.files import write_whole

    curves = {}
    for pair, g, error in zip(PAIRS, found.g.value, found.g.error, strict=True):
        write_columns(folder / f"g_{pair}.csv", {"r": found.r, "g": g, "error": error})
        curves[f"{pair[0]}–{pair[1]}"] = plotting.Run(g, error)
    moved = found.displacement_A2
    write_columns(
        folder / "displacement.csv", {"lag_ps": found.lag_ps, "displacement": moved.value, "error": moved.error}
    )
    ax = plotting.plot_curves(found.r, None, curves, labels=("r (Å)", "g(r)"), baseline=1.0)
    ax.set_xlim(float(found.r[(found.g.value > 0.01).any(0)][0]) - 0.2, float(found.r[-1]))
    ax.set_title(f"{title}; pairs within a molecule left out", fontsize=10)
    write_whole(folder / "rdf.png", plotting.png(ax))
    line = {"oxygens": plotting.Run(moved.value, moved.error)}
    ax = plotting.plot_curves(found.lag_ps, None, line, labels=("lag (ps)", "mean squared displacement (Å²)"))
    ax.set_title(title, fontsize=10)
    write_whole(folder / "displacement.png", plotting.png(ax))


STAGE = Stage(
    kind="reference",
    settings=ReferenceSettings,
    roles={},
    run=run,
    expected=expected,
    modules=(
        __name__,
        "asediff.lammps.water",
        "asediff.lammps.water_runs",
        "asediff.lammps.water_averages",
        "asediff.targets.losses",
    ),
    inputs=(INPUT,),
    width=lambda given: given.replicas * given.ranks,
)
