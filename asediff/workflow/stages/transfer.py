"""Stage `transfer`: how well potentials do at states that they were not fitted at, from all validations, as a page."""

from __future__ import annotations

import time
from typing import Any

from asediff.app.config.schema import Settings
from asediff.workflow.results import Results
from asediff.workflow.stages.base import Expected, Record, Role, Stage, Work


class TransferSettings(Settings):
    """Nothing is left to be chosen."""


def expected(_settings: Any, _parents: Any = None) -> Expected:
    """Seconds on one core."""
    return Expected(5.0)


def run(work: Work) -> Results:
    """See `Stage.run`."""
    from asediff.workflow.transfer import write_transfer

    began, validations = time.perf_counter(), work.parents["validations"]
    records = [Record.load(folder) for folder in validations]
    fits = dict.fromkeys(path for record in records for path in record.parents["potential"])
    references = dict.fromkeys(path for record in records for path in record.parents["reference"])
    found = write_transfer(validations, list(fits), list(references), work.folder)
    return Results({**found.scalars, "seconds": time.perf_counter() - began}, found.arrays, found.units)


STAGE = Stage(
    kind="transfer",
    settings=TransferSettings,
    roles={"validations": Role(("validate",), many=True)},
    run=run,
    expected=expected,
    modules=(__name__, "asediff.workflow.transfer", "asediff.workflow.transfer_figures"),
)
