"""Stage `ibi`: iterative Boltzmann inversion of the g(r) of the references."""

from __future__ import annotations

from asediff.workflow.stages.fit import fit_stage

STAGE = fit_stage("ibi", __name__)
