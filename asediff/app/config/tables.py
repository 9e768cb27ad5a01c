"""What the methods that make tables from their targets use: rows, cutoff, truncation. The configuration states it."""

from __future__ import annotations

import math
from typing import Any

from asediff.app.config.errors import ConfigError, at
from asediff.app.config.models import Config, PotentialSettings
from asediff.checks.species import pair_name

TABULATING = ("ibi", "imc", "gauss_newton", "ihnc")
"""Kinds of methods whose potential is a table on the bins of each target."""


def tabulates(config: Config) -> bool:
    """Whether the method makes its tables from the targets."""
    return config.method.kind in TABULATING


def state_tables(config: Config, data: dict[str, Any]) -> None:
    """Write into `data["potential"]` the tables that the method makes, in place of the functions that it does not use.

    Args:
        config: as given.
        data: of the configuration, with its targets resolved.

    Raises:
        ConfigError: the configuration asks for another radial function, prior or truncation.
    """
    potential = data["potential"]
    cutoff = potential["cutoff"]
    rows: dict[str, dict[str, Any]] = {}
    for k, point in enumerate(data["state_points"]):
        for j, target in enumerate(point["targets"]):
            path = f"state_points[{k}].targets[{j}]"
            observable, kind = target["observable"], config.method.kind
            if observable["kind"] != "rdf":
                raise ConfigError(
                    f"{path}.observable: {observable['kind']} is no g(r), which {kind} makes tables from; give rdf, "
                    "or use diffsim"
                )
            with at(f"{path}.pair"):
                name = "all" if observable["pair"] is None else pair_name(*observable["pair"])
            with at(f"{path}.observable"):
                first, last, n_rows = _rows(observable, cutoff)
            rows.setdefault(name, {"kind": "tabulated", "r_min": first, "n_knots": n_rows})
            potential["cutoff"] = last
    used = PotentialSettings().model_dump() | {
        "cutoff": potential["cutoff"],
        "radial": next(iter(rows.values())),
        "prior": "none",
        "pairs": {} if "all" in rows else {name: {"radial": row, "prior": "none"} for name, row in rows.items()},
        "truncation": {"kind": "shifted"},
    }
    for name in sorted(config.potential.model_fields_set - {"cutoff"}):
        given = config.potential.model_dump()[name]
        if given is not None and given != used[name]:
            raise ConfigError(
                f"potential.{name}: {config.method.kind} makes tables from the targets, and does not use it; "
                "leave it out"
            )
    data["potential"] = used


def _rows(rdf: dict[str, Any], cutoff: float) -> tuple[float, float, int]:
    """First and last bin centre within the cutoff, and the number of them."""
    width = (rdf["r_max"] - rdf["r_min"]) / rdf["bins"]
    n_rows = min(rdf["bins"], math.floor((cutoff * (1.0 + 1e-9) - rdf["r_min"]) / width + 0.5))
    if n_rows < 10:
        raise ValueError(f"bins: only {max(n_rows, 0)} of them lie within the cutoff {cutoff:g}; give more bins")
    first, last = (float(f"{rdf['r_min'] + (k + 0.5) * width:.12g}") for k in (0, n_rows - 1))
    return first, last, n_rows
