"""Where there is no GPU, Triton kernels run in its interpreter; that must be said before triton is imported."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def _call_without_patching_again() -> None:
    """Let the interpreter prepare `triton.language` once per kernel instead of at each call of a device function.

    Preparing takes longer than all arithmetic of these tests. What a kernel prepared holds until it ends, and what
    functions of the standard library prepare is never undone.
    """
    from triton import language
    from triton.runtime import interpreter

    prepared: set[int] = set()

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        names = self.fn.__globals__
        if id(names) not in prepared and not any(value is language for value in names.values()):
            interpreter._patch_lang(self.fn)
            prepared.add(id(names))
        return self.rewrite()(*args, **kwargs)

    if hasattr(interpreter, "_patch_lang"):
        interpreter.InterpretedFunction.__call__ = call


if os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None:
    _call_without_patching_again()
