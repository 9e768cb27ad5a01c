"""How the signature of a Python class becomes a section of the configuration: same names, same defaults, same words."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from asediff.app.config.signatures import signature


class Settings(BaseModel):
    """A section of the configuration: unknown keys, wrong types and infinite numbers are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

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
        path: of the class, such as `asediff.targets.losses.L2`.
        makes: the class.
    """

    path: ClassVar[str]
    makes: ClassVar[Any] = _Made()

    def arguments(self) -> dict[str, Any]:
        """The keys and values, without `kind`."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "kind"}


def constructor(path: str, kind: str, *, omit: Sequence[str] = (), **replaced: tuple[Any, Any]) -> type[Constructor]:
    """Make the section that holds the arguments of a class.

    Args:
        path: of the class, such as `asediff.targets.losses.L2`; it has annotated arguments and an `Args` section.
        kind: value of `kind` that chooses it.
        omit: arguments that the configuration does not offer.
        replaced: name -> (type, default) where plain data stands for an object, or a default is found automatically.
    """
    described = signature(path)
    fields: dict[str, Any] = {"kind": (Literal[kind], kind)}
    for argument in described.arguments:
        if argument.name in omit:
            continue
        annotation, default = replaced.get(argument.name) or (argument.type, argument.default)
        text = described.texts.get(argument.name)
        made = (
            Field(default_factory=default, description=text)
            if inspect.isclass(default)
            else Field(default=default, description=text)
        )
        fields[argument.name] = (annotation, made)
    name = f"{path.rpartition('.')[2]}Settings"
    model = create_model(name, __base__=Constructor, __doc__=described.summary, **fields)
    model.path = path
    return model
