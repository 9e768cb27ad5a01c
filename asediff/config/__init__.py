"""YAML configurations whose keys are the arguments of the Python objects."""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff.config.build import Plan, plan, relocated
    from asediff.config.errors import ConfigError
    from asediff.config.load import json_schema, override, parse, to_yaml
    from asediff.config.models import Config
    from asediff.config.resolve import resolve
    from asediff.config.yaml_files import read_yaml

__all__ = [
    "Config",
    "ConfigError",
    "Plan",
    "json_schema",
    "override",
    "parse",
    "plan",
    "read_yaml",
    "relocated",
    "resolve",
    "to_yaml",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "asediff.config.build": "Plan plan relocated",
        "asediff.config.errors": "ConfigError",
        "asediff.config.load": "json_schema override parse to_yaml",
        "asediff.config.models": "Config",
        "asediff.config.resolve": "resolve",
        "asediff.config.yaml_files": "read_yaml",
    },
)
