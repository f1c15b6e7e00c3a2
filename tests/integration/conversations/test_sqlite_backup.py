"""A copy of a live database, and a look at the whole of one."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from fairlead.conversations import sqlite_backup
from fairlead.conversations.records import ListQuery
from fairlead.conversations.sqlite import SqliteThreadStore
from fairlead.errors import StorageError
from support.threads import Desk, begun, busy, log_of, replayed, texts, whole, wrote


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "conversations.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteThreadStore]:
    async with SqliteThreadStore(path) as opened:
        yield opened


@pytest.fixture
def ann() -> Desk:
    return Desk("team", "ann")


async def test_a_copy_is_the_same_store(store: SqliteThreadStore, ann: Desk, path: Path) -> None:
    threads = await busy(store, ann)
    told: list[tuple[int, int]] = []
    target = path.with_name("copy.sqlite")
    await store.backup(target, lambda done, total: told.append((done, total)))
    await asyncio.sleep(0)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert told
    assert told[-1][0] == told[-1][1] > 0
    async with SqliteThreadStore(target) as copy:
        assert await log_of(copy, "team") == await log_of(store, "team")
        for thread in threads:
            await replayed(copy, "team", thread)
        assert await copy.check() == []
        await wrote(copy, ann.append(threads[0], "goes on"))
    assert sorted(file.name for file in path.parent.glob("copy*")) == ["copy.sqlite"]


async def test_a_copy_that_is_made_under_load_is_of_one_moment(
    store: SqliteThreadStore, ann: Desk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page is a step, and something is written between two steps."""
    monkeypatch.setattr(sqlite_backup, "_PAGES", 1)
    first, second = [await begun(store, ann, "word " * 300) for _ in range(2)]
    target = path.with_name("copy.sqlite")
    copying = asyncio.create_task(store.backup(target))
    for number in range(50):
        # Both threads have the same messages after each transaction.
        await store.apply([ann.append(first, number), ann.append(second, number)])
    await copying
    async with SqliteThreadStore(target) as copy:
        left = [texts(await whole(copy, "team", thread)) for thread in (first, second)]
        assert left[0] == left[1]
        assert await copy.check() == []
    assert len(await whole(store, "team", first)) == 51


async def test_nothing_is_overwritten(store: SqliteThreadStore, path: Path) -> None:
    target = path.with_name("mine")
    target.write_text("precious")
    with pytest.raises(StorageError, match="exists already"):
        await store.backup(target)
    assert target.read_text() == "precious"
    with pytest.raises(StorageError, match="exists already"):
        await store.backup(path)


async def test_a_copy_that_fails_leaves_nothing(
    store: SqliteThreadStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError):
        await store.backup(path.with_name("no such folder") / "copy")

    def fail(*_: object) -> None:
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr(sqlite_backup, "_copy", fail)
    with pytest.raises(StorageError):
        await store.backup(path.with_name("copy"))
    assert list(path.parent.glob("copy*")) == []
    monkeypatch.undo()
    await store.backup(path.with_name("copy"))


async def test_closing_ends_a_copy(
    store: SqliteThreadStore, ann: Desk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_backup, "_PAGES", 1)
    await begun(store, ann, *(["word " * 100] * 500))
    under_way = asyncio.Event()
    copying = asyncio.create_task(store.backup(path.with_name("copy"), lambda *_: under_way.set()))
    await under_way.wait()
    await store.close()
    with pytest.raises(Exception, match="not open"):
        await copying
    assert list(path.parent.glob("copy*")) == []


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("DELETE FROM thread_events WHERE kind = 'message'", "messages without an event"),
        ("DELETE FROM conversations", "messages without a thread"),
        ("DELETE FROM conversation_summaries", "without a summary"),
        ("DELETE FROM message_rows", "another number of messages"),
    ],
)
async def test_what_does_not_fit_together_is_found(
    store: SqliteThreadStore, ann: Desk, path: Path, harm: str, told: str
) -> None:
    await begun(store, ann)
    assert await store.check() == []
    other = apsw.Connection(str(path))
    other.execute(harm)
    other.close()
    assert any(told in text for text in await store.check())


async def test_a_damaged_page_is_found(path: Path, ann: Desk) -> None:
    async with SqliteThreadStore(path) as store:
        await begun(store, ann)
    _spoil(path, "conversations_quiet")
    async with SqliteThreadStore(path) as store:
        assert await store.listing(ListQuery(ann.viewer))
        assert any("conversations_quiet" in text for text in await store.check())


def _spoil(path: Path, index: str) -> None:
    """Empty an index behind SQLite's back."""
    connection = apsw.Connection(str(path))
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [index]).get
    connection.close()
    data = bytearray(path.read_bytes())
    # The number of cells of a leaf page (SQLite file format, section 1.6).
    data[(page - 1) * 4096 + 3 : (page - 1) * 4096 + 5] = bytes(2)
    path.write_bytes(data)
