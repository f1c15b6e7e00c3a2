"""An upstream much faster than what is measured: plain answers, paced and full-speed streams.

It reads each request's body to its end, obeys the order in its first message (see `bodies`), and
parses nothing else. Each event carries the monotonic time at which it was sent. Run by itself:
`python -m benchmarks.fast_upstream PORT`.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import cast

import uvloop

ANSWER = (
    '{"id":"chatcmpl-@ID@","object":"chat.completion","created":1767225600,"model":"bench",'
    '"choices":[{"index":0,"message":{"role":"assistant","content":"@TEXT@"},'
    '"finish_reason":"stop"}],'
    '"usage":{"prompt_tokens":2000,"completion_tokens":225,"total_tokens":2225}}'
)
MODELS = (
    '{"object":"list","data":[{"id":"bench-plain","object":"model","owned_by":"bench"},'
    '{"id":"bench-own","object":"model","owned_by":"bench"}]}'
)
ANSWER_TEXT = "The check belongs in a dependency. " * 26
"""The content of a small answer: about 900 bytes."""

_ORDER = re.compile(rb"~S (\d+) (\d+) (\d+)~")
_ORDER_WITHIN = 2048
_LOOKED_AT = 16_384
"""Bytes of a read that are searched for a head and an order; the rest is only counted."""
_TICK = 0.001
_JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_CHUNK_OBJECT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1767225600,'
    b'"model":"bench","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
)
_LENGTH_REQUIRED = b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(event), event)


def _timed(delta: bytes) -> bytes:
    """A chunk to be formatted with sixteen digits of nanoseconds, so that its length is known."""
    event = _CHUNK_OBJECT % (delta, b"null")
    return b"%x\r\n%s\r\n" % (len(event % 0), event)


_FIRST = _timed(b'{"role":"assistant","content":"~T%016d~ next token"}')
_EVENT = _timed(b'{"content":"~T%016d~ next token"}')
_END = b"".join(
    [_chunk(_CHUNK_OBJECT % (b"{}", b'"stop"')), _chunk(b"data: [DONE]\n\n"), _chunk(b"")]
)


class Pace:
    """Sends the next event of each paced stream when it is due, by one timer for all of them.

    A timer per stream would cost more than the events, at 40,000 events a second.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._start = loop.time()
        self._due: dict[int, list[Callable[[], bool]]] = {}
        self._gaps: dict[Callable[[], bool], int] = {}
        self._last = 0
        self._running = False

    def add(self, send: Callable[[], bool], gap_ms: int) -> None:
        """Call `send` every `gap_ms` milliseconds from now until it returns False."""
        self._gaps[send] = gap_ms
        self._due.setdefault(self._now() + gap_ms, []).append(send)
        if not self._running:
            self._running = True
            self._last = self._now()
            self._loop.call_later(_TICK, self._tick)

    def _now(self) -> int:
        return int((self._loop.time() - self._start) / _TICK)

    def _tick(self) -> None:
        now = self._now()
        for tick in range(self._last + 1, now + 1):
            for send in self._due.pop(tick, ()):
                if send():
                    # Counted from when it was due, so that a late tick does not slow the stream.
                    self._due.setdefault(tick + self._gaps[send], []).append(send)
                else:
                    del self._gaps[send]
        self._last = now
        self._running = bool(self._due)
        if self._running:
            self._loop.call_later(_TICK, self._tick)


class Upstream(asyncio.BufferedProtocol):
    """One connection. Pipelined requests are not supported: no client of a benchmark sends them."""

    # One buffer for all connections: it is filled and read within one callback.
    _buffer = bytearray(262_144)
    _view = memoryview(_buffer)
    _ids = count(1)

    def __init__(self, pace: Pace, loop: asyncio.AbstractEventLoop) -> None:
        self._pace, self._loop = pace, loop
        self._transport: asyncio.Transport | None = None
        self._kept = b""
        self._missing = 0
        self._events = self._sent = self._answer_bytes = 0
        self._gap_ms = 0
        self._may_write = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's contract
        self._transport = None

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's contract
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        if self._missing:
            self._missing -= nbytes
            if self._missing <= 0:
                self._answer()
            return
        taken = min(nbytes, _LOOKED_AT)
        data = self._kept + bytes(self._view[:taken])
        self._kept = b""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._kept = data
        else:
            self._head(data, end + 4, nbytes - taken)

    def _head(self, data: bytes, begin: int, beyond: int) -> None:
        """A head has come, in `data[:begin]`; `beyond` bytes have come that are not in `data`."""
        head = data[:begin].lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            self._without_body(head)
            return
        length = int(head[at + 17 : head.index(b"\r", at + 17)])
        if len(data) - begin < min(length, _ORDER_WITHIN):
            self._kept = data  # some clients send the body on its own
            return
        order = _ORDER.search(data, begin, begin + _ORDER_WITHIN)
        wanted = [int(number) for number in order.groups()] if order else [0, 0, 0]
        self._events, self._gap_ms, self._answer_bytes = wanted
        self._missing = max(0, length - (len(data) - begin) - beyond)
        if not self._missing:
            self._answer()

    def _without_body(self, head: bytes) -> None:
        if head.startswith(b"get "):
            self._json(MODELS.encode(), b"")
        elif self._transport is not None:
            self._transport.write(_LENGTH_REQUIRED)
            self._transport.close()

    def _answer(self) -> None:
        self._missing = 0
        if not self._events:
            before, after = _answer_parts(self._answer_bytes)
            self._json(b"%s%012d" % (before, next(self._ids)), after)
            return
        self._sent = 0
        self._write(_STREAM_HEAD + _FIRST % time.monotonic_ns())
        self._sent = 1
        if self._gap_ms:
            self._pace.add(self._next_event, self._gap_ms)
        else:
            self._loop.call_soon(self._flood)

    def _json(self, begin: bytes, end: bytes) -> None:
        self._write(_JSON_HEAD % (len(begin) + len(end)) + begin)
        self._write(end)

    def _next_event(self) -> bool:
        """Send one event, and the end after the last; False when the stream is over."""
        if self._transport is None:
            return False
        self._write(_EVENT % time.monotonic_ns())
        self._sent += 1
        if self._sent < self._events:
            return True
        self._write(_END)
        return False

    def _flood(self) -> None:
        # One event a turn of the loop: as fast as it goes, and fair among the streams.
        if self._may_write and self._sent < self._events and self._next_event():
            self._loop.call_soon(self._flood)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        if self._events and not self._gap_ms and self._sent < self._events:
            self._loop.call_soon(self._flood)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


@cache
def _answer_parts(size: int) -> tuple[bytes, bytes]:
    """What stands before and after the number in the id of an answer of about `size` bytes."""
    text = "x" * size if size else ANSWER_TEXT
    before, _, after = ANSWER.replace("@TEXT@", text).partition("@ID@")
    return before.encode() + b"own-", after.encode()


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    pace = Pace(loop)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(lambda: Upstream(pace, loop), "127.0.0.1", port, backlog=8192)
    async with server:
        await stopped.wait()


def main() -> None:
    """Serve on the loopback port that is the first argument, until SIGTERM."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
