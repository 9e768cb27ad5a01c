"""Chains of simulations, fits and validations: each stage in a folder of its own, found again by its key, run once."""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff.workflow.chain import Chain, Node
    from asediff.workflow.results import Results
    from asediff.workflow.runner import run_chain
    from asediff.workflow.stages import run_stage

__all__ = ["Chain", "Node", "Results", "run_chain", "run_stage"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "asediff.workflow.chain": "Chain Node",
        "asediff.workflow.results": "Results",
        "asediff.workflow.runner": "run_chain",
        "asediff.workflow.stages": "run_stage",
    },
)
