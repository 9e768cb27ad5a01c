"""What can be refused about independent runs and exports is refused here, before a fit begins."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

from asediff.app.config.build import Plan, engine_arguments
from asediff.app.config.load import ConfigError
from asediff.app.config.models import Config
from asediff.app.config.plausible import check_lengths
from asediff.app.config.resolve import at, check
from asediff.engines import TorchEngine
from asediff.fitting.api import check_target_names
from asediff.host.files import check_names
from asediff.lammps.export import ExportedEngine, export_lammps
from asediff.lammps.run import LammpsError, LammpsRun, run_lammps
from asediff.targets.target import StatePoint, Target

PATIENCE = 120.0
"""Seconds for the rehearsal of an input of the user's own, which may do more than asediff's."""


def uses_lammps(config: Config) -> bool:
    """Whether the independent runs are done by LAMMPS, too."""
    return bool(config.validation.kind == "lammps")


def own_engine(config: Config) -> TorchEngine:
    """The engine of the independent runs in asediff."""
    own = {field.name for field in fields(TorchEngine)}
    with at("validation"):
        return TorchEngine(**{name: value for name, value in engine_arguments(config).items() if name in own})


def lammps_engine(config: Config, folder: Path) -> ExportedEngine:
    """The engine of the independent runs in LAMMPS, with files in `folder`."""
    with at("validation"):
        run = LammpsRun(**engine_arguments(config), units=config.units)
    return ExportedEngine(run, folder, config.export.refine)


def check_plan(plan: Plan) -> None:
    """Refuse names that would share files and independent runs that could not say anything.

    Raises:
        ConfigError: with the key to blame.
    """
    config, engine = plan.config, own_engine(plan.config)
    try:
        check_names("state_points", [point.name for point in plan.plain_points])
        check_target_names(plan.plain_points)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    # one that was edited before it is resumed is not resolved again
    check(config)
    check_lengths(config)
    frames = engine.steps // engine.save_every
    if engine.steps % engine.save_every:
        raise ConfigError(
            f"validation.save_every: {engine.save_every} does not divide validation.steps ({engine.steps}); choose a "
            "divisor"
        )
    for k, point in enumerate(plan.plain_points):
        for target in point.targets:
            pairs, bins = frames * expected_pairs(point, target), len(target.reference)
            if pairs < bins:
                raise ConfigError(
                    f"state_points[{k}].density: {point.density:.3g} is so low that {frames} frames of "
                    f"{point.system.n_atoms} atoms have about {pairs:.2g} pairs in the {bins} bins of {target.name}; "
                    "give a higher density, more atoms or a longer validation"
                )
    if uses_lammps(config):
        with at("validation"):
            lammps_engine(config, Path()).check(plan.plain_points)


def expected_pairs(point: StatePoint, target: Target) -> float:
    """Pairs that one frame of an ideal gas has in the window of a g(r); infinite for other observables."""
    rdf = target.observable.pair_distribution()
    return math.inf if rdf is None else float(rdf.ideal_counts(point.system).sum())


def rehearse(plan: Plan, folder: Path) -> None:
    """Let LAMMPS read the export of the start and evaluate it once, without a step.

    Args:
        plan: checked.
        folder: for temporary files.

    Raises:
        ConfigError: LAMMPS refuses it.
    """
    if not uses_lammps(plan.config):
        return
    engine = lammps_engine(plan.config, folder)
    potential = plan.method.prepare(plan.potential, plan.state_points)
    for k, point in enumerate(plan.plain_points):
        files = export_lammps(potential, point, engine.folder_of(point), engine.settings, refine=engine.refine)
        try:
            run_lammps(
                files.input,
                {"equilibration": 0, "steps": 0},
                files.folder,
                threads=engine.settings.threads,
                timeout=PATIENCE,
            )
        except LammpsError as error:
            raise ConfigError(
                f"state_points[{k}]: LAMMPS cannot run the export at this density and temperature ({error.reason}); "
                "correct the state point, the cutoff or validation"
            ) from None
