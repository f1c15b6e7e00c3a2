"""What does not agree with the log is found, and made anew from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest

from fairlead.conversations import audit
from fairlead.conversations.sqlite import SqliteThreadStore
from support.threads import Desk, begun, busy, wrote


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteThreadStore]:
    async with SqliteThreadStore(tmp_path / "threads.sqlite") as store:
        yield store


@pytest.fixture
def tamper(store: SqliteThreadStore) -> Callable[[str], None]:
    """Changes the file behind the store's back."""

    def change(statement: str) -> None:
        connection = apsw.Connection(str(store.path))
        connection.execute(statement)
        connection.close()

    return change


async def test_a_store_is_as_its_log_says(store: SqliteThreadStore) -> None:
    await busy(store, Desk())
    await busy(store, Desk("other"))
    told: list[int] = []
    assert await audit.verify(store, progress=told.append) == []
    assert told == [1, 2, 3, 4, 5, 6]
    assert await audit.rebuild(store, "team") == 3
    assert await audit.verify(store) == []


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE conversations SET title = 'other'", "title is 'other', by the log 'a title'"),
        ("UPDATE conversations SET bytes = bytes + 1", "bytes is"),
        ("UPDATE conversation_summaries SET last_message = 'never said'", "last_message is"),
        ("UPDATE message_rows SET role = 'tool' WHERE sequence = 1", "another role"),
        ("UPDATE message_rows SET branch = 1 WHERE sequence = 1", "another branch"),
        ("DELETE FROM message_rows WHERE sequence = 1", "is in the log only"),
    ],
)
async def test_tampering_is_found_and_mended(
    store: SqliteThreadStore, tamper: Callable[[str], None], statement: str, what: str
) -> None:
    thread = await begun(store, Desk(), "one", "two")
    tamper(statement)
    found = await audit.verify(store)
    assert any(what in one.what and one.thread == thread for one in found), found
    assert await audit.rebuild(store) == 1
    assert await audit.verify(store) == []


async def test_a_lost_event_is_found_and_cannot_be_mended(
    store: SqliteThreadStore, tamper: Callable[[str], None]
) -> None:
    ann = Desk()
    thread = await begun(store, ann, "one")
    await wrote(store, ann.update(thread, title="new"))
    await wrote(store, ann.append(thread, "two"))
    tamper("DELETE FROM thread_events WHERE kind = 'updated' OR sequence = 3")
    await audit.rebuild(store)
    found = await audit.verify(store)
    assert any("gaps" in one.what for one in found), found


async def test_what_the_engine_finds_is_told(
    store: SqliteThreadStore, tamper: Callable[[str], None]
) -> None:
    await begun(store, Desk(), "one")
    tamper("DELETE FROM conversation_summaries")
    assert any(one.thread == "" for one in await audit.verify(store))


async def test_only_so_many_are_told(
    store: SqliteThreadStore, tamper: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await begun(store, Desk(), "one")
    tamper("UPDATE conversations SET title = 'other'")
    monkeypatch.setattr(audit, "MAX_DIFFERENCES", 3)
    assert len(await audit.verify(store)) == 3
