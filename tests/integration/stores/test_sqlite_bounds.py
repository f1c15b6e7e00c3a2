"""What the SQLite store may hold, how long it may take, and what it does beyond."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import CacheStoreError
from fairlead.gateway.base import PurgeSelector
from fairlead.gateway.stores import sqlfile, sqlite, sqlopen
from fairlead.gateway.stores.codec import pack
from fairlead.gateway.stores.sqlfile import CacheFile, Row
from fairlead.testing import ManualClock
from integration.stores.conftest import SqliteOpener
from integration.stores.gates import WriterGate
from integration.stores.samples import Listener, answer, key, until

MIB = 1024 * 1024


def modes(directory: Path) -> dict[str, int]:
    """The permissions of the files in `directory`."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}


def size(path: Path) -> int:
    return path.stat().st_size


@pytest.fixture(params=["new", "there"])
def open_file(request: pytest.FixtureRequest, path: Path) -> Path:
    """A file that everybody may read, or none yet."""
    if request.param == "there":
        path.parent.mkdir()
        path.touch(0o644)
    return path


async def test_the_files_are_readable_by_their_owner_alone(
    open_sqlite: SqliteOpener, open_file: Path, clock: ManualClock
) -> None:
    store = await open_sqlite()
    await store.put(key(1), answer(clock))
    names = ["responses.sqlite" + suffix for suffix in ("", "-shm", "-wal", ".lock")]
    assert modes(open_file.parent) == dict.fromkeys(names, 0o600)


async def test_the_least_recently_used_goes_first(
    open_sqlite: SqliteOpener, clock: ManualClock
) -> None:
    store = await open_sqlite(max_bytes=4 * 8192)
    for number in range(4):
        await store.put(key(number), answer(clock, size=7000, seed=number))
        await clock.advance(0.01)
    assert await store.get(key(0)) is not None
    await clock.advance(0.01)
    await store.put(key(4), answer(clock, size=7000))
    assert [store.may_contain(key(n)) for n in range(5)] == [True, False, True, True, True]
    assert await store.get(key(1)) is None
    assert store.statistics().evictions == 1


async def test_what_is_larger_than_the_store_is_left_out(
    open_sqlite: SqliteOpener, clock: ManualClock
) -> None:
    store = await open_sqlite(max_bytes=20_000)
    await store.put(key(1), answer(clock))
    await store.put(key(2), answer(clock, size=30_000))
    assert (store.may_contain(key(1)), store.may_contain(key(2))) == (True, False)
    statistics = store.statistics()
    assert (statistics.writes, statistics.failures, statistics.evictions) == (1, 1, 0)


@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(0, 60_000), min_size=1, max_size=40),
    max_bytes=st.integers(1000, 300_000),
)
def test_the_file_never_holds_more_than_its_bound(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], max_bytes: int
) -> None:
    clock = ManualClock()
    file = CacheFile(tmp_path_factory.mktemp("bound") / "responses.sqlite")
    file.open(replace=False)
    try:
        kept: dict[bytes, int] = {}
        for number, size in enumerate(sizes):
            row = Row(key(number), clock.time(), os.urandom(size))
            if row.size > max_bytes:
                continue
            file.put([row], {}, clock.time() + number)
            kept[row.key.digest] = row.size
            removed = file.shrink(max_bytes, 0.0)
            for digest in removed.digests:
                assert digest == next(iter(kept)), "oldest first"
                del kept[digest]
            totals = file.totals()
            assert (totals.entries, totals.bytes) == (len(kept), sum(kept.values()))
            assert totals.bytes <= max_bytes
        assert file.load()[0] == kept.keys()
    finally:
        file.close()


async def test_the_number_of_entries_is_bounded_too(
    open_sqlite: SqliteOpener, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlfile, "MAX_ENTRIES", 10)
    store = await open_sqlite()
    for number in range(25):
        await store.put(key(number), answer(clock))
        await clock.advance(0.001)
    assert store.statistics().entries == 10
    assert [number for number in range(25) if store.may_contain(key(number))] == [*range(15, 25)]


async def test_room_is_given_back(
    open_sqlite: SqliteOpener, path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlfile, "_FREE_PAGES_KEPT", 10)
    store = await open_sqlite(max_bytes=64 * MIB)
    for number in range(8):
        await store.put(key(number), answer(clock, size=MIB, seed=number))
    await store.close()
    full = size(path)
    await clock.advance(3601)
    await (again := await open_sqlite(max_bytes=64 * MIB)).put(key(9), answer(clock))
    await again.close()
    assert full > 8 * MIB
    assert size(path) < MIB // 4


async def test_what_is_expired_goes_without_new_entries(
    open_sqlite: SqliteOpener, clock: ManualClock
) -> None:
    store = await open_sqlite()
    for number in range(5):
        await store.put(key(number), answer(clock))
    await clock.advance(3601)
    await until(clock, lambda: store.statistics().entries == 0)
    assert not store.may_contain(key(1))
    assert store.statistics().evictions == 0, "that was no lack of room"


async def test_times_of_use_are_written_by_and_by(
    open_sqlite: SqliteOpener, path: Path, clock: ManualClock
) -> None:
    store = await open_sqlite()
    await store.put(key(1), answer(clock))
    await clock.advance(100)
    await store.get(key(1))
    await store.close()
    with closing(apsw.Connection(str(path))) as connection:
        assert list(connection.execute("SELECT used - created FROM entries")) == [(100.0,)]


