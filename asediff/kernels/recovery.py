"""Whether states that were computed backward in time are those that were computed forward.

Stepping back amplifies round-off: by the chaos of a liquid, by exp(friction x time) where friction is undone, and
likewise while a thermostat heats or cools. So every recovered state that was also stored is compared with the stored
one. The comparison is of a whole stretch: errors that could spoil its gradient grow on the way back and are largest
where it ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from asediff.kernels.arrays import Array

BOUND = {8: 1e-11, 4: 1e-4}
"""Largest difference, relative to the largest of each kind of number at both ends of the stretch, by the number of
bytes of the floating-point type. Gradients were off by at most 650 times as much in random runs; round-off near
equilibrium stays below a tenth of it in 250 steps of a liquid."""


def strayed(recovered: Sequence[Array], stored: Sequence[Array], end: Sequence[Array]) -> bool:
    """Whether a recovered state is not the stored one; numbers that are not finite have strayed.

    Args:
        recovered: positions, velocities, thermostats: arrays of numpy or tensors of torch, `(...)`.
        stored: the same, as computed forward.
        end: where the stretch was entered, for the scale of numbers that vanish at its beginning.
    """
    for value, known, other in zip(recovered, stored, end, strict=True):
        if 0 in known.shape:
            continue
        scale = max(_span(known), _span(other))
        if not float(abs(value - known).max()) <= BOUND[known.real.dtype.itemsize] * scale:
            return True
    return False


def _span(values: Array) -> float:
    """Largest less smallest number: the size of a box, wherever it is, or of speeds. Of complex ones the largest."""
    if values.dtype == values.real.dtype:
        return float(values.max() - values.min())
    return float(abs(values).max())
