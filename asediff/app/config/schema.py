"""How the signature of a Python class becomes a section of the configuration: same names, same defaults, same words."""

from __future__ import annotations

import functools
import importlib
import inspect
import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model

from asediff.app.config.signatures import Argument, signature

UNITS = {"time": "fs (lj: reduced time)", "1/time": "1/fs (lj: reduced)"}
"""Units of configurations where they are not those of the classes."""
OWN = "module:Class"
"""Stands for a class of the user's own among the kinds."""


class Settings(BaseModel):
    """A section of the configuration: unknown keys, wrong types and infinite numbers are refused."""

    # built with the configuration that they are part of, not each by itself, which takes as long again
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)

    def stated(self) -> list[str]:
        """Names of the keys that mean something here."""
        return list(type(self).model_fields)


class _Made:
    """The class that a section describes, imported when it is asked for."""

    def __get__(self, section: Constructor | None, owner: type[Constructor]) -> Any:
        module, _, name = owner.path.rpartition(".")
        return getattr(importlib.import_module(module), name)


class Constructor(Settings):
    """A section whose keys are the arguments of a class, chosen by `kind`.

    Attributes:
        kind: of the class.
        path: of the class, such as `asediff.targets.losses.L2`.
        powers: of time in the arguments that have any: 1 or -1.
        makes: the class.
    """

    kind: str
    path: ClassVar[str]
    powers: ClassVar[dict[str, int]]
    makes: ClassVar[Any] = _Made()

    def arguments(self) -> dict[str, Any]:
        """The keys and values, without `kind`."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "kind"}

    def converted(self, time: float) -> dict[str, Any]:
        """Arguments of the class, with the objects that sections inside describe.

        Args:
            time: internal time of one unit of time here.
        """
        given = self.arguments()
        for name, value in given.items():
            if isinstance(value, Constructor):
                given[name] = value.made(time)
            elif isinstance(value, list):
                given[name] = tuple(value)
            elif name in self.powers and value is not None:
                given[name] = value * time ** self.powers[name]
        return given

    def made(self, time: float = 1.0, **instead: Any) -> Any:
        """The object, with other values instead of some of those given here."""
        return self.makes(**{**self.converted(time), **instead})


class Family(NamedTuple):
    """Sections of which one is chosen by its kind.

    Attributes:
        type: their union, for the field of a section.
        sections: all of them, the one that is meant where `kind` is left out first.
    """

    type: Any
    sections: list[Any]

    @property
    def first(self) -> Any:
        """The section that is meant where `kind` is left out."""
        return self.sections[0]


def family(
    *rows: str | type[Settings] | tuple[str, dict[str, Any]],
    omit: Sequence[str] = (),
    found: Sequence[str] = (),
    **families: Family,
) -> Family:
    """Make the sections of classes that stand for one another.

    Args:
        rows: paths of the classes, the default first; with defaults that differ from the class' own where needed. Or
            sections that are written by hand. Of two with one kind, the first.
        omit: arguments that another section says.
        found: arguments that are found automatically when they are left out, and None until then.
        families: argument -> sections, for arguments that are objects. Others that are no plain data are not offered.
    """
    sections: dict[str, Any] = {}
    for row in rows:
        path, defaults = row if isinstance(row, tuple) else (row, {})
        if not isinstance(path, str):
            sections[path.model_fields["kind"].default] = path
        elif (kind := signature(path).kind) not in sections:
            sections[kind] = _section(path, defaults, omit, found, families)
    return Family(choice(list(sections.values())), list(sections.values()))


def choice(sections: Sequence[Any], default: str | None = None) -> Any:
    """The union of sections, told apart by `kind`; `default` is meant where it is left out, the first one if None."""
    kinds = [str(section.model_fields["kind"].default) for section in sections]
    if len(kinds) == 1:
        return sections[0]

    def kind_of(data: Any) -> str:
        found = data.get("kind", default or kinds[0]) if isinstance(data, Mapping) else getattr(data, "kind", kinds[0])
        return OWN if OWN in kinds and ":" in str(found) else str(found)

    members = (Annotated[section, Tag(kind)] for kind, section in zip(kinds, sections, strict=True))
    return Annotated[functools.reduce(operator.or_, members), Discriminator(kind_of)]


def _section(
    path: str, defaults: Mapping[str, Any], omit: Sequence[str], found: Sequence[str], families: Mapping[str, Family]
) -> type[Constructor]:
    described = signature(path)
    fields: dict[str, Any] = {"kind": (Literal[described.kind], described.kind)}
    powers = {}
    for argument in described.arguments:
        if argument.name in omit:
            continue
        try:
            annotation, default = _field(argument, defaults, found, families)
        except (TypeError, ValueError):
            continue  # no plain data, nor a section that stands for it
        text = unit = None
        if argument.doc is not None:
            unit = argument.doc.unit
            text = argument.doc.text + (f"; in {UNITS.get(unit, unit)}" if unit is not None else "")
        if unit in UNITS:
            powers[argument.name] = -1 if unit == "1/time" else 1
        made = {"default_factory": default} if inspect.isclass(default) else {"default": default}
        fields[argument.name] = (annotation, Field(description=text, **made))
    name = f"{path.rpartition('.')[2]}Settings"
    model = create_model(name, __base__=Constructor, __doc__=described.summary, **fields)
    model.path, model.powers = path, powers
    return model


def _field(
    argument: Argument, defaults: Mapping[str, Any], found: Sequence[str], families: Mapping[str, Family]
) -> tuple[Any, Any]:
    """Type and default of an argument in a section.

    Raises:
        TypeError: it is no plain data.
        ValueError: its default is made by code.
    """
    if argument.name in families:
        chosen = families[argument.name]
        return (chosen.type | None if argument.optional else chosen.type), None if argument.absent else chosen.first
    if argument.name in found:
        return argument.type | None, None
    return argument.type, defaults.get(argument.name, argument.default)
