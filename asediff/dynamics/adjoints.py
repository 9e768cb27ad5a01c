"""How dL/dθ is propagated back through a chain of time steps.

| adjoint             | gradient of      | memory for T steps             | forces per step, forward + backward |
|---------------------|------------------|--------------------------------|-------------------------------------|
| `DirectAdjoint`     | the steps taken  | T graphs                       | 1 + 2                               |
| `CheckpointAdjoint` | the steps taken  | ~ 2 sqrt(T) states             | 2 + 2                               |
| `ReversibleAdjoint` | the steps taken  | T / snapshot_every states      | 2 + 2                               |
| `BacksolveAdjoint`  | the ODE behind   | as reversible                  | 2 + 4                               |

The first three differentiate the discrete map and agree to round-off. States that are recovered by stepping back are
compared with the stored ones at every snapshot; where they differ, the stretch of steps is taken again from its
snapshot (`asediff.kernels.recovery`). The counts are those of the general path; the fused kernels of pair potentials
need one combined evaluation per step backward. By default the checkpoint and the
reversible adjoint keep every state of a run of at most 128 steps (`KEPT_STEPS`) where that takes no more than 256 MB,
which saves computing the states again: 1 + 2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch

from asediff.checks.described import Doc
from asediff.dynamics.chain import Chain, Recording, Tensors, record
from asediff.dynamics.reverse import Backsolve, Replay, StepBack, take_steps

KEPT_STEPS = 128
"""Default length up to which a run keeps every state instead of computing states again."""
KEPT_BYTES = 2**28
"""Memory beyond which it does not."""


class Schedule(NamedTuple):
    """Where the states of a reverse pass come from: a snapshot `every` so many steps (1: all are kept), and between
    them by running again, or by stepping `backwards`."""

    every: int
    backwards: bool


class Adjoint(ABC):
    """A rule for gradients through time steps; see the module's table for which one to take.

    Attributes:
        keeps_graph: autograd's own graph is kept, and may be differentiated again; every step then has to be made of
            operations of torch.
    """

    keeps_graph: ClassVar[bool] = False

    @abstractmethod
    def run(self, chain: Chain, start: Tensors) -> Recording:
        """Take the steps of a chain; the recording is differentiable in the start and in the chain's parameters."""

    def compiled(self, n_steps: int, start: Tensors) -> Schedule | None:
        """The schedule with which the fused kernels do exactly what `run` does; None: they cannot.

        Like `Stepper.compiled` it holds for its own class alone.
        """
        return None


def _keeps_all(n_steps: int, start: Tensors, longest: int) -> bool:
    """Whether a run is short and small enough to keep every state."""
    return n_steps <= longest and n_steps * sum(t.element_size() * t.numel() for t in start) <= KEPT_BYTES


def _check_interval(name: str, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"{name}: {steps} is not a number of steps; give at least 1")


@dataclass(frozen=True)
class DirectAdjoint(Adjoint):
    """Plain autograd through every step in torch: the definition that the others are tested against.

    Memory grows with every step (the graph of every force evaluation), so it serves short runs, small systems and
    tests. Use `CheckpointAdjoint` or `ReversibleAdjoint` for everything else.
    """

    kind: ClassVar[str] = "direct"
    keeps_graph: ClassVar[bool] = True

    def run(self, chain: Chain, start: Tensors) -> Recording:
        """See `Adjoint.run`."""
        return record(chain, chain.parameters, start)


