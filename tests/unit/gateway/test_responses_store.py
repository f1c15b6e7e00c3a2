"""`ModelResponseCache` over a persistent store: what is worth it, failures, purges."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.core.identity import Principal
from fairlead.errors import (
    CacheStoreError,
)
from fairlead.gateway.base import PurgeSelector
from fairlead.gateway.caching import VALUABLE_HITS
from fairlead.gateway.responses import MAX_PENDING_WRITES
from fairlead.testing import ManualClock
from support.cache import ANSWER, Make, Upstream, answer_of, ask, fill, plan_for
from support.gateway import FakeStore, turns

# Nothing here takes time: what does not end at once hangs.
pytestmark = pytest.mark.timeout(5)

# ---- the persistent store


async def test_the_sixth_hit_makes_an_entry_worth_keeping(make: Make, store: FakeStore) -> None:
    async with make(store) as cache:
        plan = plan_for(cache)
        await fill(cache, plan)
        for hit in range(1, VALUABLE_HITS + 3):
            cache.peek(plan)
            await turns()
            assert store.puts == (1 if hit >= 6 else 0)

    assert cache.statistics().persisted == 1


@pytest.mark.parametrize(("tokens", "puts"), [(4000, 0), (4001, 1)])
async def test_more_than_4000_tokens_make_an_entry_worth_keeping(
    make: Make, store: FakeStore, tokens: int, puts: int
) -> None:
    async with make(store) as cache:
        await fill(cache, plan_for(cache), Upstream(answer_of(tokens)))
        await turns()

    assert store.puts == puts


@pytest.mark.parametrize(("persist", "puts"), [("all", 1), ("off", 0)])
async def test_all_or_nothing_may_be_persisted(
    make: Make, store: FakeStore, persist: str, puts: int
) -> None:
    async with make(store, persist=persist) as cache:
        plan = plan_for(cache)
        await fill(cache, plan, Upstream(answer_of(9000 if persist == "off" else 1)))
        for _ in range(10):
            cache.peek(plan)
        await turns()

    assert store.puts == puts


async def test_a_persistent_hit_is_promoted_with_its_age(
    make: Make, store: FakeStore, clock: ManualClock
) -> None:
    async with make(store, persist="all") as first:
        await fill(first, plan_for(first))
        await turns()
    await clock.advance(3000)
    async with make(store, persist="all") as second:
        plan = plan_for(second)
        assert second.peek(plan) is None
        found = await second.find(plan)
        again = second.peek(plan)
        for _ in range(VALUABLE_HITS + 1):
            second.peek(plan)
        await turns()
        await clock.advance(601)
        assert await ask(second, plan) is None

    assert found is not None
    assert again is not None
    assert found.age == again.age == 3000
    statistics = second.statistics()
    assert (statistics.persistent_hits, statistics.memory_hits) == (1, VALUABLE_HITS + 2)
    # What came from the store is not written to it again.
    assert (store.puts, statistics.persisted) == (1, 0)


async def test_max_age_is_obeyed_in_the_store_as_well(
    make: Make, store: FakeStore, clock: ManualClock
) -> None:
    async with make(store, persist="all") as cache:
        await fill(cache, plan_for(cache))
        await turns()
        cache._memory.purge(PurgeSelector())
        await clock.advance(30)
        young = plan_for(cache, headers=[(b"cache-control", b"max-age=29")])
        assert await ask(cache, young) is None
        assert await ask(cache, plan_for(cache)) is not None


async def test_a_store_that_is_away_costs_time_never_an_answer(
    make: Make, store: FakeStore
) -> None:
    async with make(store, persist="all") as cache:
        store.failing = True
        plan = plan_for(cache)
        assert await ask(cache, plan) is None
        assert await fill(cache, plan) == ANSWER
        await turns()
        assert cache.statistics().store_failures == 2
        assert cache.peek(plan) is not None

        store.failing = False
        # A failed write is tried again when the entry proves its worth.
        for _ in range(VALUABLE_HITS + 1):
            cache.peek(plan)
        await turns()
        assert store.puts == 1
        assert cache.statistics().persisted == 1


async def test_writes_under_way_are_bounded(make: Make, store: FakeStore) -> None:
    store.put_gate = asyncio.Event()
    async with make(store, persist="all") as cache:
        for number in range(MAX_PENDING_WRITES + 10):
            body = b'{"model":"m","temperature":0,"seed":%d}' % number
            await fill(cache, plan_for(cache, body))
        assert store.puts_begun == MAX_PENDING_WRITES
        assert cache.statistics().store_failures == 10
        store.put_gate.set()
        await turns()
        assert store.puts == MAX_PENDING_WRITES

        # There is room again.
        await fill(cache, plan_for(cache, b'{"model":"m","temperature":0,"seed":-1}'))
        await turns()
        assert store.puts == MAX_PENDING_WRITES + 1


async def test_a_read_that_took_long_does_not_call_for_what_came_meanwhile(
    make: Make, store: FakeStore
) -> None:
    """Identical requests share one call, also where one of them was still asking the store."""
    upstream = Upstream()
    async with make(store) as cache:
        store.get_gate = asyncio.Event()
        slow = asyncio.ensure_future(ask(cache, plan_for(cache)))
        await turns()
        await fill(cache, plan_for(cache), upstream)
        store.get_gate.set()

        assert await slow is not None


# ---- purge


async def test_purge_by_key_model_and_tenant(make: Make, store: FakeStore) -> None:
    ada, eve = Principal("acme", "ada"), Principal("other", "eve")
    async with make(store, persist="all") as cache:
        plans = [
            plan_for(cache, b'{"model":"%b","temperature":0}' % model, principal=who)
            for model in (b"m1", b"m2")
            for who in (ada, eve)
        ]
        for plan in plans:
            await fill(cache, plan)
        await turns()

        async def there() -> list[bool]:
            return [await ask(cache, plan) is not None for plan in plans]

        assert await cache.purge(PurgeSelector(model="unknown")) == 0
        assert await cache.purge(PurgeSelector(model="m1", tenant="acme")) == 1
        assert await there() == [False, True, True, True]
        assert plans[1].key is not None
        assert await cache.purge(PurgeSelector(digest=plans[1].key.digest)) == 1
        assert await there() == [False, False, True, True]
        assert await cache.purge(PurgeSelector(tenant="other")) == 1
        assert await there() == [False, False, True, False]
        assert await cache.purge(PurgeSelector()) == 1
        assert await there() == [False] * 4
    assert store.entries == {}


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_purged_call_in_flight_is_delivered_but_not_stored(
    make: Make, store: FakeStore, elsewhere: bool
) -> None:
    upstream = Upstream()
    upstream.gate = asyncio.Event()
    async with make(store, persist="all") as cache:
        plan = plan_for(cache)
        waiting = asyncio.ensure_future(fill(cache, plan, upstream))
        await turns()
        if elsewhere:
            # Another process that shares the store has purged.
            assert store.on_purge is not None
            store.on_purge(PurgeSelector(model="m"))
        else:
            await cache.purge(PurgeSelector(model="m"))
        # Who asks after the purge gets an answer from after the purge.
        async with asyncio.timeout(1):
            assert await fill(cache, plan, Upstream(answer_of(11))) == answer_of(11)
        upstream.gate.set()

        assert await waiting == ANSWER
        hit = cache.peek(plan)
        assert hit is not None
        assert hit.response.body == answer_of(11)
    assert cache.statistics().not_stored == {"purged": 1}


async def test_a_purge_elsewhere_empties_this_memory(make: Make, store: FakeStore) -> None:
    async with make(store) as cache:
        plan = plan_for(cache)
        await fill(cache, plan)
        assert store.on_purge is not None
        store.on_purge(PurgeSelector())

        assert cache.peek(plan) is None


async def test_a_purge_during_a_read_of_the_store_is_not_undone(
    make: Make, store: FakeStore
) -> None:
    async with make(store, persist="all") as cache:
        plan = plan_for(cache)
        await fill(cache, plan)
        await turns()
        cache._memory.purge(PurgeSelector())
        store.get_gate = asyncio.Event()
        reading = asyncio.ensure_future(cache.find(plan))
        await turns()
        await cache.purge(PurgeSelector())
        store.get_gate.set()
        await reading
        store.get_gate = None

        assert await ask(cache, plan) is None


async def test_a_purge_during_a_write_to_the_store_is_not_undone(
    make: Make, store: FakeStore
) -> None:
    async with make(store, persist="all") as cache:
        plan = plan_for(cache)
        store.put_gate = asyncio.Event()
        await fill(cache, plan)
        await turns()
        assert store.puts_begun == 1
        await cache.purge(PurgeSelector())
        store.put_gate.set()
        await turns()

        assert store.entries == {}
        assert await ask(cache, plan) is None


async def test_a_purge_that_did_not_reach_the_store_is_told(make: Make, store: FakeStore) -> None:
    async with make(store) as cache:
        plan = plan_for(cache)
        await fill(cache, plan)
        store.failing = True
        with pytest.raises(CacheStoreError):
            await cache.purge(PurgeSelector())

        assert cache.peek(plan) is None
        assert cache.statistics().store_failures == 1
