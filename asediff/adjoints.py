"""How dL/dθ is propagated back through a chain of time steps.

| adjoint             | gradient of      | memory for T steps             | forces per step, forward + backward |
|---------------------|------------------|--------------------------------|-------------------------------------|
| `DirectAdjoint`     | the steps taken  | T graphs                       | 1 + 2                               |
| `CheckpointAdjoint` | the steps taken  | ~ 2 sqrt(T) states             | 2 + 2                               |
| `ReversibleAdjoint` | the steps taken  | T / snapshot_every states      | 2 + 2                               |
| `BacksolveAdjoint`  | the ODE behind   | as reversible                  | 2 + 4                               |

The first three differentiate the discrete map and agree to round-off. The counts are those of the general path; the
fused kernels of pair potentials need one combined evaluation per step backward. By default the checkpoint and the
reversible adjoint keep every state of a run of at most 128 steps (`KEPT_STEPS`) where that takes no more than 256 MB,
which saves computing the states again: 1 + 2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asediff.integrators import State, Stepper

KEPT_STEPS = 128
"""Default length up to which a run keeps every state instead of computing states again."""
KEPT_BYTES = 2**28
"""Memory beyond which it does not."""

ParameterForces = Callable[[Tensor, tuple[Tensor, ...]], Tensor]


class Recording(NamedTuple):
    """Frames after steps save_every, 2 save_every, ... (each field of `frames` with a leading n_frames) and the state
    after the last step."""

    frames: State
    final: State


@dataclass(frozen=True, eq=False)
class Problem:
    """A chain of steps to take: `forces(positions, parameters)` must be differentiable in both."""

    stepper: Stepper
    forces: ParameterForces
    parameters: tuple[Tensor, ...]
    n_steps: int
    save_every: int
    first_step: int

    def advance(self, state: State, force: Tensor, step: int) -> tuple[State, Tensor]:
        """Step number `step` (counted from 0), with parameters as they stand."""
        return self.stepper.step(state, force, lambda x: self.forces(x, self.parameters), self.first_step + step)

    def retreat(self, state: State, force: Tensor, step: int) -> tuple[State, Tensor]:
        """Undo step number `step`."""
        return self.stepper.step_back(state, force, lambda x: self.forces(x, self.parameters), self.first_step + step)

    def saves(self, step: int) -> bool:
        """Whether the state after `step` steps is a frame."""
        return step > 0 and step % self.save_every == 0


class Adjoint(ABC):
    """A rule for gradients through time steps; see the module's table for which one to take."""

    @abstractmethod
    def run(self, problem: Problem, start: State) -> Recording:
        """Take the steps; the recording is differentiable in the start and in the parameters."""


def _keeps_all(n_steps: int, start: State, longest: int) -> bool:
    """Whether a run is short and small enough to keep every state."""
    return n_steps <= longest and n_steps * sum(t.element_size() * t.numel() for t in start) <= KEPT_BYTES


class Schedule(NamedTuple):
    """Where the states of a reverse pass come from: a snapshot `every` so many steps (1: all are kept), and between
    them by running again, or by stepping `backwards`."""

    every: int
    backwards: bool


def _check_interval(name: str, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"{name}: {steps} is not a number of steps; give at least 1")


def _take_steps(problem: Problem, state: State, visit: Callable[[int, State], None]) -> State:
    force = problem.forces(state.positions, problem.parameters)
    for step in range(problem.n_steps):
        visit(step, state)
        state, force = problem.advance(state, force, step)
    visit(problem.n_steps, state)
    return state


def _record(problem: Problem, start: State, also: Callable[[int, State], None] | None = None) -> Recording:
    frames: list[State] = []

    def visit(step: int, state: State) -> None:
        if also is not None:
            also(step, state)
        if problem.saves(step):
            frames.append(state)

    final = _take_steps(problem, start, visit)
    return Recording(State(*(torch.stack(parts) for parts in zip(*frames, strict=True))), final)


@dataclass(frozen=True)
class DirectAdjoint(Adjoint):
    """Plain autograd through every step in torch: the definition that the others are tested against.

    Memory grows with every step (the graph of every force evaluation), so it serves short runs, small systems and
    tests. Use `CheckpointAdjoint` or `ReversibleAdjoint` for everything else.
    """

    def run(self, problem: Problem, start: State) -> Recording:
        """See `Adjoint.run`."""
        return _record(problem, start)


