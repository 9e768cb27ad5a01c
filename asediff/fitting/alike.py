"""Processes that share a fit have to be given the same things to fit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from asediff.host.ranks import Ranks
from asediff.targets.target import StatePoint


def check_alike(ranks: Ranks, settings: object, state_points: Sequence[StatePoint]) -> None:
    """Refuse processes that were given different things to fit. The potential is the first's in any case.

    Args:
        ranks: the processes.
        settings: method and seed; what they are called decides, without addresses of objects.
        state_points: conditions and targets.

    Raises:
        ValueError: naming a process that was given something else.
    """
    if ranks.size == 1:
        return
    told = ranks.exchange(lambda: _digest(settings, state_points))
    other = next((rank for rank, one in enumerate(told) if one != told[0]), None)
    if other is not None:
        raise ValueError(
            f"ranks: process {other} was given another method, seed or state point than process 0; give all the same"
        )


def _digest(settings: object, state_points: Sequence[StatePoint]) -> str:
    found = hashlib.sha256(re.sub("0x[0-9a-f]+", "", repr(settings)).encode())
    for point in state_points:
        found.update(repr((point.name, point.kT, point.weight, point.pressure)).encode())
        system = point.system
        for tensor in (system.positions, system.masses, system.cell, *(t.reference for t in point.targets)):
            found.update(tensor.detach().cpu().numpy().tobytes())
    return found.hexdigest()
