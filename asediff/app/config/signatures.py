"""Signatures of asediff's classes, read from their source, so that the schema needs neither torch nor numba.

The schema of the configuration is made of the arguments of these classes. Importing them takes seconds; a misspelt key
is found in a fraction of one this way.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from asediff.checks.described import Doc

ROOT = Path(__file__).resolve().parents[2]
REQUIRED: Any = ...
PAIR = Annotated[list[str], Field(min_length=2, max_length=2)]
_TYPES: dict[str, Any] = {"bool": bool, "float": float, "int": int, "str": str}


@dataclass(frozen=True, eq=False)
class Argument:
    """One argument of a class.

    Attributes:
        name: of the argument.
        annotation: its type, as source, without the words about it.
        given: its default, as source; None where it has to be given.
        doc: the words about it; None where there are none.
    """

    name: str
    annotation: ast.expr
    given: ast.expr | None
    doc: Doc | None = None

    @classmethod
    def read(cls, name: str, annotation: ast.expr, given: ast.expr | None) -> Argument:
        """From an annotation that may be `Annotated[type, Doc("...", unit="...")]`."""
        match annotation:
            case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[kind, ast.Call() as call])):
                words = (ast.literal_eval(word) for word in call.args)
                named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
                return cls(name, kind, given, Doc(*words, **named))
        return cls(name, annotation, given)

    @property
    def type(self) -> Any:
        """Its type as plain data; sequences are lists, which is what YAML gives.

        Raises:
            TypeError: no plain data.
        """
        return _plain(self.annotation)

    @property
    def default(self) -> Any:
        """Its default, sequences as lists; `REQUIRED` where it has none.

        Raises:
            ValueError: the default is made by code.
        """
        default = REQUIRED if self.given is None else ast.literal_eval(self.given)
        return list(default) if isinstance(default, tuple) else default

    @property
    def optional(self) -> bool:
        """Whether it may be None."""
        return ast.unparse(self.annotation).endswith("| None")

    @property
    def absent(self) -> bool:
        """Whether it is None by default."""
        return self.given is not None and ast.unparse(self.given) == "None"


@dataclass(frozen=True, eq=False)
class Signature:
    """The arguments of a class and the words about them.

    Attributes:
        arguments: in order.
        kind: the class' own, by which configurations choose it.
        summary: first paragraph of its docstring.
    """

    arguments: tuple[Argument, ...]
    kind: str
    summary: str


def signature(path: str) -> Signature:
    """The signature of a class.

    Args:
        path: such as `asediff.fitting.gradients.diffsim.DiffSim`, where the class is defined.

    Raises:
        ValueError: there is no such class.
    """
    module, _, name = path.rpartition(".")
    lineage = list(_lineage(module, name))
    if not lineage:
        raise ValueError(f"path: {path} is no class of asediff; give the module in which it is defined")
    fields: dict[str, Argument] = {}
    kind = ""
    for home, cls in reversed(lineage):
        kind = _kind(cls) or kind
        if _is_dataclass(cls) or cls is lineage[0][1]:
            # another default of an inherited argument does not take the words about it away
            fields |= {a.name: replace(a, doc=a.doc or fields.get(a.name, a).doc) for a in _arguments(home, cls)}
    return Signature(tuple(fields.values()), kind, (ast.get_docstring(lineage[0][1]) or "").split("\n\n")[0])


def classes(package: str, base: str) -> list[str]:
    """Paths of the classes in the files of a package that say a `kind` of their own and derive from a base, in order.

    Args:
        package: such as `asediff.observables`; its folder is read, those inside it are not.
        base: name of a class, such as `Observable`.
    """
    found = []
    for file in sorted(ROOT.joinpath(*package.split(".")[1:]).glob("*.py")):
        module = f"{package}.{file.stem}"
        for node in _module(module).body:
            if isinstance(node, ast.ClassDef) and _kind(node):
                lineage = _lineage(module, node.name)
                found += [f"{module}.{node.name}"] if any(cls.name == base for _, cls in lineage) else []
    return found


@lru_cache(maxsize=64)
def _module(name: str) -> ast.Module:
    path = ROOT.joinpath(*name.split(".")[1:]).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8") if name.startswith("asediff.") and path.is_file() else "")


def _lineage(module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """A class and those of asediff that it inherits from, nearest first, each with its module."""
    for node in _module(module).body:
        if isinstance(node, ast.ImportFrom) and name in (alias.asname or alias.name for alias in node.names):
            yield from _lineage(str(node.module), name)
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield module, node
            for base in node.bases:
                if isinstance(base, ast.Name):
                    yield from _lineage(module, base.id)


def _kind(cls: ast.ClassDef) -> str:
    for node in cls.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id="kind"), value=ast.Constant(value=str(kind))):
                return kind
    return ""


def _is_dataclass(cls: ast.ClassDef) -> bool:
    plain = (decorator.func if isinstance(decorator, ast.Call) else decorator for decorator in cls.decorator_list)
    return any(isinstance(decorator, ast.Name) and decorator.id == "dataclass" for decorator in plain)


def _value(module: str, given: ast.expr | None) -> ast.expr | None:
    """A default as it stands, or the value of the constant that it names."""
    if isinstance(given, ast.Name):
        for node in _module(module).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == given.id:
                return node.value
    return given


def _arguments(module: str, cls: ast.ClassDef) -> Iterator[Argument]:
    """The fields of a dataclass, or the arguments of another class' `__init__`."""
    for node in cls.body:
        if _is_dataclass(cls) and isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind = node.annotation.value if isinstance(node.annotation, ast.Subscript) else node.annotation
            if not (isinstance(kind, ast.Name) and kind.id == "ClassVar"):
                yield Argument.read(node.target.id, node.annotation, _value(module, node.value))
        elif not _is_dataclass(cls) and isinstance(node, ast.FunctionDef) and node.name == "__init__":
            known = node.args
            defaults = [*[None] * (len(known.args) - len(known.defaults)), *known.defaults, *known.kw_defaults]
            for argument, default in zip([*known.args, *known.kwonlyargs], defaults, strict=True):
                if argument.annotation is not None:
                    yield Argument.read(argument.arg, argument.annotation, _value(module, default))


def _plain(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _plain(left) | _plain(right)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=options):
            return Literal[ast.literal_eval(options)]
        case ast.Subscript() if ast.unparse(node) == "tuple[str, str]":
            return PAIR
        case ast.Subscript(value=ast.Name(id="Sequence" | "tuple" | "list"), slice=items):
            return list[_plain(items.elts[0] if isinstance(items, ast.Tuple) else items)]  # type: ignore[misc]
    raise TypeError(f"annotation: {ast.unparse(node)} is no plain data; give the section a type for this argument")
