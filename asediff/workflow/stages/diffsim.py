"""Stage `diffsim`: a potential learned through the dynamics."""

from __future__ import annotations

from asediff.workflow.stages.fit import fit_stage

STAGE = fit_stage("diffsim", __name__)
