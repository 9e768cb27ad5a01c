"""Finished parts of a chain, each kept as soon as it is there, so that a chain that goes on does none of them twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asediff.fitting.api import Method
from asediff.fitting.result import FitResult
from asediff.fitting.statistics.uncertainty import UncertaintyBand
from asediff.host.folders import ResultFolder
from asediff.lammps.verify import Check, VerifyReport
from asediff.potentials.base import Potential
from asediff.potentials.io import build_potential, decoded, describe_potential, encoded
from asediff.targets.measurement import Measurement
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory

FOLDER = "parts"
FIT = f"{FOLDER}/fit.pt"
FRAMES = ".npz"
BAND_ARRAYS = ("r", "u", "error", "modes", "known", "singular_values")


def digest(settings: Any, state_points: Sequence[StatePoint], *tensors: Tensor) -> str:
    """What a part was computed from, in short: another configuration, start, target or potential gives another one."""
    found = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for point in state_points:
        found.update(f"{point.name} {point.kT!r} {point.weight!r} {point.pressure!r}".encode())
        for tensor in (point.system.positions, point.system.masses, *(target.reference for target in point.targets)):
            found.update(_bytes(tensor))
    for tensor in tensors:
        found.update(_bytes(tensor))
    return found.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().numpy().tobytes())


@dataclass(frozen=True)
class IndependentRun:
    """What one engine measured at one state point, and how long it took in seconds."""

    measurement: Measurement
    seconds: float


class Parts:
    """The parts that a result folder keeps.

    Args:
        folder: the open folder.
        key: of what they are computed from; parts with another key count as missing.
    """

    def __init__(self, folder: ResultFolder, key: str) -> None:
        self.folder, self.key = folder, key

    def _find(self, name: str) -> dict[str, Any] | None:
        """The contents of a part; None where it is missing, damaged, or of something else."""
        path = f"{FOLDER}/{name}.pt"
        content = decoded(self.folder.path / path) if self.folder.has(path) else None
        return content if content is not None and content.get("key") == self.key else None

    def _put(self, stage: Path, name: str, **content: Any) -> None:
        path = stage / FOLDER / f"{name}.pt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded({"key": self.key, **content}))

    def fit(
        self, method: Method, state_points: Sequence[StatePoint], seed: int, start: Potential | None
    ) -> FitResult | None:
        """The finished fit, if there is one; `start` is what it began with."""
        found = self._find("fit")
        if found is None:
            return None
        values = {name: found[name] for name in ("history", "notes", "md_steps", "wall_seconds", "stopped")}
        potential = build_potential(found["potential"], into=start)
        return FitResult(potential, state_points, method, measurements=[], validation_seconds=0.0, seed=seed, **values)

    def put_fit(self, stage: Path, result: FitResult) -> None:
        """Keep a finished fit."""
        self._put(
            stage,
            "fit",
            potential=describe_potential(result.potential),
            history=result.history,
            notes=result.notes,
            md_steps=result.md_steps,
            wall_seconds=result.wall_seconds,
            stopped=result.stopped,
        )

    def run(self, name: str, *, frames: bool) -> IndependentRun | None:
        """A finished independent run, if there is one; with its frames if they are needed."""
        found = self._find(name)
        path = f"{FOLDER}/{name}{FRAMES}"
        if found is None or (frames and not self.folder.has(path)):
            return None
        measurement = Measurement(
            values=tuple(found["values"]),
            errors=tuple(found["errors"]),
            pressure=found["pressure"],
            pressure_error=found["pressure_error"],
            kT=found["kT"],
            trajectory=Trajectory.load(self.folder.path / path) if frames else None,
        )
        return IndependentRun(measurement, found["seconds"])

    def put_run(self, stage: Path, name: str, run: IndependentRun, *, frames: bool) -> None:
        """Keep an independent run, with its frames if a later part needs them."""
        measured = run.measurement
        if frames:
            assert measured.trajectory is not None
            path = stage / FOLDER / f"{name}{FRAMES}"
            path.parent.mkdir(exist_ok=True)
            measured.trajectory.save(path)
        self._put(
            stage,
            name,
            values=list(measured.values),
            errors=list(measured.errors),
            pressure=measured.pressure,
            pressure_error=measured.pressure_error,
            kT=measured.kT,
            seconds=run.seconds,
        )

    def drop_frames(self, name: str) -> None:
        """Remove the frames of a run that no part needs any more."""
        path = f"{FOLDER}/{name}{FRAMES}"
        if self.folder.has(path):
            self.folder.remove(path)

    def band(self) -> UncertaintyBand | None:
        """The finished error band, if there is one."""
        found = self._find("band")
        if found is None:
            return None
        arrays = {name: found[name].numpy() for name in BAND_ARRAYS}
        return UncertaintyBand(names=tuple(found["names"]), prior=found["prior"], **arrays)

    def put_band(self, stage: Path, band: UncertaintyBand) -> None:
        """Keep the error band."""
        arrays = {name: torch.from_numpy(getattr(band, name).copy()) for name in BAND_ARRAYS}
        self._put(stage, "band", names=list(band.names), prior=band.prior, **arrays)

    def report(self, name: str) -> VerifyReport | None:
        """A finished verification, if there is one."""
        found = self._find(name)
        if found is None:
            return None
        values = found["report"]
        checks = tuple(Check(**check) for check in values.pop("checks"))
        return VerifyReport(checks=checks, warnings=tuple(values.pop("warnings")), **values)

    def put_report(self, stage: Path, name: str, report: VerifyReport) -> None:
        """Keep a verification."""
        # numbers as Python's own: NumPy's are not read back from a file that may hold no code
        checks = [{"name": c.name, "value": float(c.value), "limit": float(c.limit)} for c in report.checks]
        self._put(stage, name, report={**asdict(report), "checks": checks, "warnings": list(report.warnings)})


def parameters(potential: Potential) -> list[Tensor]:
    """Every number of a potential, in a fixed order."""
    return [value for _, value in sorted(potential.state_dict().items())]
