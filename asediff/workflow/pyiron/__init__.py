"""The stages of a chain as jobs of pyiron, in projects that need no configuration.

pyiron_base is imported by what is asked for, not by this package: begin with `project`, which tells it where its
database and its log belong.
"""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff.workflow.pyiron.jobs import (
        AsediffDiffSim,
        AsediffGaussNewton,
        AsediffIBI,
        AsediffReference,
        AsediffReweighting,
        AsediffTransfer,
        AsediffValidate,
        register,
    )
    from asediff.workflow.pyiron.projects import project
    from asediff.workflow.pyiron.runner import run_chain_in
    from asediff.workflow.pyiron.tables import table

__all__ = [
    "AsediffDiffSim",
    "AsediffGaussNewton",
    "AsediffIBI",
    "AsediffReference",
    "AsediffReweighting",
    "AsediffTransfer",
    "AsediffValidate",
    "project",
    "register",
    "run_chain_in",
    "table",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        f"{__name__}.jobs": (
            "AsediffDiffSim AsediffGaussNewton AsediffIBI AsediffReference AsediffReweighting AsediffTransfer "
            "AsediffValidate register"
        ),
        f"{__name__}.projects": "project",
        f"{__name__}.runner": "run_chain_in",
        f"{__name__}.tables": "table",
    },
)
