"""The targets of a configuration: their curves, and what these suggest for the observables that measure them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asediff.app.config.atoms import volume_of
from asediff.app.config.errors import ConfigError, at
from asediff.app.config.models import Config, TargetSettings
from asediff.app.config.plausible import check_curve
from asediff.app.config.tables import tabulates
from asediff.targets.curves import FEWEST_POINTS, check_reference_range, first_peak, read_curve, read_errors

BINS_PER_PEAK = 50
CUTOFF_IN_PEAKS = 2.7
KERNEL_IN_BINS = 0.5
ONSET_OF_MAXIMUM = 0.01
SHELL_IN_PEAKS = 1.5
FEWEST_OF_OTHERS = 4
MOST_ANGLES = 180
FRAMES_OF_CORRELATION = 2_000
NO_SHELLS = "no target is a g(r) that it could be found from"


@dataclass(frozen=True, eq=False)
class Curve:
    """A target's curve and what its shape suggests.

    Attributes:
        x: `(n,)`, ascending.
        values: `(n,)`.
        radial: whether it is a g(r); `peak` and `onset` are those of one.
        errors: `(n,)`, standard errors of the values, or None.
    """

    x: NDArray[np.float64]
    values: NDArray[np.float64]
    radial: bool
    errors: NDArray[np.float64] | None = None

    @classmethod
    def read(cls, target: TargetSettings, base: Path) -> Curve:
        """Read and check the file of a target; a single value is a curve of one point."""
        if target.file is None:
            return cls(np.zeros(1), np.array([target.value], dtype=np.float64), radial=False)
        radial = target.observable.kind == "rdf"
        fewest = FEWEST_POINTS if radial else 1 if ":" in target.observable.kind else FEWEST_OF_OTHERS
        path = base / target.file
        return cls(*read_curve(path, fewest_points=fewest, radial=radial), radial, read_errors(path))

    def errors_at(self, centers: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Standard errors of the values of an observable, `(n_values,)`, between those of the points next to them."""
        return None if self.errors is None else np.interp(centers, self.x, self.errors)

    @cached_property
    def peak(self) -> float:
        """Position of the first peak, length."""
        return first_peak(self.x, self.values)

    @cached_property
    def onset(self) -> float:
        """Where g first exceeds a hundredth of its maximum, length."""
        return self._first_above(ONSET_OF_MAXIMUM)

    @property
    def rise(self) -> float:
        """Where g first exceeds half of its maximum over where it does a hundredth."""
        return self._first_above(0.5) / self.onset

    def _first_above(self, share: float) -> float:
        r, g = self.x, self.values
        threshold = share * g.max()
        k = int(np.argmax(g > threshold))
        return float(r[k] if k == 0 else np.interp(threshold, g[k - 1 : k + 1], r[k - 1 : k + 1]))


def read_curves(config: Config, base: Path) -> list[list[Curve]]:
    """`[state point][target]`, each file read and checked."""
    curves = []
    for k, point in enumerate(config.state_points):
        row = []
        for j, target in enumerate(point.targets):
            with at(f"state_points[{k}].targets[{j}].file"):
                curve = Curve.read(target, base)
                if curve.radial:
                    check_curve(curve.peak, str(target.file), config.units)
            row.append(curve)
        curves.append(row)
    return curves


def reach_of(shells: list[Curve]) -> float:
    """How far g(r) is followed where nothing else is said, length: some shells, as far as each curve goes."""
    end = min(float(curve.x[-1]) for curve in shells)
    return rounded_down(min(CUTOFF_IN_PEAKS * max(curve.peak for curve in shells), end))


def resolve_targets(config: Config, data: dict[str, Any], curves: list[list[Curve]], base: Path) -> None:
    """Write into `data` the names of state points, and what observables leave to be found.

    Bins of g(r) have one width for all targets, as the methods that make tables need them.
    """
    shells = [curve for row in curves for curve in row if curve.radial]
    width = min((curve.peak for curve in shells), default=0.0) / BINS_PER_PEAK
    for k, (point, row) in enumerate(zip(config.state_points, curves, strict=True)):
        entry = data["state_points"][k]
        if point.name is None:
            entry["name"] = _default_name(config, k)
        peaks = [curve.peak for curve in row if curve.radial]
        for j, (target, curve) in enumerate(zip(point.targets, row, strict=True)):
            path, observable = f"state_points[{k}].targets[{j}]", entry["targets"][j]["observable"]
            match target.observable.kind:
                case "rdf":
                    end = data["potential"]["cutoff"] or reach_of(shells)
                    _resolve_rdf(config, path, observable, (curve, str(target.file)), end, width)
                case "adf":
                    _fill(observable, bins=min(len(curve.x), MOST_ANGLES))
                    if observable["cutoff"] is None and not peaks:
                        raise ConfigError(
                            f"{path}.observable.cutoff: missing; the state point has no g(r) that it could be found "
                            "from; give where the shell of neighbours ends"
                        )
                    _fill(observable, cutoff=rounded(SHELL_IN_PEAKS * min(peaks, default=0.0), 3))
                case "structure_factor":
                    _resolve_structure_factor(observable, curve, volume_of(config, k, base) ** (1.0 / 3.0))
                case "vacf":
                    _resolve_correlation(config, path, data, observable, curve)


