"""Throughput of large requests that are all different, for which wrk's scripts are too slow.

wrk makes, hashes and copies a new string for each request: at 1 MB that takes 3 ms, longer than
what is measured. Here only the nonce between two fixed pieces is new.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

from benchmarks.bodies import NONCE
from benchmarks.wrk import Throughput

_CONNECT_SECONDS = 10.0
_NUMBER_AT = len(b"nonce-")


class _Counts:
    def __init__(self, first: int) -> None:
        self.next, self.done, self.failed = first, 0, 0
        self.stopped = False


class _Connection(asyncio.Protocol):
    """Sends the next request when the last one was answered."""

    def __init__(self, request: bytes, counts: _Counts) -> None:
        at = request.index(NONCE) + _NUMBER_AT
        self._before, self._after = request[:at], request[at + len(NONCE) - _NUMBER_AT :]
        self._counts = counts
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def ask(self) -> None:
        """Send a request that was never sent."""
        if self._transport is None:
            return
        number = self._counts.next
        self._counts.next += 1
        # In two pieces: joining them would copy the megabyte.
        self._transport.write(self._before)
        self._transport.write(b"%010d%s" % (number, self._after))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.end()

    def on_message_complete(self) -> None:
        counts = self._counts
        if counts.stopped:
            return
        counts.done += 1
        counts.failed += self._parser.get_status_code() != 200
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's contract
        self._transport = None
        self._counts.failed += not self._counts.stopped

    def end(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def run_unique(
    url: str, request: bytes, first: int, connections: int, seconds: float
) -> Throughput:
    """Send `request` with the numbers from `first` on for `seconds`, on `connections`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(url, _Counts(first), request, connections, seconds))


async def _run(
    url: str, counts: _Counts, request: bytes, connections: int, seconds: float
) -> Throughput:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    opened: list[_Connection] = []
    async with asyncio.timeout(_CONNECT_SECONDS):
        for _ in range(connections):
            made = await loop.create_connection(
                lambda: _Connection(request, counts), parts.hostname or "", parts.port or 80
            )
            opened.append(made[1])
    began = time.monotonic()
    for connection in opened:
        connection.ask()
    await asyncio.sleep(seconds)
    elapsed = time.monotonic() - began
    counts.stopped = True
    for connection in opened:
        connection.end()
    return Throughput(counts.done, elapsed, counts.failed)
