"""Executors of executorlib, which run the stages of a chain on this machine's cores or as jobs of a queue."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asediff.app.config.errors import ConfigError
from asediff.host.files import writing

EXECUTORS = ("executorlib", "slurm")
CACHE = ".executorlib"


class _Attached(Executor):
    """An executor whose workers end with the process that asks: by themselves they would wait for it for ever."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `concurrent.futures.Executor`."""
        found: Future[Any] = self.executor.submit(attached, fn, *args, **kwargs)
        return found


def attached(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function in a worker, which is ended when its parent is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    return function(*arguments, **options)


@contextmanager
def executor(
    name: str, project: Path, *, cores: int, partition: str | None = None, minutes: int | None = None
) -> Iterator[Executor]:
    """An executor for `run_chain`.

    Args:
        name: `executorlib`, processes on this machine; `slurm`, a job of the queue for each stage.
        project: folder in which executorlib keeps its files meanwhile; nodes have to see it.
        cores: of this machine in all; of each job on a queue.
        partition: of the queue; its default when None.
        minutes: after which the queue ends a job; its default when None.

    Raises:
        ConfigError: executorlib or a program of the queue is missing.
        FileError: the project cannot be written to.
    """
    if name not in EXECUTORS:
        raise ConfigError(f"executor: {name!r} is unknown; choose one of {', '.join(EXECUTORS)}")
    try:
        import executorlib
    except ImportError:
        raise ConfigError("executor: executorlib is not installed; run: pip install 'asediff[workflows]'") from None
    if name == "executorlib":
        with executorlib.SingleNodeExecutor(max_cores=cores, hostname_localhost=True) as found:
            yield _Attached(found)
        return
    if shutil.which("sbatch") is None:
        raise ConfigError(
            "executor: slurm needs the program sbatch, which is not on PATH; run where jobs are submitted"
        )
    resources: dict[str, Any] = {"cores": 1, "threads_per_core": cores}
    resources |= {"partition": partition} if partition is not None else {}
    resources |= {"run_time_max": 60 * minutes} if minutes is not None else {}
    with writing(project):
        project.mkdir(parents=True, exist_ok=True)
        # a folder of its own each time: executorlib would give the failure of an earlier run again
        cache = Path(tempfile.mkdtemp(prefix=CACHE, dir=project))
    try:
        with executorlib.SlurmClusterExecutor(cache_directory=str(cache), resource_dict=resources) as found:
            yield found
    finally:
        with contextlib.suppress(OSError):  # a job that still runs writes there
            shutil.rmtree(cache)
