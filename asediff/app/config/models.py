"""The configuration of a fit: every key, its type, its range and its default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from asediff.app.config.schema import Settings
from asediff.app.config.sections import (
    Count,
    DiffSimSettings,
    EngineSettings,
    LammpsSettings,
    LossSettings,
    MethodSettings,
    NeuralSettings,
    Positive,
    RadialSettings,
    RepulsionSettings,
    ShellL2Settings,
    SwitchedSettings,
    TruncationSettings,
)

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
"""In one line; file names are made of it by `asediff.host.files.file_name`."""
Pair = Annotated[list[str], Field(min_length=2, max_length=2)]
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
    rattle: float = Field(0.05, ge=0, description="random displacements from the lattice, as a fraction of spacing")

    @model_validator(mode="after")
    def _choices(self) -> SystemSettings:
        if self.density is not None and self.mass_density is not None:
            raise ValueError("density, mass_density: both are given; give exactly one of the two")
        if (self.lattice is None) != (self.cells is None):
            raise ValueError("lattice, cells: only one of the two is given; give both, or n_atoms alone")
        return self


class RDFSettings(Settings):
    """The histogram that compares simulation and target; see `asediff.observables.RDF`."""

    r_max: Positive | None = Field(None, description="end of the last bin, length; the cutoff when left out")
    bins: Count | None = Field(None, description="number of bins; about 50 per first-peak distance when left out")
    r_min: float = Field(0.0, ge=0, description="start of the first bin, length")
    width: float | None = Field(
        None,
        ge=0,
        description="standard deviation of the kernel, length; default half a bin, 0 for methods with tables",
    )


class TargetSettings(Settings):
    """A measured g(r)."""

    file: str = Field(description="text file with two columns: r (length) and g(r); relative to the configuration")
    pair: Pair | None = Field(None, description="two symbols; all atoms when left out")
    rdf: RDFSettings = Field(default_factory=RDFSettings)
    weight: Positive = Field(1.0, description="in the loss")
    loss: LossSettings = Field(default_factory=ShellL2Settings)
    name: Name | None = Field(None, description="for reports and file names")


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

    file: str | None = Field(None, description="saved potential to start from, instead of everything below")
    cutoff: Positive | None = Field(None, description="length; 2.7 first-peak distances when left out")
    radial: RadialSettings = Field(default_factory=NeuralSettings)
    prior: RepulsionSettings | Literal["automatic", "none"] = Field(
        "automatic", description="fixed repulsion; automatic: 2 kT (r_core/r)¹² with r_core where the target sets in"
    )
    pairs: dict[str, PairSettings] = Field(default_factory=dict, description="exceptions by pair, such as Ar-Kr")
    truncation: TruncationSettings = Field(default_factory=SwitchedSettings)
    core: float = Field(0.2, gt=0.02, lt=1, description="radius of the linear core as a fraction of the cutoff")
    n_knots: int = Field(1000, ge=16, description="knots of the table")

    @model_validator(mode="after")
    def _choices(self) -> PotentialSettings:
        others = sorted(name for name in self.model_fields_set - {"file"} if getattr(self, name) is not None)
        if self.file is not None and others:
            raise ValueError(f"file: a saved potential brings its own {', '.join(others)}; leave them out, or the file")
        return self

    def stated(self) -> list[str]:
        """See `Settings.stated`; a file stands for everything else."""
        return ["file"] if self.file is not None else super().stated()


class ExportSettings(Settings):
    """The LAMMPS files that are written and verified."""

    refine: Count = Field(4, description="points of the LAMMPS table per knot interval")
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
    method: MethodSettings = Field(default_factory=DiffSimSettings)
    validation: EngineSettings = Field(default_factory=LammpsSettings)
    export: ExportSettings = Field(default_factory=ExportSettings)
    seed: int = Field(0, ge=0, description="of everything random")

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, data: Any) -> Any:
        """`kind` may be left out where one is the default."""
        return _with_kinds(data, _DEFAULT_KINDS)


_DEFAULT_KINDS: dict[str, Any] = {
    "method": {
        "kind": "diffsim",
        "gradient": {"kind": "checkpoint"},
        "engine": {"kind": "torch"},
        "update": {"kind": "safe"},
        "regularization": {"kind": "smoothness"},
    },
    "validation": {"kind": "lammps"},
    "potential": {"radial": {"kind": "neural"}, "truncation": {"kind": "switched"}},
}


def _with_kinds(data: Any, defaults: dict[str, Any]) -> Any:
    if not isinstance(data, dict):
        return data
    completed = dict(data)
    for name, default in defaults.items():
        if isinstance(default, dict) and name in completed:
            completed[name] = _with_kinds(completed[name], default)
        elif name == "kind":
            completed.setdefault("kind", default)
    return completed
