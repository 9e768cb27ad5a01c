"""fit(): the verb that learns a potential, whatever the method."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from asediff.engines import Engine
from asediff.fitting.alike import check_alike
from asediff.fitting.result import KIND, FitResult
from asediff.host.files import check_names
from asediff.host.folders import ResultFolder
from asediff.host.ranks import Ranks
from asediff.neighbors import NeighborList, check_box
from asediff.potentials.base import Potential
from asediff.potentials.io import decoded, encoded
from asediff.potentials.pair import check_pairwise
from asediff.targets.measurement import Measurement
from asediff.targets.target import StatePoint

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_FORMAT = 4
"""Counts changes of what checkpoints hold."""
CONTENTS = {
    "conditions": list, "potential": dict, "knots": list, "history": list, "notes": list, "md_steps": int,
    "seconds": float, "seed": int,
}  # fmt: skip
"""What every checkpoint holds, besides what its method adds."""

T = TypeVar("T")


class Method(ABC):
    """A rule that changes a potential until it meets its targets.

    `reads_pairs` says that it works with the potential's pair functions alone and would miss any other energy.
    """

    reads_pairs: bool = True

    def check_ranks(self, size: int, state_points: Sequence[StatePoint]) -> None:
        """Refuse to be divided over `size` processes, more than one; methods that can be override this.

        Raises:
            ValueError: naming what can.
        """
        raise ValueError(
            f"ranks: {type(self).__name__} cannot be divided over {size} processes; give DiffSim, or run one process"
        )

    @abstractmethod
    def run(self, job: FitJob) -> str:
        """Improve `job.potential` in place; returns why it stopped."""

    def prepare(self, potential: Potential | None, state_points: Sequence[StatePoint]) -> Potential:
        """The potential to start from; methods that make their own start override this."""
        if potential is None:
            raise ValueError(f"potential: missing; {type(self).__name__} needs a potential to start from")
        return copy.deepcopy(potential)


@dataclass(eq=False)
class FitJob:
    """The state of a fit under way: what a method reads, and where it writes progress and checkpoints.

    Of several processes (`ranks`) the first has the folder; the history and the notes are the same in all.
    """

    potential: Potential
    state_points: list[StatePoint]
    seed: int
    folder: ResultFolder | None
    resume: bool
    progress: bool
    method: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    md_steps: int = 0
    seconds_before: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def coldest(self) -> float:
        """The lowest kT of the state points, energy, where tables have to be finest."""
        return min(float(point.kT) for point in self.state_points)

    def refine(self) -> None:
        """Give the tables of the potential, if it has any, the knots that they need.

        Raises:
            ValueError: they would need too many.
        """
        for part in self.potential.tabulated():
            part.refine(self.coldest)

    def changed_by(self, update: Callable[[], T]) -> T:
        """Let one process change the potential, and the others have it; gives what `update` says."""

        def work() -> tuple[T, dict[str, Any], list[int], list[str]]:
            told = update()
            state = {name: value.cpu() for name, value in self.potential.state_dict().items()}
            return told, state, self._knots(), self.notes

        if self.ranks.size == 1:
            return update()
        told, state, knots, self.notes = self.ranks.first(work)
        self._adopt(state, knots)
        return told

    def _knots(self) -> list[int]:
        return [part.n_knots for part in self.potential.tabulated()]

    def _adopt(self, state: dict[str, Any], knots: Sequence[int]) -> None:
        self.potential.load_state_dict(state)
        for part, n_knots in zip(self.potential.tabulated(), knots, strict=True):
            part.n_knots = n_knots

    @property
    def seconds(self) -> float:
        """Wall time of the fit so far, earlier parts of a resumed fit included."""
        return self.seconds_before + time.perf_counter() - self.started

    @property
    def continues(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.resume and self.folder is not None and (self.folder.path / CHECKPOINT).is_file()

    def record(self, **row: float) -> None:
        """Append a row to the history."""
        self.history.append({**row, "md_steps": float(self.md_steps), "seconds": self.seconds})

    def bar(self, total: int, done: int) -> tqdm:
        """A progress bar on standard error."""
        return tqdm(total=total, initial=done, disable=not self.progress, dynamic_ncols=True)

    def save_checkpoint(self, **state: Any) -> None:
        """Write everything that is needed to go on, in one step; does nothing without a folder.

        Raises:
            FileError: the system refused; the checkpoint before is as it was.
        """
        if self.folder is None:
            return
        state |= {
            "format": CHECKPOINT_FORMAT,
            "conditions": self._conditions(),
            "potential": self.potential.state_dict(),
            "knots": self._knots(),
            "history": self.history,
            "notes": self.notes,
            "md_steps": self.md_steps,
            "seconds": self.seconds,
            "seed": self.seed,
        }
        self.folder.write(CHECKPOINT, encoded(state))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint when the fit resumes and there is one; restores potential, history and counters.

        Raises:
            ValueError: the checkpoint is damaged, or belongs to another fit or version of asediff.
        """
        state = self.ranks.first(self._stored)
        if state is None:
            return None
        self._adopt(state["potential"], state["knots"])
        self.history, self.notes = state["history"], state["notes"]
        self.md_steps, self.seconds_before = state["md_steps"], state["seconds"]
        return state

    def _stored(self) -> dict[str, Any] | None:
        """What the checkpoint holds, once its potential has been taken over."""
        if not self.continues or self.folder is None:
            return None
        path = self.folder.path / CHECKPOINT
        state = decoded(path)
        anew = "start anew in another folder"
        ours = state is not None and state.get("format") == CHECKPOINT_FORMAT
        if state is None or (ours and not all(isinstance(state.get(name), kind) for name, kind in CONTENTS.items())):
            raise ValueError(f"resume: {path} is cut short, damaged or no checkpoint of asediff; {anew}")
        if not ours:
            raise ValueError(f"resume: {path} was written by another version of asediff; {anew}")
        if state["seed"] != self.seed:
            raise ValueError(f"seed: {self.seed} differs from {state['seed']} of {path}; resume with the same seed")
        if state["conditions"] != self._conditions():
            raise ValueError(f"resume: {path} was written by a fit with another method or other state points; {anew}")
        try:
            self._adopt(state["potential"], state["knots"])
        except (RuntimeError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"resume: {path} was written by a fit of another potential; {anew}") from error
        return state

    def _conditions(self) -> list[Any]:
        """What a fit has to have in common with the one that it continues."""
        points = [[len(point.system.positions), float(point.kT), len(point.targets)] for point in self.state_points]
        return [self.method, points]