@dataclass(frozen=True)
class CheckpointAdjoint(Adjoint):
    """Exact gradient from snapshots: each segment between two is run again, its states kept, then walked back.

    Exact for any integrator, chaotic or not, since no state is ever computed backward. Memory is one state per segment
    and one segment of states: about 2 sqrt(T) states by default, and no more than 128 where that is more.

    Args:
        every: steps between snapshots; 1 keeps every state (fastest, most memory). Default: 1 for runs of up to 128
            steps that fit into 256 MB, ceil(sqrt(n_steps)) for others.
    """

    every: int | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"every: {self.every} is not a number of steps; give at least 1, or None for sqrt(steps)")

    def schedule(self, n_steps: int, start: State) -> Schedule:
        """Where the states of a run of n_steps come from."""
        if self.every is not None:
            return Schedule(self.every, backwards=False)
        if _keeps_all(n_steps, start, KEPT_STEPS):
            return Schedule(1, backwards=False)
        return Schedule(math.isqrt(n_steps - 1) + 1, backwards=False)

    def run(self, problem: Problem, start: State) -> Recording:
        """See `Adjoint.run`."""
        return _run_in_function(_Replay(self.schedule(problem.n_steps, start).every), problem, start)


@dataclass(frozen=True)
class ReversibleAdjoint(Adjoint):
    """Exact gradient with the states recovered by stepping back in time, from the last snapshot.

    Round-off grows while stepping back in a chaotic system (about e-fold per Lyapunov time, so 250 steps of a
    Lennard-Jones liquid keep 12 digits); snapshots pin it. Memory does not grow with the steps but for the snapshots.
    Use `CheckpointAdjoint` when friction x timestep x snapshot_every is not small, because undoing Langevin friction
    amplifies round-off by its exponential, and while a thermostat strongly heats or cools, for the same reason.

    Args:
        snapshot_every: steps between snapshots.
        keep: runs of at most this many steps that fit into 256 MB keep every state instead, which is faster; 0 never.
    """

    snapshot_every: int = 250
    keep: int = KEPT_STEPS

    def __post_init__(self) -> None:
        _check_interval("snapshot_every", self.snapshot_every)
        if self.keep < 0:
            raise ValueError(f"keep: {self.keep} is not a number of steps; give at least 0")

    def schedule(self, n_steps: int, start: State) -> Schedule:
        """Where the states of a run of n_steps come from."""
        if _keeps_all(n_steps, start, self.keep):
            return Schedule(1, backwards=False)
        return Schedule(self.snapshot_every, backwards=True)

    def run(self, problem: Problem, start: State) -> Recording:
        """See `Adjoint.run`."""
        every, backwards = self.schedule(problem.n_steps, start)
        return _run_in_function(_StepBack(every) if backwards else _Replay(every), problem, start)


@dataclass(frozen=True)
class BacksolveAdjoint(Adjoint):
    """Continuous adjoint of the differential equation, as in arXiv:2003.00868; not recommended.

    The adjoint equation dλ/dt = -λ ∂f/∂y is integrated backward with a midpoint rule. It is the gradient of the ODE's
    exact solution, not of the steps taken, so it differs from the gradient of the loss that was computed by an error
    that falls with the time step and never reaches round-off. It is here to compare with the 2020 paper. Use
    `ReversibleAdjoint`, which costs less and is exact.

    Args:
        snapshot_every: steps between the snapshots that pin the recovered states.
    """

    snapshot_every: int = 250

    def __post_init__(self) -> None:
        _check_interval("snapshot_every", self.snapshot_every)

    def run(self, problem: Problem, start: State) -> Recording:
        """See `Adjoint.run`; Langevin dynamics is refused, since a stochastic equation has no such adjoint."""
        problem.stepper.rates(start, torch.zeros_like(start.positions))
        return _run_in_function(_Backsolve(self.snapshot_every), problem, start)


