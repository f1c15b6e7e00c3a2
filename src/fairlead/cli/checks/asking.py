"""One question to one server, with deadlines that suit a person who waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from fairlead.core.encoding import CodingError, DecodedTooLargeError, decode
from fairlead.gateway.caching import content_coding
from fairlead.gateway.legs.base import Leg, LegOptions, LegReply, LegRequest

MakeLeg = Callable[[LegOptions], Leg]

DEADLINE = 15.0
"""Seconds for one question to one server, connecting included."""
MAX_ANSWER = 4 * 1024 * 1024


@asynccontextmanager
async def opened(make_leg: MakeLeg, options: LegOptions) -> AsyncIterator[Leg]:
    """A leg for a few questions; its own time limits are cut down to `DEADLINE`."""
    connect = min(options.connect_timeout, DEADLINE)
    leg = make_leg(
        msgspec.structs.replace(options, connect_timeout=connect, first_byte_timeout=DEADLINE)
    )
    await leg.open()
    try:
        yield leg
    finally:
        await leg.close()


async def ask(leg: Leg, request: LegRequest) -> tuple[LegReply, bytes]:
    """The answer and its decoded body, of which what is beyond `MAX_ANSWER` is left.

    Raises `FairleadError`, or `TimeoutError` after `DEADLINE`.
    """
    async with asyncio.timeout(DEADLINE):
        reply = await leg.send(request)
        try:
            body = bytearray()
            while len(body) < MAX_ANSWER and (piece := await reply.read()):
                body += piece
        finally:
            reply.close()
    try:
        return reply, decode(bytes(body), content_coding(reply.headers), MAX_ANSWER)
    except (CodingError, DecodedTooLargeError):
        return reply, b""  # judged by its status alone
