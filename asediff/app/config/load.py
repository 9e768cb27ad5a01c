"""Reading a configuration: YAML, overrides from the command line, and one-line errors that name the path."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from asediff.app.config.errors import ConfigError
from asediff.app.config.models import Config
from asediff.app.config.schema import Settings
from asediff.app.config.yaml_files import DEEPEST, dump_yaml, parse_yaml, read_yaml

Section = TypeVar("Section", bound=Settings)


def override(data: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A copy of the data with `path=value` assignments such as `method.epochs=200` or `state_points.0.kT=1.2`.

    Raises:
        ConfigError: an assignment is not of that form, or its path leads through something that has no keys.
    """
    result = _copied(data)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        option = f"--set {assignment if len(assignment) <= 60 else assignment[:57] + '...'}"
        *parents, last = path.strip().split(".")
        if not equals or not path.strip() or len(parents) >= DEEPEST:
            raise ConfigError(f"{option}: not an assignment; write for example --set method.epochs=200")
        try:
            value = parse_yaml(text)
        except yaml.MarkedYAMLError as error:
            raise ConfigError(f"{option}: not a YAML value ({error.problem}); quote it") from None
        except yaml.YAMLError:
            raise ConfigError(f"{option}: not a YAML value; quote it") from None
        node: Any = result
        for name in parents:
            node = _step(node, name, option)
        if isinstance(node, list):
            node[_index(node, last, option)] = value
        else:
            node[last] = value
    return result


def _step(node: Any, name: str, option: str) -> Any:
    if isinstance(node, list):
        child = node[_index(node, name, option)]
    else:
        if node.get(name) is None:
            node[name] = {}
        child = node[name]
    if not isinstance(child, dict | list):
        raise ConfigError(f"{option}: {name} is {_shown(child)} and has no keys; set it as a whole")
    return child


def _index(node: list[Any], name: str, option: str) -> int:
    """The item of a list that a part of a path names."""
    index = {str(k): k for k in range(len(node))}.get(name)
    if index is None:
        raise ConfigError(f"{option}: {name!r} is not an item of a list of {len(node)}; count from 0")
    return index


def parse(data: Mapping[str, Any], source: str = "configuration") -> Config:
    """Check a configuration against the schema.

    Raises:
        ConfigError: on the first key or value that is refused, with its path.
    """
    return parse_as(Config, data, source)


def parse_as(model: type[Section], data: Mapping[str, Any], source: str) -> Section:
    """Check data against the schema of any section; see `parse`."""
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(error, data, model)}") from None


def explain(error: ValidationError, data: Any, model: type[BaseModel] = Config) -> str:
    """The first thing that is wrong, in one line: path, reason, remedy."""
    # An unknown key explains a missing one (it was misspelt), so it comes first.
    problem = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    path = _path(problem["loc"], data)
    value = problem["input"]
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys_at(model, problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(known)}"
        return f"{path}: unknown key; {advice}"
    if kind == "missing":
        return f"{path}: missing; give it"
    if kind == "value_error":
        return f"{path}: {context['error']}" if path else str(context["error"])
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        given = f"{context['tag']!r} is unknown; " if "tag" in context else "kind is missing; "
        return f"{path}.kind: {given}choose one of {_tags(model, problem['loc'])}"
    if kind == "literal_error":
        return f"{path}: {_shown(value)} is not offered; choose {context['expected']}"
    if kind == "model_type":
        return f"{path}: {_shown(value)} is not a section; the keys are {', '.join(_keys_at(model, problem['loc']))}"
    if kind == "string_pattern_mismatch" and problem["loc"][-1] == "kind":
        return f"{path}: {value!r} is not accepted; write my_module:MyClass"
    if kind == "string_pattern_mismatch":
        return f"{path}: {value!r} is not accepted as a name; leave out what cannot be printed in one line"
    if kind == "too_short" and not value:
        return f"{path}: empty; give at least {context['min_length']}"
    reason = problem["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{path}: {_shown(value)} is not accepted; give {reason[0].lower()}{reason[1:]}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"a {type(value).__name__} that begins with {text[:40]}"


def to_yaml(config: Config) -> str:
    """The configuration as YAML, from which `parse` makes an equal one; keys that are left out by default stay so."""
    return dump_yaml(_filled(config))


def _filled(value: Any) -> Any:
    if isinstance(value, Settings):
        fields = type(value).model_fields
        return {
            name: _filled(getattr(value, name))
            for name in value.stated()
            if getattr(value, name) is not None or fields[name].get_default(call_default_factory=True) is not None
        }
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item) for item in value]
    return value


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _path(location: Sequence[int | str], data: Any) -> str:
    """Dotted path in the user's file: pydantic's location without the tags of its unions."""
    parts: list[str] = []
    for k, name in enumerate(location):
        known = range(len(data)) if isinstance(data, list) else data if isinstance(data, Mapping) else ()
        if name in known:
            data = data[name]
        elif k + 1 < len(location) or _is_tag(name) or not isinstance(data, Mapping | list):
            continue
        if isinstance(name, int) and parts:
            parts[-1] += f"[{name}]"
        else:
            parts.append(str(name))
    return ".".join(parts)


def _is_tag(name: int | str) -> bool:
    return isinstance(name, str) and (name.endswith("Settings") or "[" in name)


def _alternatives(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return [item for part in typing.get_args(annotation) for item in _alternatives(part)]
    return [annotation]


def _kind_of(annotation: Any) -> str | None:
    field = getattr(annotation, "model_fields", {}).get("kind")
    return field.default if field is not None else None


def _sections_at(model: Any, location: Sequence[int | str]) -> list[Any]:
    """The classes of sections that pydantic's location leads to."""
    here = [model]
    for name in location:
        found: list[Any] = []
        for item in here:
            if isinstance(item, type) and issubclass(item, BaseModel):
                if name in item.model_fields:
                    found += _alternatives(item.model_fields[str(name)].annotation)
                elif name in (_kind_of(item), item.__name__):
                    found.append(item)
            elif typing.get_origin(item) in (list, dict):
                found += _alternatives(typing.get_args(item)[-1])
        here = found or here
    return [item for item in here if isinstance(item, type) and issubclass(item, BaseModel)]


def _keys_at(model: Any, location: Sequence[int | str]) -> list[str]:
    return list(dict.fromkeys(name for item in _sections_at(model, location) for name in item.model_fields))


def _tags(model: Any, location: Sequence[int | str]) -> str:
    return ", ".join(kind for item in _sections_at(model, location) if (kind := _kind_of(item)) is not None)


def json_schema() -> dict[str, Any]:
    """JSON schema of the configuration, for editors."""
    return TypeAdapter(Config).json_schema()


__all__ = ["ConfigError", "explain", "json_schema", "override", "parse", "read_yaml", "to_yaml"]
