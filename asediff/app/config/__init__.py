"""YAML configurations whose keys are the arguments of the Python objects."""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff.app.config.build import Plan, plan, relocated
    from asediff.app.config.errors import ConfigError
    from asediff.app.config.load import json_schema, override, parse, to_yaml
    from asediff.app.config.models import Config
    from asediff.app.config.resolve import resolve
    from asediff.app.config.yaml_files import read_yaml

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
        "asediff.app.config.build": "Plan plan relocated",
        "asediff.app.config.errors": "ConfigError",
        "asediff.app.config.load": "json_schema override parse to_yaml",
        "asediff.app.config.models": "Config",
        "asediff.app.config.resolve": "resolve",
        "asediff.app.config.yaml_files": "read_yaml",
    },
)
