"""A chain of steps: what an adjoint differentiates, molecular dynamics or anything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Tensors: TypeAlias = tuple[Tensor, ...]


class StrayedError(ArithmeticError):
    """Stepping back does not lead to where the chain came from."""


class Chain(ABC):
    """Steps that take a state to the next one; both are tuples of real or complex floating-point tensors.

    Subclasses define `step`, and set or define the attributes. `adjoint.run(chain, start)` takes the steps:

        >>> class Decay(Chain):
        ...     def __init__(self, rate: Tensor) -> None:
        ...         self.parameters, self.n_steps, self.save_every = (rate,), 50, 10
        ...
        ...     def step(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        ...         return (state[0] * torch.exp(-0.1 * parameters[0]),)

    Attributes:
        parameters: what steps depend on and gradients reach, besides the start.
        n_steps: number of steps.
        save_every: steps between recorded states.
    """

    parameters: Tensors
    n_steps: int
    save_every: int

    @abstractmethod
    def step(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        """The state after step number k (from 0): a differentiable function of state and parameters, and nothing else
        that changes, for it is called again on the way back."""

    def step_back(self, state: Tensors, parameters: Tensors, k: int) -> Tensors:
        """The exact inverse of `step`: the state before step k, from the one after it.

        Raises:
            StrayedError: there is none (the default), or it leads nowhere; states then come from running again.
        """
        raise StrayedError

    def outputs(self, state: Tensors) -> Tensors:
        """What is recorded of a state, a differentiable function of it; default all of it."""
        return state

    def rates(self, state: Tensors, parameters: Tensors) -> Tensors:
        """Time derivative of a state: the equation of motion that the step discretises, for `BacksolveAdjoint`.

        Raises:
            ValueError: there is none.
        """
        raise ValueError(f"chain: {type(self).__name__} has no equation of motion; use CheckpointAdjoint")

    @property
    def timestep(self) -> float:
        """Time that a step takes, for `rates`."""
        return 1.0

    def saves(self, step: int) -> bool:
        """Whether the state after `step` steps is recorded."""
        return step > 0 and step % self.save_every == 0


class Recording(NamedTuple):
    """What a chain leaves.

    Attributes:
        frames: its outputs after steps save_every, 2 save_every, ..., each with a leading `(n_frames,)`.
        final: the state after the last step.
    """

    frames: Tensors
    final: Tensors


def record(
    chain: Chain, parameters: Tensors, start: Tensors, visit: Callable[[int, Tensors], None] | None = None
) -> Recording:
    """Take the steps; `visit` sees the number and the state before each of them, and those at the end."""
    frames: list[Tensors] = []
    state = start
    for k in range(chain.n_steps + 1):
        if visit is not None:
            visit(k, state)
        if chain.saves(k):
            frames.append(chain.outputs(state))
        if k < chain.n_steps:
            state = chain.step(state, parameters, k)
    return Recording(tuple(torch.stack(parts) for parts in zip(*frames, strict=True)), state)
