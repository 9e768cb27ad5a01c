"""The error of a configuration, in one line, and where it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ConfigError(ValueError):
    """A configuration that cannot be used; one line with the path, the value, the reason and the remedy."""

    def __init__(self, message: str) -> None:
        # values may hold line breaks
        super().__init__(" ".join(message.split()))


@contextmanager
def at(path: str) -> Iterator[None]:
    """Put the path of the configuration before the message of an error."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
