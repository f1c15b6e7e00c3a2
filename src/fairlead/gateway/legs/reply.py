"""The answer of a lean connection: what has come and was not taken yet."""

from __future__ import annotations

import asyncio
from typing import Protocol

from fairlead.errors import ClosedError, FairleadError
from fairlead.gateway.legs.base import Headers


class Source(Protocol):
    """The connection an answer comes from."""

    def expect_more(self) -> None:
        """Something is waited for: it must come within the idle timeout."""
        ...

    def resume(self) -> None:
        """The reader has taken what was buffered: go on reading."""
        ...

    def abandon(self) -> None:
        """Nobody wants the rest: close at once."""
        ...


class LeanReply:
    """`LegReply` that its connection fills.

    The connection writes the public attributes below; only the coroutine that sent the request
    (for the head) and later the reader (for the body) wait, one at a time.
    """

    __slots__ = (
        "_loop",
        "_read_size",
        "_waiter",
        "buffered",
        "ended",
        "error",
        "headers",
        "paused",
        "pieces",
        "source",
        "stale",
        "status",
    )

    def __init__(self, source: Source, loop: asyncio.AbstractEventLoop, read_size: int) -> None:
        self.status = 0
        """0 until the head of the final answer has come."""
        self.headers: Headers = []
        self.pieces: list[bytes] = []
        self.buffered = 0
        """Bytes in `pieces`."""
        self.paused = False
        """The connection reads nothing more until the buffer is taken."""
        self.ended = False
        self.stale = False
        """The kept-alive connection was closed before any byte of an answer."""
        self.error: FairleadError | None = None
        self.source: Source | None = source
        """None once the answer has ended, in whatever way."""
        self._loop = loop  # asking for the running loop costs a system call on Python 3.11
        self._read_size = read_size
        self._waiter: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        """The whole body has come and was handed out."""
        return self.ended and not self.pieces

    def read_nowait(self) -> bytes:
        """What has come and was not handed out yet, at most `read_size` bytes."""
        pieces = self.pieces
        if not pieces:
            return b""
        if self.buffered <= self._read_size:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self.buffered = 0
        else:
            data = self._take_some()
        if self.paused and self.source is not None:
            self.source.resume()
        return data

    async def read(self) -> bytes:
        """The next piece, at most `read_size` bytes; empty at the end.

        Raises `UpstreamBrokenError`, `UpstreamTimeoutError`, and `ClosedError` after `close()`.
        """
        if not self.pieces:
            if self.source is not None:
                self.source.expect_more()
                await self.wait()
            if not self.pieces:
                if self.error is not None:
                    raise self.error
                return b""
        return self.read_nowait()

    def close(self) -> None:
        """Give the answer up; the connection, where it still serves this answer, is closed."""
        self.pieces.clear()
        self.buffered = 0
        if not self.ended:
            self.error = ClosedError("the answer was given up")
        if self.source is not None:
            self.source.abandon()

    async def wait(self) -> None:
        """Return at the next `wake()`: the head, a piece of the body, the end or an error."""
        if self._waiter is not None:
            raise RuntimeError("another coroutine already waits for this answer")
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Let the waiting coroutine, if there is one, look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _take_some(self) -> bytes:
        # A piece is at most one read of the socket, and that at most `read_size`: whole pieces
        # fit, and nothing is copied twice.
        size = count = 0
        for piece in self.pieces:
            size += len(piece)
            if size > self._read_size:
                size -= len(piece)
                break
            count += 1
        data = b"".join(self.pieces[:count])
        del self.pieces[:count]
        self.buffered -= size
        return data

    def __repr__(self) -> str:
        state = "ended" if self.ended else "broken" if self.error else "open"
        return f"<LeanReply {self.status} {state}, {self.buffered} B buffered>"
