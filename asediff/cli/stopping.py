"""Signals that ask a command to stop: all of them end it the way Ctrl-C does, with one line and nothing left over."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = {name: getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}
REPEATED = 1.0
"""Seconds within which a further signal is the same request: launchers send it to a process and to its group."""


@dataclass
class Stop:
    """How a command was asked to stop; as by Ctrl-C where no signal came.

    Attributes:
        number: of the signal.
        at: when the last one came, seconds of the monotonic clock.
    """

    number: int = int(signal.SIGINT)
    at: float = -REPEATED

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number

    def told(self, number: int, frame: FrameType | None) -> None:
        """Take a signal: raise KeyboardInterrupt where the program is."""
        before, self.at = self.at, time.monotonic()
        if self.at - before < REPEATED:
            return
        self.number = number
        raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[Stop]:
    """Let SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt; one that the process was started to ignore stays so."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS.values()}
    taken = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in taken:
        signal.signal(number, stop.told)
    try:
        yield stop
    finally:
        for number in taken:
            signal.signal(number, before[number])
