"""`ResponseStore`: one suite over every implementation of the persistent tier."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from fairlead.core.identity import LOCAL_PRINCIPAL
from fairlead.errors import CacheStoreError
from fairlead.gateway.base import PurgeSelector, StoredResponse
from fairlead.gateway.caching import CacheOptions
from fairlead.gateway.responses import ModelResponseCache
from fairlead.gateway.stores.redis import RedisResponseStore
from fairlead.gateway.stores.sqlite import SqliteResponseStore
from fairlead.testing import ManualClock
from integration.stores.redis_server import RedisServer
from integration.stores.samples import Listener, answer, key, until

Store = SqliteResponseStore | RedisResponseStore
Opener = Callable[..., Awaitable[Store]]

TTL = 3600.0


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture(params=["sqlite", "redis"])
def make(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, warnings: list[str]
) -> Callable[[], Store]:
    """Makes stores that share one backend, empty at the start of the test."""
    if request.param == "sqlite":
        path = tmp_path / "responses.sqlite"
        return lambda: SqliteResponseStore(path, ttl=TTL, clock=clock, on_warning=warnings.append)
    url = request.getfixturevalue("redis_server").url
    prefix = f"test*[{uuid4().hex}]:"
    return lambda: RedisResponseStore(
        # A machine under load is no reason to fail: the deadlines have tests of their own.
        url, ttl=TTL, clock=clock, on_warning=warnings.append, prefix=prefix, deadline=5.0
    )  # fmt: skip


@pytest.fixture
async def open_store(make: Callable[[], Store], warnings: list[str]) -> AsyncIterator[Opener]:
    """Opens stores that are closed at the end of the test, which has given no warning."""
    async with AsyncExitStack() as stack:

        async def opener(listener: Listener | None = None) -> Store:
            store = make()
            if listener is not None:
                store.listen(listener)
            return await stack.enter_async_context(store)

        yield opener
    assert warnings == []


@pytest.fixture
async def store(open_store: Opener) -> Store:
    return await open_store()


async def stored(store: Store, numbers: range, clock: ManualClock) -> None:
    for number in numbers:
        await store.put(key(number), answer(clock, seed=number))


@pytest.mark.parametrize("size", [0, 1, 1023, 5000, 300_000])
async def test_an_answer_comes_back_as_it_was(store: Store, clock: ManualClock, size: int) -> None:
    response = answer(clock, size)
    await store.put(key(1), response)
    assert store.may_contain(key(1))
    assert await store.get(key(1)) == response


async def test_an_answer_that_compresses_well_comes_back(store: Store, clock: ManualClock) -> None:
    events = b"data: {}\n\n" * 50_000
    response = StoredResponse(200, [(b"content-type", b"text/event-stream")], events, 0.5, 7)
    response = StoredResponse(200, response.headers, events, clock.time() - 0.125, 7)
    await store.put(key(1), response)
    assert await store.get(key(1)) == response


async def test_what_was_never_stored_is_not_there(store: Store, clock: ManualClock) -> None:
    await store.put(key(1), answer(clock))
    assert await store.get(key(2)) is None


async def test_a_later_answer_replaces_an_earlier_one(store: Store, clock: ManualClock) -> None:
    await store.put(key(1), answer(clock, seed=1))
    await store.put(key(1), answer(clock, seed=2))
    assert await store.get(key(1)) == answer(clock, seed=2)


async def test_it_lives_for_its_time_from_creation(store: Store, clock: ManualClock) -> None:
    response = answer(clock)
    await clock.advance(TTL / 2)
    await store.put(key(1), response)
    await clock.advance(TTL / 2)
    assert await store.get(key(1)) == response
    await clock.advance(0.5)
    assert await store.get(key(1)) is None


async def test_what_is_too_old_already_is_not_found(store: Store, clock: ManualClock) -> None:
    response = answer(clock)
    await clock.advance(TTL + 1)
    await store.put(key(1), response)
    assert await store.get(key(1)) is None


async def test_another_store_on_the_same_backend_reads_it(
    store: Store, open_store: Opener, clock: ManualClock
) -> None:
    await store.put(key(1), answer(clock))
    other = await open_store()
    assert other.may_contain(key(1))
    assert await other.get(key(1)) == answer(clock)


async def test_another_open_store_learns_of_it_within_moments(
    store: Store, open_store: Opener, clock: ManualClock
) -> None:
    other = await open_store()
    response = answer(clock)
    await store.put(key(1), response)
    await until(clock, lambda: other.may_contain(key(1)))
    assert await other.get(key(1)) == response


@pytest.mark.parametrize(
    ("selector", "gone"),
    [
        (PurgeSelector(digest=key(1, "t-1", "m-1").digest), {("t-1", "m-1")}),
        (PurgeSelector(model="m-1"), {("t-1", "m-1"), ("t-2", "m-1")}),
        (PurgeSelector(tenant="t-2"), {("t-2", "m-1"), ("t-2", "m-2")}),
        (PurgeSelector(tenant="t-2", model="m-2"), {("t-2", "m-2")}),
        (PurgeSelector(digest=key(1, "t-1", "m-1").digest, tenant="t-2"), set()),
        (PurgeSelector(model="m-*"), set()),
        (PurgeSelector(tenant=""), set()),
        (PurgeSelector(), {(t, m) for t in ("t-1", "t-2") for m in ("m-1", "m-2")}),
    ],
)
async def test_a_purge_takes_what_is_selected_and_nothing_else(
    store: Store, clock: ManualClock, selector: PurgeSelector, gone: set[tuple[str, str]]
) -> None:
    everything = {(tenant, model) for tenant in ("t-1", "t-2") for model in ("m-1", "m-2")}
    for tenant, model in everything:
        await store.put(key(1, tenant, model), answer(clock))
    assert await store.purge(selector) == len(gone)
    left = {scope for scope in everything if await store.get(key(1, *scope)) is not None}
    assert left == everything - gone


async def test_a_purge_of_many_entries(store: Store, clock: ManualClock) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(store.put(key(number), answer(clock)))
    await stored(store, range(200, 700, 50), clock)
    assert await store.purge(PurgeSelector(tenant="team-1")) == 210
    assert await store.get(key(7)) is None
    assert await store.purge(PurgeSelector()) == 0


@pytest.mark.parametrize(
    "selector",
    [PurgeSelector(), PurgeSelector(key(1).digest), PurgeSelector(None, "m ü\0", "team*")],
)
async def test_a_purge_is_announced_to_others_and_not_to_itself(
    open_store: Opener, clock: ManualClock, selector: PurgeSelector
) -> None:
    mine, theirs, last = Listener(clock), Listener(clock), PurgeSelector(model="last")
    store, other = await open_store(mine), await open_store(theirs)
    await store.purge(selector)
    assert await theirs.next() == selector
    await other.purge(last)
    assert await mine.next() == last, "the first that it hears is the other's"
    assert theirs.silent


async def test_many_at_once_from_two_stores(
    store: Store, open_store: Opener, clock: ManualClock
) -> None:
    other = await open_store()

    async def one(number: int) -> None:
        writer, reader = (store, other) if number % 2 else (other, store)
        response = answer(clock, size=number * 50, seed=number)
        await writer.put(key(number), response)
        assert await reader.get(key(number)) == response

    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(one(number))
    assert store.statistics().failures == other.statistics().failures == 0


async def test_a_caller_that_is_cancelled_disturbs_nobody(store: Store, clock: ManualClock) -> None:
    for turns in range(12):
        calls = [
            asyncio.create_task(store.put(key(turns), answer(clock))),
            asyncio.create_task(store.get(key(turns))),
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        calls[0].cancel()
        calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await store.put(key(100 + turns), answer(clock, seed=turns))
        assert await store.get(key(100 + turns)) == answer(clock, seed=turns)
    assert store.statistics().available


async def test_closed_while_busy_what_was_told_stored_is_stored(
    make: Callable[[], Store], clock: ManualClock
) -> None:
    store = make()
    await store.open()
    puts = [asyncio.create_task(store.put(key(n), answer(clock))) for n in range(100)]
    gets = [asyncio.create_task(store.get(key(n))) for n in range(20)]
    for _ in range(3):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await store.close()
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        for outcome in await asyncio.gather(*gets, return_exceptions=True):
            assert outcome is None or isinstance(outcome, StoredResponse | CacheStoreError)
    async with make() as again:
        for number, outcome in enumerate(outcomes):
            assert outcome is None or isinstance(outcome, CacheStoreError)
            if outcome is None:
                assert await again.get(key(number)) is not None


async def test_closed_it_refuses_as_if_it_were_away(
    make: Callable[[], Store], clock: ManualClock
) -> None:
    store = make()
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(CacheStoreError):
        await store.get(key(1))
    with pytest.raises(CacheStoreError):
        await store.put(key(1), answer(clock))
    with pytest.raises(CacheStoreError):
        await store.purge(PurgeSelector())


async def test_it_can_be_opened_again(make: Callable[[], Store], clock: ManualClock) -> None:
    store = make()
    for number in range(2):
        async with store:
            await store.put(key(number), answer(clock))
            assert await store.get(key(0)) is not None


async def test_statistics_count_what_happened(store: Store, clock: ManualClock) -> None:
    await stored(store, range(3), clock)
    await store.get(key(1))
    await store.get(key(9))
    statistics = store.statistics()
    counts = (statistics.reads, statistics.hits, statistics.writes, statistics.failures)
    assert counts == (2, 1, 3, 0)
    assert statistics.available
    if statistics.backend == "redis":
        assert (statistics.entries, statistics.bytes, statistics.max_bytes) == (-1, -1, -1)
    else:
        assert (statistics.backend, statistics.entries) == ("sqlite", 3)
        assert 3 * 100 < statistics.bytes < 3 * 4096 < statistics.max_bytes


async def test_it_says_what_it_is(store: Store) -> None:
    assert "available" in repr(store)


async def test_two_caches_share_it_and_a_purge_reaches_both(
    make: Callable[[], Store], clock: ManualClock
) -> None:
    calls = 0

    async def call() -> bytes:
        nonlocal calls
        calls += 1
        return b'{"object": "list", "data": []}'

    async def ask(cache: ModelResponseCache) -> None:
        body = {"model": "m", "input": "text"}
        await cache.get_or_call(body, call, path="/v1/embeddings", principal=LOCAL_PRINCIPAL)

    options = CacheOptions(persist="all")
    async with (
        ModelResponseCache(options, store=make(), clock=clock) as first,
        ModelResponseCache(options, store=(shared := make()), clock=clock) as second,
    ):
        await ask(first)
        await until(clock, lambda: first.statistics().persisted == 1)
        if isinstance(shared, SqliteResponseStore):
            await until(clock, lambda: "1 entries" in repr(shared))
        await ask(second)
        assert (calls, second.statistics().persistent_hits) == (1, 1)
        await first.purge(PurgeSelector())
        await until(clock, lambda: second.statistics().entries == 0)
        await ask(second)
        assert calls == 2
