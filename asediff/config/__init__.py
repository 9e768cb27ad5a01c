"""YAML configurations whose keys are the arguments of the Python objects."""

from asediff.config.build import Plan, plan, relocated
from asediff.config.load import ConfigError, json_schema, override, parse, read_yaml, to_yaml
from asediff.config.models import Config
from asediff.config.resolve import resolve

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
