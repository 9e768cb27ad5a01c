"""Save potentials to a file and load them: structure as plain data, trained values as tensors, no pickled code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, TypeVar

import torch

from asediff.host.files import write_whole
from asediff.potentials.neural import NeuralRadial
from asediff.potentials.pair import PairPotential, check_pairwise
from asediff.potentials.radial import (
    LennardJones,
    ModifiedMorse,
    Radial,
    Repulsion,
    Sum,
    TabulatedRadial,
    TemperatureDependent,
)
from asediff.potentials.truncation import ForceShifted, Shifted, Switched, Truncated, Truncation

FORMAT = 1
T = TypeVar("T")
_RADIALS: dict[str, type[Radial]] = {
    c.__name__: c for c in (LennardJones, ModifiedMorse, NeuralRadial, Repulsion, TabulatedRadial, TemperatureDependent)
}
_TRUNCATIONS: dict[str, type[Truncation]] = {c.__name__: c for c in (Truncated, Shifted, ForceShifted, Switched)}


def _describe(radial: Radial) -> dict[str, Any]:
    if type(radial) is Sum:
        return {"kind": "Sum", "terms": [_describe(term) for term in radial.config()["terms"]]}
    if _RADIALS.get(type(radial).__name__) is not type(radial):
        raise ValueError(
            f"potential: {type(radial).__name__} is not one of asediff's radial functions; save its state dict"
        )
    config = {k: _describe(v) if isinstance(v, Radial) else v for k, v in radial.config().items()}
    return {"kind": type(radial).__name__, **config}


def _build(description: dict[str, Any]) -> Radial:
    arguments: dict[str, Any] = {
        k: _build(v) if isinstance(v, dict) else v for k, v in description.items() if k != "kind"
    }
    if description["kind"] == "Sum":
        return Sum(*(_build(term) for term in arguments["terms"]))
    if "dtype" in arguments:
        arguments["dtype"] = getattr(torch, arguments["dtype"])
    return _known("radial function", _RADIALS, description["kind"])(**arguments)


def _known(what: str, classes: dict[str, type[T]], kind: str) -> type[T]:
    if kind not in classes:
        raise ValueError(f"the {what} {kind!r} is unknown to this version, which has {', '.join(classes)}")
    return classes[kind]


def describe_potential(potential: PairPotential) -> dict[str, Any]:
    """The potential as plain data and tensors, from which `build_potential` makes an equal one.

    Raises:
        ValueError: a radial function, a truncation or an energy that is not asediff's own, which the file would lose.
    """
    check_pairwise(potential, "the file")
    truncation = potential.truncation
    if _TRUNCATIONS.get(type(truncation).__name__) is not type(truncation):
        raise ValueError(
            f"potential: {type(truncation).__name__} is not one of asediff's truncations; save its state dict"
        )
    return {
        "format": FORMAT,
        "radial": {name: _describe(radial) for name, radial in potential.radials.items()},  # type: ignore[arg-type]
        "cutoff": potential.cutoff,
        "truncation": {"kind": type(truncation).__name__, **vars(truncation)},
        "core": potential.core,
        "n_knots": potential.n_knots,
        "state": {name: value.detach().clone() for name, value in potential.state_dict().items()},
    }


def build_potential(description: dict[str, Any]) -> PairPotential:
    """The potential that `describe_potential` described.

    Raises:
        ValueError: it does not describe one.
    """
    try:
        return _built(description)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{type(error).__name__}: {reason}") from error


def _built(description: dict[str, Any]) -> PairPotential:
    radials = {name: _build(radial) for name, radial in description["radial"].items()}
    kind = description["truncation"]["kind"]
    truncation = _known("truncation", _TRUNCATIONS, kind)(
        **{k: v for k, v in description["truncation"].items() if k != "kind"}
    )
    potential = PairPotential(
        radials["all"] if "all" in radials else {tuple(name.split("-")): r for name, r in radials.items()},
        description["cutoff"],
        truncation=truncation,
        core=description["core"],
        n_knots=description["n_knots"],
    )
    potential.load_state_dict(description["state"])
    return potential


def save_potential(potential: PairPotential, path: str | Path) -> None:
    """Write a pair potential, with its trained values, to a file; an older file is replaced in one step.

    Raises:
        ValueError: it has parts that are not asediff's own; nothing is written.
        FileError: the system refused; an older file is as it was.
    """
    write_whole(path, encoded(describe_potential(potential)))


def load_potential(path: str | Path) -> PairPotential:
    """Read a pair potential written by `save_potential`.

    Raises:
        ValueError: the file is missing or is not a saved potential.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"path: {path} does not exist; give a file written by save_potential")
    description = decoded(path)
    if description is None:
        raise ValueError(f"path: {path} is not a saved potential; give a file written by save_potential")
    if description.get("format") != FORMAT:
        raise ValueError(f"path: {path} is not a saved potential of format {FORMAT}; save it again with this version")
    try:
        return build_potential(description)
    except ValueError as error:
        raise ValueError(
            f"path: {path} is no potential that this version can use ({error}); give a file that it has written"
        ) from error


def encoded(content: dict[str, Any]) -> bytes:
    """Plain data and tensors as the bytes of a file that `decoded` reads."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def decoded(path: Path) -> dict[str, Any] | None:
    """The dictionary in a file written with `encoded`; None where the file is cut short or of another kind.

    No code in the file is run, whatever it holds.
    """
    try:
        content = torch.load(path, weights_only=True)
    except Exception as error:  # torch names no end of types that a damaged file may raise
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return None
    return content if isinstance(content, dict) else None
