"""A Redis that dies, hangs, refuses or comes back: nobody waits, and the counts tell."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.errors import CacheStoreError, ConfigurationError
from fairlead.gateway.base import PurgeSelector
from fairlead.gateway.stores import redis as redis_store
from fairlead.gateway.stores.redis import RedisResponseStore
from fairlead.testing import ManualClock
from integration.stores.redis_server import RedisServer
from integration.stores.samples import Listener, answer, key, until

PASSWORD = "s3cret-pass"
RedisOpener = Callable[..., Awaitable[RedisResponseStore]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def open_redis(
    server: RedisServer, clock: ManualClock, warnings: list[str], listener: Listener
) -> AsyncIterator[RedisOpener]:
    async with AsyncExitStack() as stack:

        async def opener(url: str = server.url, **options: Any) -> RedisResponseStore:
            # A machine under load is no reason to fail where no deadline is looked at.
            options.setdefault("deadline", 5.0)
            store = RedisResponseStore(url, clock=clock, on_warning=warnings.append, **options)
            store.listen(listener)
            return await stack.enter_async_context(store)

        yield opener


def pings(server: RedisServer) -> int:
    """How many pings it has answered."""
    found = re.search(rb"cmdstat_ping:calls=(\d+)", server.command("INFO", "commandstats"))
    return int(found[1]) if found else 0


async def test_killed_and_started_again_under_use(
    server: RedisServer,
    open_redis: RedisOpener,
    clock: ManualClock,
    warnings: list[str],
    listener: Listener,
) -> None:
    store = await open_redis()
    stop = asyncio.Event()

    async def use(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            # Nothing else may come out: what else does, ends the test.
            with suppress(CacheStoreError):
                await store.put(key(number), answer(clock, seed=turn))
                await store.get(key(number))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(use(number))
        await until(clock, lambda: store.statistics().hits > 50)
        server.kill()
        await until(clock, lambda: not store.may_contain(key(1)))
        assert not store.statistics().available
        assert listener.silent
        server.start()
        assert await listener.next() == PurgeSelector()
        assert store.statistics().available
        stop.set()
    await store.put(key(1), answer(clock))
    assert await store.get(key(1)) == answer(clock)
    assert store.statistics().failures > 0
    assert len(warnings) == 1
    assert "off for now" in warnings[0]


async def test_away_it_is_not_asked(
    server: RedisServer, open_redis: RedisOpener, clock: ManualClock
) -> None:
    store = await open_redis()
    server.kill()
    await until(clock, lambda: not store.may_contain(key(1)))
    calls: list[object] = []
    store._client.get = store._client.set = calls.append
    for operation in (
        store.get(key(1)),
        store.put(key(1), answer(clock)),
        store.purge(PurgeSelector()),
    ):
        with pytest.raises(CacheStoreError, match="away"):
            await operation
    assert calls == []


async def test_away_at_the_start(
    server: RedisServer,
    open_redis: RedisOpener,
    clock: ManualClock,
    warnings: list[str],
    listener: Listener,
) -> None:
    server.kill()
    store = await open_redis()
    assert not store.may_contain(key(1))
    assert len(warnings) == 1
    server.start()
    assert await listener.next() == PurgeSelector(), "purges may have been missed until now"
    await store.put(key(1), answer(clock))
    assert await store.get(key(1)) == answer(clock)


async def test_a_purge_reaches_a_store_that_came_back(
    server: RedisServer, open_redis: RedisOpener, listener: Listener
) -> None:
    await open_redis()
    server.kill()
    server.start()
    assert await listener.next() == PurgeSelector()
    other = await open_redis()
    other.listen(lambda _: None)
    await other.purge(PurgeSelector(model="m-1"))
    assert await listener.next() == PurgeSelector(model="m-1")


async def test_one_that_hangs_is_given_up_in_time_and_then_left_alone(
    server: RedisServer, open_redis: RedisOpener, clock: ManualClock, monkeypatch: Any
) -> None:
    monkeypatch.setattr(redis_store, "full_jitter", lambda attempt, base, _: base * 2.0**attempt)
    store = await open_redis(deadline=0.05)
    response = answer(clock)
    await store.put(key(1), response)
    server.freeze()
    with pytest.raises(CacheStoreError, match="TimeoutError"):
        await store.get(key(1))
    assert not store.may_contain(key(1))
    with pytest.raises(CacheStoreError, match="away"):
        await store.get(key(1))
    await clock.advance(0.5)
    assert store.may_contain(key(1)), "it is tried again"
    with pytest.raises(CacheStoreError, match="TimeoutError"):
        await store.get(key(1))
    await clock.advance(0.9)
    assert not store.may_contain(key(1)), "and then left alone for longer"
    server.thaw()
    store.deadline = 5.0
    await clock.advance(0.2)
    assert await store.get(key(1)) == response
    assert store.statistics().available


async def test_many_that_fail_together_count_as_one_failure_for_the_pause(
    server: RedisServer, open_redis: RedisOpener, clock: ManualClock, monkeypatch: Any
) -> None:
    monkeypatch.setattr(redis_store, "full_jitter", lambda attempt, base, _: base * 2.0**attempt)
    store = await open_redis(deadline=0.05)
    server.freeze()
    outcomes = await asyncio.gather(
        *(store.get(key(number)) for number in range(30)), return_exceptions=True
    )
    server.thaw()
    assert all(isinstance(outcome, CacheStoreError) for outcome in outcomes)
    assert store.statistics().failures == 30
    await clock.advance(0.5)
    assert store.may_contain(key(1))


async def test_a_connection_that_died_without_a_word_is_noticed(
    server: RedisServer,
    open_redis: RedisOpener,
    clock: ManualClock,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_store, "PING_EVERY", 0.02)
    monkeypatch.setattr(redis_store, "CONNECT_DEADLINE", 0.1)
    store = await open_redis()
    # One comes from the start of the server.
    await until(clock, lambda: pings(server) >= 4)
    assert listener.silent
    assert store.may_contain(key(1))
    server.freeze()
    await until(clock, lambda: not store.may_contain(key(1)))
    server.thaw()
    assert await listener.next() == PurgeSelector()
    assert store.may_contain(key(1))


async def test_a_refusal_is_no_reason_to_leave_it_alone(
    server: RedisServer, open_redis: RedisOpener, clock: ManualClock
) -> None:
    store = await open_redis()
    await store.put(key(1), answer(clock))
    assert server.command("CONFIG", "SET", "maxmemory", "1") == b"+OK\r\n"
    with pytest.raises(CacheStoreError, match="OutOfMemory"):
        await store.put(key(2), answer(clock, size=5000))
    assert await store.get(key(1)) == answer(clock)
    assert store.statistics().failures == 1


async def test_what_is_too_large_is_left_out(
    open_redis: RedisOpener, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "MAX_VALUE", 10_000)
    store = await open_redis()
    await store.put(key(1), answer(clock, size=10_001))
    assert await store.get(key(1)) is None
    statistics = store.statistics()
    assert (statistics.writes, statistics.failures) == (0, 1)


async def test_entries_leave_redis_by_themselves(
    server: RedisServer, open_redis: RedisOpener, clock: ManualClock
) -> None:
    store = await open_redis()
    response = answer(clock)
    await clock.advance(600)
    await store.put(key(1), response)
    remaining = int(server.command("PTTL", store._name(key(1))).strip(b":\r\n"))
    assert 2_990_000 < remaining <= 3_000_000


async def test_a_damaged_value_is_a_miss(server: RedisServer, open_redis: RedisOpener) -> None:
    store = await open_redis()
    server.command("SET", store._name(key(1)), "damaged")
    assert await store.get(key(1)) is None


async def test_announcements_of_another_version_drop_everything(
    server: RedisServer, open_redis: RedisOpener, listener: Listener
) -> None:
    store = await open_redis()
    server.command("PUBLISH", store._channel, "what-is-this")
    assert await listener.next() == PurgeSelector()
    await store._client.publish(store._channel, msgspec.msgpack.encode({"sender": 1}))
    assert await listener.next() == PurgeSelector()


async def test_no_name_shows_tenant_or_model(open_redis: RedisOpener) -> None:
    store = await open_redis()
    name = store._name(key(1, "acme", "gpt*[x]"))
    assert "acme" not in name
    assert "*" not in name


async def test_the_password_is_in_no_text(
    tmp_path: Path, open_redis: RedisOpener, clock: ManualClock, warnings: list[str]
) -> None:
    guarded = RedisServer(tmp_path, PASSWORD)
    guarded.start()
    try:
        good = await open_redis(guarded.url)
        await good.put(key(1), answer(clock))
        assert await good.get(key(1)) == answer(clock)
        wrong = guarded.url.replace(PASSWORD, "wr0ng-pass")
        bad = await open_redis(wrong)
        with pytest.raises(CacheStoreError) as refused:
            await bad.get(key(1))
    finally:
        guarded.kill()
    await until(clock, lambda: not good.may_contain(key(1)))
    texts = [*warnings, str(refused.value), repr(good), repr(bad)]
    assert len(warnings) == 2
    assert not any(PASSWORD in text or "wr0ng-pass" in text for text in texts)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PASSWORD}/x@127.0.0.1:1/0",
        f"redis://:{PASSWORD}@127.0.0.1:port",
        f"redis://:{PASSWORD}@[::1/0",
        f"redis://:{PASSWORD}@127.0.0.1/0?unheard_of={PASSWORD}",
        f"redis://:{PASSWORD}@127.0.0.1/0?max_connections={PASSWORD}",
    ],
)
async def test_a_url_that_cannot_be_read(open_redis: RedisOpener, url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encode") as refused:
        await open_redis(url)
    error: BaseException | None = refused.value
    assert PASSWORD not in str(error)
    assert error is not None
    assert error.__suppress_context__


async def test_valkey_is_the_same(server: RedisServer, open_redis: RedisOpener) -> None:
    store = await open_redis(server.url.replace("redis://", "valkey://"))
    assert store.statistics().available
