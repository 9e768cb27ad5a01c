"""Options of the whole suite: other seeds for sampled tests, and one line about tests that cannot run here."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import sampling
import torch
from numba.core import caching

PRESENT = {"votca": lambda: shutil.which("csg_call") is not None, "gpu": torch.cuda.is_available}
MISSING = {
    "votca": "VOTCA's csg_call (releases up to 2025.1), which is not on the PATH",
    "gpu": "a CUDA device, and there is none",
}

_left_out = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "repeat the sampled tests with other seeds, those of shift K (default 0)"
    parser.addoption("--seed-shift", type=int, default=0, metavar="K", help=text)


def pytest_configure(config: pytest.Config) -> None:
    # before collection, for seeds are also asked for at import; a worker of xdist gets the option and comes here too
    sampling.shift_seeds(config.getoption("--seed-shift"))
    config.stash[_left_out] = {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a program or device that is not here: counted, not skipped one by one."""
    absent = [name for name in PRESENT if not PRESENT[name]()]
    reasons = [next((name for name in absent if item.get_closest_marker(name)), None) for item in items]
    kept = [item for item, reason in zip(items, reasons, strict=True) if reason is None]
    dropped = [item for item, reason in zip(items, reasons, strict=True) if reason is not None]
    config.stash[_left_out] = dict(Counter(reason for reason in reasons if reason is not None))
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash[_left_out]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Each worker of xdist collects the same tests; any of them tells what it left out."""
    node.config.stash[_left_out] |= getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in told(config.stash[_left_out]):
        terminalreporter.write_line(line)


def told(left_out: dict[str, int]) -> Iterable[str]:
    """One line for each kind of test that did not run."""
    for name, count in sorted(left_out.items()):
        tests = "1 test needs" if count == 1 else f"{count} tests need"
        yield f"not run: {tests} {MISSING[name]} (pytest -m {name})"


def _save_compiled_functions_one_at_a_time() -> None:
    """Keep two workers from giving the files of two compiled functions one name.

    Numba reads an index, picks the next free name, writes the index and then the file. When two processes compile one
    function for two types and save in the same millisecond, one type's code may end up under the other's name, and
    every later process fails with it until the folder is removed.
    """
    import fcntl

    path, save = Path(tempfile.gettempdir()) / "asediff-tests-numba.lock", caching.IndexDataCacheFile.save

    def alone(self: Any, *args: Any) -> None:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(self, *args)

    caching.IndexDataCacheFile.save = alone


if importlib.util.find_spec("fcntl") is not None:
    _save_compiled_functions_one_at_a_time()
