"""The tree of pages, from the lists of docs/index.md: each heading a part, each link to a page an entry of it."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from sphinx.application import Sphinx

LINK = re.compile(r"\[([^]]+)\]\(([^)#:\s]+)[^)]*\)")
REST = {"Notebooks": "workflows/notebooks/", "Examples": "examples/", "More": ""}


def parts(text: str, root: str, pages: set[str]) -> dict[str, list[str]]:
    """Heading -> entries, `words </page>`, each at its first mention; pages in no list come last, by folder.

    Args:
        text: of the root page, in Markdown.
        root: the name of the root page.
        pages: all pages of the site, without their suffixes.
    """
    left = set(pages) - {root}
    found: dict[str, list[str]] = {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        heading, _, body = section.partition("\n")
        for words, link in LINK.findall(body):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(root), link))
            page = next((p for p in (posixpath.splitext(path)[0], f"{path}/README") if p in left), None)
            if page:
                left.remove(page)
                found.setdefault(heading.strip(), []).append(f"{words} </{page}>")
    for heading, folder in REST.items():
        rest = sorted(page for page in left if page.startswith(folder))
        left -= set(rest)
        if rest:
            found[heading] = [*found.get(heading, []), *(f"/{page}" for page in rest)]
    return found


def add_trees(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the trees to the root page, hidden: readers see its lists."""
    if page == app.config.root_doc:
        for heading, pages in parts(source[0], page, set(app.env.found_docs)).items():
            entries = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{entries}\n```\n"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it."""
    app.connect("source-read", add_trees)
    return {"parallel_read_safe": True}
