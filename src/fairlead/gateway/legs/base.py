"""The contract of the upstream leg: one request out, one reply in, streamed.

Implementations: `lean.LeanLeg` (httptools on asyncio transports, the default) and
`aiohttp.AiohttpLeg` (HTTP proxies and everything else). One contract suite runs over both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

Headers = list[tuple[bytes, bytes]]
"""Header fields in order, duplicates kept; names in lower case, values stripped."""


class LegOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a leg needs to know about its upstream. Times in seconds."""

    name: str
    """Configured name, for errors and statistics."""
    base_url: str
    """Scheme, host and port are used; the path is the caller's business."""
    max_connections: int = 200
    max_waiting: int = 1000
    """Requests that may wait for a connection; one more is refused with `UpstreamBusyError`."""
    connect_timeout: float = 10.0
    """For a connection, TLS included, and for waiting for a free one."""
    first_byte_timeout: float = 600.0
    """From the request's last byte to the first of the answer: long thinking takes minutes."""
    idle_timeout: float = 300.0
    """Between two pieces of an answer."""
    keep_alive: float = 30.0
    """How long an unused connection is kept."""
    proxy: str | None = None
    ca_bundle: Path | None = None
    max_header_bytes: int = 65_536
    read_size: int = 65_536
    """At most so many bytes are handed on per read: one fast stream cannot starve others."""


class LegRequest(msgspec.Struct, frozen=True):
    """What goes to the upstream.

    `target` is the request line's path and query. `headers` lacks what the leg sets itself: host,
    content-length, connection, transfer-encoding.
    """

    method: bytes
    target: bytes
    headers: Headers
    body: bytes


class LegStatistics(msgspec.Struct, frozen=True):
    """A snapshot of a leg's connections and counts since it was opened."""

    connections: int
    idle: int
    waiting: int
    requests: int
    connects: int
    errors: int


class LegReply(Protocol):
    """An answer whose head has come; its body is pulled.

    The connection goes back to the pool when the body was read to its end; `close()` before that
    closes the connection at once.
    """

    @property
    def status(self) -> int:
        """Of the final answer, 200 to 599."""
        ...

    @property
    def headers(self) -> Headers:
        """As the upstream sent them, hop-by-hop fields included."""
        ...

    @property
    def complete(self) -> bool:
        """The whole body has come and was handed out."""
        ...

    def read_nowait(self) -> bytes:
        """What has come and was not handed out yet, at most `read_size`; empty for nothing."""
        ...

    async def read(self) -> bytes:
        """The next piece, at most `read_size` bytes; empty at the end.

        Raises `UpstreamBrokenError` where the body breaks off or is malformed, and
        `UpstreamTimeoutError` after `idle_timeout` without a byte. What came before is handed out
        first.
        """
        ...

    def close(self) -> None:
        """Give the answer up; idempotent, never waits."""
        ...


class Leg(Protocol):
    """A pooled HTTP/1.1 client for one upstream. Bodies pass undecoded (no decompression)."""

    async def open(self) -> None:
        """Make it ready; connects nothing yet."""
        ...

    async def close(self) -> None:
        """Refuse new requests and close every connection."""
        ...

    async def send(self, request: LegRequest) -> LegReply:
        """Send it and return when the head of the (final) answer has come.

        Cancelling closes the connection. Raises `UpstreamUnreachableError` (nothing was sent),
        `UpstreamBusyError` (no connection became free), `UpstreamTimeoutError`,
        `UpstreamBrokenError`. A kept-alive connection that turns out closed before any byte of
        the answer is replaced once by a new one. `RequestError` (400) for a request that cannot be
        written, `ClosedError` once the leg is closed.
        """
        ...

    def statistics(self) -> LegStatistics:
        """Connections and counts now."""
        ...