class _Walk(ABC):
    """Keeps snapshots on the way out and takes cotangents back over one step at a time."""

    def __init__(self, snapshot_every: int) -> None:
        self.snapshot_every = snapshot_every
        self.snapshots: dict[int, State] = {}

    def visit(self, step: int, state: State) -> None:
        if step % self.snapshot_every == 0:
            self.snapshots[step] = state

    @abstractmethod
    def states_back(self, problem: Problem, final: State) -> Any:
        """Iterate over (step, state before step) from the last step to the first."""

    def pull_back(
        self,
        problem: Problem,
        step: int,
        before: State,
        after: State,
        cotangent: list[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Cotangents of the state before the step and of the parameters, from those of the state after it."""
        with torch.enable_grad():
            leaves = State(*(t.detach().requires_grad_() for t in before))
            parameters = tuple(p.detach().requires_grad_() for p in problem.parameters)
            local = Problem(
                problem.stepper,
                problem.forces,
                parameters,
                problem.n_steps,
                problem.save_every,
                problem.first_step,
            )
            force = local.forces(leaves.positions, parameters)
            out, _ = local.advance(leaves, force, step)
            gradients = torch.autograd.grad(
                list(out), [*leaves, *parameters], cotangent, allow_unused=True, materialize_grads=True
            )
        return list(gradients[:3]), list(gradients[3:])


class _Replay(_Walk):
    def states_back(self, problem: Problem, final: State) -> Any:
        for begin in reversed(range(0, problem.n_steps, self.snapshot_every)):
            state = self.snapshots[begin]
            states = [state]
            end = min(begin + self.snapshot_every, problem.n_steps)
            if end - begin > 1:
                force = problem.forces(state.positions, problem.parameters)
                for step in range(begin, end - 1):
                    state, force = problem.advance(state, force, step)
                    states.append(state)
            for step in reversed(range(begin, end)):
                yield step, states.pop()


class _StepBack(_Walk):
    def states_back(self, problem: Problem, final: State) -> Any:
        state = final
        force = problem.forces(state.positions, problem.parameters)
        for step in reversed(range(problem.n_steps)):
            state, force = problem.retreat(state, force, step)
            if step in self.snapshots:
                state = self.snapshots[step]
                force = problem.forces(state.positions, problem.parameters)
            yield step, state


class _Backsolve(_StepBack):
    def pull_back(
        self, problem: Problem, step: int, before: State, after: State, cotangent: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        dt = problem.stepper.timestep
        middle = State(*(0.5 * (a + b) for a, b in zip(before, after, strict=True)))
        half, _ = self._field_adjoint(problem, after, cotangent)
        at_middle = [c + 0.5 * dt * h for c, h in zip(cotangent, half, strict=True)]
        full, parameters = self._field_adjoint(problem, middle, at_middle)
        return [c + dt * f for c, f in zip(cotangent, full, strict=True)], [dt * p for p in parameters]

    @staticmethod
    def _field_adjoint(problem: Problem, state: State, cotangent: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """λ ∂f/∂y and λ ∂f/∂θ of the equations of motion dy/dt = f(y, θ)."""
        with torch.enable_grad():
            leaves = State(*(t.detach().requires_grad_() for t in state))
            parameters = tuple(p.detach().requires_grad_() for p in problem.parameters)
            rates = problem.stepper.rates(leaves, problem.forces(leaves.positions, parameters))
            gradients = torch.autograd.grad(
                [r for r in rates if r.requires_grad],
                [*leaves, *parameters],
                [c for c, r in zip(cotangent, rates, strict=True) if r.requires_grad],
                allow_unused=True,
                materialize_grads=True,
            )
        return list(gradients[:3]), list(gradients[3:])


def refuse_second_derivative() -> None:
    """Raise a RuntimeError when a backward pass is asked for a graph of itself (create_graph=True).

    Nothing but `DirectAdjoint` has one; autograd would silently leave a part of the second derivative out.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("adjoint: this one is differentiable once; use DirectAdjoint for second derivatives")


class _StepsFunction(torch.autograd.Function):
    """The boundary to autograd: one node for the whole chain of steps."""

    @staticmethod
    def forward(ctx: Any, walk: _Walk, problem: Problem, *tensors: Tensor) -> Any:
        start = State(*(t.detach() for t in tensors[:3]))
        detached = Problem(
            problem.stepper,
            problem.forces,
            tuple(p.detach() for p in tensors[3:]),
            problem.n_steps,
            problem.save_every,
            problem.first_step,
        )
        recording = _record(detached, start, walk.visit)
        ctx.walk, ctx.problem, ctx.final = walk, detached, recording.final
        return *recording.frames, *(t.clone() for t in recording.final)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        refuse_second_derivative()
        frames, cotangent = gradients[:3], list(gradients[3:])
        problem: Problem = ctx.problem
        totals = [torch.zeros_like(p) for p in problem.parameters]
        after = ctx.final
        for step, before in ctx.walk.states_back(problem, ctx.final):
            if problem.saves(step + 1):
                frame = (step + 1) // problem.save_every - 1
                cotangent = [c + f[frame] for c, f in zip(cotangent, frames, strict=True)]
            cotangent, parameters = ctx.walk.pull_back(problem, step, before, after, cotangent)
            totals = [t + p for t, p in zip(totals, parameters, strict=True)]
            after = before
        return None, None, *cotangent, *totals


def _run_in_function(walk: _Walk, problem: Problem, start: State) -> Recording:
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in (*start, *problem.parameters))):
        with torch.no_grad():
            return _record(problem, start)
    tensors = _StepsFunction.apply(walk, problem, *start, *problem.parameters)
    return Recording(State(*tensors[:3]), State(*tensors[3:]))
