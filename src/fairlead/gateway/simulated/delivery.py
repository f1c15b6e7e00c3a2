"""Sending an answer at its pace, until it is whole or the client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import msgspec

from fairlead.core.clock import Clock
from fairlead.gateway.simulated.shape import Event

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Head = list[tuple[bytes, bytes]]

_PIECE = 16_384
_CLOSING = 5.0


class Reply(msgspec.Struct, kw_only=True):
    """An answer and how it is to be sent: `body`, or `events` one by one.

    `delay` is waited before the first byte, `interval` before each token after the first; both in
    seconds. `tokens` is the length of a `body`, which is sent when all of them would have come.
    """

    headers: Head
    status: int = 200
    body: bytes = b""
    events: Iterator[Event] | None = None
    delay: float = 0.0
    interval: float = 0.0
    tokens: int = 0
    break_after: int | None = None
    """Close the connection after so many events, or half-way through `body`."""
    outcome: str = "completed"

    @property
    def wait(self) -> float:
        """Seconds before a `body` is sent."""
        return self.delay + self.interval * max(self.tokens - 1, 0)


class Delivery:
    """Sends one reply over one ASGI connection.

    `disconnect` closes the connection with what was sent delivered but the answer incomplete; None
    where the server offers no such thing (it closes by itself when the application returns early).
    """

    def __init__(
        self, receive: Receive, send: Send, clock: Clock, disconnect: Callable[[], None] | None
    ) -> None:
        self._receive = receive
        self._send = send
        self._clock = clock
        self._disconnect = disconnect

    async def run(self, reply: Reply) -> str:
        """Send `reply`; returns its outcome, `cancelled` where the client went away first."""
        if reply.events is None and not reply.wait and reply.break_after is None:
            await self._body(reply)
            return reply.outcome
        sending = asyncio.create_task(self._paced(reply), name="simulated answer")
        gone = asyncio.create_task(self._gone(), name="simulated answer: client")
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                return "cancelled"
            if sending.result() == "broken" and self._disconnect is not None:
                self._disconnect()
                await asyncio.wait({gone}, timeout=_CLOSING)
            return sending.result()
        finally:
            sending.cancel()
            gone.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _paced(self, reply: Reply) -> str:
        if reply.wait:
            await self._clock.sleep(reply.delay if reply.events else reply.wait)
        if reply.events is not None:
            return await self._stream(reply, reply.events)
        await self._body(reply)
        return reply.outcome if reply.break_after is None else "broken"

    async def _body(self, reply: Reply) -> None:
        length = (b"content-length", b"%d" % len(reply.body))
        whole = reply.break_after is None
        body = reply.body if whole else reply.body[: len(reply.body) // 2]
        await self._head(reply, [*reply.headers, length])
        await self._send({"type": "http.response.body", "body": body, "more_body": not whole})

    async def _stream(self, reply: Reply, events: Iterator[Event]) -> str:
        await self._head(reply, reply.headers)
        due = self._clock.monotonic() - reply.interval
        pending = bytearray()
        for number, (data, is_token) in enumerate(events):
            if number == reply.break_after:
                await self._piece(pending)
                return "broken"
            if is_token:
                # Against the start, not the last event: a late one does not delay all after it.
                due += reply.interval
                early = due - self._clock.monotonic()
                if early > 0:
                    await self._piece(pending)
                    await self._clock.sleep(early)
            pending += data
            if len(pending) >= _PIECE:
                await self._piece(pending)
                await self._clock.sleep(0)
        await self._send({"type": "http.response.body", "body": bytes(pending)})
        return reply.outcome

    async def _head(self, reply: Reply, headers: Head) -> None:
        start = {"type": "http.response.start", "status": reply.status, "headers": headers}
        await self._send(start)

    async def _piece(self, pending: bytearray) -> None:
        if pending:
            body = bytes(pending)
            pending.clear()
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # what a client sends after its request is of no interest
