"""Reverse passes through a chain of steps: where the states come from, and what the steps do to cotangents.

A walk keeps snapshots on the way out and leads back from stretch to stretch between them; `take_steps` is its boundary
to autograd.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asediff.dynamics.chain import Chain, Recording, StrayedError, Tensors, record
from asediff.kernels.recovery import strayed

Cotangents = list[Tensor]


class Walk(ABC):
    """Keeps snapshots on the way out and takes cotangents back over one step at a time."""

    def __init__(self, snapshot_every: int) -> None:
        self.snapshot_every = snapshot_every
        self.snapshots: dict[int, Tensors] = {}

    def visit(self, step: int, state: Tensors) -> None:
        """Keep the state after `step` steps if it is a snapshot."""
        if step % self.snapshot_every == 0:
            self.snapshots[step] = state

    def stretches(self, n_steps: int) -> Iterator[tuple[int, int]]:
        """First and last state of the steps between two snapshots, from the last stretch to the first."""
        for begin in reversed(range(0, n_steps, self.snapshot_every)):
            yield begin, min(begin + self.snapshot_every, n_steps)

    @abstractmethod
    def states_back(
        self, chain: Chain, parameters: Tensors, begin: int, end: int, after: Tensors
    ) -> Iterator[tuple[int, Tensors]]:
        """Step number and state before it, for the steps of a stretch from the last to the first.

        Args:
            chain: the steps.
            parameters: as they were on the way out.
            begin: number of the first step.
            end: number of the step behind the last.
            after: the state after the last step.

        Raises:
            StrayedError: the states so far were not those that were visited on the way out.
        """

    def replayed(self, chain: Chain, parameters: Tensors, begin: int, end: int) -> Iterator[tuple[int, Tensors]]:
        """As `states_back`, by taking the steps again from the snapshot."""
        states = [self.snapshots[begin]]
        for step in range(begin, end - 1):
            states.append(chain.step(states[-1], parameters, step))
        for step in reversed(range(begin, end)):
            yield step, states.pop()

    def pull_back(
        self, chain: Chain, parameters: Tensors, step: int, before: Tensors, after: Tensors, cotangent: Cotangents
    ) -> tuple[Cotangents, Cotangents]:
        """Cotangents of the state before the step and of the parameters, from those of the state after it."""
        return _pulled(lambda state, free: chain.step(state, free, step), before, parameters, cotangent)


class Replay(Walk):
    """Takes the steps between two snapshots again, and keeps their states for the time."""

    def states_back(
        self, chain: Chain, parameters: Tensors, begin: int, end: int, after: Tensors
    ) -> Iterator[tuple[int, Tensors]]:
        """See `Walk.states_back`."""
        return self.replayed(chain, parameters, begin, end)


class StepBack(Walk):
    """Recovers states by the inverse of the step, and compares with the snapshot where a stretch begins."""

    def states_back(
        self, chain: Chain, parameters: Tensors, begin: int, end: int, after: Tensors
    ) -> Iterator[tuple[int, Tensors]]:
        """See `Walk.states_back`."""
        stored, state = self.snapshots[begin], after
        for step in reversed(range(begin, end)):
            state = chain.step_back(state, parameters, step)
            if step == begin and strayed(state, stored, after):
                raise StrayedError
            yield step, stored if step == begin else state


class Backsolve(StepBack):
    """Pulls back through the equation of motion, with a midpoint rule, in place of the step."""

    def pull_back(
        self, chain: Chain, parameters: Tensors, step: int, before: Tensors, after: Tensors, cotangent: Cotangents
    ) -> tuple[Cotangents, Cotangents]:
        """See `Walk.pull_back`."""
        dt = chain.timestep
        middle = tuple(0.5 * (a + b) for a, b in zip(before, after, strict=True))
        half, _ = _pulled(chain.rates, after, parameters, cotangent)
        at_middle = [c + 0.5 * dt * h for c, h in zip(cotangent, half, strict=True)]
        full, by_parameters = _pulled(chain.rates, middle, parameters, at_middle)
        return [c + dt * f for c, f in zip(cotangent, full, strict=True)], [dt * p for p in by_parameters]


def _pulled(
    function: Callable[[Tensors, Tensors], Tensors], state: Tensors, parameters: Tensors, cotangent: Sequence[Tensor]
) -> tuple[Cotangents, Cotangents]:
    """Cotangents of state and parameters from those of a function of both."""
    with torch.enable_grad():
        leaves = tuple(t.detach().requires_grad_() for t in state)
        free = tuple(p.detach().requires_grad_() for p in parameters)
        pairs = [(r, c) for r, c in zip(function(leaves, free), cotangent, strict=True) if r.requires_grad]
        gradients = torch.autograd.grad(
            [r for r, _ in pairs], [*leaves, *free], [c for _, c in pairs], allow_unused=True, materialize_grads=True
        )
    return list(gradients[: len(leaves)]), list(gradients[len(leaves) :])


def refuse_second_derivative() -> None:
    """Raise a RuntimeError when a backward pass is asked for a graph of itself (create_graph=True).

    Nothing but `DirectAdjoint` has one; autograd would silently leave a part of the second derivative out.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("adjoint: this one is differentiable once; use DirectAdjoint for second derivatives")


