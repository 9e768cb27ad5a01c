"""Scripts as pages, and links to files and folders of the repository."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.parsers import RSTParser


class ScriptParser(RSTParser):
    """A script: its docstring as text, its first clause as the title, then the code."""

    supported = ("script",)

    def parse(self, inputstring: Any, document: nodes.document) -> None:
        """Hand the page on as reStructuredText."""
        name = Path(document["source"]).name
        tree = ast.parse(str(inputstring))
        words = ast.get_docstring(tree) or name
        title = re.split(r"[:.,] |\.?$", words.splitlines()[0])[0]
        first = tree.body[0].end_lineno or 0
        page = [title, "=" * len(title), "", words, "", f"In :download:`{name} <{name}>`:", ""]
        page += [f".. literalinclude:: {name}", "   :language: python", f"   :lines: {first + 2}-", ""]
        super().parse("\n".join(page), document)


def to_files(app: Sphinx, doctree: nodes.document) -> None:
    """Lead a link to a folder to its README, one to a file that is no page to the file itself."""
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["reftype"] != "myst":
            continue
        if link["refdomain"] == "doc":
            if link["reftarget"] not in app.env.found_docs:
                files = (f"{link['reftarget']}{suffix}" for suffix in app.config.source_suffix)
                file = next(file for file in files if Path(app.srcdir, file).is_file())
                target = {"reftarget": f"/{file}", "refdoc": link["refdoc"]}
                link.replace_self(addnodes.download_reference("", "", *link.children, **target))
            continue
        _, path = app.env.relfn2path(link["reftarget"].split("#")[0], link["refdoc"])
        if Path(path).is_dir():
            readme = app.env.path2doc(Path(path, "README.md"))
            if readme in app.env.found_docs:
                link["refdomain"], link["reftarget"], link["reftargetid"] = "doc", readme, None
            else:
                link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both."""
    app.add_source_suffix(".py", "script")
    app.add_source_parser(ScriptParser)
    app.connect("doctree-read", to_files, priority=100)  # before downloads are collected
    return {"parallel_read_safe": True}