def fit(
    potential: Potential | None,
    state_points: StatePoint | Sequence[StatePoint],
    method: Method,
    *,
    validation: Engine | None,
    seed: int = 0,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    ranks: Ranks | None = None,
) -> FitResult:
    """Learn a potential from observables.

    Args:
        potential: what to start from; it is copied, not changed. Methods that build their own start accept None.
        state_points: one or several conditions with their targets; all are fitted at once.
        method: `DiffSim(...)`, `Reweighting(...)`, `IBI(...)`, `IMC(...)`, ...
        validation: engine of the independent run at each state point that the result reports; None leaves it out.
        seed: of everything random; on the CPU the same seed repeats a fit bit for bit.
        folder: where checkpoints go, made if need be; no other process may use it meanwhile. None keeps none.
        resume: go on from the checkpoint in `folder` (start anew when there is none).
        progress: show a progress bar.
        ranks: processes among which the fit is divided, all of which call this with the same arguments; see `Ranks`.
            The first alone writes, shows progress and does the independent runs. None: this one alone.

    Returns:
        The potential with its history and the measurements of the independent runs.

    Raises:
        ValueError: no state point or target, names of targets that would share files, a box too small for the cutoff
            where the method reads pairs, a missing species or pair, a potential without parameters that a method could
            train, or without an energy for each system, or that is more than its pair functions where the method or the
            validation sees nothing else, a target that the method cannot reach, a folder that another process uses, a
            checkpoint that asediff did not write, a method that cannot be divided among `ranks`, other arguments in
            another of them.
        FileError: a checkpoint cannot be written; the one before is as it was.
        LostError: another process of `ranks` has ended.
    """
    ranks = Ranks() if ranks is None else ranks
    opened = nullcontext(None) if folder is None else ranks.entered(lambda: ResultFolder.opened(folder, KIND))
    with opened as results:
        return fit_in(
            results, potential, state_points, method, validation=validation, seed=seed, resume=resume,
            progress=progress, ranks=ranks,
        )  # fmt: skip


