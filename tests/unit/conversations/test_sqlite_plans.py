"""Every statement that lists, pages, searches or prunes goes by an index: SQLite's own plans."""

from __future__ import annotations

import re
from itertools import product

import apsw
import pytest

from fairlead.conversations import (
    sqlite_log,
    sqlite_prune,
    sqlite_read,
    sqlite_save,
    sqlite_search,
)
from fairlead.conversations.records import ListQuery, SearchQuery, Viewer
from fairlead.conversations.sqlite_schema import migrate

_BOUNDED = {
    # At most 10,000 letters are kept, of which it looks for those beyond.
    "SCAN dead_letters USING COVERING INDEX dead_letters_time",
    # The two values of a row without a table.
    "SCAN CONSTANT ROW",
}
_BY_WORDS_OR_ROW = re.compile(r"SCAN \w+ VIRTUAL TABLE INDEX (192:M1|0:=)")
"""FTS5's names for a search by words, newest first, and for one row."""
_TEMPLATES = {"list", "after", "messages", "titles"}
_COMMANDS = {"merge_messages", "merge_titles", "free_pages"}

LISTINGS = [
    ListQuery(Viewer("team", user), order=order, scope=scope, after=after)
    for user, order, scope, after in product(
        ("ann", None),
        ("last_activity", "created", "title"),
        ("user", "team", "shared"),
        (None, (1, "id")),
    )
]
STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]} {name}": sql
    for module in (sqlite_read, sqlite_search, sqlite_prune, sqlite_save, sqlite_log)
    for name, sql in module.SQL.items()
    if name not in _TEMPLATES | _COMMANDS
}


@pytest.fixture(scope="module")
def connection() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    migrate(connection, 1)
    return connection


def plan(connection: apsw.Connection, sql: str) -> list[str]:
    """What SQLite says it would do, line by line."""
    named = set(re.findall(r":(\w+)", sql))
    values = dict.fromkeys(named, 1) if named else [1] * sql.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


def scans(steps: list[str]) -> list[str]:
    return [
        step
        for step in steps
        if step.startswith("SCAN") and step not in _BOUNDED and not _BY_WORDS_OR_ROW.match(step)
    ]


@pytest.mark.parametrize("query", LISTINGS, ids=str)
def test_a_listing_reads_an_index_from_the_place_on(
    connection: apsw.Connection, query: ListQuery
) -> None:
    for statement in sqlite_read.list_statements(query):
        first, summaries = plan(connection, statement)
        place = "title_key" if query.order == "title" else query.order
        assert first.startswith("SEARCH c USING INDEX conversations_")
        assert (f"({place},id)" in first) == (query.after is not None)
        # No step more: what the index brings is in order already.
        assert summaries == "SEARCH s USING INTEGER PRIMARY KEY (rowid=?)"


@pytest.mark.parametrize("user", ["ann", None])
def test_a_search_goes_by_words_the_newest_first(
    connection: apsw.Connection, user: str | None
) -> None:
    query = SearchQuery(Viewer("team", user), "word")
    for statement in sqlite_search.search_statements(query):
        words, *others = plan(connection, statement)
        assert words == "SCAN f VIRTUAL TABLE INDEX 192:M1"
        assert all("INTEGER PRIMARY KEY" in step for step in others)


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_a_whole_table(connection: apsw.Connection, name: str) -> None:
    assert scans(plan(connection, STATEMENTS[name])) == []


@pytest.mark.parametrize("name", [name for name in STATEMENTS if name.startswith("sqlite_read")])
def test_pages_come_in_the_order_of_their_index(connection: apsw.Connection, name: str) -> None:
    assert not any("TEMP B-TREE" in step for step in plan(connection, STATEMENTS[name]))


def test_a_statement_without_an_index_would_be_noticed(connection: apsw.Connection) -> None:
    assert scans(plan(connection, "SELECT * FROM conversations WHERE title = ?"))
    assert scans(plan(connection, "SELECT * FROM message_words"))
