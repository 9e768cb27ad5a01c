"""What an argument is, said once, in its annotation: for readers, for `help()`, and for the schema."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Doc:
    """Words about an argument: `timestep: Annotated[float, Doc("of a step", unit="time")]`.

    Configurations count time in fs (lj: reduced), so values whose unit is `time` or `1/time` are converted there. They
    read annotations from source, without importing anything: write `Annotated` and `Doc` by these names, with literals.

    Args:
        text: what it is.
        unit: `time`, `1/time`, `length`, `1/length`, `energy`, `kT`, ...; None for numbers without one.
    """

    text: str
    unit: str | None = None
