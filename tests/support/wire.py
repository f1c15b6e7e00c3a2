"""HTTP/1.1 by hand: a client that sends and shows the bytes themselves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Self
from urllib.parse import urlsplit

import msgspec

DEADLINE = 10.0
"""Seconds that anything here may take."""

Fields = list[tuple[bytes, bytes]]


class Answer(msgspec.Struct, frozen=True):
    """An answer as it came, the framing of its body removed."""

    status: int
    headers: Fields
    """Names in lower case, in the order they came."""
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The first value of the field `name`, or None."""
        return next((value for key, value in self.headers if key == name), None)


def post(path: str, body: bytes, *fields: bytes, method: str = "POST") -> bytes:
    """A request with its length; `fields` are whole header lines."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: localhost", *fields]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Client:
    """One connection. Every wait ends at `DEADLINE` with `TimeoutError`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._chunked = False
        self._left: int | None = 0
        self._rest = b""
        self.status = 0
        self.headers: Fields = []

    @classmethod
    async def connect(cls, url: str) -> Self:
        """Connect to the server at `url`."""
        parts = urlsplit(url)
        async with asyncio.timeout(DEADLINE):
            return cls(*await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22))

    async def send(self, data: bytes) -> None:
        """Send `data` as it is."""
        async with asyncio.timeout(DEADLINE):
            self._writer.write(data)
            await self._writer.drain()

    async def head(self, *, bodiless: bool = False) -> int:
        """Read the next answer's head; its status. `bodiless` where HEAD was asked."""
        async with asyncio.timeout(DEADLINE):
            block = await self._reader.readuntil(b"\r\n\r\n")
        line, *fields = block[:-4].split(b"\r\n")
        pairs = [field.partition(b": ") for field in fields]
        self.headers = [(name.lower(), value) for name, _, value in pairs]
        self.status = int(line.split(b" ")[1])
        known = dict(self.headers)
        self._chunked = known.get(b"transfer-encoding") == b"chunked"
        self._left = int(known[b"content-length"]) if b"content-length" in known else None
        if bodiless or self.status in {204, 304}:
            self._chunked, self._left = False, 0
        return self.status

    async def piece(self) -> bytes:
        """The next piece of the body; empty at its proper end.

        `IncompleteReadError` where the connection ends before that.
        """
        async with asyncio.timeout(DEADLINE):
            if self._chunked:
                return await self._chunk()
            if self._left is None:
                return await self._reader.read(65_536)
            if not self._left:
                return b""
            data = await self._reader.read(min(self._left, 65_536))
            if not data:
                raise asyncio.IncompleteReadError(b"", self._left)
            self._left -= len(data)
            return data

    async def _chunk(self) -> bytes:
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        data = await self._reader.readexactly(size + 2)
        return data[:-2]

    async def take(self, size: int) -> bytes:
        """Exactly `size` more bytes of the body."""
        while len(self._rest) < size:
            data = await self.piece()
            if not data:
                raise asyncio.IncompleteReadError(self._rest, size)
            self._rest += data
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    async def body(self) -> bytes:
        """The rest of the body."""
        pieces = [self._rest]
        self._rest = b""
        while data := await self.piece():
            pieces.append(data)
        return b"".join(pieces)

    async def until_broken(self) -> bytes:
        """What comes before the connection ends too early; fails where the body ends well."""
        pieces = []
        try:
            while data := await self.piece():
                pieces.append(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b"".join(pieces)
        raise AssertionError("the body ended as if it were complete")

    async def answer(self) -> Answer:
        """Head and body of the next answer."""
        await self.head()
        return Answer(self.status, self.headers, await self.body())

    async def ask(self, request: bytes) -> Answer:
        """Send `request`; its whole answer."""
        await self.send(request)
        return await self.answer()

    def reset(self) -> None:
        """Break the connection off, as a client that is killed does."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close; what was not read is dropped."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):  # the other side may have been faster
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    """A connection for the length of a block."""
    opened = await Client.connect(url)
    try:
        yield opened
    finally:
        await opened.close()


async def ask(url: str, request: bytes) -> Answer:
    """The answer to `request` on a connection of its own."""
    async with client(url) as opened:
        return await opened.ask(request)


async def settled(event: asyncio.Event, what: str, deadline: float = 2.0) -> None:
    """Return when `event` is set; `what` is told where that takes longer than `deadline`."""
    try:
        async with asyncio.timeout(deadline):
            await event.wait()
    except TimeoutError:
        raise AssertionError(f"not within {deadline} s: {what}") from None


async def until(met: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
    """Return when `met()`; for what another process does and tells nobody."""
    try:
        async with asyncio.timeout(deadline):
            while not met():  # noqa: ASYNC110 - see the docstring; the deadline is above
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {deadline} s: {what}") from None
