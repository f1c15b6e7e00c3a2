"""One request under `/v1/` on its connection: received, then the sink of its answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from fairlead.core.identity import Principal
from fairlead.errors import ClientGoneError
from fairlead.gateway.base import ModelRequest
from fairlead.gateway.legs.base import Headers
from fairlead.web.rim import choose_request_id

if TYPE_CHECKING:
    from fairlead.web.protocol import NodeProtocol

_SMALL = 1024
"""Bytes under which pieces are put together: kept apart, single bytes would cost 40 each."""


class ModelExchange:
    """Meets the gateway's `ResponseSink`, and what uvicorn asks of a request-response cycle.

    The head is held back until the first write, so that a small answer is one system call.
    """

    __slots__ = (
        "_chunked",
        "_head",
        "_no_body",
        "_protocol",
        "_write_timeout",
        "begun",
        "body",
        "gone",
        "headers",
        "http_1_0",
        "keep_alive",
        "method",
        "path",
        "query",
        "received",
        "response_complete",
        "size",
        "started",
        "task",
    )

    def __init__(
        self, protocol: NodeProtocol, method: bytes, path: bytes, query: bytes, headers: Headers
    ) -> None:
        self._protocol = protocol
        self._write_timeout = protocol.edge.limits.write_timeout
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.started = protocol.edge.clock.monotonic()
        self.http_1_0 = False
        self.keep_alive = True
        self.body: list[bytes | bytearray] = []
        self.size = 0
        self.received = False
        self.task: asyncio.Task[Any] | None = None
        self.response_complete = False
        self.begun = False
        self.gone = False
        self._head = b""
        self._chunked = False
        self._no_body = method == b"HEAD"

    def request(self, principal: Principal) -> ModelRequest:
        """The whole request; its pieces are let go of here."""
        body = b"".join(self.body)
        self.body = []
        return ModelRequest(
            self.method,
            self.path,
            self.query,
            self.headers,
            body,
            principal,
            choose_request_id(self.headers),
            self.started,
        )

    def receive(self, piece: bytes) -> None:
        """Keep the next piece of the body."""
        self.size += len(piece)
        if not self.body or len(piece) >= _SMALL:
            self.body.append(piece)
        elif isinstance(self.body[-1], bytearray):
            self.body[-1] += piece
        else:
            self.body.append(bytearray(piece))

    def client_gone(self) -> None:
        """The connection is lost: cancel the task that answers."""
        self.gone = True
        self._release()
        if self.task is not None and not self.response_complete:
            self.task.cancel()

    @property
    def closed(self) -> bool:
        """The client is gone, or the answer is finished."""
        return self.gone or self.response_complete

    def start(self, status: int, headers: Headers) -> None:
        """Make the head; it leaves with the first write."""
        self.begun = True
        lines = [b"%b: %b\r\n" % field for field in headers]
        names = {name for name, _ in headers}
        if b"date" not in names:
            lines += [b"%b: %b\r\n" % field for field in self._protocol.default_headers]
        if status in {204, 304}:
            self._no_body = True
        if b"content-length" not in names and not self._no_body:
            if self.http_1_0:
                self.keep_alive = False
            else:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive or not self.received:
            lines.append(b"connection: close\r\n")
        line = STATUS_LINE.get(status) or b"HTTP/1.1 %d \r\n" % status
        self._head = b"".join([line, *lines, b"\r\n"])

    def write(self, data: bytes) -> bool:
        """Send `data` (and first the head); False where the transport's buffer is full."""
        if self.closed:
            return True
        if self._no_body:
            data = b""
        elif self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data = self._head + data
            self._head = b""
        if data:
            self._protocol.transport.write(data)
        return not self._protocol.flow.write_paused

    async def drain(self) -> None:
        """Wait until the client has taken enough; one that takes nothing for long is dropped."""
        try:
            async with asyncio.timeout(self._write_timeout):
                await self._protocol.flow.drain()
        except TimeoutError:
            self._protocol.transport.abort()
            raise ClientGoneError("the client takes nothing") from None

    def finish(self) -> None:
        """End the answer; the connection serves its next request."""
        if self.closed:
            return
        end = b"0\r\n\r\n" if self._chunked else b""
        if self._head or end:
            self._protocol.transport.write(self._head + end)
            self._head = b""
        self._complete()

    def abort(self) -> None:
        """Close the connection before the answer's declared end."""
        if not self.closed:
            self.keep_alive = False
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self._release()
        self._protocol.answered(self)

    def _release(self) -> None:
        self._protocol.edge.buffered -= self.size
        self.size = 0
        self.body = []
