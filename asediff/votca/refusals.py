"""Why a file cannot be used: every reason together, grouped, in one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, auto

from asediff.tabular.rows import VotcaError

MAX_SHOWN = 20
"""Places, owners or values of one reason that are written out; the others are counted."""
MAX_LENGTH = 200
"""Characters of one place that are written out."""
MAX_VALUE = 40
"""Characters of one value that are written out."""


class Kind(IntEnum):
    """What a reason is about; reasons are listed in this order."""

    METHOD = auto()
    PROGRAM = auto()
    BONDED = auto()
    OPTION = auto()
    VALUE = auto()
    MISSING = auto()
    FILE = auto()


@dataclass
class _Place:
    """One option, with the interactions that have it and the values they give."""

    owners: dict[str, None] = field(default_factory=dict)
    values: dict[str, None] = field(default_factory=dict)

    def parts(self, path: str) -> tuple[str, str]:
        """The section, with its interactions, and the option in it, with its values."""
        owners = _shown((_clipped(owner, MAX_VALUE) for owner in self.owners), ", ")
        values = _shown((f"'{_clipped(value, MAX_VALUE)}'" for value in self.values), " | ")
        section, option = path.rsplit(".", 1) if path.startswith("cg.") else ("", path)
        names = [_clipped(name, MAX_LENGTH).replace("[]", f"[{owners}]", 1) for name in (section, option)]
        return names[0], names[1] + (f" = {values}" if values else "")


class Refusals:
    """Reasons against a file, collected while it is read and said at once.

    Args:
        file: name of the file, for the message.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._groups: dict[tuple[Kind, str], dict[str, _Place]] = {}

    def has(self, kind: Kind) -> bool:
        """Whether there is a reason of a kind."""
        return any(found is kind for found, _ in self._groups)

    def add(self, kind: Kind, place: str, reason: str = "", *, value: str | None = None, owner: str = "") -> None:
        """Add a reason; places with the same reason are named together.

        Args:
            kind: sets the order.
            place: the option; ``[]`` in it stands for the owner.
            reason: follows "is" or "are", or the place itself when it starts with a colon; empty when `place` says all.
            value: what the file gives.
            owner: the interaction.
        """
        entry = self._groups.setdefault((kind, reason), {}).setdefault(place, _Place())
        if owner:
            entry.owners[owner] = None
        if value is not None:
            entry.values[value] = None

    def reasons(self) -> list[str]:
        """The reasons, the method first."""
        result: list[str] = []
        for (_, reason), places in sorted(self._groups.items(), key=lambda group: group[0][0]):
            if not reason:
                result += [_clipped(path, MAX_LENGTH) for path in places]
                continue
            several = len(places) > 1 or any(len(place.owners) > 1 for place in places.values())
            verb = "" if reason.startswith(":") else " are " if several else " is "
            result.append(_named(places) + verb + reason)
        return result

    def check(self) -> None:
        """Raise when there is any reason.

        Raises:
            VotcaError: one line with the file and all reasons, numbered when there are several.
        """
        reasons = self.reasons()
        if len(reasons) == 1:
            raise VotcaError(f"{self.file}: {reasons[0]}")
        if reasons:
            numbered = "; ".join(f"({k}) {reason}" for k, reason in enumerate(reasons, start=1))
            raise VotcaError(f"{self.file}: {len(reasons)} reasons: {numbered}")


def _named(places: dict[str, _Place]) -> str:
    """Places, those of one section as ``section.{first, second}``."""
    sections: dict[str, list[str]] = {}
    for path, place in places.items():
        section, option = place.parts(path)
        sections.setdefault(section, []).append(option)
    texts = []
    for section, options in sections.items():
        inside = _shown(options, ", ")
        if not section:
            texts.append(inside)
        else:
            texts.append(f"{section}.{{{inside}}}" if len(options) > 1 else f"{section}.{inside}")
    return _shown(texts, ", ")


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _shown(texts: Iterable[str], separator: str) -> str:
    every = list(texts)
    more = len(every) - MAX_SHOWN
    return separator.join(every[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")
