"""Every wait ends, by the clock that was passed in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from contracts.legs.scenario import AnyLeg, OpenLeg, drained, ok, post, until
from fairlead.errors import UpstreamBusyError, UpstreamTimeoutError, UpstreamUnreachableError
from fairlead.testing import Caller, FlakyUpstream, ManualClock, answering


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose backlog is full: a connection to it is neither made nor refused."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
            fillers.append(filler)
        yield listening.getsockname()[1]
        for filler in fillers:
            filler.close()


async def silent(caller: Caller) -> None:
    await caller.request()
    await caller.gone()


async def expires(task: asyncio.Future[object], clock: ManualClock, seconds: float) -> None:
    """`task` still runs just before `seconds` have passed, and ends at the next sweep."""
    await clock.advance(seconds - 0.5)
    assert not task.done()
    await clock.advance(2)
    await until(task.done)


async def test_a_connection_that_is_never_accepted(open_leg: OpenLeg, deaf_port: int) -> None:
    clock = ManualClock()
    url = f"http://127.0.0.1:{deaf_port}"
    async with open_leg(url, clock, connect_timeout=10, max_connections=1) as leg:
        for _ in range(2):  # the slot came back
            task = asyncio.ensure_future(leg.send(post()))
            await settled()
            await expires(task, clock, 10)
            with pytest.raises(UpstreamUnreachableError, match="within 10 s"):
                await task
        assert leg.statistics().errors == 2


async def test_a_handshake_that_never_ends(open_leg: OpenLeg) -> None:
    async def script(caller: Caller) -> None:
        await caller.gone()

    clock = ManualClock()
    async with FlakyUpstream(script) as upstream:
        url = upstream.url.replace("http:", "https:")
        async with open_leg(url, clock, connect_timeout=10) as leg:
            task = asyncio.ensure_future(leg.send(post()))
            await until(lambda: upstream.connections == 1)
            await expires(task, clock, 10)
            with pytest.raises(UpstreamUnreachableError):
                await task
            await until(lambda: upstream.gone == 1)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 102 Processing\r\n\r\n"], ids=["", "after 102"])
async def test_an_upstream_that_never_answers(open_leg: OpenLeg, start: bytes) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(start)
        await caller.gone()

    clock = ManualClock()
    async with (
        FlakyUpstream(script) as upstream,
        open_leg(upstream.url, clock, first_byte_timeout=100, idle_timeout=10) as leg,
    ):
        task = asyncio.ensure_future(leg.send(post()))
        await until(lambda: upstream.requests)
        await settled()
        await expires(task, clock, 100)
        with pytest.raises(UpstreamTimeoutError, match="'up'"):
            await task
        await until(lambda: upstream.gone == 1)
        assert leg.statistics().errors == 1


async def test_a_head_that_trickles_has_one_idle_time(open_lean: OpenLeg) -> None:
    # The lean leg only: aiohttp does not tell when the first byte has come.
    more = asyncio.Semaphore(0)

    async def script(caller: Caller) -> None:
        await caller.request()
        for byte in b"HTTP/1.1 200 OK":
            await caller.send(bytes([byte]))
            await more.acquire()

    clock = ManualClock()
    async with (
        FlakyUpstream(script) as upstream,
        open_lean(upstream.url, clock, first_byte_timeout=1000, idle_timeout=10) as leg,
    ):
        task = asyncio.ensure_future(leg.send(post()))
        await until(lambda: upstream.requests)
        await settled()
        for _ in range(3):
            assert not task.done()
            await clock.advance(3)
            more.release()
            await settled()
        await clock.advance(3)
        with pytest.raises(UpstreamTimeoutError):
            await task


async def test_an_answer_that_stalls(open_leg: OpenLeg) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await caller.gone()

    clock = ManualClock()
    async with (
        FlakyUpstream(script) as upstream,
        open_leg(upstream.url, clock, idle_timeout=10) as leg,
    ):
        reply = await leg.send(post())
        assert await reply.read() == b"half"
        await clock.advance(100)  # the reader's own time is nobody's fault
        task = asyncio.ensure_future(reply.read())
        await settled()
        await expires(task, clock, 10)
        with pytest.raises(UpstreamTimeoutError, match="paused for 10 s"):
            await task
        await until(lambda: upstream.gone == 1)
        assert leg.statistics().errors == 1


async def test_a_reader_who_takes_its_time_is_not_the_upstreams_fault(open_leg: OpenLeg) -> None:
    more = asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
        await more.wait()
        await caller.send(b"late")
        await caller.gone()

    clock = ManualClock()
    async with (
        FlakyUpstream(script) as upstream,
        open_leg(upstream.url, clock, idle_timeout=10, first_byte_timeout=10) as leg,
    ):
        reply = await leg.send(post())
        await clock.advance(100)
        more.set()
        assert await drained(reply) == b"late"


async def test_each_piece_has_its_own_idle_time(open_leg: OpenLeg) -> None:
    more = asyncio.Semaphore(0)

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        for _ in range(5):
            await more.acquire()
            await caller.send(b".")

    clock = ManualClock()
    async with (
        FlakyUpstream(script) as upstream,
        open_leg(upstream.url, clock, idle_timeout=10) as leg,
    ):
        reply = await leg.send(post())
        for _ in range(5):
            task = asyncio.ensure_future(reply.read())
            await settled()
            await clock.advance(8)
            more.release()
            assert await task == b"."


async def test_a_place_in_line_has_a_deadline(open_leg: OpenLeg) -> None:
    clock = ManualClock()
    async with (
        FlakyUpstream(silent) as upstream,
        open_leg(upstream.url, clock, max_connections=1, connect_timeout=10) as leg,
    ):
        first = asyncio.ensure_future(leg.send(post()))
        await until(lambda: upstream.requests)
        task = asyncio.ensure_future(leg.send(post()))
        await until(lambda: leg.statistics().waiting == 1)
        await expires(task, clock, 10)
        with pytest.raises(UpstreamBusyError, match="within 10 s"):
            await task
        assert not first.done()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_idle_connections_grow_old(open_lean: OpenLeg) -> None:
    # The lean leg only: aiohttp's keep-alive follows the machine's clock.
    clock = ManualClock()
    async with (
        FlakyUpstream(answering(ok())) as upstream,
        open_lean(upstream.url, clock, keep_alive=30) as leg,
    ):
        await exchange(leg)
        await clock.advance(20)
        await exchange(leg)
        await clock.advance(29)
        assert leg.statistics().idle == 1
        await clock.advance(2)
        assert leg.statistics().connections == 0
        await until(lambda: upstream.gone == 1)
        await exchange(leg)
        assert upstream.connections == 2


async def test_the_answers_time_counts_from_the_requests_end(open_lean: OpenLeg) -> None:
    # The lean leg only: aiohttp hides how much of the request is still unsent.
    go_on = asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.head()
        await go_on.wait()
        await caller.gone()

    clock = ManualClock()
    async with (
        FlakyUpstream(script) as upstream,
        open_lean(upstream.url, clock, first_byte_timeout=20, idle_timeout=30) as leg,
    ):
        task = asyncio.ensure_future(leg.send(post(b"x" * 30_000_000)))
        await until(lambda: upstream.connections == 1)
        await settled()
        await clock.advance(25)
        assert not task.done()
        go_on.set()
        await until(lambda: _unsent(leg) == 0)
        await expires(task, clock, 20)
        with pytest.raises(UpstreamTimeoutError):
            await task


async def test_an_upstream_that_takes_nothing_more(open_lean: OpenLeg) -> None:
    # The lean leg only, as above: over aiohttp the time for the answer ends it.
    async def script(caller: Caller) -> None:
        await caller.head()
        await forever.wait()

    forever = asyncio.Event()
    clock = ManualClock()
    async with (
        FlakyUpstream(script) as upstream,
        open_lean(upstream.url, clock, first_byte_timeout=1000, idle_timeout=10) as leg,
    ):
        task = asyncio.ensure_future(leg.send(post(b"x" * 30_000_000)))
        await until(lambda: upstream.connections == 1)
        await settled()
        await clock.advance(50)
        with pytest.raises(UpstreamTimeoutError, match="stopped taking"):
            await task


def _unsent(leg: AnyLeg) -> int:
    return sum(c._transport.get_write_buffer_size() for c in leg._wiring.connections)


async def exchange(leg: AnyLeg) -> bytes:
    return await drained(await leg.send(post()))


async def settled() -> None:
    """Let what is on its way over loopback arrive."""
    for _ in range(50):
        await asyncio.sleep(0)
