"""The reference of public names: each is described once, with types and units, and linked wherever it is written.

`public` lists what a package offers in its `__all__` and describes what belongs there. What `asediff` itself offers is
described under that name, the one that users import.
"""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache, cached_property
from types import ModuleType
from typing import Any, get_type_hints

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import stringify_annotation

from asediff.checks.described import Doc

TOP = "asediff"
ROOMS = ["potentials", "dynamics", "observables", "targets", "engines", "fitting", "lammps", "votca", "testing"]
PACKAGES = [*(f"{TOP}.{room}" for room in ROOMS), TOP]
SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Examples?|References):$")


@cache
def public() -> dict[str, tuple[str, Any]]:
    """Name under which an object is described -> the package whose page does so, and the object.

    The page is that of the package in which it is defined, otherwise of the first one that offers it.
    """
    modules = {package: importlib.import_module(package) for package in PACKAGES}
    offers = [(package, name, getattr(module, name)) for package, module in modules.items() for name in module.__all__]
    offers.sort(key=lambda o: (o[0] == TOP, not getattr(o[2], "__module__", "").startswith(f"{o[0]}.")))
    first: dict[int, tuple[str, str, Any]] = {}
    for offer in offers:
        first.setdefault(id(offer[2]), offer)
    top = {id(getattr(modules[TOP], name)) for name in modules[TOP].__all__}
    return {f"{TOP if key in top else package}.{name}": (package, item) for key, (package, name, item) in first.items()}


@cache
def names() -> dict[str, str]:
    """What texts call an object -> the name under which it is described: short, offered by a package, or defined."""
    found = {}
    known = {id(item): full for full, (_, item) in public().items()}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            full = known[id(getattr(module, name))]
            found[f"{package}.{name}"] = found[f"{package.rpartition('.')[2]}.{name}"] = full
    for full, (_, item) in public().items():
        short = full.rpartition(".")[2]
        found[f"{getattr(item, '__module__', package)}.{getattr(item, '__qualname__', short)}"] = full
        if short != short.lower() or full == f"{TOP}.{short}":
            found.setdefault(short, full)
    return found


class Public(SphinxDirective):
    """`public:: PACKAGE`: its docstring, a list of what it offers, and the descriptions that belong to its page."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Hand the page to autosummary and autodoc."""
        package = self.arguments[0]
        module = importlib.import_module(package)
        known = {id(item): full for full, (_, item) in public().items()}
        offered = [known[id(getattr(module, name))] for name in module.__all__]
        lines = [f".. automodule:: {package}", "   :no-members:", ""]
        lines += [f"- :py:obj:`~{full}`{_first(public()[full][1])}" for full in offered]
        lines += [""]
        for full in offered:
            home, item = public()[full]
            if home != package:
                continue
            if isinstance(item, ModuleType):
                lines += [f".. automodule:: {full}", "   :members:", ""]
            elif inspect.isclass(item):
                lines += [f".. autoclass:: {full}", "   :members:", "   :show-inheritance:", ""]
            else:
                lines += [f".. auto{'function' if callable(item) else 'data'}:: {full}", ""]
        page = ["```{eval-rst}", *lines, "```"]  # pages are Markdown, autodoc writes reStructuredText
        return self.parse_text_to_nodes("\n".join(page))


def _first(item: Any) -> str:
    """The first line of what an object says of itself; instances have the words of their class alone."""
    words = inspect.getdoc(item) if callable(item) or isinstance(item, ModuleType) else None
    return f": {bars(words.splitlines()[0])}" if words else ""


def described(item: Any) -> dict[str, str]:
    """Argument -> `name (type): words, in which unit`, of those that an annotation describes (`Doc`)."""
    found = {}
    sources = [item, *([item.__init__] if inspect.isclass(item) else [])]
    for source in sources:
        try:
            hints = get_type_hints(source, include_extras=True)
        except (NameError, TypeError):  # names for type checkers alone, or of the module of an inherited `__init__`
            continue
        for name, hint in hints.items():
            for word in getattr(hint, "__metadata__", ()):
                if isinstance(word, Doc):
                    kind = stringify_annotation(hint.__origin__, "smart")
                    unit = f" Unit: {word.unit}." if word.unit else ""
                    found[name] = f"    {name} ({kind}): {word.text}.{unit}"
    return found


