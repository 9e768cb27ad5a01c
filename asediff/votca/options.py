"""Reading XML options by path: each is converted and checked, and what is wrong with it is collected."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

from asediff.tabular.rows import VotcaError
from asediff.votca.refusals import Kind, Refusals

T = TypeVar("T")

MAX_BYTES = 1 << 20
"""Size of an XML file that is read; the largest of VOTCA's tutorials has 6 kB."""
MAX_DEPTH = 32
"""Levels of tags inside each other that are read."""


class _Builder(ElementTree.TreeBuilder):
    """Builds the tree; refuses what can blow up a small file: entities, which need a DOCTYPE, and endless nesting."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file, self.depth = file, 0

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Called at the start of a DOCTYPE, before any entity is expanded."""
        del pubid, system
        raise VotcaError(f"{self.file}: <!DOCTYPE {name[:40]}> is not supported; remove it, and write entities out")

    def start(self, tag: str, attrs: dict[str, str], /) -> ElementTree.Element:
        """Open an element."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise VotcaError(f"{self.file}: tags lie more than {MAX_DEPTH} levels deep; close them earlier")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        """Close an element."""
        self.depth -= 1
        return super().end(tag)


def parse_xml(path: Path) -> ElementTree.Element:
    """Return the root element of an XML file of at most `MAX_BYTES` and `MAX_DEPTH`, without a DOCTYPE.

    Raises:
        VotcaError: the file does not exist, cannot be read, is too large, too deep or not well formed (with line
            and column), or defines entities.
    """
    if path.is_dir():
        raise VotcaError(f"{path}: is a folder; give the XML file in it")
    if not path.is_file():
        raise VotcaError(f"{path}: no such file")
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise VotcaError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if len(content) > MAX_BYTES:
        raise VotcaError(f"{path.name}: is larger than {MAX_BYTES} bytes; is this a settings or mapping file?")
    parser = ElementTree.XMLParser(target=_Builder(path.name))
    try:
        parser.feed(content)
        root: ElementTree.Element = parser.close()
    except ElementTree.ParseError as error:
        raise VotcaError(f"{path.name}: not well-formed XML ({error}); check the tags on that line") from None
    except VotcaError:
        raise
    except (ValueError, LookupError) as error:
        raise VotcaError(f"{path.name}: encoding not supported ({error}); save it as UTF-8") from None
    return root


class Options:
    """Leaf options below one XML element, taken one by one.

    What is wrong goes to `refusals`, and reading goes on with a placeholder: NaN, an empty text, or the default.

    Args:
        element: the element.
        prefix: its path, for messages; ``[]`` in it stands for `owner`.
        refusals: collects what is wrong.
        owner: the interaction, for messages.
        skip: child tags that are read elsewhere.
    """

    def __init__(
        self,
        element: ElementTree.Element,
        prefix: str,
        refusals: Refusals,
        *,
        owner: str = "",
        skip: Iterable[str] = (),
    ) -> None:
        self.prefix, self.refusals, self.owner = prefix, refusals, owner
        self.values: dict[str, str] = {}
        for child in element:
            if child.tag not in skip:
                self._collect(child, child.tag)

    def _collect(self, element: ElementTree.Element, path: str) -> None:
        parts = [element.text, *(child.tail for child in element)]
        value = " ".join(" ".join(part or "" for part in parts).split())
        for child in element:
            self._collect(child, f"{path}.{child.tag}")
        if len(element) and not value:
            return
        if self.values.setdefault(path, value) != value:
            values = f"{self.values[path]}, {value}"
            self.refuse(path, "given twice with different values; remove one", values)

    def refuse(self, path: str, reason: str, value: str | None = None, kind: Kind = Kind.VALUE) -> None:
        """Collect what is wrong with an option; see `Refusals.add`."""
        self.refusals.add(kind, f"{self.prefix}.{path}", reason, value=value, owner=self.owner)

    def text(self, path: str, default: str | None = None) -> str | None:
        """Take an option as text; an empty one counts as absent."""
        return self.values.pop(path, "") or default

    def required(self, path: str) -> str:
        """Take an option that must be there; empty when it is not."""
        value = self.text(path)
        if value is None:
            self.refuse(path, "missing; give a value", kind=Kind.MISSING)
        return value or ""

    def number(self, path: str, default: float | None = None, *, above: float = -math.inf) -> float:
        """Take a number larger than `above`; without a default it must be there. NaN when it is wrong."""
        value = self.optional_number(path, above=above)
        if value is None and default is None:
            self.required(path)
        return value if value is not None else math.nan if default is None else default

    def optional_number(self, path: str, default: None = None, *, above: float = -math.inf) -> float | None:
        """Take a number larger than `above`, or None where there is none. NaN when it is wrong."""
        text = self.text(path)
        if text is None:
            return default
        value = self._converted(path, text, _finite, "a number; give a finite one", math.nan)
        if value <= above:
            self.refuse(path, f"too small; give more than {above:g}", text)
            return math.nan
        return value

    def integer(self, path: str, default: int | None = None, *, least: int) -> int:
        """Take a whole number of `least` or more; without a default it must be there. `least` when it is wrong."""
        text = self.text(path) if default is not None else self.required(path)
        if not text:
            return least if default is None else default
        value = self._converted(path, text, _whole, "a whole number", least)
        if value < least:
            self.refuse(path, f"too small; give at least {least}", text)
        return value

    def numbers(self, path: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """Take a list of numbers, NaN for those that are wrong."""
        words = self.words(path)
        return tuple(self._converted(path, word, _finite, "a finite number", math.nan) for word in words) or default

    def cycle(self, path: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Take a list of 0 and 1, one for each iteration in turn."""
        words = self.words(path)
        if any(word not in ("0", "1") for word in words):
            self.refuse(path, "not a list of 0 (skip) and 1 (do)", " ".join(words))
            return default
        return tuple(int(word) for word in words) or default

    def words(self, path: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Take a list of words."""
        value = self.text(path)
        return tuple(value.split()) if value else default

    def choice(
        self, path: str, default: str | None = None, *, allowed: tuple[str, ...], kind: Kind = Kind.VALUE
    ) -> str:
        """Take one of several words, as it is given even when it is wrong; without a default it must be there."""
        value = self.text(path, default)
        if value is None:
            self.refuse(path, f"missing; give {' or '.join(allowed)}", kind=kind)
        elif value not in allowed:
            self.refuse(path, f"not supported; use {' or '.join(allowed)}", value, kind)
        return value or ""

    def _converted(self, path: str, value: str, convert: Callable[[str], T], expected: str, otherwise: T) -> T:
        try:
            return convert(value)
        except ValueError:
            self.refuse(path, f"not {expected}", value)
            return otherwise

    def refuse_rest(self, reasons: Mapping[str, str]) -> None:
        """Refuse what was not taken; `reasons` gives a text for the options below a path."""
        for path, value in self.values.items():
            if value:
                known = (reason for start, reason in reasons.items() if path == start or path.startswith(start + "."))
                reason = next(known, "unknown to asediff; check the spelling or remove")
                self.refuse(path, reason, value, Kind.OPTION)


def _finite(text: str) -> float:
    """A finite number; ``1_0``, which Python reads as 10, is none."""
    value = float(text)
    if not math.isfinite(value) or "_" in text:
        raise ValueError(text)
    return value


def _whole(text: str) -> int:
    if "_" in text:
        raise ValueError(text)
    return int(text)
