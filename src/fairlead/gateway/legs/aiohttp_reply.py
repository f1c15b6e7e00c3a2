"""The answer of the aiohttp leg."""

from __future__ import annotations

import asyncio
from typing import Protocol

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from fairlead.errors import ClosedError, FairleadError
from fairlead.gateway.legs.base import Headers
from fairlead.gateway.legs.deadlines import Limit
from fairlead.gateway.legs.head import ends_with_connection

FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError)
"""What aiohttp raises where an upstream fails."""


class Owner(Protocol):
    """The leg, as its replies see it."""

    def limit_read(self) -> Limit:
        """A block that ends when the answer has paused for too long."""
        ...

    def fail_read(self, error: Exception) -> FairleadError:
        """What a failure in the middle of an answer means here; counts it."""
        ...

    def release(self, reply: AiohttpReply) -> None:
        """`reply` needs its connection no more."""
        ...


class AiohttpReply:
    """`LegReply` over `aiohttp.ClientResponse`."""

    def __init__(self, leg: Owner, response: aiohttp.ClientResponse, read_size: int) -> None:
        self.status = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.raw_headers]
        self._leg = leg
        self._response = response
        self._read_size = read_size
        self._content = response.content
        self._released = False
        self._error: FairleadError | None = None
        self._lost = _loss(response)
        if self._lost is not None:
            self._lost.add_done_callback(self._on_lost)

    @property
    def complete(self) -> bool:
        """The whole body has come and was handed out."""
        return self._content.at_eof() and self._error is None

    def read_nowait(self) -> bytes:
        """What has come and was not handed out yet, at most `read_size` bytes."""
        if self._error is not None or self._content.at_eof():
            return b""
        # The public readers raise a failure before they hand out what came earlier.
        return self._content._read_nowait(self._read_size)  # noqa: SLF001 - see above

    async def read(self) -> bytes:
        """The next piece, at most `read_size` bytes; empty at the end.

        Raises `UpstreamBrokenError`, `UpstreamTimeoutError`, and `ClosedError` after `close()`.
        """
        data = self.read_nowait()
        if data or self.complete:
            return data
        if self._error is not None:
            raise self._error
        try:
            async with self._leg.limit_read():
                data = await self._content.read(self._read_size)
        except FOREIGN as error:
            raise self._fail(error) from error
        if not data and self._error is not None:
            raise self._error
        return data

    def close(self) -> None:
        """Give the answer up; the connection, where it still serves this answer, is closed."""
        if self._error is None and not self.complete:
            self._error = ClosedError("the answer was given up")
        self._response.close()
        self.release()

    def release(self) -> None:
        """The connection is free or closed: give the slot back, once."""
        if not self._released:
            self._released = True
            if self._lost is not None:
                self._lost.remove_done_callback(self._on_lost)
            self._leg.release(self)

    def _on_lost(self, lost: asyncio.Future[None]) -> None:
        # Two holes of aiohttp's: a body that is malformed is not told to its reader, and a body
        # without a length is taken for complete when the connection was reset.
        error = lost.exception()
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))
        elif error is not None and self._error is None and ends_with_connection(self.headers):
            self._fail(ConnectionError(str(error)))

    def _fail(self, error: Exception) -> FairleadError:
        if self._error is None:
            self._error = self._leg.fail_read(error)
        self._response.close()
        self.release()
        return self._error

    def __repr__(self) -> str:
        state = "ended" if self.complete else "broken" if self._error else "open"
        return f"<AiohttpReply {self.status} {state}>"


def _loss(response: aiohttp.ClientResponse) -> asyncio.Future[None] | None:
    """Done when the connection of `response` is lost; None where it is free already."""
    connection = response.connection
    if connection is None or connection.protocol is None:
        return None
    return connection.protocol.closed
