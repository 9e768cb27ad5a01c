"""The report of a chain: how well each potential does at each state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asediff.app.workflow.results import Results
from asediff.host.files import write_whole

MATRIX = "transfer.csv"
NUMBERS = ("temperature_K", "D", "D_noise", "mean_abs_dg", "mean_abs_dg_noise", "pressure_bar", "pressure_error_bar")


def write_transfer(
    validations: Sequence[Path], fits: Sequence[Path], references: Sequence[Path], folder: Path
) -> Results:
    """Write the matrix of all validations.

    Args:
        validations: folders of finished stages `validate`.
        fits: of those that fitted the potentials.
        references: of the states.
        folder: to write to.

    Returns:
        The columns of the matrix, one row for each validation, ordered by method and temperatures.
    """
    rows: list[tuple[Any, ...]] = []
    for path in validations:
        found = Results.load(path)
        fitted = "+".join(f"{T:g}" for T in found.arrays["fitted_at"])
        rows.append((str(found.scalars["method"]), fitted, *(float(found.scalars[name]) for name in NUMBERS)))
    rows.sort(key=lambda row: (row[0], len(row[1]), row[1], row[2]))
    names = ["method", "fitted_at_K", "tested_at_K", *NUMBERS[1:]]
    lines = [",".join(names), *(",".join(f"{v:.6g}" if isinstance(v, float) else v for v in row) for row in rows)]
    write_whole(folder / MATRIX, ("\n".join(lines) + "\n").encode())
    arrays = {name: np.array([row[k] for row in rows], dtype="S" if k < 2 else None) for k, name in enumerate(names)}
    unit = {"fitted_at_K": "K", "tested_at_K": "K", "pressure_bar": "bar", "pressure_error_bar": "bar"}
    scalars = {"validations": len(rows), "fits": len(fits), "references": len(references)}
    return Results(scalars, arrays, {name: unit.get(name, "1") for name in arrays})