def fit_in(
    folder: ResultFolder | None,
    potential: Potential | None,
    state_points: StatePoint | Sequence[StatePoint],
    method: Method,
    *,
    validation: Engine | None,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    ranks: Ranks | None = None,
) -> FitResult:
    """`fit` in a folder that is open already; of several processes the first has it, and the others give None."""
    ranks = Ranks() if ranks is None else ranks
    points = [state_points] if isinstance(state_points, StatePoint) else list(state_points)

    def checked() -> FitJob:
        start, bound = _checked(folder, potential, points, method, validation, ranks)
        shown = progress and ranks.rank == 0
        return FitJob(start, bound, seed, folder, resume, shown, type(method).__name__, ranks=ranks)

    job = ranks.together(checked)
    check_alike(ranks, (method, seed), job.state_points)
    stopped = method.run(job)
    seconds = job.seconds
    begin = time.perf_counter()
    measurements = []
    if validation is not None and ranks.rank == 0:
        measurements = validate(job.potential, job.state_points, validation, seed)
    return FitResult(
        potential=job.potential,
        state_points=job.state_points,
        method=method,
        history=job.history,
        measurements=measurements,
        md_steps=job.md_steps,
        wall_seconds=seconds,
        validation_seconds=time.perf_counter() - begin if measurements else 0.0,
        seed=seed,
        stopped=stopped,
        notes=job.notes,
    )


def _checked(
    folder: ResultFolder | None, potential: Potential | None, points: list[StatePoint], method: Method,
    validation: Engine | None, ranks: Ranks,
) -> tuple[Potential, list[StatePoint]]:  # fmt: skip
    """The potential to start from, and the state points bound to it; raises what `fit` refuses."""
    if not points:
        raise ValueError("state_points: empty; give at least one StatePoint")
    for point in points:
        if not point.targets:
            raise ValueError(f"state_points: {point.name} has no target; give it at least one Target")
    check_target_names(points)
    if ranks.size > 1:
        method.check_ranks(ranks.size, points)
    if folder is not None:
        folder.check(CHECKPOINT)
    if validation is not None:
        validation.check(points)
    if potential is not None:
        if not isinstance(potential, Potential):
            kind = type(potential).__name__
            raise ValueError(
                f"potential: {kind} is no Potential; derive it from asediff.Potential, and define `energy`"
            )
        if method.reads_pairs:
            check_pairwise(potential, type(method).__name__)
        if validation is not None:
            validation.check_potential(potential)
    start = method.prepare(potential, points)
    points = [point.bound(start) for point in points]
    for point in points:
        if method.reads_pairs and start.cutoff is not None:
            check_box(point.system.cell, point.system.pbc, start.cutoff)
        check_energy(start, point)
    return start, points


def check_energy(potential: Potential, point: StatePoint) -> None:
    """Refuse a potential that does not give the start of a state point one finite energy.

    Raises:
        ValueError: naming the potential and what it gives; or the potential's own, for a species that it does not know.
    """
    system = point.system
    kT = torch.full((1,), float(point.kT), dtype=system.dtype, device=system.device)
    with torch.no_grad():
        energy = potential.energy(system, NeighborList(potential.cutoff).update(system), kT)
    kind = type(potential).__name__
    if tuple(energy.shape) != (1,):
        raise ValueError(
            f"potential: {kind}.energy gives a tensor of shape {tuple(energy.shape)} for one system; give the energy "
            "of each system, (n_systems,)"
        )
    if not bool(torch.isfinite(energy).all()):
        raise ValueError(
            f"potential: {kind}.energy is {float(energy):g} at the start of {point.name}; give a start without overlaps"
        )


def trainable(potential: Potential) -> list[torch.nn.Parameter]:
    """The parameters that a fit changes; those whose `requires_grad` is False stay as they are.

    Raises:
        ValueError: there is none.
    """
    parameters = [p for p in potential.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            f"potential: {type(potential).__name__} has no trainable parameter; give one that has a parameter with "
            "requires_grad=True"
        )
    return parameters


def check_target_names(state_points: Sequence[StatePoint]) -> None:
    """Refuse targets of a state point whose names would share a file.

    Raises:
        ValueError: two such names.
    """
    for k, point in enumerate(state_points):
        check_names(f"state_points[{k}].targets", [target.name for target in point.targets])


def validate(potential: Potential, state_points: Sequence[StatePoint], engine: Engine, seed: int) -> list[Measurement]:
    """Independent runs of a potential: fresh velocities, own equilibration, seeds that no fit uses."""
    seeds = [validation_seed(seed, k) for k in range(len(state_points))]
    return [engine.measure(potential, point, seed=seeds[k]) for k, point in enumerate(state_points)]


def validation_seed(seed: int, k: int) -> int:
    """The seed of the independent run at state point k, for a fit's seed."""
    return 1_000_003 + 7919 * seed + k
