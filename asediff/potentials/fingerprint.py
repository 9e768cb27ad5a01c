"""Telling whether a potential is still the one that a result was computed with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_OF_TORCH = frozenset(nn.Module().__dict__)


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The values of all that a module computes with: parameters, buffers and the attributes of it and its parts.

    Values are compared, not version counters, which changes through `.data` and numpy views bypass. Attributes other
    than tensors and arrays count as changed when something unequal stands there; what is changed inside a list or a
    dictionary is not seen.

    Attributes:
        values: name -> copy of the value.
    """

    values: dict[str, Any]

    @classmethod
    def of(cls, module: nn.Module) -> Fingerprint:
        """Copy the values of a module."""
        return cls({name: _copied(value) for name, value in _values(module)})

    def fits(self, module: nn.Module) -> bool:
        """Whether a module has the same values."""
        names = 0
        for name, value in _values(module):
            names += 1
            if name not in self.values or not _same(self.values[name], value):
                return False
        return names == len(self.values)


def _values(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for path, part in module.named_modules():
        yield f"{path}:", type(part)
        for name, tensor in (*part._parameters.items(), *part._buffers.items()):
            yield f"{path}:{name}", tensor
        for name, value in part.__dict__.items():
            if name not in _OF_TORCH:
                yield f"{path}.{name}", value


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def _same(known: Any, value: Any) -> bool:
    if known is value:
        return not isinstance(value, Tensor | np.ndarray)
    if type(known) is not type(value) and not isinstance(value, Tensor):
        return False
    if isinstance(value, Tensor):
        alike = isinstance(known, Tensor) and known.shape == value.shape and known.dtype == value.dtype
        return alike and known.device == value.device and torch.equal(known, value.detach())
    if isinstance(value, np.ndarray):
        return known.shape == value.shape and known.dtype == value.dtype and bool((known == value).all())
    try:
        return bool(known == value)
    except (ArithmeticError, RuntimeError, TypeError, ValueError):  # something that does not compare
        return False
