"""Names that a package offers, whose modules are imported when they are first asked for (PEP 562).

`import asediff` and the command line stay quick this way: torch, numba, SciPy, ASE and matplotlib take seconds.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A package in which an object keeps a name that it shares with the module that defines it.

    Importing `asediff.simulate` binds the module to that name in `asediff`, over the function `simulate`.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and vars(self)["_home"].get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)


def lazy(package: str, exports: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package that imports nothing by itself.

    Args:
        package: its name.
        exports: module -> names that the package offers from it, with blanks between. Submodules are offered as well.
    """
    home = {name: module for module, names in exports.items() for name in names.split()}
    here = sys.modules[package]
    vars(here)["_home"] = home
    here.__class__ = _Package

    def get(name: str) -> Any:
        if name in home:
            value = getattr(importlib.import_module(home[name]), name)
            setattr(here, name, value)
            return value
        if not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}") is not None:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(here), *home})

    return get, names
