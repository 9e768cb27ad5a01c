"""`asediff schema`: the JSON schema of the configuration."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_parser(commands: Any) -> None:
    """Describe the subcommand."""
    parser = commands.add_parser("schema", help="print the JSON schema of the configuration")
    parser.set_defaults(handler=handle)


def handle(_: argparse.Namespace) -> int:
    """Run the subcommand."""
    from asediff.app.config.load import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
