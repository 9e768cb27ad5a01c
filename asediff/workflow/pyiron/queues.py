"""Queues of a cluster, as pyiron and pysqa know them: what is refused before a job is sent, and what became of one."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from asediff.workflow.pyiron.projects import RESOURCES_VARIABLE, PyironError

POLL = 1.0
"""Seconds between looks at a queue."""
LOOKS = 30
"""How many looks in a row may fail: servers of queues are restarted now and then."""


def check_queue(queue: str, folder: Path, cores: int, run_time: int | None) -> None:
    """Refuse a queue that cannot take the jobs of a project; nothing is sent.

    Args:
        queue: name in pysqa's `queue.yaml`.
        folder: of the project.
        cores: of each job.
        run_time: seconds that each job may take.

    Raises:
        PyironError: no configuration or no such queue, a program of the queue is missing or does not answer, more
            cores or time than the queue allows, or a path that pysqa cannot write into a script.
    """
    from pyiron_base import state
    from pysqa.base.core import get_queue_commands

    adapter = state.queue_adapter
    if adapter is None:
        raise PyironError(
            f"queue: {queue!r} is given, but pyiron has no queues; put queues/queue.yaml into a folder and give that "
            f"as `resources` of the project, or in {RESOURCES_VARIABLE}"
        )
    if queue not in adapter.queue_list:
        raise PyironError(
            f"queue: {queue!r} is not in queues/queue.yaml; choose one of {', '.join(adapter.queue_list)}"
        )
    if " " in str(folder):
        raise PyironError(f"project: {folder} has a blank in its path, which pysqa cannot take; choose another folder")
    allowed = adapter.check_queue_parameters(queue=queue, cores=cores, run_time_max=run_time)
    for name, value, bound in zip(("cores", "run_time"), (cores, run_time), allowed, strict=False):
        if value is not None and value != bound:
            raise PyironError(f"{name}: queue {queue!r} does not take {value}; give {bound}, or change queue.yaml")
    if adapter.remote_flag:
        return
    commands = get_queue_commands(adapter.config["queue_type"])
    for command in (commands.submit_job_command, commands.get_queue_status_command):
        if shutil.which(command[0]) is None:
            raise PyironError(f"queue: {command[0]} is not on PATH here; log in where jobs can be sent to {queue!r}")
    asked = subprocess.run(commands.get_queue_status_command, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        told = (asked.stderr.strip().splitlines() or [f"exit status {asked.returncode}"])[0]
        raise PyironError(f"queue: {queue!r} does not answer ({told}); try again when it runs")


def in_queue(number: int | None) -> bool:
    """Whether a job waits or runs in the queue.

    Args:
        number: of the job in the queue; None if it was never sent.

    Raises:
        PyironError: the queue does not answer for a long time; its jobs go on.
    """
    from pyiron_base import state

    if number is None or state.queue_adapter is None:
        return False
    for _ in range(LOOKS):
        try:
            return state.queue_adapter.get_status_of_job(process_id=int(number)) in ("pending", "running")
        except (AttributeError, OSError, ValueError):  # pysqa's, when squeue has failed
            time.sleep(POLL)
    raise PyironError("queue: does not answer; jobs that were sent go on, run the chain again to collect them")
