"""Stage `reweighting`: many steps per run by reweighting its frames."""

from __future__ import annotations

from asediff.workflow.stages.fit import fit_stage

STAGE = fit_stage("reweighting", __name__)
