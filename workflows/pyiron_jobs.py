"""The stages as jobs of pyiron; begin with `project`, which needs no configuration.

from asediff.workflow import Chain
from workflows.pyiron_jobs import project, run_chain_in, table

pr = project("water")
results = run_chain_in(pr, Chain.load("water", preset="short"), cores=2)
print(table(pr))
"""

from typing import Any

from asediff.workflow import pyiron

__all__ = pyiron.__all__


def __getattr__(name: str) -> Any:
    """What `asediff.workflow.pyiron` offers; the classes import pyiron_base when they are asked for."""
    return getattr(pyiron, name)
