"""`ModelResponseCache`: calls shared in flight, what of them is kept, and the end."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.errors import (
    ClosedError,
    RequestError,
    UpstreamBrokenError,
    UpstreamUnreachableError,
)
from fairlead.gateway.base import StoredResponse
from fairlead.gateway.responses import ModelResponseCache
from fairlead.gateway.stream import Answer
from support.cache import ANSWER, BODY, Make, Upstream, fill, plan_for
from support.gateway import EVENTS, JSON, FakeStore, ScriptedReply, turns

# Nothing here takes time: what does not end at once hangs.
pytestmark = pytest.mark.timeout(5)

# ---- calls in flight


async def test_a_hundred_identical_calls_are_one(make: Make) -> None:
    upstream = Upstream()
    async with make() as cache:
        results = await asyncio.gather(
            *(cache.get_or_call(BODY, upstream.plain) for _ in range(100))
        )
        assert set(results) == {ANSWER}
        assert await cache.get_or_call(BODY, upstream.plain) == ANSWER

    assert upstream.calls == 1
    statistics = cache.statistics()
    assert (statistics.misses, statistics.collapsed, statistics.memory_hits) == (1, 99, 1)
    assert statistics.stored == 1
    assert statistics.tokens_saved == 10


async def test_an_error_reaches_every_caller_and_is_not_cached(make: Make) -> None:
    upstream = Upstream()
    upstream.error = UpstreamUnreachableError("up-1")
    async with make() as cache:
        results = await asyncio.gather(
            *(cache.get_or_call(BODY, upstream.plain) for _ in range(100)), return_exceptions=True
        )
        assert {type(result) for result in results} == {UpstreamUnreachableError}
        assert upstream.calls == 1

        upstream.error = None
        assert await cache.get_or_call(BODY, upstream.plain) == ANSWER
    assert cache.statistics().not_stored == {"error": 1}


async def test_a_callers_own_exception_reaches_it() -> None:
    """A program's own client raises its own exceptions: they are not to be lost on the way."""
    upstream = Upstream()
    upstream.error = ConnectionResetError("by peer")
    async with ModelResponseCache(on_error=lambda *_: None) as cache:
        with pytest.raises(ConnectionResetError):
            await cache.get_or_call(BODY, upstream.plain)


async def test_what_is_not_cacheable_is_called_each_time(make: Make) -> None:
    upstream = Upstream()
    async with make() as cache:
        for _ in range(2):
            assert await cache.get_or_call({"model": "m"}, upstream.plain) == ANSWER

    assert upstream.calls == 2
    assert cache.statistics().bypassed == {"temperature": 2}


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model":1}'])
async def test_get_or_call_refuses_what_is_no_request(make: Make, body: bytes) -> None:
    async with make() as cache:
        with pytest.raises(RequestError):
            await cache.get_or_call(body, Upstream().plain)


async def test_callers_that_leave_do_not_stop_the_others_and_the_last_stops_the_call(
    make: Make,
) -> None:
    upstream = Upstream()
    upstream.gate = asyncio.Event()
    async with make() as cache:
        callers = [asyncio.ensure_future(cache.get_or_call(BODY, upstream.plain)) for _ in range(3)]
        await turns()
        callers[0].cancel()
        await turns()
        assert upstream.cancelled == 0
        callers[1].cancel()
        callers[2].cancel()
        await turns()
        assert upstream.cancelled == 1
        assert cache.statistics().in_flight == 0

        upstream.gate.set()
        assert await cache.get_or_call(BODY, upstream.plain) == ANSWER
    assert cache.statistics().not_stored == {"abandoned": 1}


@pytest.mark.parametrize("steps", range(12))
async def test_a_caller_cancelled_at_any_await_leaves_nothing_behind(
    make: Make, store: FakeStore, steps: int
) -> None:
    upstream = Upstream()
    async with make(store, persist="all") as cache:
        caller = asyncio.ensure_future(cache.get_or_call(BODY, upstream.plain))
        for _ in range(steps):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        await turns()

        statistics = cache.statistics()
        assert (statistics.in_flight, statistics.in_flight_bytes) == (0, 0)
        assert len(cache._tasks) == 0
        # What was stored, if anything, is whole.
        hit = cache.peek(plan_for(cache))
        assert hit is None or hit.response.body == ANSWER


