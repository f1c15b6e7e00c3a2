"""Many callers on one event loop, cheaply: kept connections, one request on each at a time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Self, cast
from urllib.parse import urlsplit

import httptools

BROKEN = 0
"""The status of a call that was not answered to its end."""


@dataclass(frozen=True)
class Call:
    """One answered call. Seconds from before the first byte sent.

    `first` is to the first byte of the answer's body, `seconds` to its last. `queued` is what the
    server says that the request has waited in its queue.
    """

    status: int
    first: float
    seconds: float
    queued: float
    body: bytes

    @property
    def ok(self) -> bool:
        """The answer asked for."""
        return self.status == 200


class Door:
    """Calls one server, on as many connections as there are calls at a time.

    The bodies of good answers are kept only where `keep_bodies`.
    """

    def __init__(self, url: str, *, keep_bodies: bool = False, deadline: float = 120.0) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.host = parts.netloc
        self._keep_bodies = keep_bodies
        self._deadline = deadline
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def call(self, request: bytes) -> Call:
        """Send a whole request; a failure of any kind is a call with status `BROKEN`."""
        began = time.perf_counter()
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(self._deadline):
                connection = self._idle.pop() if self._idle else await self._connect()
                answered = await connection.ask(request)
        except (OSError, TimeoutError):
            self._drop(connection)
            return Call(BROKEN, 0.0, time.perf_counter() - began, 0.0, b"")
        except asyncio.CancelledError:
            # The caller hangs up: the answer on its way is nobody's.
            self._drop(connection)
            raise
        if connection.reusable:
            self._idle.append(connection)
        else:
            self._drop(connection)
        return answered

    def close(self) -> None:
        """Hang up everywhere; calls that are open break."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._idle.clear()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        keep = self._keep_bodies
        _, connection = await loop.create_connection(lambda: _Connection(keep), *self._address)
        self._all.add(connection)
        return connection

    def _drop(self, connection: _Connection | None) -> None:
        if connection is not None:
            self._all.discard(connection)
            connection.close()


class _Connection(asyncio.Protocol):
    """One request at a time; httptools tells what comes back."""

    def __init__(self, keep_bodies: bool) -> None:
        self._keep_bodies = keep_bodies
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._done: asyncio.Future[Call] | None = None
        self._began = self._first = self._queued = 0.0
        self._body: list[bytes] = []
        self.reusable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    async def ask(self, request: bytes) -> Call:
        """Send `request`; raises `ConnectionError` where the connection breaks."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._done = asyncio.get_running_loop().create_future()
        self._first = self._queued = 0.0
        self._body.clear()
        self._began = time.perf_counter()
        self._transport.write(request)
        return await self._done

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-fairlead-queue-ms":
            self._queued = float(value) / 1e3

    def on_body(self, body: bytes) -> None:
        if not self._first:
            self._first = time.perf_counter() - self._began
        if self._keep_bodies:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self.reusable = self._parser.should_keep_alive()
        if self._done is not None and not self._done.done():
            seconds = time.perf_counter() - self._began
            status = self._parser.get_status_code()
            body = b"".join(self._body)
            self._done.set_result(Call(status, self._first, seconds, self._queued, body))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionResetError("closed"))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()


def post(host: str, payload: bytes, path: str = "/v1/chat/completions", **headers: str) -> bytes:
    """A whole POST request; underscores in the names of `headers` become hyphens."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\n"
        f"content-type: application/json\r\n{more}content-length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


def get(host: str, path: str) -> bytes:
    """A whole GET request."""
    return f"GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n\r\n".encode()
