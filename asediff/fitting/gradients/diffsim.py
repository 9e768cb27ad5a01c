"""DiffSim: gradient descent on the difference of observables, differentiated through the dynamics."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from asediff.checks.described import Doc
from asediff.dynamics.adjoints import Adjoint, CheckpointAdjoint
from asediff.dynamics.choice import chosen_integrator
from asediff.dynamics.integrators import Integrator
from asediff.engines import TorchEngine
from asediff.fitting.api import FitJob, Method, trainable
from asediff.fitting.gradients.batch import Batch
from asediff.fitting.gradients.finish import LinearFinish, runs_have_begun
from asediff.fitting.gradients.plateau import Plateau
from asediff.fitting.gradients.pretrain import BoltzmannPretraining
from asediff.fitting.gradients.reweighting import ReweightedGradient
from asediff.fitting.gradients.share import Share
from asediff.fitting.gradients.windows import in_windows, window_lengths
from asediff.fitting.statistics.frames import check_single_frames
from asediff.potentials.base import Potential
from asediff.simulate import InstabilityError, simulate
from asediff.system import System
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory

MAX_RESTORES = 8


@dataclass(frozen=True)
class DiffSim(Method):
    """Learn by differentiating through molecular dynamics (arXiv:2209.07679).

    Each epoch runs `steps` time steps from where the last one ended, compares the observables of its frames with the
    targets, and takes an Adam step along the gradient, which reaches back through windows of these steps. All state
    points (and `replicas` of each) run in one batch, or are divided over processes: `fit(..., ranks=...)`. Some longer
    runs finish what noisy steps cannot.
    """

    kind: ClassVar[str] = "diffsim"
    timestep: Annotated[float, Doc("length of a step; may be left out beside an `integrator`", unit="time")] = None  # type: ignore[assignment]
    epochs: Annotated[int, Doc("number of updates along gradients")] = 200
    steps: Annotated[int, Doc("MD steps per epoch, over whose frames the observables are averaged")] = 120
    window: Annotated[
        int | None,
        Doc(
            "steps that the gradient reaches back, beyond about 200 of which those of a liquid grow chaotic; None: 40 "
            "where all targets are averages over single frames, else all steps of an epoch"
        ),
    ] = None
    save_every: Annotated[int, Doc("steps between the frames that enter the loss")] = 5
    replicas: Annotated[
        int, Doc("independent copies of every state point; the gradient noise falls with their number")
    ] = 1
    tdamp: Annotated[
        float | None, Doc("relaxation time of the Nosé-Hoover chain; default 100 timesteps", unit="time")
    ] = None
    learning_rate: Annotated[float, Doc("of Adam")] = 2e-3
    warmup: Annotated[int, Doc("epochs over which the rate rises: Adam's first steps would undo the pre-training")] = 25
    decay: Annotated[
        float, Doc("the rate falls to this fraction of itself until the last epoch, as a cosine; 1 keeps it")
    ] = 0.02
    patience: Annotated[
        int | None, Doc("epochs without improvement of the loss before the rate is halved as well; None: it never is")
    ] = None
    threshold: Annotated[float, Doc("relative improvement of the smoothed loss that `patience` counts")] = 1e-3
    min_learning_rate: Annotated[float, Doc("the fit ends when the rate falls below it")] = 1e-5
    clip: Annotated[float, Doc("largest norm of the gradient over all parameters; larger ones are scaled down")] = 1.0
    averaging: Annotated[
        float, Doc("the result is the mean over epochs s with weights (s/last)^averaging: 8 is about the last ninth")
    ] = 8.0
    equilibration_steps: Annotated[int, Doc("steps without gradient before the first epoch")] = 2000
    gradient: Annotated[
        Adjoint | ReweightedGradient,
        Doc("the adjoint, or `ReweightedGradient()`; the default keeps all states of an epoch, which is fastest"),
    ] = field(default_factory=lambda: CheckpointAdjoint(every=1))
    pressure_weight: Annotated[float, Doc("of [(P - P*)/ρkT]² at the state points that have a pressure")] = 0.1
    pretraining: Annotated[
        BoltzmannPretraining | None, Doc("start from Boltzmann inversion; None starts from the potential as it is")
    ] = field(default_factory=BoltzmannPretraining)
    finish: Annotated[
        LinearFinish | None, Doc("after the epochs: steps to first order from some longer runs; None ends with them")
    ] = field(default_factory=LinearFinish)
    checkpoint_every: Annotated[int, Doc("epochs between checkpoints")] = 10
    integrator: Annotated[
        Integrator | None,
        Doc(
            "moves the atoms in place of that chain, such as `Langevin(timestep, friction=...)`; made without a "
            "temperature, which the state points say"
        ),
    ] = None
    reads_pairs = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestep", self.dynamics(1.0, 0).timestep)
        for name in ("epochs", "steps", "save_every", "replicas", "learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive; give {name} > 0")
        if self.save_every > self.steps:
            raise ValueError(f"save_every: {self.save_every} exceeds steps ({self.steps}), so no frame is kept")
        if self.window is not None and self.window < self.save_every:
            raise ValueError(
                f"window: {self.window} steps hold no frame of save_every={self.save_every}; give at least save_every"
            )
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay: {self.decay} is not a fraction of the learning rate; give 0 < decay <= 1")
        if not self.averaging >= 0:
            raise ValueError(f"averaging: {self.averaging} is negative; give 0 or more")

    def prepare(self, potential: Potential | None, state_points: Sequence[StatePoint]) -> Potential:
        """See `Method.prepare`."""
        if isinstance(self.gradient, ReweightedGradient):
            check_single_frames(state_points)
        start = super().prepare(potential, state_points)
        trainable(start)
        return start

    def check_ranks(self, size: int, state_points: Sequence[StatePoint]) -> None:
        """See `Method.check_ranks`: every process has a system to run, and the gradient is one through the dynamics."""
        if isinstance(self.gradient, ReweightedGradient):
            raise ValueError(
                f"ranks: {size} processes, and DiffSim(gradient=ReweightedGradient()) needs all frames in one; give an "
                "adjoint, or run one process"
            )
        systems = len(state_points) * self.replicas
        if systems < size:
            raise ValueError(
                f"ranks: {size} is more than the number of systems (state points x replicas), {systems}; run at most "
                "that many processes, or give more replicas"
            )

    def dynamics(self, kT: float | Tensor, seed: int) -> Integrator:
        """What moves the atoms at kT, a number or `(n_systems,)`; the seed is of its noise, if it has any."""
        return chosen_integrator(self.integrator, self.timestep, self.tdamp).at(kT, seed=seed)

    def run(self, job: FitJob) -> str:
        """See `Method.run`."""
        saved = job.load_checkpoint()
        begun = runs_have_begun(saved)
        if not begun:
            _Descent(self, job).run(saved)
        epochs = sum("epoch" in row for row in job.history)
        told = f"{epochs} epochs done"
        if epochs < self.epochs:
            below = f"learning rate fell below {self.min_learning_rate:g} after {epochs} epochs"
            told = f"{epochs} epochs done, and none once the runs at the end had begun" if begun else below
        if self.finish is not None:
            steps = max(1, round(self.finish.share * self.epochs * self.steps))
            engine = TorchEngine(self.timestep, steps=steps, tdamp=self.tdamp, integrator=self.integrator)
            told += self.finish.run(job, engine, self.replicas, self.pressure_weight, begun=begun)
        for part in job.potential.tabulated():
            table = part.tabulation_error(job.coldest)
            job.notes.append(
                f"tabulation error {table.energy:.1e} kT in u, {table.force:.1e} of the largest force, "
                f"{table.n_knots} knots"
            )
        return told


class _Descent:
    """One DiffSim fit under way."""

    def __init__(self, method: DiffSim, job: FitJob) -> None:
        self.method, self.job = method, job
        self.potential = job.potential
        self.batch = Batch.of(job.state_points, method.replicas)
        self.share = Share(self.batch, job.potential, job.ranks)
        self.integrator = method.dynamics(self.share.kT, job.seed).of_part(self.share.first)
        self.windows = [method.steps]
        if isinstance(method.gradient, Adjoint):
            self.windows = window_lengths(method.window, method.steps, method.save_every, job.state_points)
        self.parameters = trainable(self.potential)
        self.optimizer = torch.optim.Adam(self.parameters, lr=method.learning_rate)
        self.rate = method.learning_rate
        self.plateau = Plateau(math.inf if method.patience is None else method.patience, method.threshold)
        self.mean: list[Tensor] | None = None
        self.epoch = 0
        self.restores = 0
        self.state: Trajectory

    def run(self, checkpoint: dict[str, Any] | None) -> None:
        method, job = self.method, self.job
        if checkpoint is None:
            self._begin()
        else:
            self._restore(checkpoint)
        good = self._snapshot()
        with job.bar(method.epochs, self.epoch) as bar:
            while self.epoch < method.epochs and self.rate >= method.min_learning_rate:
                try:
                    loss, norm = self._update()
                except (InstabilityError, ArithmeticError) as error:
                    self._restore_good(good, error)
                    continue
                good = self._snapshot()
                self.epoch += 1
                job.record(
                    epoch=float(self.epoch),
                    loss=loss,
                    gradient_norm=norm,
                    learning_rate=self.optimizer.param_groups[0]["lr"],
                )
                bar.set_postfix(loss=f"{loss:.2e}", rate=f"{self.rate:.1e}", refresh=False)
                bar.update()
                if self.epoch % method.checkpoint_every == 0:
                    self._checkpoint()
        self._checkpoint()
        self._set(job.ranks.first(lambda: None if self.mean is None else [m.cpu() for m in self.mean]))

    def _begin(self) -> None:
        method, job = self.method, self.job
        job.changed_by(self._pretrained)
        self.state = job.ranks.together(lambda: self._relaxed(self._thermalized(job.seed), method.equilibration_steps))
        job.md_steps += method.equilibration_steps * self.batch.system.n_systems

    def _pretrained(self) -> None:
        """Improve the potential before any simulation."""
        if self.method.pretraining is not None:
            self.job.notes.append(self.method.pretraining.start(self.potential, self.job.state_points))
        self.job.refine()

    def _thermalized(self, seed: int) -> System:
        """The systems of this process with the velocities that they have among all."""
        return self.share.part_of(self.batch.system.thermalized(kT=self.batch.kT, seed=seed))

    def _relaxed(self, start: System | Trajectory, steps: int) -> Trajectory:
        """Some steps without gradient."""
        with torch.no_grad():
            self.share.lay()
            return self._simulate(start, steps)

    def _simulate(self, start: System | Trajectory, steps: int, **options: Any) -> Trajectory:
        return simulate(start, self.share.potential, self.integrator, steps, kT=self.share.kT, **options)

    def _update(self) -> tuple[float, float]:
        """One epoch; leaves everything as it was when the run or its gradient is not finite."""
        self.optimizer.zero_grad()
        trajectory, value = self._gradient()
        norm, self.rate, parameters = self.job.ranks.first(lambda: self._step(value))
        self._set(parameters)
        self.state = trajectory.detach()[-1:]
        self.job.md_steps += self.method.steps * self.batch.system.n_systems
        return value, norm

    def _gradient(self) -> tuple[Trajectory, float]:
        """Frames of an epoch and their loss, whose gradient is added to that of the parameters."""
        method, gradient = self.method, self.method.gradient
        if isinstance(gradient, Adjoint):
            return self.share.gradient(lambda: self._frames(gradient), method.pressure_weight)
        with torch.no_grad():
            self.share.lay()
            trajectory = self._frames(None)
        loss = gradient.loss(trajectory, self.potential, self.job.state_points, method.replicas, method.pressure_weight)
        loss.backward()
        return trajectory, float(loss.detach())

    def _frames(self, adjoint: Adjoint | None) -> Trajectory:
        def window(start: System | Trajectory, steps: int) -> Trajectory:
            return self._simulate(start, steps, save_every=self.method.save_every, adjoint=adjoint)

        return in_windows(window, self.state, self.windows)

    def _step(self, value: float) -> tuple[float, float, list[Tensor]]:
        """Change the parameters along their gradient; returns its norm, the new rate, and what they are now.

        One process does it for all: what rounds otherwise on another machine would let them drift apart.
        """
        method = self.method
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, method.clip))
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise ArithmeticError(f"loss {value} and gradient norm {norm} are not finite")
        risen = min(1.0, (self.epoch + 1) / max(1, method.warmup))
        left = 0.5 * (1.0 + math.cos(math.pi * self.epoch / method.epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * risen * (method.decay + (1.0 - method.decay) * left)
        self.optimizer.step()
        rate = 0.5 * self.rate if self.plateau.reached(value) else self.rate
        self._average()
        return norm, rate, [p.detach().cpu() for p in self.parameters]

    def _set(self, values: Sequence[Tensor] | None) -> None:
        """Give the parameters these values; None leaves them."""
        if values is None:
            return
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.copy_(value)

    def _average(self) -> None:
        """Polynomial-decay averaging (Shamir and Zhang, ICML 2013, eq. 4)."""
        if self.method.averaging == 0:
            return
        if self.mean is None:
            self.mean = [p.detach().clone() for p in self.parameters]
        share = (self.method.averaging + 1) / (self.epoch + 1 + self.method.averaging)
        for mean, parameter in zip(self.mean, self.parameters, strict=True):
            mean += share * (parameter.detach() - mean)

    def _snapshot(self) -> tuple[Any, Any, Trajectory]:
        return (copy.deepcopy(self.potential.state_dict()), copy.deepcopy(self.optimizer.state_dict()), self.state)

    def _restore_good(self, good: tuple[Any, Any, Trajectory], error: Exception) -> None:
        """Go back to the last good state with half the learning rate and new velocities."""
        self.restores += 1
        if self.restores > MAX_RESTORES:
            raise InstabilityError(self.method.timestep) from error
        self.rate *= 0.5
        self.potential.load_state_dict(good[0])
        self.optimizer.load_state_dict(copy.deepcopy(good[1]))
        fresh = self._thermalized(self.job.seed + 7 * self.restores).velocities
        start = self._at(good[2].system.replace(velocities=fresh), int(good[2].steps[-1]))
        self.state = self.job.ranks.together(lambda: self._relaxed(start, self.method.steps))
        self.job.notes.append(f"epoch {self.epoch + 1}: {error}; back to the last good state, rate {self.rate:.2g}")

    def _checkpoint(self) -> None:
        """Keep what all processes have, as one process would."""
        state, ranks = self.state, self.job.ranks
        own = {"positions": state.system.positions, "velocities": state.system.velocities}
        if state.thermostat is not None:
            own["thermostat"] = state.thermostat
        parts = ranks.exchange(lambda: {name: tensor.detach().cpu() for name, tensor in own.items()})
        whole: dict[str, Any] = {name: torch.cat([part[name] for part in parts]) for name in own}
        ranks.together(
            lambda: self.job.save_checkpoint(
                epoch=self.epoch,
                restores=self.restores,
                rate=self.rate,
                optimizer=self.optimizer.state_dict(),
                plateau=self.plateau.state(),
                mean=self.mean,
                step=int(state.steps[-1]),
                integrator=type(self.integrator).__name__,
                **({"thermostat": None} | whole),
            )
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        kind = type(self.integrator).__name__
        if saved["integrator"] != kind:
            raise ValueError(f"integrator: {kind} differs from {saved['integrator']} of the checkpoint; give the same")
        self.epoch, self.restores, self.rate = saved["epoch"], saved["restores"], saved["rate"]
        self.optimizer.load_state_dict(saved["optimizer"])
        self.plateau.restore(saved["plateau"])
        self.mean = saved["mean"]
        names, device = ("positions", "velocities", "thermostat"), self.share.system.device
        positions, velocities, thermostat = (None if saved[n] is None else saved[n].to(device) for n in names)
        system = self.share.part_of(self.batch.system.replace(positions=positions, velocities=velocities))
        own = slice(self.share.first, self.share.first + system.n_systems)
        self.state = self._at(system, saved["step"], None if thermostat is None else thermostat[own])

    def _at(self, system: System, step: int, thermostat: Tensor | None = None) -> Trajectory:
        """A trajectory to go on from: noise depends on the number of the step, a thermostat on its own state."""
        blank = torch.zeros(1, system.n_systems, dtype=system.dtype)
        return Trajectory(
            system=system,
            positions=system.positions[None],
            velocities=system.velocities[None],
            steps=torch.tensor([step]),
            timestep=self.integrator.timestep,
            potential_energy=blank,
            pressure=blank,
            thermostat=thermostat,
        )
