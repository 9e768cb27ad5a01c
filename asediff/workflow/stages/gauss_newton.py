"""Stage `gauss_newton`: Gauss-Newton steps on tables."""

from __future__ import annotations

from asediff.workflow.stages.fit import fit_stage

STAGE = fit_stage("gauss_newton", __name__)
