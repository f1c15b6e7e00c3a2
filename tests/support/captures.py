"""A node whose exchanges are captured, and where the turns go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fairlead.conversations.digests import digest_of
from fairlead.errors import FairleadError
from fairlead.gateway.base import ModelRequest, Upstream
from fairlead.gateway.caching import CacheOptions
from fairlead.gateway.capture.base import CapturedMessage, CapturedTurn, CaptureOptions
from fairlead.gateway.capture.recorder import TurnCapture
from fairlead.gateway.gateway import Gateway
from support.gateway import EVENTS, RecordingSink, ScriptedLeg, ScriptedReply, make_upstream
from support.node import Node

CHAT, RESPONSES, MESSAGES = b"/v1/chat/completions", b"/v1/responses", b"/v1/messages"
SMALL = CaptureOptions(close_timeout=5.0)


class Turns:
    """A `TurnSink` that keeps what it gets; can be made to wait and to fail."""

    def __init__(self) -> None:
        self.turns: list[CapturedTurn] = []
        self.gate: asyncio.Event | None = None
        """Where set, nothing is delivered before it."""
        self.waiting = asyncio.Event()
        """Something waits for it."""
        self.unready: Callable[[CapturedTurn], Exception | None] = lambda _: None
        """What `prepare` raises."""
        self.error: FairleadError | None = None
        """What `deliver` raises."""

    def prepare(self, turn: CapturedTurn) -> CapturedTurn:
        """The turn itself."""
        error = self.unready(turn)
        if error is not None:
            raise error
        return turn

    async def deliver(self, prepared: CapturedTurn) -> None:
        """Keep it."""
        if self.gate is not None:
            self.waiting.set()
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.turns.append(prepared)


class CapturingNode(Node):
    """A node without sockets that captures everything."""

    def __init__(
        self,
        *upstreams: Upstream,
        sink: Turns | None = None,
        capture: CaptureOptions = SMALL,
        options: CacheOptions | None = None,
        max_body_bytes: int = 1 << 20,
    ) -> None:
        super().__init__(*upstreams, options=options)
        self.sink = sink or Turns()
        self.capture = TurnCapture(self.sink, options=capture, clock=self.clock)
        self.gateway = Gateway(
            upstreams,
            self.cache,
            self.records.append,
            balancer=self.balancer,
            max_body_bytes=max_body_bytes,
            capture=self.capture,
            clock=self.clock,
        )

    async def _open(self) -> None:
        await self.capture.open()
        await super()._open()

    async def _close(self) -> None:
        await super()._close()
        await self.capture.close()
        assert self.capture.statistics().bytes == 0

    async def turn(self) -> CapturedTurn:
        """The turn of the last request."""
        await self.capture.flush()
        return self.sink.turns[-1]

    async def dropped(self) -> dict[str, int]:
        """What was not captured, by reason."""
        await self.capture.flush()
        return dict(self.capture.statistics().dropped)

    async def tell(self, request: ModelRequest) -> tuple[RecordingSink, CapturedTurn]:
        """The answer to `request`, and what was captured of it."""
        answer = await self.ask(request)
        return answer, await self.turn()


def speaking(*replies: ScriptedReply) -> Upstream:
    """An upstream of either API that gives these answers."""
    return make_upstream(ScriptedLeg(*replies), shape="simulated", base_path="")


def plain(answer: Any, **more: Any) -> ScriptedReply:
    """A whole answer."""
    return ScriptedReply(body=json.dumps(answer).encode(), **more)


def stream(events: Sequence[bytes]) -> ScriptedReply:
    """A whole stream."""
    return ScriptedReply(200, EVENTS, b"".join(events))


def body_of(**fields: Any) -> bytes:
    """A request's body."""
    return json.dumps({"model": "m", **fields}).encode()


def shown(messages: Sequence[CapturedMessage]) -> list[tuple[str, Any]]:
    """Roles and contents."""
    return [(message.role, json.loads(message.content)) for message in messages]


def digests(messages: Sequence[CapturedMessage]) -> list[str]:
    """By which they are recognised."""
    return [digest_of(one.role, one.content, one.metadata) for one in messages]


def cuts(data: bytes, step: int) -> Iterator[bytes]:
    """`data` in pieces."""
    for start in range(0, len(data), step):
        yield data[start : start + step]
