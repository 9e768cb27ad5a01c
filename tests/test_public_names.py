"""The names of `asediff`: all there, in whatever order modules are imported, and nothing heavy before it is needed."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import asediff

NOT_CHOSEN = {
    "AsediffCalculator": "what an ASE script makes of the result",
    "Chain": "for methods that differentiate something else than molecular dynamics",
    "DiluteEngine": "no dynamics: the limit of zero density, for tests of methods",
    "Deviation": "a result",
    "FitResult": "a result",
    "InstabilityError": "an error",
    "Measurement": "a result",
    "PairTable": "what an export writes",
    "Ranks": "the processes that share a fit; the command line starts them itself (`--ranks`)",
    "Trajectory": "a result",
    "Topology": "part of a structure: bonds and exclusions come with its file",
    "VerifyReport": "a result",
    **dict.fromkeys(("Adjoint", "Engine", "Integrator", "Radial"), "an interface, whose classes are the kinds"),
    **dict.fromkeys(("Observable", "Potential"), "an interface; a class of one's own is module:Class"),
    **dict.fromkeys(("PairPotential", "StatePoint", "System", "Target"), "a section of its own, without kinds"),
    "TabulatedRadial": "kind tabulated says its grid in place of its values",
}
HEAVY = ("torch", "numba", "scipy", "ase", "matplotlib")


def fresh(code):
    """What a new interpreter prints at the end of a piece of code, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def for_type_checkers(package):
    """Module -> names, as the package's `if TYPE_CHECKING` block imports them."""
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {name.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names}


@pytest.mark.parametrize("package", ["asediff", "asediff.app.config"])
def test_what_type_checkers_see_is_what_is_there(package):
    package = importlib.import_module(package)
    seen = for_type_checkers(package)
    assert set(seen) == set(package.__all__)
    for name, module in seen.items():
        found = getattr(package, name)
        assert found is getattr(importlib.import_module(module), name), name
        assert name in dir(package)


def test_importing_asediff_imports_nothing_heavy():
    code = "import asediff, asediff.app.config, json, sys; print(json.dumps([m for m in sys.modules]))"
    assert not set(HEAVY) & set(fresh(code))


@pytest.mark.parametrize(
    "imports",
    [
        "from asediff import simulate",
        "from asediff.simulate import InstabilityError; from asediff import simulate",
        "import asediff.simulate; from asediff import simulate",
        "import asediff; asediff.simulate; import asediff.simulate; simulate = asediff.simulate",
        "import asediff.simulate as simulate",
        "from asediff import *",
    ],
)
def test_simulate_is_the_function_in_whatever_order_things_are_imported(imports):
    code = f"{imports}\nimport json; print(json.dumps(type(simulate).__name__))"
    assert fresh(code) == "function"


@pytest.mark.parametrize(
    "imports",
    [
        "from asediff.app.config import resolve",
        "from asediff.app.config.resolve import at; from asediff.app.config import resolve",
        "import asediff.app.config.build; from asediff.app.config import resolve",
    ],
)
def test_resolve_is_the_function_as_well(imports):
    assert fresh(f"{imports}\nimport json; print(json.dumps(type(resolve).__name__))") == "function"


def test_submodules_can_be_reached_as_attributes():
    code = "import asediff, json; print(json.dumps([asediff.lattices.__name__, asediff.observables.VACF.__name__]))"
    assert fresh(code) == ["asediff.lattices", "VACF"]


@pytest.mark.parametrize("name", ["nothing", "_nothing"])
def test_a_name_that_is_not_there_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module 'asediff' has no attribute '{name}'"):
        getattr(asediff, name)


def test_every_class_can_be_chosen_in_a_configuration_or_is_left_out_with_a_reason():
    from asediff.app.config import models
    from asediff.app.config.schema import Constructor

    assert models.Config
    chosen = {section.makes for section in Constructor.__subclasses__()}
    left_out = {name for name in asediff.__all__ if inspect.isclass(getattr(asediff, name))}
    left_out = {name for name in left_out if getattr(asediff, name) not in chosen}
    assert left_out == set(NOT_CHOSEN)
