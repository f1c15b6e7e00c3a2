"""No statement of the PostgreSQL store reads a whole table: its plans, with many rows there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from fairlead.conversations.postgres import PostgresThreadStore
from fairlead.conversations.postgres_rows import vector
from fairlead.conversations.records import (
    ListQuery,
    LogPosition,
    Operation,
    Order,
    PageQuery,
    RetentionRules,
    Scope,
    SearchQuery,
    ThreadEvent,
    Viewer,
)
from fairlead.testing import ManualClock
from support.postgres import PostgresServer
from support.threads import Desk, said, turn

BIG = {
    *("conversations", "conversation_summaries", "message_rows", "thread_events"),
    *("thread_words", "event_counters", "session_threads"),
}
ANN, OPERATOR = Viewer("team-1", "user-1"), Viewer("team-1")
# Two of user-16, and none that retention takes.
THREAD, OTHER = "00000000-0000-7000-8000-000000001000", "00000000-0000-7000-8000-000000001078"

FILL = """
INSERT INTO fairlead.conversations
SELECT 'team-' || number % 3, ('00000000-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid,
       'user-' || number % 40, NULL, 'title', 'title ' || number, number, number * 10,
       number % 10 = 0, 1, false, 'session-' || number, number * 65536, 4, 1, 0, 100
FROM generate_series(1, 6000) AS number;
INSERT INTO fairlead.conversation_summaries
SELECT tenant, id, title, 'last', 4, '[]', '' FROM fairlead.conversations;
INSERT INTO fairlead.session_threads SELECT tenant, session, id FROM fairlead.conversations;
INSERT INTO fairlead.event_counters
SELECT tenant, id, 'local', 4 FROM fairlead.conversations;
INSERT INTO fairlead.message_rows
SELECT tenant, id, number, gen_random_uuid(), 'user', 0, 0, 'digest', gen_random_uuid(), id
FROM fairlead.conversations, generate_series(1, 4) AS number;
UPDATE fairlead.message_rows SET content_event = event;
INSERT INTO fairlead.thread_events
SELECT tenant, thread, 'local', sequence, event, sequence, 'message',
       convert_to('0{"kind":"message","role":"user","timestamp":0}', 'UTF8'), '\\x0031'
FROM fairlead.message_rows;
UPDATE fairlead.thread_events SET data = set_byte(data, 0, 0);
INSERT INTO fairlead.thread_words
SELECT tenant, thread, sequence, 0, CASE sequence WHEN 1 THEN %s::tsvector ELSE %s::tsvector END
FROM fairlead.message_rows;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture(scope="module")
def url(server: PostgresServer) -> str:
    return server.new_database()


class Recorded:
    """What the store sends, and how the server would do it."""

    def __init__(self, url: str) -> None:
        self.sent: list[tuple[bytes, Any]] = []
        self._url = url

    def indexes(self) -> set[str]:
        """The indexes of threads that would be read, but for their primary key."""
        plans = "\n".join(plan for _, plan in self._plans())
        return set(re.findall(r"using (conversations_\w+)", plans)) - {"conversations_pkey"}

    def scanned(self) -> list[str]:
        """The big tables that would be read as a whole, each with its statement."""
        found = []
        for statement, plan in self._plans():
            whole = BIG & set(re.findall(r"Seq Scan on (\w+)", plan))
            found += [f"{table}: {statement}\n{plan}" for table in sorted(whole)]
        return found

    def _plans(self) -> Iterator[tuple[str, str]]:
        with psycopg.connect(self._url, autocommit=True) as connection:
            for statement, values in self.sent:
                if re.match(rb"\s*(--.*\n\s*)*(WITH|SELECT|INSERT|UPDATE|DELETE)\b", statement):
                    rows = connection.execute(b"EXPLAIN " + statement, values).fetchall()
                    yield statement.decode(), "\n".join(row[0] for row in rows)


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresThreadStore]:
    async with PostgresThreadStore(url, clock=ManualClock()) as opened:
        with psycopg.connect(url, autocommit=True) as connection:
            count = connection.execute("SELECT count(*) FROM fairlead.conversations").fetchone()
            if count == (0,):
                rare, common = vector("team-1", "rare word"), vector("team-1", "common word")
                for statement in FILL.split(";\n"):
                    values = [rare, common] if "%s" in statement else None
                    connection.execute(statement.encode(), values)
                connection.execute("VACUUM ANALYZE")
        yield opened


@pytest.fixture
def recorded(store: PostgresThreadStore, url: str, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    found = Recorded(url)
    execute = psycopg.AsyncConnection.execute

    async def recording(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        if isinstance(query, bytes):
            found.sent.append((query, params))
        return await execute(self, query, params, **options)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", recording)
    return found


@pytest.mark.parametrize("viewer", [ANN, OPERATOR], ids=["user", "operator"])
@pytest.mark.parametrize("scope", ["user", "team", "shared"])
@pytest.mark.parametrize("order", ["last_activity", "created", "title"])
async def test_listings(
    store: PostgresThreadStore, recorded: Recorded, viewer: Viewer, order: Order, scope: Scope
) -> None:
    first = await store.listing(ListQuery(viewer, order, scope, 10))
    last = first[-1]
    place = f"title {last.created}" if order == "title" else getattr(last, order)
    rest = await store.listing(ListQuery(viewer, order, scope, 10, (place, last.id)))

    assert len(first) == len(rest) == 10
    assert recorded.scanned() == []
    parts = {"user": {"own"}, "team": {"own", "shared"}, "shared": {"shared"}}[scope]
    if viewer.user is None and scope != "shared":
        parts = {"all"}
    column = order.removeprefix("last_")
    assert recorded.indexes() == {f"conversations_{part}_{column}" for part in parts}


async def test_reading(store: PostgresThreadStore, recorded: Recorded) -> None:
    assert await store.head("team-1", THREAD)
    for query in (PageQuery(2), PageQuery(2, after=1), PageQuery(2, before=4), PageQuery(branch=0)):
        assert await store.messages("team-1", THREAD, query)
    assert await store.thread_events("team-1", THREAD)
    assert await store.events(None, 10)
    assert await store.events(LogPosition("team-1", THREAD, "local", 2), 10)
    assert await store.events(LogPosition("team-1", THREAD, "local", 2), 10, "team-1")
    assert recorded.scanned() == []


async def test_search(store: PostgresThreadStore, recorded: Recorded) -> None:
    # Of the common word there are so many that they are read in any way; nothing of other tenants.
    found = await store.search(SearchQuery(OPERATOR, "nowhere"))
    assert found == []
    assert recorded.scanned() == []


async def test_writing(store: PostgresThreadStore, recorded: Recorded) -> None:
    desk = Desk("team-1", "user-16")
    operations: list[Operation] = [
        desk.create("one"),
        desk.append(THREAD, "two"),
        desk.edit(THREAD, THREAD, "no such message"),
        desk.record(turn([said("a prompt")], session="session-4096")),
        desk.record(turn([said("a prompt")], session="a new one")),
        desk.delete(OTHER),
    ]
    await store.apply(operations)
    await store.apply(operations, retry=True)
    events: list[ThreadEvent] = list(await store.thread_events("team-1", operations[0].thread))
    await store.add(events)
    await store.project("team-1", THREAD)

    assert len(recorded.sent) > 30
    assert recorded.scanned() == []


async def test_retention(store: PostgresThreadStore, recorded: Recorded) -> None:
    rules = RetentionRules(max_age=1_000)
    pruned = await store.prune(rules, now=1_200)

    assert pruned.threads == 19
    assert recorded.scanned() == []
