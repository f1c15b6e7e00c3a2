"""One upstream call followed by several clients: everyone gets everything, and everything ends."""

from __future__ import annotations

import asyncio
import os

import pytest

from fairlead.core.tasks import TaskOwner
from fairlead.errors import ClosedError, UpstreamBrokenError, UpstreamUnreachableError
from fairlead.gateway.stream import (
    MERGE,
    FlightBudget,
    Follower,
    WholeReply,
)
from support.flights import HeldCall
from support.gateway import EVENTS, turns

# Nothing here takes time: what does not end at once hangs.
pytestmark = pytest.mark.timeout(5)


async def test_a_late_joiner_gets_everything_from_the_first_byte(tasks: TaskOwner) -> None:
    upstream = HeldCall()
    early = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(b"one ", b"two ")
    await early.head()
    await turns()
    late = upstream.flight.join()
    upstream.answer(b"three")
    upstream.reply.end()

    assert await early.read_all() == await late.read_all() == b"one two three"
    assert (late.status, late.headers, late.flight.upstream) == (200, EVENTS, "up-1")
    assert upstream.calls == 1


async def test_each_piece_reaches_a_waiting_follower_as_it_comes(tasks: TaskOwner) -> None:
    upstream = HeldCall()
    follower = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.head.set()
    await follower.head()
    for piece in (b"a", b"b", b"c"):
        reading = asyncio.ensure_future(follower.read())
        await turns()
        assert not reading.done()
        upstream.answer(piece)
        assert await reading == piece
    assert follower.read_nowait() == b""
    assert not follower.complete

    upstream.reply.end()
    assert await follower.read() == b""
    assert follower.complete


async def test_a_hundred_followers_at_different_speeds_get_every_byte(tasks: TaskOwner) -> None:
    upstream = HeldCall(max_bytes=4 << 20)
    pieces = [os.urandom(7 + n * 311 % 20_000) for n in range(200)]
    flight = upstream.flight
    flight.start(upstream.call, tasks)
    upstream.head.set()

    async def follow(number: int) -> bytes:
        follower = flight.join()
        await follower.head()
        got = []
        while data := await follower.read():
            got.append(data)
            await turns(number % 5)
        follower.close()
        return b"".join(got)

    readers = []
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            readers.append(asyncio.ensure_future(follow(index)))
        upstream.answer(piece)
        await turns(2)
    upstream.reply.end()

    assert len(readers) == 100
    assert set(await asyncio.gather(*readers)) == {b"".join(pieces)}
    await turns()
    assert upstream.sealed == [b"".join(pieces)]
    assert upstream.budget.used == 0


async def test_a_late_joiner_takes_long_answers_in_steps(tasks: TaskOwner) -> None:
    upstream = HeldCall(max_bytes=8 * MERGE)
    first = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(*[bytes(1000)] * 400)
    await first.head()
    await turns()
    late = upstream.flight.join()

    sizes = []
    while data := late.read_nowait():
        sizes.append(len(data))
    assert sum(sizes) == 400_000
    assert max(sizes) < MERGE + 1000
    assert len(sizes) < 10


# ---- who leaves


async def test_a_leader_that_leaves_does_not_stop_the_others(tasks: TaskOwner) -> None:
    upstream = HeldCall()
    leader = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    other = upstream.flight.join()
    leader.close()
    leader.close()
    upstream.answer(b"all of it")
    upstream.reply.end()

    await other.head()
    assert await other.read_all() == b"all of it"
    assert upstream.cancelled == 0
    await turns()
    assert upstream.sealed == [b"all of it"]


@pytest.mark.parametrize("has_head", [False, True])
async def test_the_last_one_that_leaves_closes_the_upstream_call(
    tasks: TaskOwner, has_head: bool
) -> None:
    upstream = HeldCall()
    followers = [upstream.flight.join() for _ in range(3)]
    upstream.flight.start(upstream.call, tasks)
    await turns()
    if has_head:
        upstream.answer(b"part")
        await turns()

    for follower in followers:
        assert len(tasks) == 1
        follower.close()
    await turns()

    assert len(tasks) == 0
    assert upstream.reply.closed == has_head
    assert upstream.cancelled == (not has_head)
    assert upstream.sealed == [None]
    assert upstream.flight.whole_body() is None
    assert upstream.budget.used == 0
    with pytest.raises(ClosedError):
        upstream.flight.join()


async def test_everyone_leaves_before_the_call_has_begun(tasks: TaskOwner) -> None:
    upstream = HeldCall()
    follower = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    follower.close()
    await turns()

    assert upstream.calls == 0
    assert upstream.sealed == [None]
    assert len(tasks) == 0


async def test_everyone_leaves_between_the_end_and_its_sealing(tasks: TaskOwner) -> None:
    upstream = HeldCall()
    follower = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(b"whole")
    upstream.reply.end()
    await upstream.ended()
    assert not upstream.flight.sealed

    follower.close()
    await turns()

    # The answer is whole whoever has read it.
    assert upstream.sealed == [b"whole"]
    assert upstream.budget.used == 0


