"""The sections of the configuration that are made from the signatures of asediff's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from asediff.adjoints import CheckpointAdjoint, DirectAdjoint, ReversibleAdjoint
from asediff.config.schema import Constructor, Settings, constructor
from asediff.engines import LammpsEngine, TorchEngine
from asediff.fitting import (
    IBI,
    IHNC,
    IMC,
    BoltzmannPretraining,
    DiffSim,
    GaussNewton,
    Reweighting,
    SafeUpdate,
    Smoothness,
    Tikhonov,
    TruncatedSVD,
    VotcaUpdate,
)
from asediff.fitting.diffsim import ReweightedGradient
from asediff.losses import L2, JensenShannon, ShellL2
from asediff.potentials import (
    ForceShifted,
    LennardJones,
    ModifiedMorse,
    NeuralRadial,
    Repulsion,
    Shifted,
    Switched,
    Truncated,
)

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

if TYPE_CHECKING:  # classes made at run time; the attributes of their objects are checked by pydantic
    NeuralSettings: TypeAlias = Constructor
    LennardJonesSettings: TypeAlias = Constructor
    ModifiedMorseSettings: TypeAlias = Constructor
    RepulsionSettings: TypeAlias = Constructor
    SwitchedSettings: TypeAlias = Constructor
    L2Settings: TypeAlias = Constructor
    ShellL2Settings: TypeAlias = Constructor
    CheckpointSettings: TypeAlias = Constructor
    PretrainingSettings: TypeAlias = Constructor
    DiffSimSettings: TypeAlias = Constructor
    TorchSettings: TypeAlias = Constructor
    LammpsSettings: TypeAlias = Constructor
    MethodSettings: TypeAlias = Constructor
    GradientSettings: TypeAlias = Constructor
    TruncationSettings: TypeAlias = Constructor
    LossSettings: TypeAlias = Constructor
    EngineSettings: TypeAlias = Constructor
else:
    NeuralSettings = constructor(
        NeuralRadial,
        "neural",
        omit=("dtype",),
        r_max=(Positive | None, None),
        hidden=(list[Count], [128, 128, 128]),
        scale=(Positive | None, None),
        seed=(int | None, None),
    )
    LennardJonesSettings = constructor(LennardJones, "lennard_jones")
    ModifiedMorseSettings = constructor(ModifiedMorse, "modified_morse")
    RepulsionSettings = constructor(Repulsion, "repulsion")
    SwitchedSettings = constructor(Switched, "switched")
    L2Settings = constructor(L2, "l2")
    ShellL2Settings = constructor(ShellL2, "shell_l2")
    CheckpointSettings = constructor(CheckpointAdjoint, "checkpoint")
    TruncationSettings = Annotated[
        SwitchedSettings
        | constructor(ForceShifted, "force_shifted")
        | constructor(Shifted, "shifted")
        | constructor(Truncated, "truncated"),
        Field(discriminator="kind"),
    ]
    LossSettings = Annotated[
        L2Settings | ShellL2Settings | constructor(JensenShannon, "jensen_shannon"),
        Field(discriminator="kind"),
    ]
    GradientSettings = Annotated[
        CheckpointSettings
        | constructor(ReversibleAdjoint, "reversible")
        | constructor(DirectAdjoint, "direct")
        | constructor(ReweightedGradient, "reweighted"),
        Field(discriminator="kind"),
    ]
    PretrainingSettings = constructor(BoltzmannPretraining, "boltzmann")
    DiffSimSettings = constructor(
        DiffSim,
        "diffsim",
        timestep=(Positive | None, None),
        gradient=(GradientSettings, CheckpointSettings),
        pretraining=(PretrainingSettings | None, PretrainingSettings),
    )
    TorchSettings = constructor(TorchEngine, "torch", timestep=(Positive | None, None))
    LammpsSettings = constructor(
        LammpsEngine,
        "lammps",
        omit=("units", "workdir"),
        timestep=(Positive | None, None),
        equilibration_steps=(int, 5_000),
        steps=(Count, 50_000),
        save_every=(Count, 100),
    )
    EngineSettings = Annotated[
        TorchSettings | LammpsSettings,
        Field(discriminator="kind"),
    ]
    SafeUpdateSettings = constructor(SafeUpdate, "safe", omit=("core",))
    SmoothnessSettings = constructor(Smoothness, "smoothness")
    UpdateSettings = Annotated[
        SafeUpdateSettings | constructor(VotcaUpdate, "votca"),
        Field(discriminator="kind"),
    ]
    RegularizationSettings = Annotated[
        SmoothnessSettings | constructor(TruncatedSVD, "truncated_svd") | constructor(Tikhonov, "tikhonov"),
        Field(discriminator="kind"),
    ]
    SAMPLING = {"engine": (EngineSettings, TorchSettings)}
    NEWTON = SAMPLING | {"regularization": (RegularizationSettings, SmoothnessSettings)}
    MethodSettings = Annotated[
        DiffSimSettings
        | constructor(
            Reweighting,
            "reweighting",
            omit=("expansion",),
            pretraining=(PretrainingSettings | None, PretrainingSettings),
            **SAMPLING,
        )
        | constructor(
            IBI,
            "ibi",
            omit=("tasks", "do_potential", "cutoff"),
            update=(UpdateSettings, SafeUpdateSettings),
            **SAMPLING,
        )
        | constructor(IMC, "imc", omit=("core", "cutoff"), **NEWTON)
        | constructor(GaussNewton, "gauss_newton", omit=("core", "cutoff"), **NEWTON)
        | constructor(IHNC, "ihnc", omit=("core", "cutoff", "prior_frames_per_row"), **NEWTON),
        Field(discriminator="kind"),
    ]


class TabulatedSettings(Settings):
    """C2 spline through trainable values on a uniform grid from r_min to the cutoff; zero before pre-training."""

    kind: Literal["tabulated"] = "tabulated"
    r_min: Positive | None = Field(None, description="first knot, length; found from the target when left out")
    n_knots: int = Field(60, ge=4, description="number of trainable values")


class TemperatureDependentSettings(Settings):
    """u(r, T) = u1(r) - kT u2(r), both neural."""

    kind: Literal["temperature_dependent"] = "temperature_dependent"
    u1: NeuralSettings = Field(default_factory=NeuralSettings)
    u2: NeuralSettings = Field(default_factory=NeuralSettings)


RadialSettings = Annotated[
    NeuralSettings
    | LennardJonesSettings
    | ModifiedMorseSettings
    | RepulsionSettings
    | TabulatedSettings
    | TemperatureDependentSettings,
    Field(discriminator="kind"),
]
