"""Reverse passes through a chain of time steps: where the states come from, and what the steps do to cotangents.

A walk keeps snapshots on the way out and leads back from stretch to stretch between them; `take_steps` is its boundary
to autograd.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asediff.integrators import Forces, State, Stepper
from asediff.kernels.recovery import FASTEST, strayed

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

    def retreat(self, state: State, force: Tensor, step: int, forces: Forces) -> tuple[State, Tensor]:
        """Undo step number `step`, with `forces` in place of those of the problem."""
        return self.stepper.step_back(state, force, forces, self.first_step + step)

    def saves(self, step: int) -> bool:
        """Whether the state after `step` steps is a frame."""
        return step > 0 and step % self.save_every == 0


def _visit_all(problem: Problem, state: State, visit: Callable[[int, State], None]) -> State:
    force = problem.forces(state.positions, problem.parameters)
    for step in range(problem.n_steps):
        visit(step, state)
        state, force = problem.advance(state, force, step)
    visit(problem.n_steps, state)
    return state


def record(problem: Problem, start: State, also: Callable[[int, State], None] | None = None) -> Recording:
    """Take the steps; `also` sees the number and the state before each of them, and those at the end."""
    frames: list[State] = []

    def visit(step: int, state: State) -> None:
        if also is not None:
            also(step, state)
        if problem.saves(step):
            frames.append(state)

    final = _visit_all(problem, start, visit)
    return Recording(State(*(torch.stack(parts) for parts in zip(*frames, strict=True))), final)


class _StrayedError(ArithmeticError):
    """Stepping back did not lead to the stored state."""


class Walk(ABC):
    """Keeps snapshots on the way out and takes cotangents back over one step at a time."""

    def __init__(self, snapshot_every: int) -> None:
        self.snapshot_every = snapshot_every
        self.snapshots: dict[int, State] = {}

    def visit(self, step: int, state: State) -> None:
        """Keep the state after `step` steps if it is a snapshot."""
        if step % self.snapshot_every == 0:
            self.snapshots[step] = state

    def stretches(self, n_steps: int) -> Iterator[tuple[int, int]]:
        """First and last state of the steps between two snapshots, from the last stretch to the first."""
        for begin in reversed(range(0, n_steps, self.snapshot_every)):
            yield begin, min(begin + self.snapshot_every, n_steps)

    @abstractmethod
    def states_back(self, problem: Problem, begin: int, end: int, after: State) -> Iterator[tuple[int, State]]:
        """Step number and state before it, for the steps of a stretch from the last to the first.

        Args:
            problem: the chain of steps.
            begin: number of the first step.
            end: number of the step behind the last.
            after: the state after the last step.

        Raises:
            _StrayedError: the states so far were not those that were visited on the way out.
        """

    def replayed(self, problem: Problem, begin: int, end: int) -> Iterator[tuple[int, State]]:
        """As `states_back`, by taking the steps again from the snapshot."""
        state = self.snapshots[begin]
        states = [state]
        if end - begin > 1:
            force = problem.forces(state.positions, problem.parameters)
            for step in range(begin, end - 1):
                state, force = problem.advance(state, force, step)
                states.append(state)
        for step in reversed(range(begin, end)):
            yield step, states.pop()

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


class Replay(Walk):
    """Takes the steps between two snapshots again, and keeps their states for the time."""

    def states_back(self, problem: Problem, begin: int, end: int, after: State) -> Iterator[tuple[int, State]]:
        """See `Walk.states_back`."""
        return self.replayed(problem, begin, end)


class StepBack(Walk):
    """Recovers states by the inverse of the step, and compares with the snapshot where a stretch begins."""

    def states_back(self, problem: Problem, begin: int, end: int, after: State) -> Iterator[tuple[int, State]]:
        """See `Walk.states_back`."""
        stored, state = self.snapshots[begin], after
        speed = torch.maximum(stored.velocities.abs().max(), after.velocities.abs().max())
        reach = FASTEST * float(speed) * problem.stepper.timestep * (end - begin)

        def forces(positions: Tensor) -> Tensor:
            if not float((positions - stored.positions).abs().max()) <= reach:
                raise _StrayedError
            return problem.forces(positions, problem.parameters)

        force = problem.forces(state.positions, problem.parameters)
        for step in reversed(range(begin, end)):
            state, force = problem.retreat(state, force, step, forces)
            if step == begin and strayed(state, stored, after):
                raise _StrayedError
            yield step, stored if step == begin else state


class Backsolve(StepBack):
    """Pulls back through the equations of motion, with a midpoint rule, in place of the step."""

    def pull_back(
        self, problem: Problem, step: int, before: State, after: State, cotangent: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """See `Walk.pull_back`."""
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
    def forward(ctx: Any, walk: Walk, problem: Problem, *tensors: Tensor) -> Any:
        start = State(*(t.detach() for t in tensors[:3]))
        detached = Problem(
            problem.stepper,
            problem.forces,
            tuple(p.detach() for p in tensors[3:]),
            problem.n_steps,
            problem.save_every,
            problem.first_step,
        )
        recording = record(detached, start, walk.visit)
        ctx.walk, ctx.problem, ctx.final = walk, detached, recording.final
        return *recording.frames, *(t.clone() for t in recording.final)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        refuse_second_derivative()
        walk, problem = ctx.walk, ctx.problem
        after, stepping_back = ctx.final, True
        way = _Way(problem, gradients[:3], list(gradients[3:]), [torch.zeros_like(p) for p in problem.parameters])
        for begin, end in walk.stretches(problem.n_steps):
            if stepping_back:
                try:
                    way = way.through(walk, walk.states_back(problem, begin, end, after), after)
                except _StrayedError:
                    stepping_back = False
            if not stepping_back:
                way = way.through(walk, walk.replayed(problem, begin, end), after)
            after = walk.snapshots[begin]
        return None, None, *way.cotangent, *way.totals


class _Way(NamedTuple):
    """How far a reverse pass has come: cotangents of the state and of the parameters."""

    problem: Problem
    frames: Sequence[Tensor]
    cotangent: list[Tensor]
    totals: list[Tensor]

    def through(self, walk: Walk, states: Iterator[tuple[int, State]], after: State) -> _Way:
        """Behind the steps of a stretch, given the states before them and the one after it."""
        problem, cotangent, totals = self.problem, self.cotangent, self.totals
        for step, before in states:
            if problem.saves(step + 1):
                frame = (step + 1) // problem.save_every - 1
                cotangent = [c + f[frame] for c, f in zip(cotangent, self.frames, strict=True)]
            cotangent, parameters = walk.pull_back(problem, step, before, after, cotangent)
            totals = [t + p for t, p in zip(totals, parameters, strict=True)]
            after = before
        return self._replace(cotangent=cotangent, totals=totals)


def take_steps(walk: Walk, problem: Problem, start: State) -> Recording:
    """Take the steps as one node of autograd, whose reverse pass is the walk's."""
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in (*start, *problem.parameters))):
        with torch.no_grad():
            return record(problem, start)
    tensors = _StepsFunction.apply(walk, problem, *start, *problem.parameters)
    return Recording(State(*tensors[:3]), State(*tensors[3:]))
