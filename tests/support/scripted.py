"""An upstream whose answers a test writes down, while a node keeps its connections to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from fairlead.testing.upstream import Caller, FlakyUpstream, RawRequest

Handler = Callable[[Caller, RawRequest], Awaitable[None]]
"""Answers one request on its connection."""


class ScriptedUpstream(FlakyUpstream):
    """Answers every request, on whichever connection, with the `handler` of that moment."""

    def __init__(self) -> None:
        super().__init__(self._converse)
        self.handler: Handler = refuse

    def play(self, handler: Handler) -> None:
        """Answer with `handler` from now on, and forget the requests so far."""
        self.handler = handler
        self.requests.clear()

    async def _converse(self, caller: Caller) -> None:
        while (request := await caller.request()) is not None:
            await self.handler(caller, request)


async def refuse(caller: Caller, _request: RawRequest) -> None:
    """Nothing is expected now."""
    body = b"nothing is expected now"
    await caller.send(b"HTTP/1.1 410 Gone\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


def replying(*pieces: bytes) -> Handler:
    """A handler that sends `pieces` one after the other, each in a packet of its own if it can.

    It keeps the connection unless the first piece says that it closes.
    """

    async def handler(caller: Caller, _request: RawRequest) -> None:
        for piece in pieces:
            await caller.send(piece)
            await asyncio.sleep(0)
        if b"connection: close" in pieces[0].lower():
            caller.close()

    return handler


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    b"connection: close\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    """`data` in chunked framing; empty data ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(
    body: bytes,
    status: bytes = b"200 OK",
    fields: Sequence[bytes] = (b"content-type: application/json",),
) -> bytes:
    """An answer with its length; `fields` are whole header lines."""
    lines = [b"HTTP/1.1 " + status, *fields, b"content-length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class GatedStream:
    """A handler that streams `events`, each only when the test lets it; counts what happens."""

    def __init__(self, events: Sequence[bytes]) -> None:
        self.events = tuple(events)
        self.calls = 0
        self.started = asyncio.Semaphore(0)
        """Released once per call that has come."""
        self.left = asyncio.Event()
        """The caller has closed its connection before the end."""
        self.left_at = 0.0
        self._gate = asyncio.Semaphore(0)

    def let(self, count: int = 1) -> None:
        """Let so many more steps be done: the head, then one per event, then the end."""
        for _ in range(count):
            self._gate.release()

    def let_all(self) -> None:
        """Let the whole answer out."""
        self.let(len(self.events) + 2)

    async def __call__(self, caller: Caller, _request: RawRequest) -> None:
        """Answer one request."""
        self.calls += 1
        self.started.release()
        sending = asyncio.create_task(self._send(caller))
        leaving = asyncio.create_task(caller.gone())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                self.left_at = asyncio.get_running_loop().time()
                self.left.set()
            elif not sending.cancelled():
                sending.result()
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            # `gone` reads what would be the next request: this connection is of no more use.
            caller.close()

    async def _send(self, caller: Caller) -> None:
        await self._gate.acquire()
        await caller.send(STREAM_HEAD)
        for event in self.events:
            await self._gate.acquire()
            await caller.send(chunk(event))
        await self._gate.acquire()
        await caller.send(chunk(b""))
