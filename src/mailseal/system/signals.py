"""Signals that ask us to end (SIGINT, SIGTERM, SIGHUP; signal(7)), made to wait while the machine is being made whole.

A change that is taken back must be taken back to its end: a second Ctrl-C in
the middle of it, or a service manager that stops us, would leave files of two
states and daemons that have seen one of them. Within the block these signals
are only remembered; at its end they do what they would have done.

Children are not touched by it: they are started in sessions of their own, so
that a terminal's Ctrl-C never reaches them. SIGKILL cannot be held back; what
it leaves the next run finds in the journal. Outside of the main thread, where
Python delivers no signals, the block does nothing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def held_back() -> Iterator[None]:
    """Holds the signals back; the first that came is delivered when the block ends, however it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[signal.Signals] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number))

    before: dict[signal.Signals, Any] = {}
    try:
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, remember)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
