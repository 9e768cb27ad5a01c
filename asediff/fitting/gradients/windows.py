"""Windows: the stretches of a run through which gradients are taken, while the averages are those of the whole run.

Atoms move chaotically: through hundreds of steps the derivative of g(r) is noise, and through tens of steps it is
already nearly as large as it will be. The difference from the target, in contrast, is the better known the more frames
it is averaged over, and its noise is nearly all of the gradient's. So an epoch is cut into windows, each of which
starts from where the last one ended, as if that were given; the loss is that of all frames together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from asediff.system import System
from asediff.targets.target import StatePoint
from asediff.trajectory import Trajectory

Run = Callable[[System | Trajectory, int], Trajectory]
"""So many steps from a start, differentiable in the potential."""

DEFAULT = 40
"""Steps of a window of a liquid at usual time steps."""


def window_lengths(window: int | None, steps: int, save_every: int, state_points: Sequence[StatePoint]) -> list[int]:
    """Steps of each window of an epoch: whole multiples of `save_every`.

    Args:
        window: largest number of steps; None: 40 where each target is an average over single frames, else all steps,
            for what one frame has in common with a later one is felt by the gradient within a window alone.
        steps: of an epoch.
        save_every: steps between frames.
        state_points: with the targets.
    """
    if window is None:
        single = all(target.observable.of_single_frames for point in state_points for target in point.targets)
        window = DEFAULT if single else steps
    length = max(save_every, min(window, steps) // save_every * save_every)
    return [min(length, steps - done) for done in range(0, steps, length)]


def in_windows(run: Run, start: System | Trajectory, lengths: Sequence[int]) -> Trajectory:
    """The frames of a run whose gradient ends at the borders of its windows."""
    parts: list[Trajectory] = []
    for length in lengths:
        parts.append(run(start, length))
        start = parts[-1].detach()[-1:]
    return parts[0] if len(parts) == 1 else Trajectory.concatenate(parts)
