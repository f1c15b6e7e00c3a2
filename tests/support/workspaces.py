"""Workspaces of tests: a clock that runs ahead, and a disk that waits."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.core.clock import SystemClock


class AheadClock(SystemClock):
    """The machine's clock, some seconds ahead: files are as much older than they are."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def time(self) -> float:  # type: ignore[override] # the machine's is a static method
        """Seconds since 1970, and those ahead."""
        return time.time() + self.ahead


class Gate:
    """Takes the place of a function that blocks: its calls wait until it is opened."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.calls = 0
        self.reached = threading.Event()
        """Some call waits, or has waited."""
        self._function = function
        self._open = threading.Event()

    def open(self) -> None:
        """Let all calls through."""
        self._open.set()

    def shut(self) -> None:
        """Let the next ones wait again."""
        self.reached.clear()
        self._open.clear()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        self.reached.set()
        assert self._open.wait(10), "nobody has opened the gate"
        return self._function(*args, **kwargs)


def tick(place: Path) -> None:
    """Return when the file system stamps what is changed now later than all before."""
    probe = place / f".tick-{os.getpid()}"
    probe.touch()
    before = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns <= before:
        probe.touch()
    probe.unlink()
