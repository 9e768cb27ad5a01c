"""The `asediff` command."""

from asediff.cli.main import main

__all__ = ["main"]
