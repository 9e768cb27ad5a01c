"""YAML as configurations use it: numbers and booleans of YAML 1.2, every key once, and of bounded size.

A few lines of YAML can stand for billions of values (aliases of aliases), nest deeper than Python recurses or contain
themselves. The bounds here are far above any configuration, and are found while the text is read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from asediff.app.config.errors import ConfigError
from asediff.host.reading import read_text

LARGEST_FILE = 1_000_000
"""Bytes; a configuration with a thousand targets has half of them."""
MOST_VALUES = 30_000
"""Keys and values of a file, each alias counted as what it stands for."""
DEEPEST = 40
"""Sections within sections; asediff's own configurations need 8."""
LONGEST_NUMBER = 40
"""Digits of a whole number."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's idea of numbers and booleans: 1e-3 is a number, No is nobelium; a key occurs once."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if not tag.endswith((":bool", ":float", ":int", ":timestamp", ":value"))
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.values = 0
        self.depth = 0
        self.sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise _refused(f"the tag {event.tag!r} is not understood; write the value without a tag", event)
        before = self.values
        self.values += 1
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refused(f"sections are nested more than {DEEPEST} deep; a configuration needs 8", event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if node not in self.sizes:
                raise _refused(f"the alias *{event.anchor} stands for what contains it; write the value out", event)
            self.values += self.sizes[node]
        elif node is not None:
            self.sizes[node] = self.values - before
        if self.values > MOST_VALUES:
            raise _refused(f"more than {MOST_VALUES} values, aliases written out; a configuration has fewer", event)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused("a key is a list or a section; keys are words", key_node)
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise _refused(f"{key!r} occurs twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        if len(text) > LONGEST_NUMBER:
            raise _refused(f"a number of {len(text)} digits; give at most {LONGEST_NUMBER}, or write it as 1e-3", node)
        return int(text, 0) if text.startswith(("0x", "0o")) else int(text)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would take for a number."""


def _refused(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, where.start_mark)


_INT = re.compile(r"^(?:[-+]?\d+|0x[0-9a-fA-F]+|0o[0-7]+)$", re.ASCII)
_FLOAT = re.compile(
    r"^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", re.ASCII
)
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, "tTfF")
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:int", _INT, "-+0123456789")
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, "-+.0123456789")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds no mapping.
    """
    wanted = "a YAML configuration or a g(r) in two columns"
    try:
        data = parse_yaml(read_text(path, wanted, largest=LARGEST_FILE))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: {error.problem}; correct the line") from None
    except yaml.YAMLError:
        raise ConfigError(f"{path}: not a YAML text file; give a configuration, see `asediff schema`") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds no keys; give a configuration, see `asediff schema`")
    return data


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: it is not YAML, or beyond the bounds of this module.
    """
    return yaml.load(text, Loader=_Loader)


def dump_yaml(data: Any) -> str:
    """Plain data as YAML that `parse_yaml` reads back."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
