"""Which connection serves a request, and that no slot is ever lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from contracts.legs.scenario import AnyLeg, OpenLeg, drained, get, ok, post, until
from fairlead.errors import (
    ClosedError,
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamUnreachableError,
)
from fairlead.testing import Caller, FlakyUpstream, answering


class Gate:
    """A script that answers a request only when it is let through."""

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Semaphore(0)

    async def __call__(self, caller: Caller) -> None:
        while await caller.request() is not None:
            self.waiting += 1
            await self._open.acquire()
            self.waiting -= 1
            await caller.send(ok())

    def let(self, count: int = 1) -> None:
        for _ in range(count):
            self._open.release()


async def exchange(leg: AnyLeg) -> bytes:
    return await drained(await leg.send(post()))


async def test_sequential_requests_share_a_connection(open_leg: OpenLeg) -> None:
    async with FlakyUpstream(answering(ok())) as upstream, open_leg(upstream.url) as leg:
        for _ in range(5):
            assert await exchange(leg) == b"ok"
        assert upstream.connections == 1
        statistics = leg.statistics()
    assert (statistics.connections, statistics.idle, statistics.waiting) == (1, 1, 0)
    assert (statistics.requests, statistics.connects, statistics.errors) == (5, 1, 0)


async def test_the_most_recently_used_connection_is_used_first(open_lean: OpenLeg) -> None:
    # The lean leg promises it, so that surplus connections grow old; aiohttp's order is its own.
    async def script(caller: Caller) -> None:
        while await caller.request() is not None:
            await turns[caller.number].acquire()
            await caller.send(ok(b"%d" % caller.number))

    turns = [asyncio.Semaphore(0), asyncio.Semaphore(0)]
    async with FlakyUpstream(script) as upstream, open_lean(upstream.url) as leg:
        tasks = [asyncio.ensure_future(exchange(leg)) for _ in range(2)]
        await until(lambda: len(upstream.requests) == 2)
        for number in (1, 0):
            turns[number].release()
            await until(lambda number=number: leg.statistics().idle == 2 - number)
        await asyncio.gather(*tasks)
        for _ in range(3):
            turns[0].release()
            assert await exchange(leg) == b"0"


@pytest.mark.parametrize(
    "answer",
    [
        ok(extra=b"connection: close\r\n"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
    ids=["close", "HTTP/1.0"],
)
async def test_a_connection_that_is_to_be_closed_is_not_used_again(
    open_leg: OpenLeg, answer: bytes
) -> None:
    async with FlakyUpstream(answering(answer)) as upstream, open_leg(upstream.url) as leg:
        for _ in range(3):
            assert await exchange(leg) == b"ok"
        assert upstream.connections == 3
        await until(lambda: leg.statistics().connections == 0)


async def test_a_connection_closed_while_idle_is_replaced(open_leg: OpenLeg) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(ok())

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        for _ in range(3):
            assert await exchange(leg) == b"ok"
            await until(lambda: leg.statistics().connections == 0)
        assert leg.statistics().errors == 0


@pytest.mark.parametrize("idle", [1, 3])
async def test_a_kept_connection_that_closes_before_any_byte_is_replaced_once(
    open_leg: OpenLeg, idle: int
) -> None:
    gate = asyncio.Barrier(idle)

    async def script(caller: Caller) -> None:
        await caller.request()
        if caller.number < idle:
            await gate.wait()  # so that each of them needs a connection of its own
            await caller.send(ok(b"first"))
            await caller.request()
        else:
            await caller.send(ok(b"new"))

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        await asyncio.gather(*(exchange(leg) for _ in range(idle)))
        assert await exchange(leg) == b"new"
        assert upstream.connections == idle + 1
        assert len(upstream.requests) == idle + 2
        assert leg.statistics().errors == 0


async def test_a_second_try_is_the_last(open_leg: OpenLeg) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        if caller.number == 0:
            await caller.send(ok())
            await caller.request()

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        await exchange(leg)
        with pytest.raises(UpstreamBrokenError):
            await leg.send(post())
        assert upstream.connections == 2
        await until(lambda: leg.statistics().connections == 0)
        assert leg.statistics().errors == 1


async def test_a_new_connection_that_closes_is_not_replaced(open_leg: OpenLeg) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        with pytest.raises(UpstreamBrokenError):
            await leg.send(post())
        assert upstream.connections == 1


@pytest.mark.parametrize("byte", [b"H", b"HTTP/1.1 200 OK\r\nx: y\r\n"], ids=["one", "some"])
async def test_nothing_is_repeated_after_the_first_byte(open_leg: OpenLeg, byte: bytes) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(ok())
        await caller.request()
        await caller.send(byte)

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        await exchange(leg)
        with pytest.raises(UpstreamBrokenError):
            await leg.send(post())
        assert upstream.connections == 1


async def test_an_upstream_that_is_not_there(open_leg: OpenLeg) -> None:
    async with FlakyUpstream(answering(ok())) as upstream:
        url = upstream.url
    async with open_leg(url) as leg:
        with pytest.raises(UpstreamUnreachableError, match="no connection to 127"):
            await leg.send(post())
        assert leg.statistics().connections == 0
        assert leg.statistics().errors == 1


async def test_a_host_that_does_not_exist(open_leg: OpenLeg) -> None:
    async with open_leg("http://nowhere.invalid:1") as leg:
        with pytest.raises(UpstreamUnreachableError):
            await leg.send(post())


async def test_connections_are_bounded_and_the_line_is_served_in_order(open_leg: OpenLeg) -> None:
    gate = Gate()
    async with (
        FlakyUpstream(gate) as upstream,
        open_leg(upstream.url, max_connections=2) as leg,
    ):
        done: list[int] = []

        async def numbered(number: int) -> None:
            await exchange(leg)
            done.append(number)

        tasks = []
        for number in range(6):
            tasks.append(asyncio.ensure_future(numbered(number)))
            expected = min(number + 1, 2)
            await until(lambda expected=expected: gate.waiting == expected)
        await until(lambda: leg.statistics().waiting == 4)
        assert upstream.connections == 2
        for count in range(1, 7):
            gate.let()
            await until(lambda count=count: len(done) == count)
        await asyncio.gather(*tasks)
        assert done[2:] == sorted(done[2:])
        assert upstream.connections == 2
        assert leg.statistics().idle == 2


async def test_a_full_line_refuses(open_leg: OpenLeg) -> None:
    gate = Gate()
    async with (
        FlakyUpstream(gate) as upstream,
        open_leg(upstream.url, max_connections=1, max_waiting=1) as leg,
    ):
        tasks = [asyncio.ensure_future(exchange(leg)) for _ in range(2)]
        await until(lambda: leg.statistics().waiting == 1)
        with pytest.raises(UpstreamBusyError):
            await leg.send(post())
        gate.let(2)
        assert await asyncio.gather(*tasks) == [b"ok", b"ok"]


async def test_a_caller_who_leaves_the_line_costs_no_slot(open_leg: OpenLeg) -> None:
    gate = Gate()
    async with (
        FlakyUpstream(gate) as upstream,
        open_leg(upstream.url, max_connections=1) as leg,
    ):
        first = asyncio.ensure_future(exchange(leg))
        await until(lambda: gate.waiting)
        leaving = asyncio.ensure_future(exchange(leg))
        staying = asyncio.ensure_future(exchange(leg))
        await until(lambda: leg.statistics().waiting == 2)
        leaving.cancel()
        gate.let(2)
        assert await first == b"ok"
        assert await staying == b"ok"
        assert leg.statistics().idle == 1
        assert leaving.cancelled()


@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_at_any_await_a_request_leaves_nothing_behind(
    open_leg: OpenLeg, turns: int
) -> None:
    async with (
        FlakyUpstream(answering(ok())) as upstream,
        open_leg(upstream.url, max_connections=1) as leg,
    ):
        for warm in range(2):  # over a new connection, and over a kept one
            task = asyncio.ensure_future(exchange(leg))
            behind = asyncio.ensure_future(exchange(leg))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert await behind == b"ok"
            assert await exchange(leg) == b"ok", warm
        assert leg.statistics().waiting == 0
        assert leg.statistics().connections == leg.statistics().idle == 1


async def test_cancelling_while_the_answer_is_awaited_closes_the_connection(
    open_leg: OpenLeg,
) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.gone()

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        task = asyncio.ensure_future(leg.send(post()))
        await until(lambda: upstream.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: upstream.gone == 1)
        assert leg.statistics().connections == 0


async def test_a_reply_given_up_closes_its_connection_and_frees_the_slot(
    open_leg: OpenLeg,
) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await caller.gone()

    async with (
        FlakyUpstream(script) as upstream,
        open_leg(upstream.url, max_connections=1) as leg,
    ):
        for count in range(1, 3):
            reply = await leg.send(post())
            assert await reply.read() == b"half"
            reply.close()
            reply.close()
            await until(lambda count=count: upstream.gone == count)
            assert reply.read_nowait() == b""
            assert not reply.complete
            with pytest.raises(ClosedError):
                await reply.read()
        assert leg.statistics().errors == 0


async def test_closing_a_finished_reply_keeps_the_connection(open_leg: OpenLeg) -> None:
    async with FlakyUpstream(answering(ok())) as upstream, open_leg(upstream.url) as leg:
        for _ in range(2):
            reply = await leg.send(post())
            await drained(reply)
            reply.close()
            assert reply.complete
        assert upstream.connections == 1


async def test_an_answer_before_the_whole_request_was_taken(open_leg: OpenLeg) -> None:
    async def script(caller: Caller) -> None:
        await caller.head()
        await caller.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await caller.gone()

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        for count in range(1, 3):
            reply = await leg.send(post(b"x" * 30_000_000))
            assert reply.status == 413
            assert await drained(reply) == b"big"
            assert upstream.connections == count
            reply.close()


async def test_bytes_on_an_idle_connection_answer_nothing(open_leg: OpenLeg) -> None:
    idle, sent = asyncio.Event(), asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(ok(b"good"))
        if caller.number == 0:
            await idle.wait()
            await caller.send(ok(b"unasked"))
            sent.set()
        await caller.gone()

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        assert await exchange(leg) == b"good"
        idle.set()
        await sent.wait()
        for _ in range(20):  # the bytes are in the socket: let the leg's side see them
            await asyncio.sleep(0)
        assert await exchange(leg) == b"good"
        assert upstream.connections == 2


async def test_closing_the_leg_turns_everybody_away(open_leg: OpenLeg) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        if caller.number == 0:
            await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await caller.gone()

    async with (
        FlakyUpstream(script) as upstream,
        open_leg(upstream.url, max_connections=2) as leg,
    ):
        reply = await leg.send(post())
        assert await reply.read() == b"half"
        reading = asyncio.ensure_future(reply.read())
        sending = asyncio.ensure_future(leg.send(post()))
        await until(lambda: len(upstream.requests) == 2)
        waiting = asyncio.ensure_future(leg.send(post()))
        await until(lambda: leg.statistics().waiting == 1)
        await leg.close()
        for task in (reading, sending, waiting):
            with pytest.raises(ClosedError):
                await task
        with pytest.raises(ClosedError):
            await leg.send(post())
        await until(lambda: upstream.gone == 2)
        assert leg.statistics().connections == 0


async def test_get_requests_survive_a_stale_connection_too(open_leg: OpenLeg) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(ok())
        if caller.number == 0:
            await caller.request()

    async with FlakyUpstream(script) as upstream, open_leg(upstream.url) as leg:
        assert await drained(await leg.send(get())) == b"ok"
        assert await drained(await leg.send(get())) == b"ok"
        assert upstream.connections == 2
