"""Save potentials to a file and load them: structure as plain data, trained values as tensors, no pickled code.

Of a potential that is made of asediff's own parts the file says all. Of any other it holds the class's name and the
trained values, which are loaded into an object that the reader has made.
"""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import torch
from torch import Tensor

from asediff.host.files import write_whole
from asediff.potentials.base import Potential, SumPotential
from asediff.potentials.pair import PairPotential
from asediff.potentials.radial import Radial, Sum
from asediff.potentials.truncation import Truncation

FORMAT = 1
VALUES_OF = "values of"
"""Key of the class whose values a file holds, where it is not asediff's own."""
T = TypeVar("T")
P = TypeVar("P", bound=Potential)


def _kinds(base: Any) -> dict[str, Any]:
    """The classes of asediff that a file can name, of a base: those with a `kind`."""
    below = [base, *(cls for child in base.__subclasses__() for cls in _kinds(child).values())]
    return {cls.__name__: cls for cls in below if "kind" in vars(cls) and cls.__module__.startswith("asediff.")}


def _describe(radial: Radial) -> dict[str, Any] | None:
    """A radial function as plain data; None when it is not asediff's own."""
    if type(radial) is Sum:
        terms = [_describe(term) for term in radial.config()["terms"]]
        return None if None in terms else {"kind": "Sum", "terms": terms}
    if _kinds(Radial).get(type(radial).__name__) is not type(radial):
        return None
    config = {k: _describe(v) if isinstance(v, Radial) else v for k, v in radial.config().items()}
    return None if None in config.values() else {"kind": type(radial).__name__, **config}


def _build(description: dict[str, Any]) -> Radial:
    arguments: dict[str, Any] = {
        k: _build(v) if isinstance(v, dict) else v for k, v in description.items() if k != "kind"
    }
    if description["kind"] == "Sum":
        return Sum(*(_build(term) for term in arguments["terms"]))
    if "dtype" in arguments:
        arguments["dtype"] = getattr(torch, arguments["dtype"])
    return _known("radial function", _kinds(Radial), description["kind"])(**arguments)


def _known(what: str, classes: dict[str, type[T]], kind: str) -> type[T]:
    if kind not in classes:
        raise ValueError(f"the {what} {kind!r} is unknown to this version, which has {', '.join(classes)}")
    return classes[kind]


def describe_potential(potential: Potential) -> dict[str, Any]:
    """The potential as plain data and tensors, from which `build_potential` makes an equal one.

    Raises:
        ValueError: its state dict holds something else than tensors, which a file would lose.
    """
    own = _describe_own(potential)
    return {"format": FORMAT, **(_describe_values(potential) if own is None else own)}


def _describe_own(potential: Potential) -> dict[str, Any] | None:
    """A potential with all its structure; None when a part of it, or the energy of it, is not asediff's own."""
    if type(potential) is SumPotential:
        terms = [_describe_own(cast(Potential, term)) for term in potential.terms]
        return None if None in terms else {"kind": "SumPotential", "terms": terms}
    if type(potential) is not PairPotential or not potential.is_pairwise:
        return None
    truncation = potential.truncation
    radials = {name: _describe(radial) for name, radial in potential.radials.items()}  # type: ignore[arg-type]
    if None in radials.values() or _kinds(Truncation).get(type(truncation).__name__) is not type(truncation):
        return None
    return {
        "radial": radials,
        "cutoff": potential.cutoff,
        "truncation": {"kind": type(truncation).__name__, **vars(truncation)},
        "core": potential.core,
        "n_knots": potential.n_knots,
        "state": {name: value.detach().clone() for name, value in potential.state_dict().items()},
    }


def _describe_values(potential: Potential) -> dict[str, Any]:
    """The name of a potential's class, and its trained values."""
    state: dict[str, Any] = dict(potential.state_dict())
    other = next((name for name, value in state.items() if not isinstance(value, Tensor)), None)
    if other is not None:
        raise ValueError(f"potential: {other} of its state dict is no tensor, which a file loses; make it a buffer")
    return {
        VALUES_OF: _name(potential),
        "cutoff": potential.cutoff,
        "knots": [part.n_knots for part in potential.tabulated()],
        "state": {name: value.detach().clone() for name, value in state.items()},
    }


