"""The loop that all iterative methods share: run, compare, stop within noise, update, record, checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from asediff.engines import Engine
from asediff.fitting.api import FitJob
from asediff.fitting.statistics.samples import Sample, sample_of
from asediff.fitting.steps import Steps
from asediff.simulate import InstabilityError
from asediff.system import System
from asediff.targets.measurement import Measurement, deviation, joined
from asediff.targets.target import StatePoint

Update = Callable[[int, list[Sample]], Mapping[str, float]]
"""Changes `job.potential` in place from the samples of an iteration; returns numbers for the history."""

MAX_RETREATS = 6


class Iterations:
    """Runs of an engine at all state points, alternating with updates of the potential.

    Every iteration records mean |Δg| (of other targets likewise), D and their noise, and the pressure. When the atoms
    blow up, the last change of the potential is halved and the runs are repeated.

    Args:
        job: potential, state points, history and checkpoints.
        engine: samples the potential.
        count: number of iterations.
        stop_within_noise: end when every target is met within the error bars of the run (and the pressure too); runs
            shorter than the engine's do not count.
        growth: see `run_lengths`.
        cautious: take a step back by half when D has grown clearly, and shorten those that follow. Not done where a
            pressure or anything but g(r) is wanted, for which D may have to grow.
        bins: of the fine histograms.
        replicas: runs of each state point, whose frames are joined.

    Attributes:
        memory: what an update wants to find again in later iterations: numbers and tensors, part of each checkpoint.
    """

    def __init__(
        self,
        job: FitJob,
        engine: Engine,
        count: int,
        *,
        stop_within_noise: bool,
        growth: float = 1.0,
        cautious: bool = False,
        bins: int = 400,
        replicas: int = 1,
    ) -> None:
        self.job, self.count = job, count
        self.stop_within_noise, self.bins, self.replicas = stop_within_noise, bins, replicas
        self.factors = run_lengths(count, growth)
        self.engines = [engine if f == 1.0 else engine.scaled(f) for f in self.factors]
        self.starts: list[System | None] = [None] * len(job.state_points)
        self.steps = Steps(job.potential)
        engine.check(job.state_points)
        only_rdf = all(len(p.distributions()) == len(p.targets) for p in job.state_points)
        self.cautious = cautious and only_rdf and all(p.pressure is None for p in job.state_points)
        self.memory: dict[str, Any] = {}
        self.done = 0

    def run(self, update: Update) -> str:
        """Iterate; returns why it stopped."""
        job = self.job
        self._resume()
        with job.bar(self.count, self.done) as bar:
            while self.done < self.count:
                samples = self._samples()
                measured = [s.measurement for s in samples]
                _check_histograms(job.state_points, measured)
                row = comparison(job.state_points, measured)
                if self.done == self._first_whole:
                    job.notes.extend(undersampled(job.state_points, measured))
                enough = self.stop_within_noise and self.done >= self._first_whole
                if enough and all_within_noise(job.state_points, measured):
                    job.record(iteration=float(self.done), **row)
                    self._save()
                    return f"all targets met within the noise of the runs after {self.done} updates"
                if not self.cautious or self.steps.keep(row["D"], row["D_noise"]):
                    self.starts = [s.final for s in samples]
                    self.steps.begin()
                    told = job.changed_by(partial(update, self.done, samples))
                    _check_finite(job)
                    if self.steps.caution < 1.0:
                        self.steps.shorten(self.steps.caution)
                else:
                    told = {"taken_back": 1.0}
                    job.notes.append(f"iteration {self.done + 1}: D grew; took half of the last step back")
                job.record(iteration=float(self.done), **row, **told)
                self.done += 1
                self._save()
                shown = {key: f"{row[key]:.3g}" for key in row if key == "D" or key.startswith("mean_d")}
                bar.set_postfix(dict(list(shown.items())[:3]), refresh=False)
                bar.update()
        return f"{self.count} iterations done"

    @property
    def _first_whole(self) -> int:
        """First iteration whose runs are as long as those of the engine."""
        return next(k for k, factor in enumerate(self.factors) if factor >= 1.0)

    def _samples(self) -> list[Sample]:
        job, engine = self.job, self.engines[self.done]
        for _ in range(MAX_RETREATS):
            try:
                measured = self._measured(engine)
            except InstabilityError as error:
                self._retreat(error)
            else:
                job.md_steps += len(measured) * self.replicas * engine.steps_per_run
                pairs = zip(measured, job.state_points, strict=True)
                return [sample_of(m, engine, job.potential, point, bins=self.bins) for m, point in pairs]
        raise ValueError(
            f"potential: the atoms blow up even with {MAX_RETREATS} times smaller changes; use a shorter timestep, a "
            "smaller step size, or a start with a steeper core"
        )

    def _measured(self, engine: Engine) -> list[Measurement]:
        """What the runs of each state point give; they are dealt out to the processes of the fit."""
        job, points = self.job, self.job.state_points
        first = 1 + job.seed * 1_000_000 + self.done * len(points) * self.replicas

        def run(number: int) -> Measurement:
            k = number // self.replicas
            found = engine.measure(job.potential, points[k], seed=first + number, start=self.starts[k])
            return found if job.ranks.size == 1 else found.to("cpu")

        numbers = range(len(points) * self.replicas)
        dealt = job.ranks.exchange(lambda: [run(number) for number in numbers[job.ranks.rank :: job.ranks.size]])
        runs = [dealt[number % job.ranks.size][number // job.ranks.size] for number in numbers]
        if job.ranks.size > 1:
            runs = [one.to(points[0].system.device) for one in runs]
        groups = [runs[k * self.replicas : (k + 1) * self.replicas] for k in range(len(points))]
        return [joined(group, point) for group, point in zip(groups, points, strict=True)]

    def _retreat(self, error: Exception) -> None:
        """Halve the last change of the potential; new runs start from the state points' own configurations."""
        if self.steps.before is None:
            raise error
        self.steps.shorten(0.5)
        self.starts = [None] * len(self.starts)
        self.job.notes.append(f"iteration {self.done + 1}: {error}; halved the last change of the potential")

    def _save(self) -> None:
        positions = [None if s is None else s.positions for s in self.starts]
        velocities = [None if s is None else s.velocities for s in self.starts]
        self.job.save_checkpoint(
            iterations=self.done,
            positions=positions,
            velocities=velocities,
            steps=self.steps.state(),
            memory=self.memory,
        )

    def _resume(self) -> None:
        saved = self.job.load_checkpoint()
        if saved is None:
            return
        self.done = saved["iterations"]
        self.steps.load(saved["steps"])
        self.memory = saved["memory"]
        for k, (x, v) in enumerate(zip(saved["positions"], saved["velocities"], strict=True)):
            if x is not None:
                self.starts[k] = self.job.state_points[k].system.replace(positions=x, velocities=v)


