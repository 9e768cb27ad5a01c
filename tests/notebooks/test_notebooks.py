"""The notebooks as they lie in the repository; the site runs them (`make docs`), and so does `make notebooks`."""

import ast
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "workflows" / "run_notebooks.py"
FOLDER = ROOT / "workflows" / "notebooks"
SPEC = importlib.util.spec_from_file_location("run_notebooks", RUNNER)
run_notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(run_notebooks)
NOTEBOOKS = run_notebooks.notebooks()


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def cells(path, kind):
    return [cell.source for cell in run_notebooks.read(path).cells if cell.cell_type == kind]


def test_the_notebooks_are_found():
    assert {"1_quickstart", "7_gradients_through_dynamics"} <= {path.stem for path in NOTEBOOKS}
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in NOTEBOOKS}


def test_text_and_notebook_hold_the_same_cells_and_no_output(path):
    committed = path.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert committed == run_notebooks.paired(path), "run: python workflows/run_notebooks.py --pair"
    for cell in json.loads(committed)["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_a_notebook_begins_with_its_promise_and_ends_with_what_is_next(path):
    prose = cells(path, "markdown")
    title, promise = prose[0].split("\n\n")[:2]
    assert title.startswith("# ")
    assert "at the end" in promise.lower()
    assert "## What next\n" in prose[-1]


def test_the_first_cell_chooses_the_lengths(path):
    assert "ASEDIFF_NOTEBOOKS" in cells(path, "code")[0]


def test_cells_compile_and_import_what_there_is(path):
    for source in cells(path, "code"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                for name in node.names:
                    importlib.import_module(name.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), f"{node.module} has no {name.name}"


def test_links_of_the_notebooks_lead_somewhere(path):
    known = {*NOTEBOOKS, FOLDER / "3_water_with_pyiron.md"}
    for source in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", source):
            place = (path.parent / target).resolve()
            assert place.exists() or place in known, f"{path.name} links to {target}"


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, str(folder / "run_notebooks.py"), *arguments], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def copies(tmp_path):
    """The runner beside two small notebooks, one of which fails."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "run_notebooks.py").write_text(RUNNER.read_text())
    head = "---\nkernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n---\n\n"
    good = "```{code-cell}\nfrom pathlib import Path\nPath('left.txt').write_text('x')\nprint(6 * 7)\n```\n"
    bad = "```{code-cell}\nimport warnings\nwarnings.warn('mind this')\n```\n"
    (tmp_path / "notebooks" / "1_good.md").write_text(head + good)
    (tmp_path / "notebooks" / "2_bad.md").write_text(head + bad)
    return tmp_path


def test_running_keeps_the_output_and_leaves_nothing_else(copies):
    done = run(copies, "--output", str(copies / "out"), "1_good")
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(str(copies / "out" / "1_good.ipynb"), as_version=4)
    assert notebook.cells[0].outputs[0].text == "42\n"
    assert not list(copies.rglob("left.txt"))
    assert sorted(path.name for path in (copies / "notebooks").iterdir()) == ["1_good.md", "2_bad.md"]


def test_a_warning_fails_a_notebook(copies):
    done = run(copies, "2_bad")
    assert done.returncode == 1
    assert "2_bad: a cell wrote to standard error" in done.stderr
    assert "mind this" in done.stderr


def test_an_unknown_notebook_is_refused(copies):
    done = run(copies, "9_none")
    assert done.returncode == 2
    assert "NAME 9_none: no such notebook; choose from 1_good, 2_bad" in done.stderr
