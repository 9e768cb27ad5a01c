"""Chains of simulations, fits and validations: each stage in a folder of its own, found again by its key, run once."""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff.app.workflow.chain import Chain, Node
    from asediff.app.workflow.results import Results
    from asediff.app.workflow.runner import run_chain
    from asediff.app.workflow.stages import run_stage

__all__ = ["Chain", "Node", "Results", "run_chain", "run_stage"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "asediff.app.workflow.chain": "Chain Node",
        "asediff.app.workflow.results": "Results",
        "asediff.app.workflow.runner": "run_chain",
        "asediff.app.workflow.stages": "run_stage",
    },
)
