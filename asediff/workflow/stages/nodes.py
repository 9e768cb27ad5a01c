"""Each kind of stage as a function of plain arguments, which returns its folder: nodes for other workflow programs.

`asediff workflow water --export water.json` names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asediff.workflow.stages import run_stage
from asediff.workflow.stages.base import JSON


def reference(settings: Mapping[str, JSON], folder: str) -> str:
    """A reference run; see `run_stage`."""
    return _run("reference", settings, folder)


def ibi(settings: Mapping[str, JSON], folder: str, reference: Sequence[str]) -> str:
    """A fit by iterative Boltzmann inversion."""
    return _run("ibi", settings, folder, reference=reference)


def gauss_newton(settings: Mapping[str, JSON], folder: str, reference: Sequence[str]) -> str:
    """A fit by Gauss-Newton steps."""
    return _run("gauss_newton", settings, folder, reference=reference)


def diffsim(settings: Mapping[str, JSON], folder: str, reference: Sequence[str]) -> str:
    """A fit through the dynamics."""
    return _run("diffsim", settings, folder, reference=reference)


def reweighting(settings: Mapping[str, JSON], folder: str, reference: Sequence[str]) -> str:
    """A fit by reweighting."""
    return _run("reweighting", settings, folder, reference=reference)


def validate(settings: Mapping[str, JSON], folder: str, potential: str, reference: str) -> str:
    """An independent run of a fit's potential at the state of a reference."""
    return _run("validate", settings, folder, potential=[potential], reference=[reference])


def transfer(settings: Mapping[str, JSON], folder: str, validations: Sequence[str]) -> str:
    """The report of all validations."""
    return _run("transfer", settings, folder, validations=validations)


def _run(kind: str, settings: Mapping[str, JSON], folder: str, **parents: Sequence[str]) -> str:
    run_stage(kind, settings, parents, folder)
    return folder