def run_lengths(count: int, growth: float) -> list[float]:
    """Production steps of each of `count` runs over those of the engine: each `growth` times the one before, mean 1.

    The first updates are large and their runs may be short; the last run decides how much noise stays in the potential.
    """
    if not growth >= 1.0:
        raise ValueError(f"growth: {growth} shortens the runs as the fit proceeds; give growth >= 1")
    powers = [growth ** (k - count + 1) for k in range(count)]
    return [count * power / sum(powers) for power in powers]


def worth_of_signal(difference: float, noise: float) -> float:
    """Factor for a change that follows from a squared difference, of which `noise` is due to noise: at least 0.2."""
    return max(0.2, 1.0 - noise / max(difference, 1e-300))


def _check_histograms(state_points: Sequence[StatePoint], measurements: Sequence[Measurement]) -> None:
    for point, measurement in zip(state_points, measurements, strict=True):
        for t, target, _ in point.distributions():
            if not bool((measurement.values[t] > 0).any()):
                raise ValueError(
                    f"{point.name}: the histogram of {target.name} is all zero; check species, r_max and the trajectory"
                )


def _check_finite(job: FitJob) -> None:
    for name, values in job.potential.state_dict().items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise ValueError(f"potential: {name} is no longer finite after the update; use a smaller step size")


def comparison(state_points: Sequence[StatePoint], measurements: Sequence[Measurement]) -> dict[str, float]:
    """Numbers of one iteration for the history.

    Returns:
        mean_dg and mean_dg_error averaged over the targets of all state points whose values are called g, likewise for
        others; D and D_noise where there are some; `mean_dg:<point>:<target>` when there are several targets; pressure,
        pressure_error and pressure_target of each state point.
    """
    found: dict[str, list[float]] = {}
    single: dict[str, float] = {}
    for s, (point, measurement) in enumerate(zip(state_points, measurements, strict=True)):
        for target, d in zip(point.targets, measurement.deviations(point), strict=True):
            name = f"mean_d{target.observable.ordinate}"
            single[f"{name}:{s}:{target.name}"] = d.mean
            numbers = {name: d.mean, f"{name}_error": d.mean_error, "D": d.structural, "D_noise": d.structural_noise}
            for column, value in numbers.items():
                if not math.isnan(value):
                    found.setdefault(column, []).append(value)
    row = {column: sum(values) / len(values) for column, values in found.items()}
    if len(single) > 1:
        row |= single
    for s, (point, measurement) in enumerate(zip(state_points, measurements, strict=True)):
        suffix = f":{s}" if len(state_points) > 1 else ""
        row[f"pressure{suffix}"] = measurement.pressure
        row[f"pressure_error{suffix}"] = measurement.pressure_error
        if point.pressure is not None:
            row[f"pressure_target{suffix}"] = point.pressure
    return row


def all_within_noise(state_points: Sequence[StatePoint], measurements: Sequence[Measurement]) -> bool:
    """Whether no target differs from its measurement by more than the error bars of both explain."""
    for point, measurement in zip(state_points, measurements, strict=True):
        for target, value, error in zip(point.targets, measurement.values, measurement.errors, strict=True):
            both = error if target.error is None else (error**2 + target.error.to(error) ** 2).sqrt()
            if not deviation(target, point, value, both).within_noise:
                return False
        if point.pressure is not None and abs(measurement.pressure - point.pressure) > measurement.pressure_error:
            return False
    return True


def undersampled(state_points: Sequence[StatePoint], measurements: Sequence[Measurement]) -> list[str]:
    """Remarks on bins that the run left empty or hardly visited although the target is not zero there.

    Raises:
        ValueError: a histogram is all zero.
    """
    _check_histograms(state_points, measurements)
    notes = []
    for point, measurement in zip(state_points, measurements, strict=True):
        for t, target, rdf in point.distributions():
            value, error, r = measurement.values[t], measurement.errors[t], rdf.centers
            wanted = target.reference > 0.02
            for what, rows in (
                ("empty", wanted & (value <= 0)),
                ("known to less than 50 %", wanted & (value > 0) & (error > 0.5 * value)),
            ):
                if bool(rows.any()):
                    chosen = r[rows]
                    notes.append(
                        f"{point.name}, {target.name}: {int(rows.sum())} bins between {float(chosen[0]):.4g} and "
                        f"{float(chosen[-1]):.4g} are {what} in the first run of full length"
                    )
    return notes
