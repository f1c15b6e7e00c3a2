"""Child processes of a benchmark: started on a core, counted, paused, and always ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.machine import BenchmarkError, pinned

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 8.0
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
"""What a server gets of this environment: no proxies, keys or settings that would change it."""


@dataclass(frozen=True)
class Usage:
    """What a process and its children have used: CPU seconds so far, resident bytes now."""

    cpu_seconds: float
    rss_bytes: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu_seconds + other.cpu_seconds, self.rss_bytes + other.rss_bytes)


@dataclass(frozen=True)
class Command:
    """How to start a server: its arguments, its output, its core, its environment."""

    arguments: Sequence[str]
    log: Path
    core: int
    environment: Mapping[str, str]


class Child:
    """A server in a session of its own: all its processes are counted and ended together."""

    def __init__(self, name: str, command: Command) -> None:
        self.name = name
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = self._command
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= command.environment
        # The child inherits the affinity, with every thread it starts before it is ready.
        with command.log.open("ab") as log, pinned(command.core):
            self._process = subprocess.Popen(
                command.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=command.log.parent,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it and its children: asked first, forced after some seconds."""
        process = self._running()
        # A paused process takes no other signal until it goes on.
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            process.wait(_STOP_SECONDS)
        self._signal(signal.SIGKILL)

    def wait_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready()`; raises `BenchmarkError` with the end of its log where it fails."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._running().poll() is not None:
                raise BenchmarkError(f"{self.name} ended while starting: {self._log_end()}")
            if ready():
                return
            time.sleep(0.05)
        raise BenchmarkError(f"{self.name} is not ready after {seconds:.0f} s: {self._log_end()}")

    def pause(self) -> None:
        """Stop it where it is, so that another server has the core to itself."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def usage(self) -> Usage:
        """Of all processes of its session; raises `BenchmarkError` where it has ended."""
        process = self._running()
        if process.poll() is not None:
            raise BenchmarkError(f"{self.name} ended: {self._log_end()}")
        total = Usage(0.0, 0)
        for stat in _session(process.pid):
            ticks = int(stat[11]) + int(stat[12])
            pages = int(stat[21])
            total += Usage(ticks / _TICKS, pages * os.sysconf("SC_PAGE_SIZE"))
        return total

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise BenchmarkError(f"{self.name} was not started")
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        # Its session may have ended by itself, which is what the last signal is for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._running().pid, number)

    def _log_end(self) -> str:
        lines = self._command.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines[-4:] if line.strip()) or "no output"


def _session(leader: int) -> Iterator[list[str]]:
    """The fields of `/proc/PID/stat` after the name, of each process in the leader's session."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        # A process may end between the listing and the reading.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(fields[3]) == leader:
                yield fields


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nothing listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
