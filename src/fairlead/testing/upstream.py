"""An upstream that does what a script says, down to single bytes: for tests of HTTP clients."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner

_KEPT_REQUESTS = 1000
_HEAD_LIMIT = 1 << 20


class RawRequest(msgspec.Struct, frozen=True):
    """A request as it came."""

    line: bytes
    """Request line without its line break."""
    headers: list[tuple[bytes, bytes]]
    """Names as they came."""
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower case), or None."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class Caller:
    """One connection, from the server's side."""

    def __init__(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        seen: Callable[[RawRequest], None],
    ) -> None:
        self.number = number
        """Counts from 0 in the order of arrival."""
        self._reader = reader
        self._writer = writer
        self._seen = seen

    async def request(self) -> RawRequest | None:
        """The next request with its whole body, or None where the caller has gone."""
        head = await self.head()
        if head is None:
            return None
        body = await self._reader.readexactly(int(head.header(b"content-length") or 0))
        request = RawRequest(head.line, head.headers, body)
        self._seen(request)
        return request

    async def head(self) -> RawRequest | None:
        """The next request's head alone, its body left unread; None where the caller has gone."""
        try:
            block = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        line, *fields = block[:-4].split(b"\r\n")
        pairs = [field.partition(b":") for field in fields]
        return RawRequest(line, [(name, value.strip()) for name, _, value in pairs], b"")

    async def receive(self, size: int = 65_536) -> bytes:
        """The next bytes, at most `size`, whatever they are; empty where the caller has gone."""
        return await self._reader.read(size)

    async def send(self, data: bytes) -> None:
        """Send `data`; waits while the caller takes nothing."""
        self._writer.write(data)
        await self._writer.drain()

    async def gone(self) -> None:
        """Return when the caller has closed the connection; what it sends until then is lost."""
        with contextlib.suppress(ConnectionError):  # reset is gone as well
            while await self.receive():
                pass

    def close(self) -> None:
        """Close after what was sent."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection off: the other side sees a reset, not an end."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Caller], Awaitable[None]]
"""What happens on one connection; when it returns the connection is closed."""


class FlakyUpstream(Resource):
    """A raw server on loopback that runs `script` for every connection.

    >>> async def script(caller: Caller) -> None:
    ...     await caller.request()
    ...     await caller.send(b"HTTP/1.1 200 OK\\r\\ncontent-length: 10\\r\\n\\r\\nhalf")

    `async with FlakyUpstream(script) as upstream:` then breaks every answer off in the middle.
    """

    def __init__(
        self, script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.connections = 0
        """Accepted so far."""
        self.gone = 0
        """Connections that have ended."""
        self.requests: deque[RawRequest] = deque(maxlen=_KEPT_REQUESTS)
        self.failures: list[BaseException] = []
        """What scripts raised, the loss of their connection apart."""
        self._script = script
        self._tls = tls
        self._host = host
        self._tasks = TaskOwner(lambda _, error: self.failures.append(error))
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        self.check_open()
        assert self._server is not None  # noqa: S101 - narrows: it is open
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Its base URL."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    async def _open(self) -> None:
        await self._tasks.open()
        self._server = await asyncio.start_server(
            self._accept, self._host, 0, ssl=self._tls, limit=_HEAD_LIMIT
        )

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._tasks.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._tasks.is_open:
            writer.transport.abort()
            return
        caller = Caller(self.connections, reader, writer, self.requests.append)
        self.connections += 1
        self._tasks.spawn(self._serve(caller, writer), f"caller {caller.number}")

    async def _serve(self, caller: Caller, writer: asyncio.StreamWriter) -> None:
        try:
            # A caller may leave at any moment; what that means is for the test to say.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._script(caller)
                caller.close()
                await caller.gone()
        finally:
            self.gone += 1
            writer.transport.abort()

    def __repr__(self) -> str:
        return f"<FlakyUpstream {self.connections} connections, {len(self.requests)} requests>"


def answering(*answers: bytes) -> Script:
    """A script that answers the requests of a connection with `answers` in turn, for ever."""

    async def script(caller: Caller) -> None:
        count = 0
        while await caller.request() is not None:
            await caller.send(answers[count % len(answers)])
            count += 1

    return script
