"""Reading XML options by path: each is converted, checked, or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

from asediff.votca.tables import VotcaError

T = TypeVar("T")


def parse_xml(path: Path) -> ElementTree.Element:
    """Return the root element of an XML file.

    Raises:
        VotcaError: the file does not exist or is not well formed (with line and column).
    """
    if not path.is_file():
        raise VotcaError(f"{path}: no such file")
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise VotcaError(f"{path.name}: not well-formed XML ({error}); check the tags on that line") from None


class Options:
    """Leaf options below one XML element, taken one by one; what is left over is refused.

    Args:
        element: the element.
        prefix: its path, for messages.
        file: file name, for messages.
        skip: child tags that are read elsewhere.
    """

    def __init__(self, element: ElementTree.Element, prefix: str, file: str, skip: Iterable[str] = ()) -> None:
        self.prefix, self.file = prefix, file
        self.values: dict[str, str] = {}
        for child in element:
            if child.tag not in skip:
                self._collect(child, child.tag)

    def _collect(self, element: ElementTree.Element, path: str) -> None:
        children = list(element)
        if children:
            if (element.text or "").strip():
                raise VotcaError(f"{self.file}: {self.prefix}.{path} has both a value and options below it; remove one")
            for child in children:
                self._collect(child, f"{path}.{child.tag}")
            return
        if path in self.values:
            raise VotcaError(f"{self.file}: {self.prefix}.{path} is given twice; remove one")
        self.values[path] = " ".join((element.text or "").split())

    def error(self, path: str, text: str) -> VotcaError:
        """Return the error of one option."""
        return VotcaError(f"{self.file}: {self.prefix}.{path} {text}")

    def text(self, path: str) -> str | None:
        """Take an option as text; an empty one counts as absent."""
        return self.values.pop(path, "") or None

    def required(self, path: str) -> str:
        """Take an option that must be there."""
        value = self.text(path)
        if value is None:
            raise self.error(path, "is missing; add it")
        return value

    def number(self, path: str, default: float | None = None) -> float:
        """Take an option as a number; without a default it must be there."""
        value = self.optional_number(path)
        if value is not None:
            return value
        return float(self.required(path)) if default is None else default

    def optional_number(self, path: str) -> float | None:
        """Take an option as a number, or None."""
        value = self.text(path)
        return None if value is None else self._converted(path, value, float, "a number")

    def integer(self, path: str, default: int | None = None) -> int:
        """Take an option as a whole number; without a default it must be there."""
        value = self.text(path) if default is not None else self.required(path)
        return default or 0 if value is None else self._converted(path, value, int, "a whole number")

    def numbers(self, path: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """Take a list of numbers."""
        words = self.words(path)
        return tuple(self._converted(path, word, float, "a list of numbers") for word in words) or default

    def cycle(self, path: str) -> tuple[int, ...]:
        """Take a list of 0 and 1, one for each iteration in turn; default is always 1."""
        words = self.words(path, ("1",))
        if any(word not in ("0", "1") for word in words):
            raise self.error(path, f"= '{' '.join(words)}' is not a list of 0 (skip) and 1 (do)")
        return tuple(int(word) for word in words)

    def words(self, path: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Take a list of words."""
        value = self.text(path)
        return tuple(value.split()) if value else default

    def choice(self, path: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """Take one of several words; without a default it must be there."""
        value = self.required(path) if default is None else self.text(path) or default
        if value not in allowed:
            raise self.error(path, f"= '{value}' is not supported; use {' or '.join(allowed)}")
        return value

    def _converted(self, path: str, value: str, convert: Callable[[str], T], expected: str) -> T:
        try:
            return convert(value)
        except ValueError:
            raise self.error(path, f"= '{value}' is not {expected}") from None

    def refuse_rest(self, reasons: dict[str, str]) -> None:
        """Refuse what was not taken; `reasons` gives a text for the options below a path.

        Raises:
            VotcaError: naming the first option left.
        """
        for path, value in self.values.items():
            if not value:
                continue
            for start, reason in reasons.items():
                if path == start or path.startswith(start + "."):
                    raise self.error(path, f"is not supported: {reason}")
            raise self.error(path, "is not a known option; check its spelling or remove it")
