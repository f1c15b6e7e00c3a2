"""The SQLite store's readers: side by side, bounded by their threads, replaced with the file."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import apsw
import msgspec
import pytest

from fairlead.errors import CacheStoreError
from fairlead.gateway.stores import readers as readers_module
from fairlead.gateway.stores import sqlite
from fairlead.gateway.stores.readers import MAX_READERS, Readers
from fairlead.gateway.stores.sqlfile import CacheFile
from fairlead.gateway.stores.sqlite import SqliteResponseStore
from fairlead.gateway.stores.sqlopen import (
    OtherFormError,
    UnusableFileError,
    connect_reader,
    disconnect,
)
from fairlead.testing import ManualClock
from integration.stores.conftest import SqliteOpener
from integration.stores.gates import ReadersGate, WriterGate
from integration.stores.samples import answer, key, until


def readers_of(store: SqliteResponseStore) -> Readers:
    assert store._readers is not None
    return store._readers


def threads() -> int:
    """How many threads read now, of all stores."""
    return sum("response cache reader" in thread.name for thread in threading.enumerate())


async def test_reads_go_on_while_the_writer_is_busy(
    open_sqlite: SqliteOpener, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "READ_DEADLINE", 10)
    store = await open_sqlite()
    await store.put(key(1), answer(clock))
    gate = WriterGate(store)
    await gate.reached()
    assert await store.get(key(1)) == answer(clock)
    await gate.open()


async def test_reads_run_side_by_side(open_sqlite: SqliteOpener) -> None:
    store = await open_sqlite()
    barrier = threading.Barrier(MAX_READERS)
    read = [readers_of(store).run(lambda _: barrier.wait(10), 10) for _ in range(MAX_READERS)]
    assert sorted(await asyncio.gather(*read)) == list(range(MAX_READERS))


async def test_a_read_that_takes_too_long_is_a_failure_and_the_next_are_spared(
    open_sqlite: SqliteOpener, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_sqlite()
    await store.put(key(1), answer(clock))
    gate = ReadersGate(store)
    await gate.reached()
    monkeypatch.setattr(sqlite, "READ_DEADLINE", 0.02)
    with pytest.raises(CacheStoreError, match="in time"):
        await store.get(key(1))
    assert store.statistics().failures == 1
    assert not store.may_contain(key(1))
    assert not store.statistics().available
    await gate.open()
    monkeypatch.setattr(sqlite, "READ_DEADLINE", 10)
    assert await store.get(key(1)) == answer(clock)
    assert store.may_contain(key(1))
    assert store.statistics().available


async def test_who_gives_up_frees_no_reader_before_its_thread_has_ended(
    open_sqlite: SqliteOpener,
) -> None:
    store = await open_sqlite()
    readers, go_on = readers_of(store), threading.Event()
    for _ in range(3 * MAX_READERS):
        with pytest.raises(CacheStoreError, match="in time"):
            await readers.run(lambda _: go_on.wait(10), 0.02)
    assert readers.statistics().in_use == readers.statistics().size == MAX_READERS
    cancelled = asyncio.create_task(readers.run(lambda _: 1, 10))
    await asyncio.sleep(0)
    cancelled.cancel()
    go_on.set()
    assert await readers.run(lambda _: 7, 10) == 7
    assert cancelled.cancelled()


async def test_a_reader_that_has_failed_is_replaced(open_sqlite: SqliteOpener) -> None:
    store = await open_sqlite()
    readers = readers_of(store)

    def fail(_: apsw.Connection) -> None:
        raise CacheStoreError("cannot be read")

    with pytest.raises(CacheStoreError, match="cannot be read"):
        await readers.run(fail, 10)
    assert await readers.run(lambda connection: connection.pragma("query_only"), 10) == 1
    assert readers.statistics().broken == 1


async def test_a_reader_changes_nothing(open_sqlite: SqliteOpener, clock: ManualClock) -> None:
    store = await open_sqlite()
    await store.put(key(1), answer(clock))

    def write(connection: apsw.Connection) -> None:
        connection.execute("DELETE FROM entries")

    with pytest.raises(apsw.ReadOnlyError):
        await readers_of(store).run(write, 10)
    assert await store.get(key(1)) == answer(clock)


async def test_a_closed_store_has_no_readers(open_sqlite: SqliteOpener, clock: ManualClock) -> None:
    before = threads()
    store = await open_sqlite()
    await store.put(key(1), answer(clock))
    assert await store.get(key(1)) is not None
    readers = readers_of(store)
    await store.close()
    async with asyncio.timeout(10):
        while threads() > before:  # noqa: ASYNC110 - a thread that ends tells nobody
            await asyncio.sleep(0.001)
    with pytest.raises(CacheStoreError, match="not open"):
        await store.get(key(1))
    with pytest.raises(CacheStoreError):
        await _run(readers)


async def _run(readers: Readers) -> int:
    return await readers.run(lambda _: 1, 10)


async def test_damage_in_a_file_that_was_replaced_is_not_the_new_ones(
    open_sqlite: SqliteOpener, clock: ManualClock, path: Path, warnings: list[str]
) -> None:
    """A read began in the old file, and finds damage when the new one is there already."""
    store = await open_sqlite()
    await store.put(key(1), answer(clock))
    old = readers_of(store)
    gate = threading.Event()

    def damaged(_: apsw.Connection) -> None:
        gate.wait(10)
        raise UnusableFileError("it is corrupt")

    reading = asyncio.create_task(old.run(damaged, 10))
    await asyncio.sleep(0)
    for file in path.parent.glob("responses.sqlite*"):
        file.unlink()
    await until(clock, lambda: store._readers not in {None, old})
    gate.set()
    with pytest.raises(UnusableFileError) as found:
        await reading
    await store._condemn(old, str(found.value))
    assert store.statistics().available
    assert len(warnings) == 1
    await store.put(key(2), answer(clock))
    assert await store.get(key(2)) is not None


async def test_the_last_reader_of_an_old_file_leaves_the_new_ones_log_alone(
    open_sqlite: SqliteOpener, clock: ManualClock, path: Path
) -> None:
    """SQLite deletes a log by its name when the last connection closes: here another file's."""
    first = await open_sqlite()
    await first.put(key(1), answer(clock))
    assert await first.get(key(1)) is not None
    old = readers_of(first)
    for file in path.parent.glob("responses.sqlite*"):
        file.rename(file.with_name("moved-" + file.name))
    second = await open_sqlite()
    await second.put(key(2), answer(clock))
    await until(clock, lambda: first._readers not in {None, old} and not old.statistics().size)
    assert path.with_name(path.name + "-wal").exists()
    await first.close()
    await second.close()
    again = await open_sqlite()
    assert await again.get(key(2)) is not None