def _fill(section: dict[str, Any], **found: Any) -> None:
    for name, value in found.items():
        section[name] = value if section[name] is None else section[name]


def _resolve_rdf(
    config: Config, path: str, rdf: dict[str, Any], source: tuple[Curve, str], end: float, width: float
) -> None:
    curve, file = source
    with at(path):
        check_reference_range(curve.x, curve.values, end, file)
    _fill(rdf, r_max=end)
    if rdf["r_max"] <= rdf["r_min"]:
        raise ConfigError(
            f"{path}.observable.r_max: {rdf['r_max']} is not above r_min {rdf['r_min']}; give r_max > r_min"
        )
    _fill(rdf, bins=max(20, round((rdf["r_max"] - rdf["r_min"]) / width)))
    _check_width(config, f"{path}.observable.width", rdf["width"])
    plain = tabulates(config) or config.method.kind == "relative_entropy"
    kernel = 0.0 if plain else KERNEL_IN_BINS
    _fill(rdf, width=rounded(kernel * (rdf["r_max"] - rdf["r_min"]) / rdf["bins"], 3))
    with at(path):
        check_reference_range(curve.x, curve.values, rdf["r_max"], file)


def _check_width(config: Config, path: str, width: float | None) -> None:
    gradient = getattr(config.method, "gradient", None)
    if width and tabulates(config):
        raise ConfigError(f"{path}: {width:g} is not used by {config.method.kind}, whose bins are plain; leave it out")
    if width == 0 and gradient is not None and gradient.kind != "reweighted":
        raise ConfigError(f"{path}: 0 leaves g(r) without a gradient through the dynamics; leave it out")


def _resolve_structure_factor(observable: dict[str, Any], curve: Curve, edge: float) -> None:
    """Bins as narrow as the curve's points, but each wide enough to hold a wave vector of the box."""
    smallest = 2.0 * math.pi / edge
    width = max(float(np.diff(curve.x).min()), smallest * (1.0 + 1e-4))
    # the middle of a bin lies on the curve, and k = 0 in none
    low = max(float(curve.x[0]) - 0.5 * width, 0.5 * smallest)
    _fill(observable, q_min=rounded(low, 6))
    _fill(observable, q_max=max(float(curve.x[-1]) + 0.5 * width, observable["q_min"] + width))
    bins = max(1, math.floor((observable["q_max"] - observable["q_min"]) / width * (1.0 + 1e-9)))
    if observable["bins"] is None:
        observable["bins"] = bins
        observable["q_max"] = rounded(observable["q_min"] + bins * width, 6)


def _resolve_correlation(
    config: Config, path: str, data: dict[str, Any], observable: dict[str, Any], curve: Curve
) -> None:
    """Lags are whole frames; independent runs keep frames as far apart as the fit does."""
    method, validation = data["method"], data["validation"]
    run = method if "save_every" in method else method["engine"]
    _fill(observable, spacing=float(f"{run['save_every'] * run['timestep']:.12g}"))
    spacing = observable["spacing"]
    longest = max(1, run["steps"] // run["save_every"] // 2)
    _fill(observable, n_lags=min(longest, math.floor(float(curve.x[-1]) / spacing * (1.0 + 1e-9)) + 1))
    given = config.validation.model_fields_set
    if not {"timestep", "integrator"} & given:
        validation["timestep"] = run["timestep"]
    every = max(1, round(spacing / validation["timestep"]))
    if "save_every" not in given:
        validation["save_every"] = every
    if not {"save_every", "steps"} & given:
        validation["steps"] = FRAMES_OF_CORRELATION * every
    for name, section in (("method", run), ("validation", validation)):
        apart = section["save_every"] * section["timestep"]
        if abs(apart - spacing) > 1e-6 * spacing:
            raise ConfigError(
                f"{path}.observable.spacing: {spacing:g}, but {name} keeps frames {apart:g} apart; give "
                f"{name}.save_every and {name}.timestep whose product is the spacing"
            )
        frames = section["steps"] // section["save_every"]
        if observable["n_lags"] > frames:
            raise ConfigError(
                f"{path}.observable.n_lags: {observable['n_lags']} lags, but {name} keeps {frames} frames; give fewer "
                f"lags or more {name}.steps"
            )


def _default_name(config: Config, k: int) -> str:
    """Temperature; where several state points have it, their number as well."""
    names = [f"{p.temperature_K:g} K" if p.temperature_K else f"kT {p.kT:g}" for p in config.state_points]
    return names[k] if names.count(names[k]) == 1 else f"{names[k]}-{names[: k + 1].count(names[k])}"


def rounded(value: float, digits: int) -> float:
    """To so many significant digits."""
    return float(f"{value:.{digits}g}")


def rounded_down(value: float) -> float:
    """Three significant digits, never larger."""
    near = rounded(value, 3)
    return near if near <= value else rounded(near - 10.0 ** (math.floor(math.log10(value)) - 2), 3)