def _name(potential: Potential) -> str:
    """Module and class; of a sum those of its terms."""
    if type(potential) is SumPotential:
        return " + ".join(_name(cast(Potential, term)) for term in potential.terms)
    return f"{type(potential).__module__}.{type(potential).__qualname__}"


def build_potential(description: dict[str, Any], into: Potential | None = None) -> Potential:
    """The potential that `describe_potential` described.

    Args:
        description: of the potential.
        into: a copy of it takes the values of one that is not made of asediff's own parts.

    Raises:
        ValueError: it does not describe one, or one that is not made of asediff's own parts without `into`.
    """
    if into is not None and VALUES_OF in description:
        return _filled(copy.deepcopy(into), description)
    try:
        return _built(description)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{type(error).__name__}: {reason}") from error


def _built(description: dict[str, Any]) -> Potential:
    if VALUES_OF in description:
        raise ValueError(f"it holds the values of a {description[VALUES_OF]}, which is not asediff's own")
    if description.get("kind") == "SumPotential":
        return SumPotential(*(_built(term) for term in description["terms"]))
    radials = {name: _build(radial) for name, radial in description["radial"].items()}
    kind = description["truncation"]["kind"]
    truncation = _known("truncation", _kinds(Truncation), kind)(
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


def _filled(into: P, saved: dict[str, Any]) -> P:
    """An object with the values of a description put into it.

    Raises:
        ValueError: it is of another class, cutoff or size.
    """
    # without modules, since a script that is run calls its own classes __main__'s
    known, given = ([n.rpartition(".")[2] for n in name.split(" + ")] for name in (saved[VALUES_OF], _name(into)))
    if known != given:
        raise ValueError(f"into: a {_name(into)}, and the file holds a {saved[VALUES_OF]}; give one of that class")
    held, own = (
        {"cutoff": cutoff, **{name: (value.dtype, *value.shape) for name, value in state.items()}}
        for cutoff, state in ((saved["cutoff"], saved["state"]), (into.cutoff, into.state_dict()))
    )
    other = next((name for name in {**held, **own} if held.get(name) != own.get(name)), None)
    if other is not None:
        raise ValueError(
            f"into: its {other} is {own.get(other)} and that of the file {held.get(other)}; make it with the arguments "
            "of the one that was saved"
        )
    into.load_state_dict(saved["state"])
    for part, knots in zip(into.tabulated(), saved["knots"], strict=True):
        part.n_knots = knots
    return into


def save_potential(potential: Potential, path: str | Path) -> None:
    """Write a potential, with its trained values, to a file; an older file is replaced in one step.

    Raises:
        ValueError: its state dict holds something else than tensors; nothing is written.
        FileError: the system refused; an older file is as it was.
    """
    write_whole(path, encoded(describe_potential(potential)))


@overload
def load_potential(path: str | Path) -> Potential: ...
@overload
def load_potential(path: str | Path, *, into: P) -> P: ...
def load_potential(path: str | Path, *, into: Potential | None = None) -> Potential:
    """Read a potential written by `save_potential`; no code from the file is run or imported.

    Args:
        path: of the file.
        into: an object of the class that was saved, made with the same arguments, which takes the saved values and is
            returned. Potentials that are not made of asediff's own parts need one.

    Raises:
        ValueError: the file is missing, is not a saved potential, or is one that needs `into`, or another.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"path: {path} does not exist; give a file written by save_potential")
    description = decoded(path)
    if description is None:
        raise ValueError(f"path: {path} is not a saved potential; give a file written by save_potential")
    if description.get("format") != FORMAT:
        raise ValueError(f"path: {path} is not a saved potential of format {FORMAT}; save it again with this version")
    if into is None and VALUES_OF in description:
        raise ValueError(
            f"into: missing; {path} holds the values of a {description[VALUES_OF]}, which is not asediff's own; make "
            "one and give it as load_potential(path, into=...)"
        )
    try:
        saved = description if VALUES_OF in description else build_potential(description)
    except ValueError as error:
        raise ValueError(
            f"path: {path} is no potential that this version can use ({error}); give a file that it has written"
        ) from error
    if isinstance(saved, Potential):
        return saved if into is None else _filled(into, _describe_values(saved))
    return _filled(cast(Potential, into), saved)


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