async def test_what_is_written_while_it_is_read_stays_known(
    open_sqlite: SqliteOpener, clock: ManualClock
) -> None:
    """A read that found nothing ends after a write of the same key."""
    store = await open_sqlite()
    gate = ReadersGate(store)
    await gate.reached()
    run = readers_of(store).run
    held, go_on = asyncio.Event(), asyncio.Event()

    async def slow(job: object, deadline: float) -> object:
        held.set()
        await go_on.wait()
        return None, None

    readers_of(store).run = slow  # type: ignore[method-assign, assignment]
    reading = asyncio.create_task(store.get(key(1)))
    await held.wait()
    await store.put(key(1), answer(clock))
    go_on.set()
    assert await reading is None
    assert store.may_contain(key(1))
    readers_of(store).run = run  # type: ignore[method-assign]
    await gate.open()
    assert await store.get(key(1)) == answer(clock)


async def test_a_connection_that_takes_too_long_keeps_its_place_until_its_thread_has_ended(
    open_sqlite: SqliteOpener, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, opened = threading.Event(), []

    def slowly(path: Path) -> apsw.Connection:
        assert go_on.wait(10)
        opened.append(path)
        return connect_reader(path)

    monkeypatch.setattr(readers_module, "connect_reader", slowly)
    options = msgspec.structs.replace(readers_module._OPTIONS, create_timeout=0.01, max_size=2)
    monkeypatch.setattr(readers_module, "_OPTIONS", options)
    monkeypatch.setattr(sqlite, "READ_DEADLINE", 0.05)
    store = await open_sqlite()
    await store.put(key(1), answer(clock))
    for _ in range(8):
        with pytest.raises(CacheStoreError, match="in time"):
            await store.get(key(1))
    statistics = readers_of(store).statistics()
    assert statistics.stuck == statistics.size == 2
    go_on.set()
    monkeypatch.setattr(sqlite, "READ_DEADLINE", 10)
    async with asyncio.timeout(10):
        while readers_of(store).statistics().stuck:  # noqa: ASYNC110 - a thread tells nobody
            await asyncio.sleep(0.001)
    assert len(opened) >= 2, "they were opened, too late, and closed again"


def test_checkpoints_are_left_to_the_writer(tmp_path: Path) -> None:
    file = CacheFile(tmp_path / "responses.sqlite")
    file.open(replace=False)
    reader = connect_reader(file.path)
    file.close()
    log = tmp_path / "responses.sqlite-wal"
    size = log.stat().st_size
    disconnect(reader)
    assert log.stat().st_size == size > 0


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    with pytest.raises(CacheStoreError, match="unable to open"):
        connect_reader(path)
    assert not path.exists()
    path.touch()
    with pytest.raises(CacheStoreError, match="is empty"):
        connect_reader(path)


def test_a_reader_takes_no_other_form(tmp_path: Path) -> None:
    file = CacheFile(tmp_path / "responses.sqlite")
    file.open(replace=False)
    file.close()
    connection = apsw.Connection(str(file.path))
    connection.pragma("user_version", 99)
    connection.close()
    with pytest.raises(OtherFormError):
        connect_reader(file.path)
    file.path.write_bytes(b"no database at all " * 1000)
    with pytest.raises(UnusableFileError):
        connect_reader(file.path)
