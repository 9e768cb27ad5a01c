"""Save potentials to a file and load them: structure as plain data, trained values as tensors, no pickled code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from asediff.potentials.neural import NeuralRadial
from asediff.potentials.pair import PairPotential
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
_RADIALS: dict[str, type[Radial]] = {
    c.__name__: c for c in (LennardJones, ModifiedMorse, NeuralRadial, Repulsion, TabulatedRadial, TemperatureDependent)
}
_TRUNCATIONS: dict[str, type[Truncation]] = {c.__name__: c for c in (Truncated, Shifted, ForceShifted, Switched)}


def _describe(radial: Radial) -> dict[str, Any]:
    if isinstance(radial, Sum):
        return {"kind": "Sum", "terms": [_describe(term) for term in radial.config()["terms"]]}
    if type(radial).__name__ not in _RADIALS:
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
    return _RADIALS[description["kind"]](**arguments)


def describe_potential(potential: PairPotential) -> dict[str, Any]:
    """The potential as plain data and tensors, from which `build_potential` makes an equal one."""
    truncation = potential.truncation
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
    """The potential that `describe_potential` described."""
    radials = {name: _build(radial) for name, radial in description["radial"].items()}
    kind = description["truncation"]["kind"]
    truncation = _TRUNCATIONS[kind](**{k: v for k, v in description["truncation"].items() if k != "kind"})
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
    """Write a pair potential, with its trained values, to a file."""
    torch.save(describe_potential(potential), Path(path))


def load_potential(path: str | Path) -> PairPotential:
    """Read a pair potential written by `save_potential`.

    Raises:
        ValueError: the file is missing or is not a saved potential.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"path: {path} does not exist; give a file written by save_potential")
    try:
        description = torch.load(path, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"path: {path} is not a saved potential; give a file written by save_potential") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"path: {path} is not a saved potential of format {FORMAT}; save it again with this version")
    return build_potential(description)
