"""Some work in several processes that have joined a group, and what each of them says of it."""

import pickle
import sys
import time
import traceback
from pathlib import Path

import command_in_child


def in_ranks(size, work, *arguments, folder, seconds=300.0):
    """What `work(ranks, *arguments)` gives in each of `size` processes, or the error that it raises there.

    Processes are forked from one that has imported asediff; see `command_in_child`.

    Args:
        size: number of processes.
        work: a function of a module.
        arguments: handed to it.
        folder: for temporary files, empty.
        seconds: after which they count as hung.

    Returns:
        In rank order; `EXIT n` for a process that ended with a code of its own.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    context = command_in_child.server()
    started = [
        context.Process(target=_member, args=(rank, size, str(folder), work, arguments), daemon=True)
        for rank in range(size)
    ]
    for process in started:
        process.start()
    deadline = time.monotonic() + seconds
    for process in started:
        process.join(max(0.0, deadline - time.monotonic()))
    hung = [rank for rank, process in enumerate(started) if process.is_alive()]
    for process in started:
        process.kill()
        process.join()
    assert not hung, f"processes {hung} did not end"
    told = [folder / f"told_{rank}" for rank in range(size)]
    return [
        pickle.loads(file.read_bytes()) if file.exists() else f"EXIT {process.exitcode}"
        for file, process in zip(told, started, strict=True)
    ]


def _member(rank, size, folder, work, arguments):
    import torch.distributed as distributed

    from asediff.host.ranks import Ranks

    store = distributed.FileStore(f"{folder}/store", size)
    try:
        with Ranks.joined(store=store, rank=rank, world_size=size, timeout=120.0) as ranks:
            told = work(ranks, *arguments)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        told = error
    Path(folder, f"told_{rank}").write_bytes(pickle.dumps(told))
