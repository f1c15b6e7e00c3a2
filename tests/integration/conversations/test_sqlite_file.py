"""The SQLite file: who may read it, who may share it, and what becomes of it when it is harmed."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import msgspec
import pytest

from fairlead.conversations import sqlite, sqlite_file, sqlite_open, sqlite_prune
from fairlead.conversations.records import ListQuery, PageQuery, RetentionRules, SearchQuery
from fairlead.conversations.sqlite import SqliteThreadStore
from fairlead.conversations.sqlite_open import SqliteFile, check_library, connect_reader
from fairlead.errors import NotFoundError, StorageError, StorageUnavailableError
from support.threads import Desk, begun, found_titles, said, texts, turn, whole, wrote

TENANT = "team"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "conversations.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteThreadStore]:
    async with SqliteThreadStore(path) as opened:
        yield opened


@pytest.fixture
def ann() -> Desk:
    return Desk(TENANT, "ann")


def pragma(path: Path, name: str) -> object:
    connection = apsw.Connection(str(path))
    try:
        return connection.pragma(name)
    finally:
        connection.close()


def damage(path: Path, name: str) -> bytes:
    """Spoil the first page of a table or index; the file as it is then."""
    connection = apsw.Connection(str(path))
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [name]).get
    connection.close()
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\x5a" * 4096
    path.write_bytes(data)
    return bytes(data)


def size(path: Path) -> int:
    return path.stat().st_size


def move(path: Path, target: Path) -> None:
    path.rename(target)


# ---- opening


async def test_only_its_owner_may_read_it(store: SqliteThreadStore, ann: Desk, path: Path) -> None:
    await begun(store, ann)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_its_settings_are_the_safe_ones(store: SqliteThreadStore, path: Path) -> None:
    assert pragma(path, "journal_mode") == "wal"
    assert pragma(path, "auto_vacuum") == 2
    assert pragma(path, "application_id") == sqlite_open.APPLICATION_ID
    connection = store._side._connection
    assert connection is not None
    settings = {name: connection.pragma(name) for name in ("synchronous", "mmap_size")}
    assert settings == {"synchronous": 2, "mmap_size": 0}


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2"])
def test_an_old_library_is_refused(version: str) -> None:
    with pytest.raises(StorageError, match=rf"{version}.*3\.51\.3.*pip install"):
        check_library(version)
    check_library("3.51.3")


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        asyncio.run(SqliteThreadStore(path).open())
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(store: SqliteThreadStore, ann: Desk, path: Path) -> None:
    await begun(store, ann)
    newer = apsw.Connection(str(path))
    newer.execute("INSERT INTO schema_version VALUES (99, 0)")
    newer.close()
    with pytest.raises(StorageError, match="version 99"):
        await SqliteThreadStore(path).open()
    # A node that was running when a newer one brought the schema forward writes nothing more.
    with pytest.raises(StorageError, match="version 99"):
        await begun(store, ann)


async def test_a_store_that_did_not_open_can_be_opened_later(
    path: Path, ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteThreadStore(path)
    monkeypatch.setattr(sqlite_open, "OLDEST_LIBRARY", (99,))
    with pytest.raises(StorageError, match="upgrade"):
        await store.open()
    monkeypatch.undo()
    async with store:
        await begun(store, ann)


# ---- several processes

_WRITE = """
import asyncio, sys
from pathlib import Path
from fairlead.conversations.sqlite import SqliteThreadStore
from support.threads import Desk, begun, wrote

async def main(path, number):
    desk = Desk("team", "ann")
    async with SqliteThreadStore(path) as store:
        for _ in range(10):
            thread = await begun(store, desk, f"word{number}")
            await wrote(store, desk.append(thread, "more"))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def test_processes_may_make_the_file_and_write_to_it_at_once(path: Path) -> None:
    tests = str(Path(__file__).parents[2])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITE, str(path), str(number)],
            env={"PYTHONPATH": tests},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    assert [process.communicate(timeout=15)[1] for process in running] == [""] * 3

    async def read() -> None:
        async with SqliteThreadStore(path) as store:
            threads = await store.listing(ListQuery(Desk().viewer, limit=100))
            assert len(threads) == 30
            assert {head.message_count for head in threads} == {2}
            assert len(await store.search(SearchQuery(Desk().viewer, "word1", limit=100))) == 10
            assert await store.check() == []

    asyncio.run(read())


