"""Several nodes on one PostgreSQL database: one schema, one thread, one session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import psycopg
import pytest

from fairlead.conversations.postgres import PostgresThreadStore
from fairlead.conversations.postgres_schema import VERSION
from fairlead.conversations.records import (
    LogPosition,
    Operation,
    PageQuery,
    RetentionRules,
    SearchQuery,
    Turn,
    Viewer,
    Written,
)
from fairlead.errors import NotFoundError, StorageError
from fairlead.testing import ManualClock
from support.postgres import PostgresServer
from support.threads import START, Desk, answered, said, taken, turn, wrote
from support.threadwork import flaws

NODES, ROUNDS = 3, 12


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture
async def nodes(url: str) -> AsyncIterator[list[PostgresThreadStore]]:
    stores = [PostgresThreadStore(url, clock=ManualClock()) for _ in range(NODES)]
    async with AsyncExitStack() as stack:
        # At once: they all find an empty database.
        await asyncio.gather(*(stack.enter_async_context(store) for store in stores))
        yield stores


async def test_nodes_that_start_at_once_make_one_schema(
    nodes: list[PostgresThreadStore], server: PostgresServer, url: str
) -> None:
    assert all(store.statistics().available for store in nodes)
    versions = server.execute(
        "SELECT version FROM fairlead.schema_version ORDER BY version", url.rpartition("/")[2]
    )
    assert versions == [(version,) for version in range(1, VERSION + 1)]


async def test_nodes_write_one_thread(nodes: list[PostgresThreadStore]) -> None:
    desk = Desk()
    thread = (await wrote(nodes[0], desk.create())).head.id

    async def write(store: PostgresThreadStore) -> list[Written]:
        return [
            await wrote(store, desk.append(thread, f"round {number}"), retry=number % 2 == 1)
            for number in range(ROUNDS)
        ]

    written = [one for node in await asyncio.gather(*map(write, nodes)) for one in node]

    versions = sorted(one.head.version for one in written)
    assert versions == list(range(2, NODES * ROUNDS + 2))
    sequences = sorted(sequence for one in written for _, sequence in one.messages)
    assert sequences == list(range(1, NODES * ROUNDS + 1))
    events = await nodes[0].events(LogPosition("team", thread), 1_000)
    assert [event.sequence for event in events] == list(range(1, NODES * ROUNDS + 2))
    assert await flaws(nodes[0]) == []


async def test_nodes_that_record_a_new_session_make_one_thread(
    nodes: list[PostgresThreadStore],
) -> None:
    for number in range(ROUNDS):
        session = f"session {number}"
        outcomes = await asyncio.gather(
            *(
                store.apply([Desk().record(exchange(session, node))])
                for node, store in enumerate(nodes)
            )
        )
        heads = [taken(outcome).head for (outcome,) in outcomes]
        assert len({head.id for head in heads}) == 1
        assert max(head.message_count for head in heads) == 1 + NODES
    assert await flaws(nodes[0]) == []


def exchange(session: str, node: int) -> Turn:
    return turn([said("the same question")], answered(f"of node {node}"), session=session)


async def test_threads_are_locked_in_one_order_so_that_nodes_never_block_each_other(
    nodes: list[PostgresThreadStore], server: PostgresServer, url: str
) -> None:
    desk = Desk()
    threads = sorted([(await wrote(nodes[0], desk.create())).head.id for _ in range(8)])
    lock = "SELECT id::text FROM fairlead.conversations WHERE id > %s FOR UPDATE SKIP LOCKED"
    dbname = url.rpartition("/")[2]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    async with await psycopg.AsyncConnection.connect(url) as blocker:
        await blocker.execute(
            "SELECT FROM fairlead.conversations WHERE id = %s FOR UPDATE", [threads[0]]
        )
        batches = [
            asyncio.create_task(store.apply([desk.append(one, "more") for one in order]))
            for store, order in zip(nodes, [threads, threads[::-1]], strict=False)
        ]
        while await asyncio.to_thread(server.execute, waiting, dbname) != [(2,)]:
            pass  # a look takes a while, in which they come there
        # Both stand before the first thread, and hold none of those behind it.
        with psycopg.connect(url) as other:
            free = [identity for (identity,) in other.execute(lock, [threads[0]])]
    for outcomes in await asyncio.gather(*batches):
        assert [taken(outcome).head.id for outcome in outcomes] in [threads, threads[::-1]]

    assert sorted(free) == threads[1:]
    assert [store.statistics().failures for store in nodes] == [0, 0, 0]
    assert await flaws(nodes[2]) == []


async def test_a_session_goes_on_elsewhere_when_its_thread_was_deleted(
    nodes: list[PostgresThreadStore],
) -> None:
    desk = Desk()
    first = await wrote(nodes[0], desk.record(exchange("session", 1)))
    # In one batch: the session is given free and taken.
    outcomes = await nodes[1].apply(
        [desk.delete(first.head.id), desk.record(exchange("session", 2))]
    )
    second = taken(outcomes[1])
    third = await wrote(nodes[2], desk.record(exchange("session", 3)))

    assert second.head.id != first.head.id
    assert third.head.id == second.head.id
    assert await flaws(nodes[0]) == []


async def test_nodes_prune_beside_each_other_and_while_others_write(
    nodes: list[PostgresThreadStore], server: PostgresServer, url: str
) -> None:
    desk = Desk()
    threads = [(await wrote(nodes[0], desk.create("x" * 100))).head.id for _ in range(30)]
    rules = RetentionRules(max_bytes=2_000)

    async def keep(store: PostgresThreadStore) -> int:
        removed, more = 0, True
        while more:
            pruned = await store.prune(rules, START)
            removed, more = removed + pruned.threads, pruned.more
        return removed

    async def write() -> int:
        other = Desk("other")
        for _ in range(ROUNDS):
            await wrote(nodes[2], other.create("y" * 100))
        return 0

    removed = await asyncio.gather(keep(nodes[0]), keep(nodes[1]), write())
    await keep(nodes[2])

    kept = [thread for thread in threads if await nodes[0].head("team", thread)]
    assert 0 < len(kept) < len(threads)
    assert kept == threads[-len(kept) :]
    assert sum(removed) >= len(threads) - len(kept)
    used = server.execute(
        "SELECT sum(bytes) FROM fairlead.tenant_usage WHERE tenant = 'team'",
        url.rpartition("/")[2],
    )
    stored = [
        event.size for thread in kept for event in await nodes[0].thread_events("team", thread)
    ]
    assert used == [(sum(stored),)]
    assert sum(stored) <= 2_000
    assert await nodes[0].check() == []


async def test_a_newer_schema_is_refused_and_left_alone(server: PostgresServer, url: str) -> None:
    async with PostgresThreadStore(url):
        pass
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO fairlead.schema_version VALUES (%s, 0)", [VERSION + 1])
    with pytest.raises(StorageError, match="newer fairlead"):
        await PostgresThreadStore(url).open()


async def test_a_database_of_another_application_is_left_alone(
    server: PostgresServer, url: str
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.messages (mine text)")
    async with PostgresThreadStore(url) as store:
        await wrote(store, Desk().create("hello"))
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("SELECT * FROM public.messages").fetchall() == []


async def test_the_view_shows_messages_as_an_operator_expects(
    nodes: list[PostgresThreadStore], url: str
) -> None:
    desk = Desk()
    head = (await wrote(nodes[0], desk.record(exchange("session", 1)))).head
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT conversation_id::text, sequence, role, metadata FROM fairlead.messages "
            "ORDER BY sequence"
        ).fetchall()
    assert rows == [(head.id, 1, "user", None), (head.id, 2, "assistant", {"model": "large"})]


async def test_text_with_every_kind_of_character_is_kept(nodes: list[PostgresThreadStore]) -> None:
    desk = Desk()
    odd = "quote ' back \\ slash, {“ça”}, 漢字 and 🦊"
    thread = (await wrote(nodes[0], desk.create({"text": odd}, title=odd))).head.id
    # What an assistant sends is taken as it is.
    odd += "\x00"
    messages = [said(odd, "tool\x00"), answered(odd, "large\x00")]
    written = await wrote(nodes[0], desk.add(thread, *messages))

    head = await nodes[1].head("team", written.head.id)
    assert head == written.head
    assert head is not None
    assert head.title == odd[:-1]
    assert head.participants == ("ann", "large\x00")
    for word in ("quote", "slash", "CA", "漢字"):
        (hit,) = await nodes[1].search(SearchQuery(desk.viewer, word))
        assert len(hit.matches) == 3
    assert await flaws(nodes[1]) == []


@pytest.mark.parametrize("name", ["", "abc", "0189-x", "{01890000-0000-7000-8000-000000000000}"])
async def test_what_can_be_no_id_names_nothing(nodes: list[PostgresThreadStore], name: str) -> None:
    desk, store = Desk(), nodes[0]
    thread = (await wrote(store, desk.create())).head.id
    assert await store.head("team", name) is None
    assert await store.messages("team", name, PageQuery()) == []
    assert await store.thread_events("team", name) == []
    await store.project("team", name)
    operations: list[Operation] = [
        desk.append(name, "text"),
        desk.edit(thread, name, "text"),
        desk.remove(thread, name),
        desk.append(thread, "text"),
    ]
    *refused, written = await store.apply(operations)
    assert [type(outcome) for outcome in refused] == [NotFoundError] * 3
    assert isinstance(written, Written)


async def test_a_tenant_finds_nothing_of_another(nodes: list[PostgresThreadStore]) -> None:
    for tenant in ("one", "two"):
        await wrote(nodes[0], Desk(tenant).create("the same words", title=tenant))
    found = await nodes[1].search(SearchQuery(Viewer("one"), "Same WORDS"))
    assert [hit.head.tenant for hit in found] == ["one"]
