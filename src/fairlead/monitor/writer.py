"""Log lines leave through one thread: a slow or stuck reader never blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from fairlead.core.lifecycle import Resource


class WriterOptions(msgspec.Struct, frozen=True):
    """Bounds of a `LineWriter`."""

    max_bytes: int = 4 * 1024 * 1024
    """What may wait to be written; a further line is dropped and counted."""
    linger: float = 0.05
    """Seconds the thread gathers lines before it writes them in one piece."""
    close_timeout: float = 2.0
    """Seconds that `close` waits for what was accepted to be written."""


class LineWriter(Resource):
    """Takes whole lines without blocking and writes them, redacted, in batches.

    `stream` is a buffered one (a raw one may take a part of a batch and say nothing). `put` may be
    called from any thread. When the stream takes nothing, memory holds at most
    twice `max_bytes` (one batch being written, one waiting).
    """

    def __init__(
        self,
        stream: BinaryIO,
        redact: Callable[[str], str],
        options: WriterOptions = WriterOptions(),  # noqa: B008 - frozen
    ) -> None:
        self._stream = stream
        self._redact = redact
        self._options = options
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._accepting = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """Lines that were not written: no room, a broken stream, or closed."""

    def put(self, line: bytes) -> bool:
        """Accept `line` (with its newline); False where it was dropped instead."""
        with self._lock:
            if not self._accepting or self._bytes + len(line) > self._options.max_bytes:
                self.dropped += 1
                return False
            self._lines.append(line)
            self._bytes += len(line)
        if not self._wake.is_set():
            self._wake.set()
        return True

    async def _open(self) -> None:
        self._stop.clear()
        self._accepting = True
        # A daemon, because a write into a full pipe cannot be interrupted and must not keep the
        # process from ending.
        self._thread = threading.Thread(target=self._work, name="log writer", daemon=True)
        self._thread.start()

    async def _close(self) -> None:
        with self._lock:
            self._accepting = False
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, self._options.close_timeout)
        with self._lock:
            self.dropped += len(self._lines)
            self._lines, self._bytes = [], 0

    def _work(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(self._options.linger)
            self._wake.clear()
            self._write(self._take())
        self._write(self._take())

    def _take(self) -> list[bytes]:
        with self._lock:
            lines, self._lines, self._bytes = self._lines, [], 0
        return lines

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        text = b"".join(lines).decode("utf-8", "backslashreplace")
        try:
            self._stream.write(self._redact(text).encode())
            self._stream.flush()
        except (OSError, ValueError):
            # A reader that went away, or a closed stream; there is nowhere left to say so.
            with self._lock:
                self.dropped += len(lines)
