"""Stages that fit a potential to references: `asediff fit`, in the folder `fit` of the stage's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, create_model, field_serializer

from asediff.app.config.models import ExportSettings, PotentialSettings
from asediff.app.config.schema import Settings, choice
from asediff.app.config.sections import ENGINE, LAMMPS, METHOD, Count, Positive
from asediff.workflow.results import Results
from asediff.workflow.stages.base import Expected, Record, Role, Stage, Work

if TYPE_CHECKING:
    from asediff.app.pipeline import Outcome

FIT = "fit"
"""Folder of the fit, one of `asediff fit`, in that of the stage."""
POTENTIAL = f"{FIT}/potential.pt"
WATER_MASS = 18.0154
OWN_SPEED, LAMMPS_SPEED = 2.0e6, 1.3e6
"""Steps times atoms per second on one core, of liquids with 60 neighbors each."""
GRADIENT = 5.0
"""Cost of steps with their gradient and that of g(r) in every fifth, in units of the steps alone."""
INNER_SECONDS = 0.015
"""Of a step of an optimiser on the averages of a run."""
START_SECONDS = 8.0
"""What a process needs before and after its simulations: imports, compiled code, figures."""
TARGETS = "targets"


class FitSettings(Settings):
    """What `asediff fit` does with the g(r) of all references at once; its sections mean what they mean there."""

    n_atoms: Count | None = Field(None, description="beads in the box; as many as molecules of the reference")
    mass: Positive = Field(WATER_MASS, description="of a bead, amu")
    symbol: str = Field("O", description="of a bead")
    bins: Count | None = Field(None, description="of g(r); 50 for a first-peak distance when left out")
    seed: int = Field(0, ge=0, description="of everything random")
    potential: PotentialSettings = Field(default_factory=PotentialSettings)
    method: Any
    validation: choice(ENGINE.sections, "lammps") = Field(default_factory=LAMMPS)  # type: ignore[valid-type]
    export: ExportSettings = Field(default_factory=ExportSettings)

    @field_serializer("potential")
    def _as_given(self, potential: PotentialSettings) -> dict[str, Any]:
        """Methods that make tables refuse what is said of the potential, so that nothing is said by default."""
        return potential.model_dump(exclude_unset=True)


def fit_stage(kind: str, module: str) -> Stage:
    """The kind of stage that fits by a method of `asediff fit`.

    Args:
        kind: of the method where none is given, and of the stage.
        module: of the stage.
    """
    section = next(found for found in METHOD.sections if found.model_fields["kind"].default == kind)
    fields: dict[str, Any] = {"method": (choice(METHOD.sections, kind), Field(default_factory=section))}
    settings = create_model("FitSettings", __base__=FitSettings, __doc__=FitSettings.__doc__, **fields)
    return Stage(
        kind=kind,
        settings=settings,
        roles={"reference": Role(("reference",), many=True)},
        run=run,
        expected=expected,
        modules=(module, __name__),
        inputs=("cg_nvt.lmp",),
    )


def expected(settings: Any, parents: Mapping[str, Sequence[Mapping[str, Any]]]) -> Expected:
    """Seconds on one core; what g(r) leaves open is that of the references."""
    references, method, validation = parents["reference"], settings.method.model_dump(), settings.validation
    atoms = (settings.n_atoms or references[0]["molecules"]) * len(references)
    if "engine" in method:
        steps = method["iterations"] * (method["engine"]["equilibration_steps"] + method["engine"]["steps"])
    else:
        steps = method["equilibration_steps"] + GRADIENT * method["epochs"] * method["steps"] * method["replicas"]
    inner = method["iterations"] * method["inner_steps"] * INNER_SECONDS if "inner_steps" in method else 0.0
    independent = validation.equilibration_steps + validation.steps
    seconds = (steps + independent) / OWN_SPEED + (independent / LAMMPS_SPEED if validation.kind == "lammps" else 0.0)
    return Expected(START_SECONDS + inner * len(references) + atoms * seconds)


def run(work: Work) -> Results:
    """See `Stage.run`."""
    from asediff.app.config.load import parse
    from asediff.app.pipeline import prepare, run_fit

    config = parse(configuration(work), str(work.folder))
    with prepare(config, work.folder, work.folder / FIT, resume=True) as prepared:
        outcome = run_fit(prepared, resume=True, progress=False, say=work.say)
    return collected(work, outcome)


def configuration(work: Work) -> dict[str, Any]:
    """The configuration of `asediff fit`; writes the curves of the references beside it."""
    from asediff.fitting.result import write_columns

    given = work.settings.model_dump()
    points = []
    (work.folder / TARGETS).mkdir(exist_ok=True)
    for k, folder in enumerate(work.parents["reference"]):
        state, curve = Record.load(folder).settings, Results.load(folder).arrays
        file = Path(TARGETS) / f"g_{k}.csv"
        write_columns(work.folder / file, {"r": curve["r"], "g": curve["g"], "error": curve["g_error"]})
        target = {"file": str(file), "rdf": {} if given["bins"] is None else {"bins": given["bins"]}}
        points.append(
            {
                "name": f"{state['temperature_K']:g} K",
                "temperature_K": state["temperature_K"],
                "mass_density": state["density_g_cm3"],
                "targets": [target],
            }
        )
    n_atoms = given["n_atoms"] or Record.load(work.parents["reference"][0]).settings["molecules"]
    return {
        "units": "real",
        "system": {"symbol": given["symbol"], "mass": given["mass"], "n_atoms": n_atoms},
        "state_points": points,
        **{name: given[name] for name in ("potential", "method", "validation", "export", "seed")},
    }


def collected(work: Work, outcome: Outcome) -> Results:
    """The numbers and curves of a fit that has ended."""
    import numpy as np
    import torch

    from asediff.lammps.units import LammpsUnits
    from asediff.potentials.pair import check_pairwise

    evidence, bar = outcome.evidence, LammpsUnits.named("metal").pressure
    result = evidence.result
    runs = list(evidence.lammps) or result.measurements
    points = result.state_points
    errors = [Results.load(folder).arrays for folder in work.parents["reference"]]
    rows = []
    for point, measured, reference in zip(points, runs, errors, strict=True):
        r = point.targets[0].observable.centers.numpy()
        noise = np.interp(r, reference["r"], reference["g_error"])
        rows.append(
            compared(
                r, measured.values[0].numpy(), measured.errors[0].numpy(), point.targets[0].reference.numpy(), noise,
                point.density,
            )
        )  # fmt: skip
    potential = check_pairwise(result.potential, "a stage")
    x = torch.linspace(potential.core * potential.cutoff, potential.cutoff, 400, dtype=torch.float64)
    with torch.no_grad():
        u = np.stack([potential.function(x, None, float(point.kT)).numpy() for point in points])
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    open_ = {}
    if evidence.band is not None:  # only where one curve serves all states
        band = evidence.band
        open_ = {"u_error": np.interp(x.numpy(), band.r, band.error[0], left=np.nan, right=np.nan)}
    return Results(
        {
            "method": work.settings.method.kind,
            **mean,
            "not_converged": mean["mean_abs_dg"] > 3.0 * mean["mean_abs_dg_noise"],
            "verified": outcome.verified,
            "stopped": result.stopped,
            "md_steps": result.md_steps,
            "seconds": result.wall_seconds,
            "validation_seconds": result.validation_seconds + evidence.lammps_seconds,
        },
        {
            "temperature": np.array([Record.load(p).settings["temperature_K"] for p in work.parents["reference"]]),
            "D_of_state": np.array([row["D"] for row in rows]),
            "mean_abs_dg_of_state": np.array([row["mean_abs_dg"] for row in rows]),
            "pressure": np.array([run.pressure / bar for run in runs]),
            "pressure_error": np.array([run.pressure_error / bar for run in runs]),
            "r": points[0].targets[0].observable.centers.numpy(),
            "g": np.stack([run.values[0].numpy() for run in runs]),
            "g_error": np.stack([run.errors[0].numpy() for run in runs]),
            "g_reference": np.stack([point.targets[0].reference.numpy() for point in points]),
            "u_r": x.numpy(),
            "u": u,
            **open_,
        },
        {
            **dict.fromkeys(open_, "eV"),
            "temperature": "K", "D_of_state": "1", "mean_abs_dg_of_state": "1", "pressure": "bar",
            "pressure_error": "bar", "r": "Å", "g": "1", "g_error": "1", "g_reference": "1", "u_r": "Å", "u": "eV",
        },
    )  # fmt: skip


def compared(r: Any, g: Any, error: Any, reference: Any, reference_error: Any, density: float) -> dict[str, float]:
    """How far a g(r) is from its reference.

    Args:
        r: `(n,)`, equally spaced bin centres, Å.
        g: `(n,)`.
        error: `(n,)`, its standard error.
        reference: `(n,)`.
        reference_error: `(n,)`, of the reference.
        density: 1/Å³.

    Returns:
        D of eq. 18 of arXiv:2209.07679, mean |dg| over the bins from the first in which the reference exceeds a
        hundredth of its maximum, and what both would be from the noise of the two curves alone.
    """
    import numpy as np

    from asediff.targets.losses import structural_deviation

    inside = slice(int(np.argmax(reference > 0.01 * reference.max())), None)
    both = np.hypot(np.nan_to_num(error), np.nan_to_num(reference_error))
    return {
        "D": float(structural_deviation(r, g, reference, density)),
        "D_noise": float(structural_deviation(r, both, np.zeros_like(both), density)),
        "mean_abs_dg": float(np.abs(g - reference)[inside].mean()),
        # the mean of |x| of a normal x is its standard deviation times this
        "mean_abs_dg_noise": float(np.sqrt(2.0 / np.pi) * both[inside].mean()),
    }