@pytest.mark.parametrize("shape", ["openai", "openai-responses", "anthropic"])
@pytest.mark.parametrize(
    ("upstream", "reason"),
    [
        (Upstream(status=500), "status"),
        (Upstream(status=429), "status"),
        (Upstream(b'{"error":{"message":"x"},"type":"error"}'), "incomplete"),
        (Upstream(b'{"cut":'), "incomplete"),
        (Upstream(b"data: {}\n\n", EVENTS), "incomplete"),
        (Upstream(b"x", [*JSON, (b"content-encoding", b"br")]), "coding"),
    ],
    ids=range(6),
)
async def test_what_is_no_whole_success_is_delivered_but_not_stored(
    make: Make, shape: str, upstream: Upstream, reason: str
) -> None:
    path = {
        "openai": b"/v1/chat/completions",
        "openai-responses": b"/v1/responses",
        "anthropic": b"/v1/messages",
    }[shape]
    async with make() as cache:
        plan = plan_for(cache, path=path)
        assert plan.shape.name == shape
        assert await fill(cache, plan, upstream) == upstream.body
        assert cache.peek(plan) is None

    assert cache.statistics().not_stored == {reason: 1}


async def test_a_stream_that_broke_off_is_not_stored(make: Make) -> None:
    reply = ScriptedReply(headers=EVENTS)

    async def call() -> Answer:
        return Answer("up-1", reply)

    async with make() as cache:
        plan = plan_for(cache)
        follower, _ = cache.follow(plan, call)
        reply.feed(b"data: {}\n\ndata: [DONE]\n\n")
        reply.fail(UpstreamBrokenError("up-1"))
        await follower.head()
        with pytest.raises(UpstreamBrokenError):
            await follower.read_all()
        follower.close()
        assert cache.peek(plan) is None

    assert cache.statistics().not_stored == {"error": 1}
    assert reply.closed


async def test_an_answer_beyond_the_entry_bound_is_delivered_but_not_stored(make: Make) -> None:
    body = b'{"x":"' + b"y" * 5000 + b'"}'
    async with make(max_entry_bytes=1000) as cache:
        plan = plan_for(cache)
        assert await fill(cache, plan, Upstream(body)) == body
        assert cache.peek(plan) is None

    assert cache.statistics().not_stored == {"too-large": 1}
    assert cache.statistics().in_flight_bytes == 0


async def test_the_bounds_of_memory_hold(make: Make) -> None:
    async with make(max_entries=5, max_bytes=10_000) as cache:
        for number in range(20):
            body = b'{"model":"m","temperature":0,"seed":%d}' % number
            await fill(cache, plan_for(cache, body), Upstream(b'{"x":"%b"}' % (b"y" * 1500)))

    statistics = cache.statistics()
    assert statistics.entries <= 5
    assert statistics.bytes <= 10_000
    assert statistics.evictions == 20 - statistics.entries


# ---- life


async def test_a_closed_cache_starts_nothing(make: Make) -> None:
    cache = make()
    plan = plan_for(cache)
    with pytest.raises(ClosedError):
        cache.follow(plan, Upstream())
    async with cache:
        pass
    with pytest.raises(ClosedError):
        cache.follow(plan, Upstream())


@pytest.mark.parametrize("steps", [0, 1, 5])
async def test_closing_ends_every_wait(make: Make, steps: int) -> None:
    cache = make()
    await cache.open()
    upstream = Upstream()
    upstream.gate = asyncio.Event()
    follower, _ = cache.follow(plan_for(cache), upstream)
    for _ in range(steps):
        await asyncio.sleep(0)
    await cache.close()

    with pytest.raises(ClosedError):
        async with asyncio.timeout(1):
            await follower.head()
    follower.close()


async def test_the_store_is_opened_and_closed_with_the_cache(make: Make, store: FakeStore) -> None:
    async with make(store) as cache:
        assert store.is_open
        assert cache.statistics().entries == 0
    assert not store.is_open


async def test_what_was_accepted_is_written_before_the_store_closes(
    make: Make, store: FakeStore
) -> None:
    async with make(store, persist="all") as cache:
        follower, _ = cache.follow(plan_for(cache), Upstream())
        await follower.read_all()
        follower.close()
        for _ in range(20):
            if cache.statistics().stored:
                break
            await asyncio.sleep(0)

    assert store.puts == 1


def test_sizes_count_the_headers() -> None:
    small = StoredResponse(200, [], b"", 0.0, 0)
    large = StoredResponse(200, [(b"name", b"v" * 1000)], b"b" * 500, 0.0, 0)

    assert large.size >= small.size + 1500