@dataclass(frozen=True)
class CheckpointAdjoint(Adjoint):
    """Exact gradient from snapshots: each segment between two is run again, its states kept, then walked back.

    Exact for any integrator, chaotic or not, since no state is ever computed backward. Memory is one state per segment
    and one segment of states: about 2 sqrt(T) states by default, and no more than 128 where that is more.
    """

    kind: ClassVar[str] = "checkpoint"
    every: Annotated[
        int | None,
        Doc("steps between snapshots; None: 1 for up to 128 steps that fit into 256 MB, sqrt(n_steps) for more"),
    ] = None

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"every: {self.every} is not a number of steps; give at least 1, or None for sqrt(steps)")

    def schedule(self, n_steps: int, start: Tensors) -> Schedule:
        """Where the states of a run of n_steps come from."""
        if self.every is not None:
            return Schedule(self.every, backwards=False)
        if _keeps_all(n_steps, start, KEPT_STEPS):
            return Schedule(1, backwards=False)
        return Schedule(math.isqrt(n_steps - 1) + 1, backwards=False)

    def compiled(self, n_steps: int, start: Tensors) -> Schedule | None:
        """See `Adjoint.compiled`."""
        return self.schedule(n_steps, start) if type(self) is CheckpointAdjoint else None

    def run(self, chain: Chain, start: Tensors) -> Recording:
        """See `Adjoint.run`."""
        return take_steps(Replay(self.schedule(chain.n_steps, start).every), chain, start)


@dataclass(frozen=True)
class ReversibleAdjoint(Adjoint):
    """Exact gradient with the states recovered by stepping back in time, from the last snapshot.

    Round-off grows while stepping back in a chaotic system (about e-fold per Lyapunov time, so 250 steps of a
    Lennard-Jones liquid keep 12 digits); snapshots pin it. Memory does not grow with the steps but for the snapshots.
    Where friction or a thermostat far from equilibrium amplifies round-off too much, or an integrator's `step_back` is
    not the inverse of its `step`, the recovered state misses the snapshot: from there on the gradient is taken as
    `CheckpointAdjoint(snapshot_every)` does, which then is the better choice.
    """

    kind: ClassVar[str] = "reversible"
    snapshot_every: Annotated[int, Doc("steps between snapshots")] = 250
    keep: Annotated[
        int,
        Doc("runs of at most this many steps that fit into 256 MB keep every state instead, which is faster; 0 never"),
    ] = KEPT_STEPS

    def __post_init__(self) -> None:
        _check_interval("snapshot_every", self.snapshot_every)
        if self.keep < 0:
            raise ValueError(f"keep: {self.keep} is not a number of steps; give at least 0")

    def schedule(self, n_steps: int, start: Tensors) -> Schedule:
        """Where the states of a run of n_steps come from."""
        if _keeps_all(n_steps, start, self.keep):
            return Schedule(1, backwards=False)
        return Schedule(self.snapshot_every, backwards=True)

    def compiled(self, n_steps: int, start: Tensors) -> Schedule | None:
        """See `Adjoint.compiled`."""
        return self.schedule(n_steps, start) if type(self) is ReversibleAdjoint else None

    def run(self, chain: Chain, start: Tensors) -> Recording:
        """See `Adjoint.run`."""
        every, backwards = self.schedule(chain.n_steps, start)
        return take_steps(StepBack(every) if backwards else Replay(every), chain, start)


@dataclass(frozen=True)
class BacksolveAdjoint(Adjoint):
    """Continuous adjoint of the differential equation, as in arXiv:2003.00868; not recommended.

    The adjoint equation dλ/dt = -λ ∂f/∂y is integrated backward with a midpoint rule. It is the gradient of the ODE's
    exact solution, not of the steps taken, so it differs from the gradient of the loss that was computed by an error
    that falls with the time step and never reaches round-off. It is here to compare with the 2020 paper. Use
    `ReversibleAdjoint`, which costs less and is exact.
    """

    kind: ClassVar[str] = "backsolve"
    snapshot_every: Annotated[int, Doc("steps between the snapshots that pin the recovered states")] = 250

    def __post_init__(self) -> None:
        _check_interval("snapshot_every", self.snapshot_every)

    def run(self, chain: Chain, start: Tensors) -> Recording:
        """See `Adjoint.run`.

        Raises:
            ValueError: the chain has no equation of motion: Langevin dynamics, since a stochastic equation has no such
                adjoint, or an integrator that changes the step of another one but not its equations of motion.
        """
        with torch.no_grad():
            chain.rates(start, chain.parameters)
        return take_steps(Backsolve(self.snapshot_every), chain, start)
