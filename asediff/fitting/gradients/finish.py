"""The end of a fit by gradients: a few long runs whose frames tell how their averages follow the potential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from asediff.checks.described import Doc
from asediff.engines import TorchEngine
from asediff.fitting.api import FitJob
from asediff.fitting.gradients.reweighting import Reweighting
from asediff.fitting.steps import Steps
from asediff.neighbors import check_box
from asediff.potentials.pair import check_pairwise

FEWEST_FRAMES = 50
"""Of a run, on average, below which its frames tell too little."""


@dataclass(frozen=True)
class LinearFinish:
    """Some runs without gradient, each twice as long as the one before, and a step to first order after each.

    An epoch is short and its gradient noisy; near the end the noise is all that moves the parameters, and what few
    steps reach of slow changes of u(r) stays undone. The covariances of a longer run give the response of all averages
    to all changes at once (see `Reweighting`, whose steps these are), without a derivative of the dynamics. It takes
    averages over single frames and the pair functions of the potential; where there is anything else, it is left out.
    """

    kind: ClassVar[str] = "linear"
    runs: Annotated[int, Doc("number of runs per state point")] = 4
    share: Annotated[float, Doc("MD steps of all runs over those of all epochs")] = 1.5
    save_every: Annotated[int, Doc("steps between frames")] = 20
    equilibration_steps: Annotated[int, Doc("steps before the first frame of each run counts")] = 1000
    inner_steps: Annotated[int, Doc("Adam steps after each run")] = 300
    learning_rate: Annotated[float, Doc("of Adam at the first of them")] = 2e-3

    def __post_init__(self) -> None:
        for name in ("runs", "share", "save_every", "equilibration_steps", "inner_steps", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive; give {name} > 0")

    def run(self, job: FitJob, engine: TorchEngine, replicas: int, pressure_weight: float, *, begun: bool) -> str:
        """Make the runs and change the potential in place, or tell in a note why they are left out.

        Args:
            job: at the end of its epochs, or resumed from a checkpoint of these runs.
            engine: with the production steps of all runs together.
            replicas: runs side by side for each of them.
            pressure_weight: see `Reweighting`.
            begun: whether the checkpoint is of these runs already.

        Returns:
            What was done, to be added to how the epochs ended.
        """
        engine = replace(
            engine,
            equilibration_steps=self.equilibration_steps,
            steps=max(1, round(engine.steps / self.runs)),
            save_every=self.save_every,
        )
        reason = self._reason_against(job, engine)
        if reason is not None:
            job.notes.append(f"the runs at the end (finish) were left out: {reason}")
            return ""
        if not begun:
            _begin(job)
        Reweighting(
            engine,
            self.runs,
            inner_steps=self.inner_steps,
            learning_rate=self.learning_rate,
            pretraining=None,
            replicas=replicas,
            pressure_weight=pressure_weight,
        ).run(job)
        return f", then {self.runs} runs with steps to first order"

    def _reason_against(self, job: FitJob, engine: TorchEngine) -> str | None:
        potential = job.potential
        if not potential.is_pairwise:
            return f"{type(potential).__name__} is not pairwise"
        for point in job.state_points:
            for target in point.targets:
                if not target.observable.of_single_frames:
                    return f"{target.name} of {point.name} is no average over single frames"
            try:
                check_box(point.system.cell, point.system.pbc, check_pairwise(potential, "a histogram").cutoff)
            except ValueError as error:
                return str(error)
        if engine.steps < FEWEST_FRAMES * self.save_every:
            return f"{engine.steps // self.save_every} frames of each are too few"
        return None


def _begin(job: FitJob) -> None:
    """Write the checkpoint that the runs go on from, with the potential that the epochs ended with."""
    nowhere = [None] * len(job.state_points)
    steps = Steps(job.potential).state()
    job.save_checkpoint(iterations=0, positions=nowhere, velocities=nowhere, steps=steps, memory={})


def runs_have_begun(saved: Mapping[str, Any] | None) -> bool:
    """Whether a checkpoint is one of the runs at the end, and not of the epochs."""
    return saved is not None and "iterations" in saved
