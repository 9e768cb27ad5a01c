"""The `asediff` command."""

from asediff.app.cli.main import main

__all__ = ["main"]
