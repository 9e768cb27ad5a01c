"""Signatures read from source are those that Python finds when it imports the classes."""

import dataclasses
import functools
import inspect
import operator
import types
import typing
from collections.abc import Sequence

import pytest

import asediff
from asediff.app.config import models
from asediff.app.config.schema import Constructor
from asediff.app.config.sections import METHOD
from asediff.app.config.signatures import PAIR, REQUIRED, signature

SECTIONS = sorted(Constructor.__subclasses__(), key=lambda section: section.__name__)
assert models.Config


def as_plain(annotation):
    """The annotation with sequences as lists."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return functools.reduce(operator.or_, map(as_plain, inner))
    if annotation == tuple[str, str]:
        return PAIR
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return list[as_plain(inner[0])]
    return annotation


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_the_source_tells_what_inspection_tells(section):
    cls = section.makes
    read = signature(section.path)
    found = inspect.signature(cls).parameters
    assert [argument.name for argument in read.arguments] == list(found)
    hints = typing.get_type_hints(cls if dataclasses.is_dataclass(cls) else cls.__init__)
    offered = set(section.model_fields)
    for argument in read.arguments:
        parameter = found[argument.name]
        assert (argument.given is None) == (parameter.default is inspect.Parameter.empty)
        if argument.name not in offered:
            continue
        try:
            kind, default = argument.type, argument.default
        except (TypeError, ValueError):
            continue  # objects, for which the section has plain data
        assert kind == as_plain(hints[argument.name]), argument.name
        wanted = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
        assert default == (list(wanted) if isinstance(wanted, tuple) else wanted), argument.name
    assert read.kind == cls.kind
    assert read.summary == (inspect.getdoc(cls) or "").split("\n\n")[0]


def test_inherited_arguments_keep_their_order_and_words():
    read = signature("asediff.lammps.engine.LammpsEngine")
    assert [argument.name for argument in read.arguments][:3] == ["timestep", "steps", "save_every"]
    assert {a.name: a.doc.text for a in read.arguments if a.doc}["steps"] == "steps of the recorded run"
    assert {argument.name: argument.default for argument in signature("asediff.fitting.tables.ihnc.IHNC").arguments if
            argument.name == "growth"} == {"growth": 2.0}  # fmt: skip


def test_a_class_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"asediff\.targets\.losses\.L3 is no class of asediff"):
        signature("asediff.targets.losses.L3")


def test_a_default_may_be_the_name_of_a_constant():
    (keep,) = (a for a in signature("asediff.dynamics.adjoints.ReversibleAdjoint").arguments if a.name == "keep")
    assert keep.default == 128


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_described_and_times_are_converted(section):
    fields = {name: field for name, field in section.model_fields.items() if name != "kind"}
    assert all(field.description for field in fields.values())
    times = {"timestep", "tdamp", "spacing", "friction"} & set(fields)
    assert {name: section.powers[name] for name in times} == section.powers
    # a default of the class is in its own unit of time, not in that of configurations
    assert all(fields[name].default is None for name in times)


def test_a_unit_is_told_in_the_schema():
    assert METHOD.first.model_fields["timestep"].description.endswith("; in fs (lj: reduced time)")


def test_help_shows_the_words_about_an_argument():
    words = str(inspect.signature(asediff.DiffSim).parameters["epochs"])
    assert "number of updates" in words
