"""Keys of stages: the same for the same work, another one after a change anywhere upstream."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from asediff.lammps.program import lammps_input
from asediff.workflow.stages.base import JSON, Stage

DIGITS = 12


def key_of(stage: Stage, settings: Mapping[str, JSON], parents: Mapping[str, Sequence[str]]) -> str:
    """The key of a stage.

    Args:
        stage: its kind.
        settings: with all defaults.
        parents: role -> keys.
    """
    content = {
        "kind": stage.kind,
        "settings": settings,
        "parents": {role: list(keys) for role, keys in parents.items()},
        "code": code_version(stage),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def code_version(stage: Stage) -> str:
    """asediff's version and a digest of the source text that decides the numbers of a stage."""
    return _version(stage.modules, stage.inputs)


@lru_cache
def _version(modules: tuple[str, ...], inputs: tuple[str, ...]) -> str:
    found = hashlib.sha256()
    for path in [*map(_source, modules), *map(lammps_input, inputs)]:
        found.update(path.read_bytes())
    return f"{metadata.version('asediff')} {found.hexdigest()}"


def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)
