"""Execute the notebooks, or write the .ipynb beside each .md.

    python workflows/run_notebooks.py --output build/notebooks                # as `make notebooks`
    ASEDIFF_NOTEBOOKS=short python workflows/run_notebooks.py 1_quickstart    # one, in the short form that tests run
    python workflows/run_notebooks.py --pair                                  # after a change of an .md

The .md of a notebook is what is edited and reviewed; its .ipynb, which Jupyter opens as it is, holds the same cells
and no output. Where jupytext is installed, saving either in Jupyter writes both. A notebook runs in a folder of its
own, which is removed, and a cell that fails or warns ends it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent / "notebooks"
CELL_TIMEOUT = 1800
"""Seconds."""
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def notebooks() -> list[Path]:
    """The text notebooks, in their order."""
    return sorted(FOLDER.glob("[0-9]*_*.md"))


def read(path: Path) -> NotebookNode:
    """The cells of a text notebook, with ids that stay the same."""
    notebook = jupytext.read(path, fmt="md:myst")
    for k, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{k:02d}"
    return notebook


def paired(path: Path) -> str:
    """The .ipynb that belongs to a text notebook, without output."""
    notebook = read(path)
    notebook.metadata = nbformat.from_dict(KERNEL)
    return nbformat.writes(notebook, version=4) + "\n"


def execute(notebook: NotebookNode) -> None:
    """Run the cells of a notebook in a temporary folder; their output, as far as it goes, is put into it.

    Args:
        notebook: as `read` makes it.

    Raises:
        CellExecutionError: a cell failed.
        RuntimeError: a cell wrote to standard error, as warnings do.
    """
    with tempfile.TemporaryDirectory(prefix="asediff-notebook-") as folder:
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            extra_arguments=["--log-level=40"],  # errors alone: the kernel warns about its own connection
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise RuntimeError(f"a cell wrote to standard error: {output['text'].strip()}")


def main() -> int:
    """Command line; see the module's docstring. Returns 1 if a notebook failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as 1_quickstart; default all")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="keep the executed notebooks there")
    parser.add_argument("--pair", action="store_true", help="write the .ipynb of each .md; nothing is executed")
    options = parser.parse_args()
    known = {path.stem: path for path in notebooks()}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"NAME {unknown[0]}: no such notebook; choose from {', '.join(known)}")
    failed = 0
    for name in options.names or known:
        if options.pair:
            known[name].with_suffix(".ipynb").write_text(paired(known[name]), encoding="utf-8")
            continue
        began, notebook = time.perf_counter(), read(known[name])
        try:
            execute(notebook)
            print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        except (CellExecutionError, RuntimeError) as error:
            sys.stderr.write(f"{name}: {error}\n")
            failed = 1
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, options.output / f"{name}.ipynb")
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
