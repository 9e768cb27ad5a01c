"""How linear problems with noisy data are kept from following the noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from asediff.checks.described import Doc
from asediff.fitting.tables.tabulated import FloatArray


class Regularization(ABC):
    """Keeps directions that the data do not determine from following the noise."""

    @abstractmethod
    def solve(self, matrix: FloatArray, right: FloatArray, blocks: Sequence[slice], step: float) -> FloatArray:
        """x of H x = b, regularised.

        Args:
            matrix: `(n, n)`, H, symmetric and not negative.
            right: `(n, m)`, one or several b.
            blocks: the rows of each pair.
            step: distance of the rows in units of the cutoff.
        """


@dataclass(frozen=True)
class Tikhonov(Regularization):
    """Add strength x mean(diag H) to the diagonal of H."""

    kind: ClassVar[str] = "tikhonov"
    strength: Annotated[float, Doc("of the term")] = 1e-2

    def solve(self, matrix: FloatArray, right: FloatArray, blocks: Sequence[slice], step: float) -> FloatArray:
        """See `Regularization.solve`."""
        scale = self.strength * float(np.diag(matrix).mean())
        return np.asarray(np.linalg.solve(matrix + scale * np.eye(len(matrix)), right), dtype=np.float64)


@dataclass(frozen=True)
class TruncatedSVD(Regularization):
    """Leave out the directions whose singular value is below `fraction` of the largest."""

    kind: ClassVar[str] = "truncated_svd"
    fraction: Annotated[float, Doc("of the largest singular value")] = 1e-3

    def solve(self, matrix: FloatArray, right: FloatArray, blocks: Sequence[slice], step: float) -> FloatArray:
        """See `Regularization.solve`."""
        values, vectors = np.linalg.eigh(matrix)
        kept = values > self.fraction * values[-1]
        basis = vectors[:, kept]
        return np.asarray(basis @ ((basis.T @ right) / values[kept][:, None]))


@dataclass(frozen=True)
class Smoothness(Regularization):
    """Penalty on the curvature of the change, strength x mean(diag H) x ℓ⁴ (x'')², beside a small Tikhonov term."""

    kind: ClassVar[str] = "smoothness"
    strength: Annotated[float, Doc("of the penalty")] = 3e-3
    length: Annotated[
        float, Doc("ℓ, as a fraction of the cutoff: changes that bend over shorter distances are suppressed")
    ] = 0.05
    ridge: Annotated[float, Doc("strength of the Tikhonov term")] = 1e-3

    def solve(self, matrix: FloatArray, right: FloatArray, blocks: Sequence[slice], step: float) -> FloatArray:
        """See `Regularization.solve`; the last row of each block is followed by the zero at the cutoff."""
        scale = float(np.diag(matrix).mean())
        penalty = self.ridge * np.eye(len(matrix))
        for block in blocks:
            n = block.stop - block.start
            second = np.diff(np.eye(n + 1), n=2, axis=0)[:, :n]
            penalty[block, block] += self.strength * (self.length / step) ** 4 * second.T @ second
        return np.asarray(np.linalg.solve(matrix + scale * penalty, right), dtype=np.float64)
