"""The systems of a batch that one process of a fit runs, and the gradient of the loss of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor

from asediff.fitting.gradients.batch import Batch, Measured, pressures_of, values_of
from asediff.fitting.gradients.laid import LaidTables, Piece, joined
from asediff.host.ranks import Ranks
from asediff.potentials.base import Potential
from asediff.system import System
from asediff.trajectory import Trajectory


class Share:
    """Some consecutive systems of a batch, those of this process.

    The loss is a function of averages over all systems. Every process computes those of its own systems, gets those of
    the others, and knows the loss and its derivative in each average; each then takes the gradient of its own systems
    back to the potential, and the sum over all systems is the gradient.

    Attributes:
        system: the systems of this process.
        kT: `(n_systems,)`, energy, of these.
        first: number of the first of them in the batch.
        potential: what moves them.
    """

    def __init__(self, batch: Batch, potential: Potential, ranks: Ranks) -> None:
        self.batch, self.whole, self.ranks = batch, potential, ranks
        own = division(batch.system.counts.tolist(), ranks.size)[ranks.rank]
        self.first, self._own = own.start, own
        self.system, self.kT = self.part_of(batch.system), batch.kT[own.start : own.stop]
        self.tables: LaidTables | None = None
        points = batch.points[own.start : own.stop]
        self.potential = potential
        if potential.is_pairwise and potential.cutoff is not None:
            self.tables = LaidTables(own, potential.cutoff, shared=self.system.device.type != "cpu")
            self.potential = self.tables.together
            points = [point.bound(laid) for point, laid in zip(points, self.tables.single, strict=True)]
        self.points = points
        self._coefficients: Tensor | None = None

    def part_of(self, system: System) -> System:
        """The systems of this process, of a batch with all."""
        if len(self._own) == system.n_systems:
            return system
        return System.concatenate([system[k] for k in self._own])

    def lay(self) -> None:
        """Take the potential as it is now; before each run."""
        if self.tables is None:
            return
        spline = self.whole.compiled(self.batch.system, self.batch.kT)
        assert spline is not None  # it is pairwise
        self._coefficients = spline.coefficients
        self.tables.lay(spline)

    def gradient(self, run: Callable[[], Trajectory], pressure_weight: float) -> tuple[Trajectory, float]:
        """Run the systems of this process and add the gradient of the loss of all to that of the parameters.

        Args:
            run: gives the frames, differentiable.
            pressure_weight: see `Batch.loss_of`.

        Returns:
            What `run` gave, and the loss.
        """
        trajectory, own, parts = self._measured(run)
        everything = [one.leaves(self.system.device) for one in chain.from_iterable(parts)]
        loss = self.batch.loss_of(everything, pressure_weight)
        ends = [tensor for one in everything for tensor in one.tensors()]
        slopes = iter(torch.autograd.grad(loss, ends, allow_unused=True))
        by_system = [[next(slopes) for _ in one.tensors()] for one in everything]
        found = self.ranks.exchange(lambda: self._backward(own, by_system[self.first : self.first + len(own)]))
        self._add(found)
        return trajectory, float(loss.detach())

    def _measured(self, run: Callable[[], Trajectory]) -> tuple[Trajectory, list[Measured], list[list[Measured]]]:
        """The frames, what they give for each system of this process, and the numbers of each process."""
        own: list[tuple[Trajectory, list[Measured]]] = []

        def work() -> list[Measured]:
            self.lay()
            trajectory = run()
            values = values_of(trajectory, self.points)
            pressures = pressures_of(trajectory, self.points, self.potential, self.kT)
            measured = [Measured(*one) for one in zip(values, pressures, strict=True)]
            own.append((trajectory, measured))
            return [one.portable() for one in measured]

        parts = self.ranks.exchange(work)
        return *own[0], parts

    def _backward(
        self, own: Sequence[Measured], slopes: Sequence[Sequence[Tensor | None]]
    ) -> tuple[list[Piece], list[Tensor | None]]:
        """What the systems of this process add to the gradient of the tables, and of the parameters themselves."""
        pairs = [
            (tensor, slope)
            for one, by_one in zip(own, slopes, strict=True)
            for tensor, slope in zip(one.tensors(), by_one, strict=True)
            if slope is not None and tensor.requires_grad
        ]
        if pairs:
            torch.autograd.backward([tensor for tensor, _ in pairs], [slope for _, slope in pairs])
        direct = [None if p.grad is None else p.grad.cpu() for p in self.whole.parameters()]
        return [] if self.tables is None else self.tables.pieces(), direct

    def _add(self, found: Sequence[tuple[list[Piece], list[Tensor | None]]]) -> None:
        """Set the parameters' gradient to the sum over all processes."""
        for parameter, parts in zip(self.whole.parameters(), zip(*(d for _, d in found), strict=True), strict=True):
            known = [part for part in parts if part is not None]
            parameter.grad = torch.stack(known).sum(0).to(parameter.device) if known else None
        coefficients = self._coefficients
        if coefficients is not None and coefficients.requires_grad:
            pieces = [piece for part, _ in found for piece in part]
            coefficients.backward(joined(coefficients, pieces))


def division(costs: Sequence[int], size: int) -> list[range]:
    """Divide consecutive things among `size` processes, none without any, so that the largest sum of costs is least.

    Args:
        costs: of each, above zero; at least `size` of them.
        size: number of processes.
    """
    low, high = max(costs), sum(costs)
    while low < high:
        limit = (low + high) // 2
        low, high = (low, limit) if len(_filled(costs, limit)) <= size else (limit + 1, high)
    parts = _filled(costs, low)
    while len(parts) < size:
        k = max(range(len(parts)), key=lambda k: len(parts[k]))
        middle = (parts[k].start + parts[k].stop) // 2
        parts[k : k + 1] = [range(parts[k].start, middle), range(middle, parts[k].stop)]
    return parts


def _filled(costs: Sequence[int], limit: int) -> list[range]:
    parts, begin, load = [], 0, 0
    for k, cost in enumerate(costs):
        if load + cost > limit:
            parts.append(range(begin, k))
            begin, load = k, 0
        load += cost
    return [*parts, range(begin, len(costs))]
