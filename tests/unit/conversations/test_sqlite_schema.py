"""The schema is made once, goes forward step by step, and never back."""

from __future__ import annotations

import apsw
import pytest

from fairlead.conversations.sqlite_schema import STEPS, check_version, migrate, version
from fairlead.errors import StorageError

NEXT = max(STEPS) + 1
ONE_MORE = {**STEPS, NEXT: "ALTER TABLE conversations ADD COLUMN colour TEXT DEFAULT 'blue'"}


@pytest.fixture
def connection() -> apsw.Connection:
    return apsw.Connection(":memory:")


def columns(connection: apsw.Connection, table: str) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", [table])}


def test_an_empty_file_gets_the_latest(connection: apsw.Connection) -> None:
    assert version(connection) == 0
    migrate(connection, 7)
    assert version(connection) == max(STEPS)
    assert connection.execute("SELECT min(applied) FROM schema_version").get == 7


def test_a_second_time_nothing_happens(connection: apsw.Connection) -> None:
    migrate(connection, 7)
    migrate(connection, 8)
    assert connection.execute("SELECT max(applied) FROM schema_version").get == 7


def test_an_older_schema_is_brought_forward_with_what_it_holds(
    connection: apsw.Connection,
) -> None:
    migrate(connection, 7)
    connection.execute("INSERT INTO dead_letters VALUES ('id', 'team', 1, 'error', x'00')")
    migrate(connection, 8, ONE_MORE)
    assert version(connection) == NEXT
    assert "colour" in columns(connection, "conversations")
    assert connection.execute("SELECT count(*) FROM dead_letters").get == 1


def test_a_newer_schema_is_refused_and_both_versions_are_named(
    connection: apsw.Connection,
) -> None:
    migrate(connection, 7, ONE_MORE)
    with pytest.raises(StorageError, match=rf"version {NEXT}, this program knows {max(STEPS)}"):
        migrate(connection, 8)
    with pytest.raises(StorageError, match="newer fairlead"):
        check_version(NEXT)


def test_the_tables_of_the_specification_are_there(connection: apsw.Connection) -> None:
    migrate(connection, 7)
    wanted = {
        "conversations": "id tenant user_id team_id title created last_activity is_shared version "
        "deleted",
        "messages": "id conversation_id sequence role timestamp content metadata",
        "conversation_summaries": "id title last_message message_count participants",
        "thread_events": "tenant thread origin sequence id hlc",
    }
    for table, names in wanted.items():
        assert set(names.split()) <= columns(connection, table)
    for table in ("outbox", "dead_letters", "schema_version"):
        assert columns(connection, table)