async def test_what_another_process_writes_is_not_remembered_wrongly(
    store: SqliteThreadStore, ann: Desk, path: Path
) -> None:
    thread = await begun(store, ann, "one")
    async with SqliteThreadStore(path) as other:
        await wrote(other, ann.append(thread, "two"))
        await wrote(store, ann.append(thread, "three"))
        prompt = [said("a question"), said("an answer", "assistant")]
        first = await wrote(store, ann.record(turn(prompt[:1], prompt[1])))
        await wrote(other, ann.record(turn([*prompt, said("more")], said("yes", "assistant"))))
        last = await wrote(store, ann.record(turn([*prompt, said("more")])))
    assert texts(await whole(store, TENANT, thread)) == ["one", "two", "three"]
    assert last.head.id == first.head.id
    assert last.head.message_count == 4


async def test_a_write_waits_for_another_process_and_no_longer_than_it_may(
    store: SqliteThreadStore, ann: Desk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = await begun(store, ann)
    other = apsw.Connection(str(path))
    connection = store._side._connection
    assert connection is not None
    connection.set_busy_timeout(1)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailableError, match="another process"):
        await wrote(store, ann.append(thread, "two"))
    assert not store.statistics().available
    other.execute("ROLLBACK")
    other.close()
    await wrote(store, ann.append(thread, "two"))
    assert store.statistics().available
    assert store.statistics().failures == 1


# ---- threads and deadlines


async def test_a_reader_changes_nothing(store: SqliteThreadStore, ann: Desk, path: Path) -> None:
    thread = await begun(store, ann, "one")
    reader = connect_reader(SqliteFile(path))
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM thread_events")
    reader.close()
    assert texts(await whole(store, TENANT, thread)) == ["one"]


