"""Classes of the user's own that a configuration names: in a file beside it, or in an installed module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asediff.app.config.errors import ConfigError

INPUTS = "inputs"
"""Where a result folder keeps the files of its configuration."""


def own_file(kind: str, base: Path) -> Path | None:
    """The file beside a configuration, or among its copied inputs, that a module's name stands for, if there is one.

    A kind without a colon is asediff's own and stands for no file, whatever is called like it.
    """
    if ":" not in kind:
        return None
    name = kind.partition(":")[0] + ".py"
    return next((folder / name for folder in (base, base / INPUTS) if (folder / name).is_file()), None)


def make_own(kind: str, arguments: Mapping[str, Any], base: Path, parent: type) -> Any:
    """The object that the user's section describes.

    Args:
        kind: such as `my_module:MyObservable`.
        arguments: of the class.
        base: folder of the configuration.
        parent: that the class has to inherit from.

    Raises:
        ValueError: no such module or class, one of another kind, or arguments that it does not take.
    """
    module, _, name = kind.partition(":")
    try:
        loaded = _module(module, own_file(kind, base))
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise ValueError(f"kind: {module} cannot be imported ({error}); install what it needs") from error
        where = f"{module}.py is not in {base}, nor is it installed" if "." not in module else "it is not installed"
        raise ValueError(f"kind: no module {module!r}; {where}; correct the name") from None
    except Exception as error:
        raise ValueError(f"kind: {module} cannot be imported ({type(error).__name__}: {error}); correct it") from error
    found = getattr(loaded, name, None)
    if found is None:
        raise ValueError(f"kind: no {name!r} in {loaded.__file__}; correct the name of the class")
    if not (isinstance(found, type) and issubclass(found, parent)):
        raise ValueError(f"kind: {name} of {loaded.__file__} is no {parent.__name__}; give a class derived from it")
    try:
        return found(**{key: _hashable(value) for key, value in arguments.items()})
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"arguments: {name} does not take {dict(arguments)} ({reason}); correct them") from error


@contextmanager
def own_fault(path: str, kind: str | None) -> Iterator[None]:
    """Tell what goes wrong in a class of the user's own as such.

    Raises:
        ConfigError: something in the class that `kind` names.
    """
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        if ":" not in (kind or ""):
            raise
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{path}: {kind} fails for the start structure ({reason}); correct the class") from error


def _hashable(value: Any) -> Any:
    """Lists as tuples: observables are keys of dictionaries."""
    return tuple(_hashable(item) for item in value) if isinstance(value, list) else value


def _module(name: str, file: Path | None) -> Any:
    if file is None:
        return importlib.import_module(name)
    known = sys.modules.get(name)
    if known is not None and not getattr(known, "_beside_a_configuration", False):
        raise ImportError(f"there is another module of this name, {getattr(known, '__file__', name)}; rename {file}")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    module._beside_a_configuration = True
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
