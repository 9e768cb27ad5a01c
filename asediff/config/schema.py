"""How the signature of a Python class becomes a section of the configuration: same names, same defaults, same words."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model


class Settings(BaseModel):
    """A section of the configuration: unknown keys, wrong types and infinite numbers are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Constructor(Settings):
    """A section whose keys are the arguments of a class, chosen by `kind`.

    Attributes:
        makes: the class.
    """

    makes: ClassVar[Any] = None

    def arguments(self) -> dict[str, Any]:
        """The keys and values, without `kind`."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "kind"}


def constructor(cls: type, kind: str, *, omit: Sequence[str] = (), **replaced: tuple[Any, Any]) -> type[Constructor]:
    """Make the section that holds the arguments of a class.

    Args:
        cls: class with annotated arguments and an `Args` section in its docstring.
        kind: value of `kind` that chooses it.
        omit: arguments that the configuration does not offer.
        replaced: name -> (type, default) where plain data stands for an object, or a default is found automatically.
    """
    # a dataclass may inherit fields whose types its own module does not name
    hints = typing.get_type_hints(cls if dataclasses.is_dataclass(cls) else vars(cls)["__init__"])
    described = argument_texts(cls)
    fields: dict[str, Any] = {"kind": (Literal[kind], kind)}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in omit:
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        annotation = _plain(hints[name])
        if name in replaced:
            annotation, default = replaced[name]
        made = (
            Field(default_factory=default, description=described.get(name))
            if inspect.isclass(default)
            else Field(default=default, description=described.get(name))
        )
        fields[name] = (annotation, made)
    summary = (inspect.getdoc(cls) or "").split("\n\n")[0]
    model = create_model(f"{cls.__name__}Settings", __base__=Constructor, __doc__=summary, **fields)
    model.makes = cls
    return model


def argument_texts(cls: type) -> dict[str, str]:
    """Descriptions in the `Args` section of a docstring, inherited ones included, by argument name."""
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        section = re.search(r"^ *(?:Args|Attributes):\n((?: +.*\n?|\n)+)", inspect.cleandoc(owner.__doc__ or ""), re.M)
        if section is None:
            continue
        for entry in re.finditer(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1], re.M):
            text = " ".join(entry[2].split()).replace("time unit", "fs (lj: reduced time)")
            if not text.startswith("see `"):
                texts[entry[1]] = text
    return texts


def _plain(annotation: Any) -> Any:
    """The annotation with sequences as lists, which is what YAML gives."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return typing.Union[tuple(_plain(item) for item in inner)]  # noqa: UP007
    if isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str:
        return list[_plain(inner[0])]  # type: ignore[misc]
    return annotation