class _StepsFunction(torch.autograd.Function):
    """The boundary to autograd: one node for the whole chain of steps."""

    @staticmethod
    def forward(ctx: Any, walk: Walk, chain: Chain, n_state: int, *tensors: Tensor) -> Any:
        detached = tuple(t.detach() for t in tensors)
        start, ctx.parameters = detached[:n_state], detached[n_state:]
        recording = record(chain, ctx.parameters, start, walk.visit)
        ctx.walk, ctx.chain, ctx.final = walk, chain, recording.final
        return *recording.frames, *(t.clone() for t in recording.final)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        refuse_second_derivative()
        walk, chain, parameters, after = ctx.walk, ctx.chain, ctx.parameters, ctx.final
        n_frames = len(gradients) - len(after)
        totals = [torch.zeros_like(p) for p in parameters]
        way = _Way(chain, parameters, gradients[:n_frames], list(gradients[n_frames:]), totals)
        stepping_back = True
        for begin, end in walk.stretches(chain.n_steps):
            if stepping_back:
                try:
                    way = way.through(walk, walk.states_back(chain, parameters, begin, end, after), after)
                except StrayedError:
                    stepping_back = False
            if not stepping_back:
                way = way.through(walk, walk.replayed(chain, parameters, begin, end), after)
            after = walk.snapshots[begin]
        return None, None, None, *way.cotangent, *way.totals


class _Way(NamedTuple):
    """How far a reverse pass has come: cotangents of the state and of the parameters."""

    chain: Chain
    parameters: Tensors
    by_frames: Sequence[Tensor]
    cotangent: Cotangents
    totals: Cotangents

    def through(self, walk: Walk, states: Iterator[tuple[int, Tensors]], after: Tensors) -> _Way:
        """Behind the steps of a stretch, given the states before them and the one after it."""
        cotangent, totals = self.cotangent, self.totals
        for step, before in states:
            if self.chain.saves(step + 1):
                frame = (step + 1) // self.chain.save_every - 1
                by_frame, _ = _pulled(lambda s, _: self.chain.outputs(s), after, (), [f[frame] for f in self.by_frames])
                cotangent = [c + f for c, f in zip(cotangent, by_frame, strict=True)]
            cotangent, by_parameters = walk.pull_back(self.chain, self.parameters, step, before, after, cotangent)
            totals = [t + p for t, p in zip(totals, by_parameters, strict=True)]
            after = before
        return self._replace(cotangent=cotangent, totals=totals)


def take_steps(walk: Walk, chain: Chain, start: Tensors) -> Recording:
    """Take the steps as one node of autograd, whose reverse pass is the walk's."""
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in (*start, *chain.parameters))):
        with torch.no_grad():
            return record(chain, chain.parameters, start)
    tensors = _StepsFunction.apply(walk, chain, len(start), *start, *chain.parameters)
    n_frames = len(tensors) - len(start)
    return Recording(tensors[:n_frames], tensors[n_frames:])