async def test_a_read_that_takes_too_long_is_ended(
    store: SqliteThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(connection: apsw.Connection) -> object:
        counting = "WITH n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
        return connection.execute(counting).get

    with pytest.raises(StorageUnavailableError):
        await store._read(slow, 0.05)
    statistics = store._readers.statistics
    async with asyncio.timeout(10):
        while statistics().in_use:  # noqa: ASYNC110 - a thread that ends tells nobody
            await asyncio.sleep(0.001)
    assert await store.listing(ListQuery(Desk().viewer)) == []


async def test_reads_go_on_while_a_write_takes_its_time(
    store: SqliteThreadStore, ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = await begun(store, ann, "one")
    begun_writing, go_on = threading.Event(), threading.Event()

    def slow(connection: apsw.Connection) -> None:
        connection.execute("DELETE FROM dead_letters")
        begun_writing.set()
        assert go_on.wait(10)

    writing = asyncio.create_task(store._write(lambda: store._side.transact(slow)))
    assert await asyncio.to_thread(begun_writing.wait, 10)
    assert texts(await whole(store, TENANT, thread)) == ["one"]
    monkeypatch.setattr(sqlite, "WRITE_DEADLINE", 0.01)
    append = ann.append(thread, "two")
    with pytest.raises(StorageUnavailableError, match="in time"):
        await store.apply([append])
    go_on.set()
    await writing
    monkeypatch.undo()
    # It was written after all: said again, it counts once.
    written = await wrote(store, append, retry=True)
    assert written.repeated
    assert texts(await whole(store, TENANT, thread)) == ["one", "two"]


async def test_a_failed_write_leaves_nothing_behind_and_the_next_succeeds(
    store: SqliteThreadStore, ann: Desk
) -> None:
    thread = await begun(store, ann, "one")
    taken = ann.append(thread, "two")
    await wrote(store, taken)
    good = ann.append(thread, "three")
    poisonous = ann.add(thread, msgspec.structs.replace(said("x"), role="\ud800"))
    same_id = ann.add(await begun(store, ann), taken.messages[0])
    for bad in (poisonous, same_id):
        with pytest.raises((StorageError, UnicodeEncodeError)):
            await store.apply([good, bad])
    assert store.statistics().available
    await wrote(store, good)
    assert texts(await whole(store, TENANT, thread)) == ["one", "two", "three"]
    assert await store.check() == []


async def test_checkpoints_are_left_to_the_writer(
    store: SqliteThreadStore, ann: Desk, path: Path
) -> None:
    await begun(store, ann)
    reader = connect_reader(SqliteFile(path))
    reader.execute("SELECT count(*) FROM conversations").fetchall()
    await store.close()
    log = path.with_name(f"{path.name}-wal")
    before = size(log)
    # The last to close would move everything into the file, and delete the log.
    reader.close()
    assert size(log) == before > 0
    async with store:
        assert await store.listing(ListQuery(ann.viewer))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# ---- harm


async def test_damage_is_told_and_nothing_is_thrown_away(path: Path, ann: Desk) -> None:
    async with SqliteThreadStore(path) as store:
        thread = await begun(store, ann, "one")
    damaged = damage(path, "message_rows")
    async with SqliteThreadStore(path) as store:
        with pytest.raises(StorageError, match=r"damaged.*fairlead threads verify.*backup"):
            await store.messages(TENANT, thread, PageQuery())
        assert not store.statistics().available
        # What is sound can be read.
        assert await store.head(TENANT, thread) is not None
        assert await store.check()
    assert size(path) == len(damaged)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are my notes, not a database" * 200)
    with pytest.raises(StorageError, match="damaged"):
        asyncio.run(SqliteThreadStore(path).open())
    assert path.read_bytes().startswith(b"these are my notes")


async def test_a_file_that_was_moved_away_is_missed_and_not_made_anew(
    store: SqliteThreadStore, ann: Desk, path: Path
) -> None:
    thread = await begun(store, ann, "one")
    away = path.with_name("away")
    move(path, away)
    with pytest.raises(StorageUnavailableError):
        await wrote(store, ann.append(thread, "two"))
    assert [file.name for file in path.parent.glob(path.name)] == []
    move(away, path)
    await wrote(store, ann.append(thread, "two"))
    assert texts(await whole(store, TENANT, thread)) == ["one", "two"]


async def test_a_backup_that_takes_the_files_place_is_what_is_read_and_written(
    store: SqliteThreadStore, ann: Desk, path: Path
) -> None:
    thread = await begun(store, ann, "one")
    await store.backup(path.with_name("backup"))
    await wrote(store, ann.append(thread, "lost"))
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    move(path.with_name("backup"), path)
    await wrote(store, ann.append(thread, "two"))
    assert texts(await whole(store, TENANT, thread)) == ["one", "two"]


async def test_after_an_error_of_the_disk_it_is_opened_again(
    store: SqliteThreadStore, ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = await begun(store, ann, "one")
    opened = []

    def connect(file: SqliteFile) -> apsw.Connection:
        opened.append(file)
        return sqlite_open.connect_writer(file)

    def fail(connection: apsw.Connection) -> None:
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr(sqlite_file, "connect_writer", connect)
    with pytest.raises(StorageUnavailableError):
        await store._write(lambda: store._side.transact(fail))
    await wrote(store, ann.append(thread, "two"))
    assert len(opened) == 1
    assert texts(await whole(store, TENANT, thread)) == ["one", "two"]


# ---- room


async def test_what_is_pruned_leaves_the_file_smaller(
    path: Path, ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_prune, "FREE_PAGES_KEPT", 8)
    async with SqliteThreadStore(path) as store:
        for number in range(20):
            await begun(store, ann, *([f"{number} words {'of many kinds ' * 20}"] * 40))
    before = size(path)
    steps = []
    async with SqliteThreadStore(path) as store:
        while not steps or steps[-1].more:
            steps.append(await store.prune(RetentionRules(max_age=0), ann.time + 10**9))
        assert await store.check() == []
    assert sum(step.threads for step in steps) == 20
    # In small steps: none removes more than a few hundred events, unless of one thread.
    assert max(step.threads for step in steps) <= 500 // 40
    assert size(path) < before / 3


async def test_a_backup_in_the_place_of_a_file_in_use_is_what_is_there(tmp_path: Path) -> None:
    ann, eve = Desk("ann's", "ann"), Desk("eve's", "eve")
    path, copy = tmp_path / "threads.sqlite", tmp_path / "copy.sqlite"
    async with SqliteThreadStore(path) as store:
        await begun(store, ann, "before")
        await store.backup(copy)
        lost = await begun(store, ann, "after", "it")
        for name in ("-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        copy.replace(path)

        (outcome,) = await store.apply([ann.append(lost, "more")])
        assert isinstance(outcome, NotFoundError)
        await begun(store, eve, "hello", title="new")
        assert await found_titles(store, eve.viewer, "hello") == {"new"}
        assert await store.check() == []
