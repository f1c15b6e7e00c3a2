"""One upstream call followed by several clients: everyone gets everything, and everything ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from support.gateway import EVENTS, ScriptedReply, turns

from fairlead.core.tasks import TaskOwner
from fairlead.errors import ClosedError, UpstreamBrokenError, UpstreamUnreachableError
from fairlead.gateway.stream import MERGE, WINDOW, Answer, Flight, FlightBudget, WholeReply

DEADLINE = 10


@pytest.fixture
async def tasks() -> AsyncIterator[TaskOwner]:
    failures: list[BaseException] = []
    async with asyncio.timeout(DEADLINE), TaskOwner(lambda _, e: failures.append(e)) as owner:
        yield owner
    assert failures == []


class Upstream:
    """One upstream call, held by the test, and the flight that makes it."""

    def __init__(self, max_bytes: int = 1 << 20, budget: int = 1 << 30) -> None:
        self.reply = ScriptedReply(headers=EVENTS)
        self.head = asyncio.Event()
        self.error: Exception | None = None
        self.calls = 0
        self.cancelled = 0
        self.sealed: list[bytes | None] = []
        self.budget = FlightBudget(budget)
        self.flight = Flight(
            max_bytes, self.budget, lambda flight: self.sealed.append(flight.whole_body())
        )

    async def call(self) -> Answer:
        self.calls += 1
        try:
            await self.head.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return Answer("up-1", self.reply)

    def answer(self, *pieces: bytes) -> None:
        self.head.set()
        self.reply.feed(*pieces)


async def test_a_late_joiner_gets_everything_from_the_first_byte(tasks: TaskOwner) -> None:
    upstream = Upstream()
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
    upstream = Upstream()
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
    upstream = Upstream(max_bytes=4 << 20)
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
    upstream = Upstream(max_bytes=8 * MERGE)
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
    upstream = Upstream()
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
    upstream = Upstream()
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
    upstream = Upstream()
    follower = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    follower.close()
    await turns()

    assert upstream.calls == 0
    assert upstream.sealed == [None]
    assert len(tasks) == 0


async def test_everyone_leaves_between_the_end_and_its_sealing(tasks: TaskOwner) -> None:
    upstream = Upstream()
    follower = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(b"whole")
    upstream.reply.end()
    while not upstream.flight.ended:
        await asyncio.sleep(0)
    assert not upstream.flight.sealed

    follower.close()
    await turns()

    # The answer is whole whoever has read it.
    assert upstream.sealed == [b"whole"]
    assert upstream.budget.used == 0


async def test_one_may_join_between_the_end_and_its_sealing(tasks: TaskOwner) -> None:
    upstream = Upstream()
    first = upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(b"whole")
    upstream.reply.end()
    while not upstream.flight.ended:
        await asyncio.sleep(0)
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
    upstream = Upstream()
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
    upstream = Upstream()
    async with asyncio.timeout(DEADLINE):
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
            async with asyncio.timeout(1):
                await follower.head()
                await follower.read_all()
    follower.close()
    assert upstream.sealed == [None]
    assert upstream.budget.used == 0


# ---- errors


async def test_an_error_before_the_head_reaches_everyone(tasks: TaskOwner) -> None:
    upstream = Upstream()
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
    upstream = Upstream()
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
    upstream = Upstream()
    quick, slow = upstream.flight.join(), upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(b"half")
    await quick.head()
    assert await quick.read() == b"half"
    upstream.reply.fail(UpstreamBrokenError("up-1"))

    for follower in (quick, slow):
        got = []
        with pytest.raises(UpstreamBrokenError):
            while True:
                got.append(await follower.read())
        assert b"".join(got) == (b"half" if follower is slow else b"")
        assert not follower.complete
        follower.close()
    assert upstream.sealed == [None]
    assert upstream.budget.used == 0


async def test_a_fault_of_ours_ends_the_wait_and_is_told_to_the_owner() -> None:
    upstream = Upstream()
    upstream.error = KeyError("a bug")
    upstream.head.set()
    failures: list[BaseException] = []
    async with asyncio.timeout(DEADLINE), TaskOwner(lambda _, e: failures.append(e)) as tasks:
        follower = upstream.flight.join()
        upstream.flight.start(upstream.call, tasks)
        with pytest.raises(ClosedError):
            await follower.head()
        await turns()

    assert [type(failure) for failure in failures] == [KeyError]
    assert upstream.sealed == [None]


# ---- beyond the bound


async def test_beyond_its_bound_a_flight_cannot_be_joined_but_completes(tasks: TaskOwner) -> None:
    upstream = Upstream(max_bytes=1000)
    follower, other = upstream.flight.join(), upstream.flight.join()
    upstream.flight.start(upstream.call, tasks)
    upstream.answer(b"a" * 1000)
    await follower.head()
    await turns()
    assert not upstream.flight.sealed
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
    upstream = Upstream(max_bytes=1000)
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
    upstream = Upstream(max_bytes=1000)
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
    upstream = Upstream(max_bytes=10)
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
    upstream = Upstream(max_bytes=8 << 20)
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


# ---- the plain parts


async def test_a_whole_reply_reads_like_an_upstreams() -> None:
    reply = WholeReply(200, EVENTS, b"all")
    assert not reply.complete
    assert reply.read_nowait() == b"all"
    assert reply.complete
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