async def test_the_index_forgets_what_other_processes_evicted(
    open_sqlite: SqliteOpener, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlfile, "_INDEX_SLACK", 0)
    store = await open_sqlite()
    other = await open_sqlite(max_bytes=4096)
    for number in range(20):
        await store.put(key(number), answer(clock))
    await other.put(key(99), answer(clock))
    await until(clock, lambda: not store.may_contain(key(1)))


async def test_who_missed_old_announcements_drops_everything(
    open_sqlite: SqliteOpener, path: Path, clock: ManualClock, listener: Listener
) -> None:
    await open_sqlite(listener)
    busy = CacheFile(path)
    busy.open(replace=False)
    for number in range(1005):
        busy.announce(PurgeSelector(model=f"m-{number}"))
    busy.close()
    assert await listener.next() == PurgeSelector()
    assert listener.silent
    with closing(apsw.Connection(str(path))) as connection:
        assert list(connection.execute("SELECT count(*) FROM purges")) == [(1000,)]


async def test_too_many_that_wait_are_refused(
    open_sqlite: SqliteOpener, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_PENDING", 5)
    monkeypatch.setattr(sqlite, "MAX_PENDING_BYTES", 10_000)
    store = await open_sqlite()
    gate = WriterGate(store)
    await gate.reached()
    first = asyncio.create_task(store.put(key(0), answer(clock)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(store.put(key(n), answer(clock))) for n in range(1, 5)]
    await asyncio.sleep(0)
    with pytest.raises(CacheStoreError, match="too many"):
        await store.put(key(8), answer(clock, size=9000))
    waiting.append(asyncio.create_task(store.put(key(5), answer(clock))))
    await asyncio.sleep(0)
    with pytest.raises(CacheStoreError, match="too many"):
        await store.put(key(9), answer(clock))
    await gate.open()
    await asyncio.gather(first, *waiting)
    assert (store.statistics().writes, store.statistics().failures) == (6, 2)


async def test_what_waits_when_it_is_purged_is_not_stored(
    open_sqlite: SqliteOpener, clock: ManualClock
) -> None:
    store = await open_sqlite()
    gate = WriterGate(store)
    await gate.reached()
    puts = [asyncio.create_task(store.put(key(n), answer(clock))) for n in range(100)]
    for _ in range(3):
        await asyncio.sleep(0)
    purge = asyncio.create_task(store.purge(PurgeSelector()))
    await asyncio.sleep(0)
    await gate.open()
    await asyncio.gather(purge, *puts)
    assert store.statistics().entries == 0
    assert await store.get(key(99)) is None


async def test_puts_that_come_together_are_one_transaction(
    open_sqlite: SqliteOpener, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_sqlite()
    batches: list[int] = []
    put = store._file.put

    def counted(rows: list[Row], used: dict[bytes, float], now: float) -> None:
        batches.append(len(rows))
        put(rows, used, now)

    monkeypatch.setattr(store._file, "put", counted)
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(store.put(key(number), answer(clock)))
    assert batches == [50]
    assert store.statistics().writes == 50


async def test_another_process_that_keeps_the_file_locked_costs_writes_only(
    open_sqlite: SqliteOpener, path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlopen, "_BUSY_MS", 20)
    store = await open_sqlite()
    response = answer(clock)
    await store.put(key(1), response)
    with closing(apsw.Connection(str(path))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CacheStoreError, match="lock"):
            await store.put(key(2), answer(clock))
        assert await store.get(key(1)) == response
    await store.put(key(2), answer(clock))
    assert await store.get(key(2)) is not None
    assert store.statistics().failures == 1


def test_the_oldest_use_counts_and_not_the_order_of_writing(tmp_path: Path) -> None:
    file = CacheFile(tmp_path / "responses.sqlite")
    file.open(replace=False)
    rows = [Row(key(number), 0.0, b"x" * 100) for number in range(200)]
    for number, row in enumerate(rows):
        file.put([row], {}, 1000.0 - number)
    removed = file.shrink(10 * rows[0].size, 0.0)
    file.close()
    assert set(removed.digests) == {row.key.digest for row in rows[10:]}


def test_a_batch_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    file = CacheFile(tmp_path / "responses.sqlite")
    file.open(replace=False)

    def broken() -> Iterator[Row]:
        yield Row(key(1), 0.0, b"x")
        raise CacheStoreError("broken")

    with pytest.raises(CacheStoreError, match="broken"):
        file.put(broken(), {}, 0.0)
    assert file.totals().entries == 0
    file.put([Row(key(2), 0.0, b"x")], {}, 0.0)
    assert file.totals().entries == 1
    file.close()


def test_the_size_of_a_row_is_what_it_takes_about(tmp_path: Path) -> None:
    clock = ManualClock()
    file = CacheFile(tmp_path / "responses.sqlite")
    file.open(replace=False)
    rows = [Row(key(n), 0.0, pack(answer(clock, size=n * 97, seed=n))) for n in range(400)]
    file.put(rows, {}, 0.0)
    counted = file.totals().bytes
    file.close()
    assert 0.8 < counted / file.path.stat().st_size < 1.25
