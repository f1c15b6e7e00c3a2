"""Flights beyond their bound: complete for each follower, and bounded for the node."""

from __future__ import annotations

import asyncio
import os

import pytest

from fairlead.core.tasks import TaskOwner
from fairlead.errors import ClosedError
from fairlead.gateway.stream import (
    WINDOW,
    Answer,
    Flight,
    FlightBudget,
)
from support.flights import HeldCall
from support.gateway import ScriptedReply, turns

# Nothing here takes time: what does not end at once hangs.
pytestmark = pytest.mark.timeout(5)


# ---- beyond the bound


async def test_beyond_its_bound_a_flight_cannot_be_joined_but_completes(tasks: TaskOwner) -> None:
    upstream = HeldCall(max_bytes=1000)
    follower, other = upstream.flight.join(), upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(b"a" * 1000)
    await follower.head()
    await turns()
    assert upstream.sealed == []
    assert upstream.budget.used == 1000

    upstream.answer(b"b")
    await turns()

    assert upstream.flight.sealed
    with pytest.raises(ClosedError):
        upstream.flight.join()
    upstream.answer(b"c" * 5000)
    upstream.reply.end()
    expected = b"a" * 1000 + b"b" + b"c" * 5000
    assert await follower.read_all() == expected
    assert await other.read_all() == expected
    assert upstream.flight.whole_body() is None
    assert upstream.sealed == [None]
    follower.close()
    other.close()
    assert upstream.budget.used == 0


async def test_beyond_the_bound_it_waits_for_the_slowest_follower(tasks: TaskOwner) -> None:
    upstream = HeldCall(max_bytes=1000)
    flight, size = upstream.flight, 65_536
    slow, quick = flight.join(), flight.join()
    flight.start(upstream.call, tasks)
    pieces = [bytes([n % 256]) * size for n in range(100)]
    upstream.answer(*pieces)
    upstream.reply.end()
    await quick.head()
    got: list[bytes] = []
    for _ in range(200):
        got.append(quick.read_nowait())
        await turns(3)

    # The upstream was read no further than the window beyond the slow one's place.
    assert sum(map(len, got)) <= WINDOW + 2 * size
    assert upstream.reply.waiting >= 100 - (WINDOW // size + 2)
    assert sum(map(len, flight._chunks)) <= WINDOW + size

    async def drip() -> bytes:
        pieces_of_slow = []
        while data := await slow.read():
            pieces_of_slow.append(data)
            assert sum(map(len, flight._chunks)) <= WINDOW + size
            await turns(1)
        return b"".join(pieces_of_slow)

    rest, whole = await asyncio.gather(quick.read_all(), drip())
    assert b"".join(got) + rest == whole == b"".join(pieces)


async def test_a_slow_follower_that_leaves_frees_the_others(tasks: TaskOwner) -> None:
    upstream = HeldCall(max_bytes=1000)
    slow, quick = upstream.flight.join(), upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    pieces = [os.urandom(50_000) for _ in range(60)]
    upstream.answer(*pieces)
    upstream.reply.end()
    await quick.head()
    reading = asyncio.ensure_future(quick.read_all())
    await turns(200)
    assert not reading.done()

    slow.close()

    assert await reading == b"".join(pieces)


async def test_the_last_follower_of_a_flight_that_waits_for_it_cancels_it(
    tasks: TaskOwner,
) -> None:
    upstream = HeldCall(max_bytes=10)
    follower = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(*[bytes(65_536)] * 100)
    await turns(50)
    assert upstream.reply.waiting > 0

    follower.close()
    await turns()

    assert upstream.reply.closed
    assert len(tasks) == 0
    assert upstream.flight._chunks == []


async def test_a_spent_budget_makes_calls_unshared_not_unanswered(tasks: TaskOwner) -> None:
    budget = FlightBudget(1500)
    sealed: list[Flight] = []
    flights = [Flight(1 << 20, budget, sealed.append) for _ in range(2)]
    replies = [ScriptedReply() for _ in flights]
    followers = [flight.join() for flight in flights]

    async def call(reply: ScriptedReply) -> Answer:
        return Answer("up-1", reply)

    for flight, reply in zip(flights, replies, strict=True):
        flight.start(lambda reply=reply: call(reply), tasks)  # type: ignore[misc]  # binds early
        reply.feed(b"x" * 1000)
    await turns()
    assert budget.used == 1000
    assert sealed == [flights[1]]
    for reply in replies:
        reply.feed(b"y")
        reply.end()

    for follower in followers:
        assert await follower.read_all() == b"x" * 1000 + b"y"
        follower.close()
    await turns()
    assert flights[0] in sealed
    assert budget.used == 0


async def test_what_a_slow_follower_holds_stays_in_the_budget(tasks: TaskOwner) -> None:
    """The budget bounds what all flights hold together, those beyond their own bound too."""
    upstream = HeldCall(max_bytes=8 << 20)
    slow = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(*[bytes(1 << 20)] * 9)
    await slow.head()
    await turns(50)
    held = sum(map(len, upstream.flight._chunks))
    assert held > 8 << 20

    assert upstream.budget.used >= held - WINDOW - (1 << 20)
    slow.close()
    await turns()
    assert upstream.budget.used == 0
