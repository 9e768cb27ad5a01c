"""The configuration of a fit: every key, its type, its range and its default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from asediff.app.config.errors import ConfigError
from asediff.app.config.schema import Settings
from asediff.app.config.sections import (
    LAMMPS,
    LOSS,
    METHOD,
    OBSERVABLE,
    RADIAL,
    TRUNCATION,
    Count,
    IntegratorSettings,
    LossSettings,
    MethodSettings,
    ObservableSettings,
    OwnKind,
    Positive,
    RadialSettings,
    RepulsionSettings,
    TruncationSettings,
    ValidationSettings,
)

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
"""In one line; file names are made of it by `asediff.host.files.file_name`."""
Fractions = dict[str, Annotated[float, Field(ge=0, le=1)]]


class SystemSettings(Settings):
    """Where the atoms come from: a lattice at a density, or a file that ASE reads."""

    file: str | None = Field(None, description="structure file instead of a lattice; anything ase.io.read takes")
    lattice: Literal["fcc", "bcc", "diamond"] | None = Field(
        None, description="cubic lattice made of `cells`; left out, `n_atoms` are put on the best-filled cubic lattice"
    )
    cells: Count | None = Field(None, description="cubic cells along each direction, with `lattice`")
    n_atoms: Count = Field(500, description="number of atoms or beads, without `lattice`")
    density: Positive | None = Field(None, description="atoms per length³; this or mass_density")
    mass_density: Positive | None = Field(None, description="g/cm³; this or density")
    symbol: str = Field("X", description="chemical symbol of the atoms or beads; X is a bead without a name")
    mass: Positive | None = Field(None, description="mass of one of them, amu (lj: reduced); the element's by default")
    composition: Fractions | None = Field(None, description="mole fraction of each symbol, instead of `symbol`")
    masses: dict[str, Positive] = Field(default_factory=dict, description="mass of each symbol of `composition`")
    rattle: float = Field(0.02, ge=0, description="random displacements from the lattice, as a fraction of spacing")

    @model_validator(mode="after")
    def _choices(self) -> SystemSettings:
        if self.density is not None and self.mass_density is not None:
            raise ValueError("density, mass_density: both are given; give exactly one of the two")
        if (self.lattice is None) != (self.cells is None):
            raise ValueError("lattice, cells: only one of the two is given; give both, or n_atoms alone")
        return self


class TargetSettings(Settings):
    """What is measured, and the curve that it should be."""

    file: str | None = Field(
        None,
        description="text file with two columns, such as r (length) and g(r), and a third of standard errors if the "
        "header calls it `error`; relative to the configuration",
    )
    value: float | None = Field(None, description="instead of a curve, for a pressure (energy/length³) or one number")
    observable: ObservableSettings = Field(
        default_factory=OBSERVABLE.first,
        description="what is compared; `rdf: {...}` and `pair: [...]` in its place stand for one of kind rdf",
    )
    weight: Positive = Field(1.0, description="in the loss")
    loss: LossSettings = Field(default_factory=LOSS.first, description="shell_l2 for g(r), l2 for others by default")
    name: Name | None = Field(None, description="for reports and file names")
    _brief: bool = PrivateAttr(default=False)

    @model_validator(mode="wrap")
    @classmethod
    def _in_full(cls, data: Any, handler: Any) -> Any:
        """`rdf` and `pair` are put into the observable that they stand for."""
        if not isinstance(data, dict):
            return handler(data)
        brief, full = "observable" not in data, dict(data)
        if brief:
            rdf, pair = full.pop("rdf", {}), full.pop("pair", None)
            words = {"kind": "rdf", **rdf} if isinstance(rdf, dict) else rdf
            full["observable"] = {**words, "pair": pair} if pair is not None and isinstance(words, dict) else words
        elif isinstance(full["observable"], dict) and full["observable"].get("kind", "rdf") != "rdf":
            full.setdefault("loss", {"kind": "l2"})
        made = handler(full)
        made._brief = brief
        return made

    @model_validator(mode="after")
    def _choices(self) -> TargetSettings:
        kind = self.observable.kind
        if (self.file is None) == (self.value is None):
            state = "neither is" if self.file is None else "both are"
            raise ValueError(f"file, value: {state} given; give exactly one of the two")
        if ":" not in kind and (kind == "pressure") == (self.value is None):
            raise ValueError(
                "file: a curve, but a pressure is a number; give value"
                if self.value is None
                else f"value: one number, but {kind} is a curve; give its file"
            )
        return self

    @property
    def pair(self) -> tuple[str, str] | None:
        """Symbols of a g(r) of two species."""
        return None if self.observable.kind != "rdf" or self.observable.pair is None else tuple(self.observable.pair)  # type: ignore[attr-defined]


class StatePointSettings(Settings):
    """A temperature, a density and the curves measured there; what is left out is taken from `system`."""

    name: Name | None = Field(None, description="for reports and folder names")
    temperature_K: Positive | None = Field(None, description="kelvin; this or kT")
    kT: Positive | None = Field(None, description="thermal energy (eV; lj: reduced); this or temperature_K")
    density: Positive | None = Field(None, description="atoms per length³, instead of the system's")
    mass_density: Positive | None = Field(None, description="g/cm³, instead of the system's")
    composition: Fractions | None = Field(None, description="instead of the system's")
    file: str | None = Field(None, description="structure file, instead of the system's")
    targets: list[TargetSettings] = Field(min_length=1)
    weight: Positive = Field(1.0, description="in the loss")
    pressure: float | None = Field(None, description="wanted pressure, energy/length³ (eV/Å³; lj: reduced)")

    @model_validator(mode="after")
    def _choices(self) -> StatePointSettings:
        if (self.temperature_K is None) == (self.kT is None):
            state = "neither is" if self.kT is None else "both are"
            raise ValueError(f"temperature_K, kT: {state} given; give exactly one of the two")
        if self.density is not None and self.mass_density is not None:
            raise ValueError("density, mass_density: both are given; give exactly one of the two")
        return self


class PairSettings(Settings):
    """The function of one pair of species, instead of the general one."""

    radial: RadialSettings | None = None
    prior: RepulsionSettings | Literal["automatic", "none"] | None = None


class PotentialSettings(Settings):
    """u(r) = prior + radial function, cut off; see `asediff.potentials.PairPotential`."""

    file: str | None = Field(None, description="saved potential to start from, instead of what follows")
    kind: OwnKind | None = Field(None, description="one of your own, my_module:MyPotential, instead of what follows")
    arguments: dict[str, Any] = Field(default_factory=dict, description="of a potential of your own, by name")
    cutoff: Positive | None = Field(None, description="length; 2.7 first-peak distances when left out")
    radial: RadialSettings = Field(default_factory=RADIAL.first)
    prior: RepulsionSettings | Literal["automatic", "none"] = Field(
        "automatic", description="fixed repulsion; automatic: 2 kT (r_core/r)¹² with r_core where the target sets in"
    )
    pairs: dict[str, PairSettings] = Field(default_factory=dict, description="exceptions by pair, such as Ar-Kr")
    truncation: TruncationSettings = Field(default_factory=TRUNCATION.first)
    core: float = Field(0.2, gt=0.02, lt=1, description="radius of the linear core as a fraction of the cutoff")
    n_knots: int = Field(1000, ge=16, description="knots of the table")

    @model_validator(mode="after")
    def _choices(self) -> PotentialSettings:
        others = {name for name in self.model_fields_set if getattr(self, name) not in (None, {})}
        beside = others - ({"file"} if self.kind is None else {"file", "kind", "arguments"})
        if self.whole and beside:
            name, what = ("kind", "potential of your own") if self.file is None else ("file", "saved potential")
            names = ", ".join(sorted(beside))
            raise ValueError(f"{name}: a {what} brings its own {names}; leave them out, or the {name}")
        if "arguments" in others and self.kind is None:
            raise ValueError("arguments: of no class; give the kind of a potential of your own, or leave them out")
        return self

    @property
    def whole(self) -> bool:
        """Whether a file or a class stands for everything else."""
        return self.file is not None or self.kind is not None

    def stated(self) -> list[str]:
        """See `Settings.stated`; a file or a class stands for everything else."""
        if self.whole:
            return ["file"] * (self.file is not None) + ["kind", "arguments"] * (self.kind is not None)
        return [name for name in super().stated() if name not in ("kind", "arguments")]


class RunSettings(Settings):
    """What moves the atoms of `asediff run`."""

    integrator: IntegratorSettings


class ExportSettings(Settings):
    """The LAMMPS files that are written and verified."""

    refine: Count = Field(8, description="points of the LAMMPS table per knot interval")
    frames: int = Field(20, ge=10, description="liquid frames on which LAMMPS and asediff are compared")


class Config(Settings):
    """A fit from beginning to end."""

    units: Literal["metal", "real", "lj"] = Field(
        "metal",
        description="units of the LAMMPS files. lj: every number here is reduced. metal and real: lengths in Å, "
        "energies in eV, masses in amu, times in fs",
    )
    system: SystemSettings = Field(default_factory=SystemSettings)
    state_points: list[StatePointSettings] = Field(min_length=1)
    potential: PotentialSettings = Field(default_factory=PotentialSettings)
    method: MethodSettings = Field(default_factory=METHOD.first)
    validation: ValidationSettings = Field(default_factory=LAMMPS)
    export: ExportSettings = Field(default_factory=ExportSettings)
    seed: int = Field(0, ge=0, description="of everything random")

    @contextmanager
    def as_written(self) -> Iterator[None]:
        """Let errors inside name the keys of brief targets as they were written."""
        try:
            yield
        except ConfigError as error:
            told = str(error)
            for k, point in enumerate(self.state_points):
                for j, target in enumerate(point.targets):
                    path = f"state_points[{k}].targets[{j}]"
                    if target._brief:
                        told = told.replace(f"{path}.observable.pair", f"{path}.pair")
                        told = told.replace(f"{path}.observable", f"{path}.rdf")
            raise ConfigError(told) from error
