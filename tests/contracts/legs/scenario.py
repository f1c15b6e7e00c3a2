"""What the scenarios of the legs' contract are written with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.gateway.legs.aiohttp import AiohttpLeg
from fairlead.gateway.legs.base import LegOptions, LegReply, LegRequest
from fairlead.gateway.legs.lean import LeanLeg

AnyLeg = LeanLeg | AiohttpLeg
OpenLeg = Callable[..., contextlib.AbstractAsyncContextManager[AnyLeg]]


def opener(kind: type[AnyLeg]) -> OpenLeg:
    @contextlib.asynccontextmanager
    async def opened(
        url: str, clock: Clock = SYSTEM_CLOCK, **options: Any
    ) -> AsyncIterator[AnyLeg]:
        async with kind(LegOptions(name="up", base_url=url, **options), clock) as leg:
            yield leg

    return opened


def post(body: bytes = b"{}", target: bytes = b"/v1/x", method: bytes = b"POST") -> LegRequest:
    return LegRequest(method, target, [(b"content-type", b"application/json")], body)


def get(target: bytes = b"/v1/models", method: bytes = b"GET") -> LegRequest:
    return LegRequest(method, target, [], b"")


async def drained(reply: LegReply) -> bytes:
    """The whole body, `read_nowait` first as the gateway does it."""
    pieces = [reply.read_nowait()]
    while piece := await reply.read():
        pieces.append(piece)
    assert reply.complete
    return b"".join(pieces)


async def until(condition: Callable[[], object]) -> None:
    """Turn the loop until `condition` holds; the test's own time limit is the deadline."""
    while not condition():  # noqa: ASYNC110 - conditions are counts, which have no event
        await asyncio.sleep(0)


def ok(body: bytes = b"ok", extra: bytes = b"") -> bytes:
    """A whole answer with a content-length."""
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (extra, len(body), body)
