"""The kinds of stages that chains are made of, for scripts and notebooks of your own.

from workflows.stages import run_stage
run_stage("reference", {"temperature_K": 298, "production_ps": 20}, {}, "reference_298K")
"""

from asediff.workflow.results import Results
from asediff.workflow.stages import KINDS, run_stage, stage
from asediff.workflow.stages.diffsim import STAGE as DIFFSIM
from asediff.workflow.stages.gauss_newton import STAGE as GAUSS_NEWTON
from asediff.workflow.stages.ibi import STAGE as IBI
from asediff.workflow.stages.reference import STAGE as REFERENCE
from asediff.workflow.stages.reweighting import STAGE as REWEIGHTING
from asediff.workflow.stages.transfer import STAGE as TRANSFER
from asediff.workflow.stages.validate import STAGE as VALIDATE

__all__ = [
    "DIFFSIM",
    "GAUSS_NEWTON",
    "IBI",
    "KINDS",
    "REFERENCE",
    "REWEIGHTING",
    "TRANSFER",
    "VALIDATE",
    "Results",
    "run_stage",
    "stage",
]
