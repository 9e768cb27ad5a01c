"""Sections of the configuration that are made from the signatures of asediff's classes, a table for each family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field

from asediff.app.config.schema import OWN, Constructor, Settings, choice, family
from asediff.app.config.signatures import classes

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
OwnKind = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class TabulatedSettings(Settings):
    """C2 spline through trainable values on a uniform grid from r_min to the cutoff; zero before pre-training."""

    kind: Literal["tabulated"] = "tabulated"
    r_min: Positive | None = Field(None, description="first knot, length; found from the target when left out")
    n_knots: int = Field(60, ge=4, description="number of trainable values")


class OwnSettings(Settings):
    """A class of your own, in a file beside the configuration or in an installed module."""

    kind: OwnKind = Field(OWN, description="such as my_module:MyObservable")
    arguments: dict[str, Any] = Field(default_factory=dict, description="of the class, by name")


INTEGRATOR = family(
    "asediff.dynamics.nose_hoover.NoseHooverChain",
    *classes("asediff.dynamics", "Integrator"),
    found=("timestep", "friction"),
)
NEURAL = family("asediff.potentials.neural.NeuralRadial", found=("r_max", "scale", "seed"))
REPULSION = family("asediff.potentials.radial.Repulsion")
RADIAL = family(
    NEURAL.first,
    TabulatedSettings,
    *classes("asediff.potentials", "Radial"),
    u1=NEURAL,
    u2=NEURAL,
)
TRUNCATION = family(
    "asediff.potentials.truncation.Switched",
    *classes("asediff.potentials", "Truncation"),
)
OBSERVABLE = family(
    "asediff.observables.rdf.RDF",
    *classes("asediff.observables", "Observable"),
    OwnSettings,
    found=("r_max", "bins", "width", "cutoff", "n_lags", "spacing", "q_max", "q_min"),
)
LOSS = family(
    "asediff.targets.losses.ShellL2",
    *classes("asediff.targets", "Loss"),
)
GRADIENT = family(
    "asediff.dynamics.adjoints.CheckpointAdjoint",
    *classes("asediff.dynamics", "Adjoint"),
    "asediff.fitting.gradients.reweighting.ReweightedGradient",
)
PRETRAINING = family("asediff.fitting.gradients.pretrain.BoltzmannPretraining")
FINISH = family("asediff.fitting.gradients.finish.LinearFinish")
ENGINE = family(
    "asediff.engines.torch.TorchEngine",
    (
        "asediff.lammps.engine.LammpsEngine",
        {"equilibration_steps": 5_000, "steps": 50_000, "save_every": 100},
    ),
    omit=("units", "workdir"),
    found=("timestep",),
    integrator=INTEGRATOR,
)
UPDATE = family("asediff.fitting.tables.ibi.SafeUpdate", *classes("asediff.fitting.tables", "UpdateRule"))
REGULARIZATION = family(
    "asediff.fitting.tables.regularization.Smoothness",
    *classes("asediff.fitting.tables", "Regularization"),
)
METHOD = family(
    "asediff.fitting.gradients.diffsim.DiffSim",
    *classes("asediff.fitting.gradients", "Method"),
    *classes("asediff.fitting.tables", "Method"),
    omit=("cutoff",),
    found=("timestep",),
    gradient=GRADIENT,
    pretraining=PRETRAINING,
    finish=FINISH,
    engine=ENGINE,
    update=UPDATE,
    regularization=REGULARIZATION,
    integrator=INTEGRATOR,
)
LAMMPS = ENGINE.sections[1]

if TYPE_CHECKING:  # classes made at run time; the attributes of their objects are checked by pydantic
    RadialSettings: TypeAlias = Constructor
    RepulsionSettings: TypeAlias = Constructor
    TruncationSettings: TypeAlias = Constructor
    ObservableSettings: TypeAlias = Constructor
    LossSettings: TypeAlias = Constructor
    MethodSettings: TypeAlias = Constructor
    ValidationSettings: TypeAlias = Constructor
    IntegratorSettings: TypeAlias = Constructor
else:
    RadialSettings, TruncationSettings, LossSettings = RADIAL.type, TRUNCATION.type, LOSS.type
    ObservableSettings, MethodSettings, RepulsionSettings = OBSERVABLE.type, METHOD.type, REPULSION.type
    ValidationSettings = choice(ENGINE.sections, "lammps")
    IntegratorSettings = INTEGRATOR.type
