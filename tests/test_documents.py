"""The README's code and every example run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKING = [*ROOT.glob("*.md"), *(path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{document.name}-{k}")
    for document in DOCUMENTS
    for k, block in enumerate(re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S))
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_python_in_the_documents_runs(block, tmp_path):
    (tmp_path / "block.py").write_text(block)
    run(["block.py"], tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_prints_its_result(example, tmp_path):
    assert run([str(example)], tmp_path).strip()


def test_no_link_inside_the_documents_is_broken():
    for document in LINKING:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
