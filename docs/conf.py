"""The documentation site: `make docs` builds it into docs/_build/html.

Its source is the repository itself, so that links between pages, examples and notebooks are those that work when the
files are read where they lie. What the site needs beyond Sphinx is docs/_extensions/asediff_site.

Environment:
    ASEDIFF_DOCS_EXECUTE: 0 shows the notebooks without running them; otherwise they run, and an error ends the build.
    ASEDIFF_DOCS_ONLINE: 1 links names of Python, numpy, torch and ASE to their own sites, whose lists of names are
        fetched over the network; otherwise nothing is fetched.
"""

import os
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

project = "asediff"
author = "The asediff developers"
copyright = author  # noqa: A001
version = release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "asediff_site.navigation",
    "asediff_site.reference",
    "asediff_site.scripts",
]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "examples/*.md", "examples/*.py", "workflows/notebooks/*.md"]
exclude_patterns = ["docs/_*", ".*", "**/.*", "build", "dist", "demo", "out", "tests", "asediff", "lammps_inputs"]
nitpicky = True
# Other packages, whose names are links only if their inventories are read; what is private; type variables.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!asediff\.).*"),
    (r"py:.*", r"asediff\.(.*\._\w+|.*\.[A-Z]|kernels\..*|host\..*)"),
]
suppress_warnings: list[str] = []

if os.environ.get("ASEDIFF_DOCS_ONLINE") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "ase": ("https://ase-lib.org", None),
    }

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off" if os.environ.get("ASEDIFF_DOCS_EXECUTE") == "0" else "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds, of a cell
nb_output_stderr = "error"  # a warning that readers should not see

default_role = "literal"  # docstrings write `name` for code, as Markdown does
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_type_aliases = {"ArrayLike": "numpy.typing.ArrayLike"}
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"asediff {release}"
html_additional_pages = {"index": "to_root.html"}
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sphinx = False
