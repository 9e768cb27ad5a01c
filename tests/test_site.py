"""The documentation site: the tree of its pages, the reference of public names, links to files of the repository.

`make docs` builds all of it, and takes every warning for an error.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXTENSIONS = ROOT / "docs" / "_extensions"
pytest.importorskip("myst_nb")

CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "asediff_site.navigation",
              "asediff_site.reference", "asediff_site.scripts"]
root_doc = "docs/index"
exclude_patterns = ["docs/out"]
html_theme = "basic"
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!asediff\\.testing\\.).*")]
default_role = "literal"
"""
INDEX = """# Home

Links outside of a list: [a folder that says what it is](../examples), [one that does not](../data), [a
file](../data/curve.csv), [a script that is no page](../tool.py), `HarmonicDimer`, `dimer`.

## First question

- [A script](../examples/own.py): `testing.check_potential`.
- [Names](names.md)
- [The script again](../examples/own.py)

## Second question

- [Names again](names.md)
"""


@pytest.fixture
def site(monkeypatch):
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    return importlib.import_module


def test_a_page_stands_at_its_first_mention_and_pages_in_no_list_come_last(site):
    parts = site("asediff_site.navigation").parts
    pages = {"docs/index", "docs/names", "docs/new", "examples/own", "workflows/notebooks/1_first"}
    assert parts(INDEX, "docs/index", pages) == {
        "First question": ["A script </examples/own>", "Names </docs/names>"],
        "Notebooks": ["/workflows/notebooks/1_first"],
        "More": ["/docs/new"],
    }


def test_every_public_name_is_described_once_and_every_package_has_a_page(site):
    reference = site("asediff_site.reference")
    described = [id(item) for _, item in reference.public().values()]
    assert len(described) == len(set(described))
    for package in reference.PACKAGES:
        page = ROOT / "docs" / "reference" / f"{package.rpartition('.')[2]}.md"
        assert f"{{public}} {package}\n" in page.read_text(encoding="utf-8")
        module = importlib.import_module(package)
        for name in module.__all__:
            full = reference.names()[f"{package}.{name}"]
            home, item = reference.public()[full]
            assert item is getattr(module, name)
            assert home in reference.PACKAGES
    assert "asediff.RDF" in reference.public()
    assert reference.names()["asediff.observables.rdf.RDF"] == "asediff.RDF"


def test_words_and_units_of_annotations_and_formulas_come_into_descriptions(site):
    reference = site("asediff_site.reference")
    import asediff

    words = ["Name of the pair: `all`, or such as `Ar-Kr`."]
    reference.complete(None, "property", "asediff.RDF.pair_name", asediff.RDF.pair_name, None, words)
    assert words[0] == "Name of the pair:"
    lines = ["Two lines:", "", "    a = |b|", "    c = d", "", "Of |x| and `|y|`, `cutoff`²."]
    reference.complete(None, "class", "asediff.RDF", asediff.RDF, None, lines)
    text = "\n".join(lines)
    assert "::\n\n    a = |b|\n    c = d" in text
    assert r"Of \|x\| and `|y|`, `cutoff`\ ²." in text
    assert "    bins (int): number of bins K." in text
    assert "Unit: length." in next(line for line in lines if line.startswith("    r_max (float)"))


def test_links_between_pages_scripts_folders_and_names_lead_somewhere(tmp_path):
    files = {
        "conf.py": CONF.format(extensions=str(EXTENSIONS)),
        "docs/index.md": INDEX,
        "docs/names.md": "# Names\n\n```{public} asediff.testing\n```\n",
        "examples/own.py": '"""A script of your own: a page.\n\nIt uses `HarmonicDimer`.\n"""\n\nprint("the code")\n',
        "examples/README.md": "# All scripts\n\n[one](own.py)\n",
        "data/curve.csv": "r,g\n",
        "tool.py": "print()\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    pages = ["docs/index.md", "docs/names.md", "examples/own.py", "examples/README.md"]
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-D", f"include_patterns={','.join(pages)}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, ".", "docs/out"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    html = {page: (tmp_path / "docs/out" / page).with_suffix(".html").read_text(encoding="utf-8") for page in pages}
    index, names, script = (html[page] for page in pages[:3])
    for link in ("../examples/README.html", "../examples/own.html", "names.html#asediff.testing.HarmonicDimer"):
        assert f'href="{link}"' in index
    assert 'href="names.html#asediff.testing.check_potential"' in index
    assert index.count("_downloads/") == 2
    assert "one that does not" in index
    assert "<h1>A script of your own<" in script
    assert "the code" in script
    assert 'href="../docs/names.html#asediff.testing.HarmonicDimer"' in script
    assert 'id="asediff.testing.HarmonicDimer"' in names