async def test_one_may_join_between_the_end_and_its_sealing(tasks: TaskOwner) -> None:
    upstream = HeldCall()
    first = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(b"whole")
    upstream.reply.end()
    await upstream.ended()
    late = upstream.flight.join()
    first.close()
    await turns()

    await late.head()
    assert await late.read_all() == b"whole"
    late.close()
    assert upstream.budget.used == 0


@pytest.mark.parametrize("steps", range(8))
async def test_a_follower_cancelled_at_any_await_loses_nothing_for_the_others(
    tasks: TaskOwner, steps: int
) -> None:
    upstream = HeldCall()
    stays = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)

    async def follow() -> None:
        follower = upstream.flight.join()
        try:
            await follower.head()
            await follower.read_all()
        finally:
            follower.close()

    leaving = asyncio.ensure_future(follow())
    for step in range(steps):
        if step == 2:
            upstream.answer(b"a", b"b")
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    upstream.answer(b"a", b"b") if steps <= 2 else upstream.answer(b"")
    upstream.reply.end()

    await stays.head()
    assert await stays.read_all() == b"ab"
    stays.close()
    await turns()
    assert upstream.sealed == [b"ab"]
    assert upstream.budget.used == 0


@pytest.mark.parametrize("steps", range(8))
async def test_the_owner_closing_at_any_moment_leaves_nobody_waiting(steps: int) -> None:
    """A node that shuts down tells those who wait; also those whose call had not begun."""
    upstream = HeldCall()
    owner = TaskOwner(lambda name, error: pytest.fail(f"{name}: {error}"))
    await owner.open()
    follower = upstream.flight.join()
    upstream.flight.start(upstream.call, owner)
    for step in range(steps):
        if step == 2:
            upstream.answer(b"part")
        await asyncio.sleep(0)
    await owner.close()

    with pytest.raises(ClosedError):
        await everything(follower)
    follower.close()
    assert upstream.sealed == [None]
    assert upstream.budget.used == 0


async def everything(follower: Follower) -> bytes:
    async with asyncio.timeout(1):
        await follower.head()
        return await follower.read_all()


# ---- errors


async def test_an_error_before_the_head_reaches_everyone(tasks: TaskOwner) -> None:
    upstream = HeldCall()
    upstream.error = UpstreamUnreachableError("up-1")
    followers = [upstream.flight.join() for _ in range(100)]
    upstream.flight.start(upstream.call, tasks)
    waiting = [asyncio.ensure_future(follower.head()) for follower in followers]
    await turns()
    upstream.head.set()

    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {UpstreamUnreachableError}
    assert upstream.sealed == [None]


async def test_an_error_after_everyone_has_gone_is_no_loose_end(tasks: TaskOwner) -> None:
    upstream = HeldCall()
    follower = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(b"part")
    await follower.head()
    follower.close()
    upstream.reply.fail(UpstreamBrokenError("up-1"))
    await turns()

    assert upstream.reply.closed
    assert upstream.sealed == [None]


async def test_a_break_reaches_everyone_after_what_came_before(tasks: TaskOwner) -> None:
    upstream = HeldCall()
    quick, slow = upstream.flight.join(), upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(b"half")
    await quick.head()
    assert await quick.read() == b"half"
    upstream.reply.fail(UpstreamBrokenError("up-1"))

    for follower in (quick, slow):
        if follower is slow:
            assert await follower.read() == b"half"
        with pytest.raises(UpstreamBrokenError):
            await follower.read()
        assert not follower.complete
        follower.close()
    assert upstream.sealed == [None]
    assert upstream.budget.used == 0


async def test_a_fault_of_ours_reaches_everyone_who_waits() -> None:
    upstream = HeldCall()
    upstream.error = KeyError("a bug")
    upstream.head.set()
    failures: list[BaseException] = []
    async with TaskOwner(lambda _, e: failures.append(e)) as tasks:
        followers = [upstream.flight.join(), upstream.flight.join()]
        upstream.flight.start(upstream.call, tasks)
        for follower in followers:
            with pytest.raises(KeyError, match="a bug"):
                await follower.head()
        await turns()

    assert failures == []  # those who waited have it
    assert upstream.sealed == [None]


# ---- the plain parts


async def test_a_whole_reply_reads_like_an_upstreams() -> None:
    reply = WholeReply(200, EVENTS, b"all")
    assert not reply.complete
    assert reply.read_nowait() == b"all"
    assert await reply.read() == b""

    closed = WholeReply(200, EVENTS, b"all")
    closed.close()
    assert await closed.read() == b""


def test_a_budget_refuses_what_it_has_not() -> None:
    budget = FlightBudget(10)

    assert budget.take(10)
    assert not budget.take(1)
    assert budget.take(0)
    budget.give_back(4)
    assert not budget.take(5)
    assert budget.take(4)
    assert budget.used == 10
