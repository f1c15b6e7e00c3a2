"""Bodies as streams: pieces, back-pressure, and any way the network may cut them."""

from __future__ import annotations

import asyncio
import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.legs.scenario import OpenLeg, drained, ok, post
from fairlead.testing import Caller, FlakyUpstream, answering

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_pieces_are_bounded_and_a_slow_reader_holds_the_sender_back(
    open_leg: OpenLeg,
) -> None:
    body = bytes(range(256)) * 40_000
    sent = 0

    async def script(caller: Caller) -> None:
        nonlocal sent
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 10_240):
            await caller.send(body[start : start + 10_240])
            sent += 10_240

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url, read_size=16_384) as leg:
        reply = await leg.send(post())
        before = -1
        pieces = [await reply.read()]
        while before != sent:  # until the sender is stuck
            before = sent
            for _ in range(50):
                await asyncio.sleep(0)
        assert sent < len(body)
        while piece := await reply.read():
            pieces.append(piece)
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= 16_384


async def test_at_most_two_reads_are_held_per_connection(open_lean: OpenLeg) -> None:
    # The lean leg only: what aiohttp holds beyond its own limit cannot be seen from outside.
    body = b"x" * 5_000_000
    async with (
        FlakyUpstream(answering(ok(body))) as upstream,
        open_lean(upstream.url, read_size=16_384) as leg,
    ):
        reply = await leg.send(post())
        size = 0
        most = reply.buffered
        while piece := await reply.read():
            size += len(piece)
            for _ in range(3):
                await asyncio.sleep(0)
            most = max(most, reply.buffered)
        assert size == len(body)
        assert 16_384 <= most <= 2 * 16_384


PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the fixture holds no state
)
@given(pieces=PIECES, chunked=st.booleans(), cuts=st.lists(st.integers(1, 400), max_size=8))
async def test_any_split_of_an_answer_gives_the_same_body(
    open_leg: OpenLeg, pieces: list[bytes], chunked: bool, cuts: list[int]
) -> None:
    body = b"".join(pieces)
    wire = ok(body)
    if chunked:
        wire = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
    places = sorted({0, *(cut % len(wire) for cut in cuts), len(wire)})

    async def script(caller: Caller) -> None:
        await caller.request()
        for start, end in itertools.pairwise(places):
            await caller.send(wire[start:end])
            for _ in range(3):
                await asyncio.sleep(0)
        await caller.gone()

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        reply = await leg.send(post())
        assert await drained(reply) == body
        assert leg.statistics().idle == 1