def complete(_app: Sphinx, what: str, _name: str, item: Any, _options: Any, lines: list[str]) -> None:
    """Put what annotations say of arguments among the `Args` of a docstring, and make it reStructuredText."""
    start = next((k for k, line in enumerate(lines) if SECTION.match(line)), len(lines))
    prose, sections = lines[:start], lines[start:]
    words = described(item) if what in {"class", "function", "method"} else {}
    added = [words[name] for name in (inspect.signature(item).parameters if words else ()) if name in words]
    if added and sections[:1] != ["Args:"]:
        sections = ["Args:", "", *sections]
    if what in {"property", "attribute"} and prose:
        # napoleon takes what stands before a colon in the first line for a type
        prose = [*prose[0].replace(": ", ":\n", 1).split("\n"), *prose[1:]]
    lines[:] = [*verbatim(prose), *sections[:1], *map(bars, [*added, *sections[1:]])]


def verbatim(prose: list[str]) -> list[str]:
    """Show indented paragraphs as they stand: they are formulas."""
    found: list[str] = []
    inside = False
    for line in prose:
        indented = line.startswith("    ")
        begins = indented and not inside and bool(found) and not found[-1].strip()
        if begins and not any(text.rstrip().endswith("::") for text in found[-2:]):
            found += ["::", ""]
        inside = begins or (inside and (indented or not line.strip()))
        found.append(line if inside else bars(line))
    return found


def bars(line: str) -> str:
    """Keep |x| outside of code from being a substitution, and `x`² code although no blank follows."""
    parts = [part if k % 2 else part.replace("|", r"\|") for k, part in enumerate(line.split("`"))]
    for k in range(0, len(parts), 2):
        if k and parts[k][:1].isalnum():
            parts[k] = r"\ " + parts[k]
    return "`".join(parts)


def link(app: Sphinx, doctree: nodes.document) -> None:
    """Make links of code that is a public name: `RDF`, `RDF.project`, `fit(...)`; plain words only if called."""
    for code in list(doctree.findall(nodes.literal)):
        if any(isinstance(node, nodes.title | nodes.reference | addnodes.pending_xref) for node in _above(code)):
            continue
        word = re.fullmatch(r"([A-Za-z_][\w.]*)(\(.*\))?", code.astext(), re.S)
        plain = word and word[1].isalpha() and word[1].islower() and not word[2]
        if word and not plain and (full := called(word[1])):
            reference = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=full, refdoc=app.env.docname, refexplicit=True
            )
            code.replace_self(reference)
            reference += code


def called(word: str) -> str | None:
    """The name under which something is described: an object, or what a class of it defines and describes."""
    if word in names():
        return names()[word]
    owner, _, member = word.rpartition(".")
    if owner not in names() or member.startswith("_"):
        return None
    own = vars(public()[names()[owner]][1]).get(member)
    documented = isinstance(own, property | cached_property) or inspect.isroutine(own)
    return f"{names()[owner]}.{member}" if documented and own.__doc__ else None


def _above(node: nodes.Node) -> list[nodes.Node]:
    return [] if node.parent is None else [node.parent, *_above(node.parent)]


def alias(app: Sphinx, env: Any, node: addnodes.pending_xref, content: nodes.Node) -> nodes.Node | None:
    """Resolve a name of a type by the module that defines it, or by another package that offers it."""
    full = names().get(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or full is None or full == node["reftarget"]:
        return None
    return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the links."""
    app.add_directive("public", Public)
    app.connect("autodoc-process-docstring", complete, priority=100)  # before napoleon reads it
    app.connect("doctree-read", link)
    app.connect("missing-reference", alias)
    return {"parallel_read_safe": True}
