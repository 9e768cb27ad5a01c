"""The sections of the configuration that are made from the signatures of asediff's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from asediff.app.config.schema import Constructor, Settings, constructor

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
        "asediff.potentials.neural.NeuralRadial",
        "neural",
        omit=("dtype",),
        r_max=(Positive | None, None),
        hidden=(Annotated[list[Count], Field(max_length=10)], [128, 128, 128]),
        scale=(Positive | None, None),
        seed=(int | None, None),
    )
    LennardJonesSettings = constructor("asediff.potentials.radial.LennardJones", "lennard_jones")
    ModifiedMorseSettings = constructor("asediff.potentials.radial.ModifiedMorse", "modified_morse")
    RepulsionSettings = constructor("asediff.potentials.radial.Repulsion", "repulsion")
    SwitchedSettings = constructor("asediff.potentials.truncation.Switched", "switched")
    L2Settings = constructor("asediff.targets.losses.L2", "l2")
    ShellL2Settings = constructor("asediff.targets.losses.ShellL2", "shell_l2")
    CheckpointSettings = constructor("asediff.dynamics.adjoints.CheckpointAdjoint", "checkpoint")
    TruncationSettings = Annotated[
        SwitchedSettings
        | constructor("asediff.potentials.truncation.ForceShifted", "force_shifted")
        | constructor("asediff.potentials.truncation.Shifted", "shifted")
        | constructor("asediff.potentials.truncation.Truncated", "truncated"),
        Field(discriminator="kind"),
    ]
    LossSettings = Annotated[
        L2Settings | ShellL2Settings | constructor("asediff.targets.losses.JensenShannon", "jensen_shannon"),
        Field(discriminator="kind"),
    ]
    GradientSettings = Annotated[
        CheckpointSettings
        | constructor("asediff.dynamics.adjoints.ReversibleAdjoint", "reversible")
        | constructor("asediff.dynamics.adjoints.DirectAdjoint", "direct")
        | constructor("asediff.fitting.gradients.reweighting.ReweightedGradient", "reweighted"),
        Field(discriminator="kind"),
    ]
    PretrainingSettings = constructor("asediff.fitting.gradients.pretrain.BoltzmannPretraining", "boltzmann")
    DiffSimSettings = constructor(
        "asediff.fitting.gradients.diffsim.DiffSim",
        "diffsim",
        omit=("integrator",),
        timestep=(Positive | None, None),
        gradient=(GradientSettings, CheckpointSettings),
        pretraining=(PretrainingSettings | None, PretrainingSettings),
    )
    TorchSettings = constructor(
        "asediff.engines.torch.TorchEngine", "torch", omit=("integrator",), timestep=(Positive | None, None)
    )
    LammpsSettings = constructor(
        "asediff.lammps.engine.LammpsEngine",
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
    SafeUpdateSettings = constructor("asediff.fitting.tables.ibi.SafeUpdate", "safe", omit=("core",))
    SmoothnessSettings = constructor("asediff.fitting.tables.regularization.Smoothness", "smoothness")
    UpdateSettings = Annotated[
        SafeUpdateSettings | constructor("asediff.fitting.tables.ibi.VotcaUpdate", "votca"),
        Field(discriminator="kind"),
    ]
    RegularizationSettings = Annotated[
        SmoothnessSettings
        | constructor("asediff.fitting.tables.regularization.TruncatedSVD", "truncated_svd")
        | constructor("asediff.fitting.tables.regularization.Tikhonov", "tikhonov"),
        Field(discriminator="kind"),
    ]
    SAMPLING = {"engine": (EngineSettings, TorchSettings)}
    NEWTON = SAMPLING | {"regularization": (RegularizationSettings, SmoothnessSettings)}
    MethodSettings = Annotated[
        DiffSimSettings
        | constructor(
            "asediff.fitting.gradients.reweighting.Reweighting",
            "reweighting",
            omit=("expansion",),
            pretraining=(PretrainingSettings | None, PretrainingSettings),
            **SAMPLING,
        )
        | constructor(
            "asediff.fitting.tables.ibi.IBI",
            "ibi",
            omit=("tasks", "do_potential", "cutoff"),
            update=(UpdateSettings, SafeUpdateSettings),
            **SAMPLING,
        )
        | constructor("asediff.fitting.tables.newton.IMC", "imc", omit=("core", "cutoff"), **NEWTON)
        | constructor("asediff.fitting.tables.newton.GaussNewton", "gauss_newton", omit=("core", "cutoff"), **NEWTON)
        | constructor(
            "asediff.fitting.tables.ihnc.IHNC", "ihnc", omit=("core", "cutoff", "prior_frames_per_row"), **NEWTON
        ),
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
