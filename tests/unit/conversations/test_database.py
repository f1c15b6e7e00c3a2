"""`ConversationDatabase`: who may do what, what is refused, and how pages follow each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.conversations import open_thread_store
from fairlead.conversations.database import ConversationDatabase, ConversationStore
from fairlead.conversations.inputs import MAX_CONTENT, MAX_METADATA, MessageInput
from fairlead.conversations.memory import MemoryThreadStore
from fairlead.conversations.records import PageQuery, Viewer
from fairlead.conversations.writer import BatchedThreadWriter
from fairlead.errors import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RequestError,
)
from fairlead.testing import ManualClock
from unit.conversations.flakystore import new_id

ANN, BOB = Viewer("acme", "ann"), Viewer("acme", "bob")
STRANGER = Viewer("other", "ann")
OPERATOR = Viewer("acme")


@pytest.fixture(params=["memory", "sqlite"])
async def database(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[ConversationDatabase]:
    async with ConversationDatabase(open_thread_store(request.param, tmp_path)) as opened:
        yield opened


@pytest.fixture
async def light() -> AsyncIterator[ConversationDatabase]:
    """For what is refused before a store is asked."""
    async with ConversationDatabase(MemoryThreadStore()) as opened:
        yield opened


def said(*texts: str, role: str = "user") -> list[MessageInput]:
    return [MessageInput(role, text) for text in texts]


async def texts(database: ConversationDatabase, viewer: Viewer, thread: str) -> list[Any]:
    page = await database.messages(viewer, thread)
    return [msgspec.json.decode(message.content) for message in page.messages]


# ---- what it does


async def test_a_thread_is_begun_and_goes_on(database: ConversationDatabase) -> None:
    written = await database.create(ANN, messages=said("Fix the parser, please"))
    thread = written.head.id
    assert [sequence for _, sequence in written.messages] == [1]
    more = await database.append(ANN, thread, said("Done", "Really", role="assistant"))
    assert [sequence for _, sequence in more.messages] == [2, 3]

    head = await database.read(ANN, thread)
    assert (head.title, head.message_count) == ("Fix the parser, please", 3)
    assert head.last_message == "Really"
    assert await texts(database, ANN, thread) == ["Fix the parser, please", "Done", "Really"]


async def test_any_json_comes_back_as_it_was(database: ConversationDatabase) -> None:
    contents: list[Any] = [
        "",
        None,
        True,
        -0.5,
        10**30,
        [],
        {},
        {"type": "text", "text": "ä\u0000\U0001f600", "n": [1, None, {"x": []}]},
        "x" * 200_000,
    ]
    messages = [
        MessageInput("tool", content, timestamp=number, metadata={"n": {"m": [number]}})
        for number, content in enumerate(contents)
    ]
    thread = (await database.create(ANN, messages=messages)).head.id
    page = await database.messages(ANN, thread)

    assert [json.loads(bytes(message.content)) for message in page.messages] == contents
    assert [message.timestamp for message in page.messages] == list(range(len(contents)))
    assert page.messages[3].metadata == {"n": {"m": [3]}}


async def test_an_edit_keeps_role_and_metadata_unless_told(database: ConversationDatabase) -> None:
    message = MessageInput("assistant", "one", metadata={"model": "m"})
    filler = said(*map(str, range(450)))
    written = await database.create(ANN, messages=[message, *filler])
    thread, (name, _) = written.head.id, written.messages[0]
    await database.edit(ANN, thread, name, ["two"])
    page = await database.messages(ANN, thread, PageQuery(limit=1, after=0))
    (found,) = page.messages
    assert (found.role, found.metadata) == ("assistant", {"model": "m"})
    assert bytes(found.content) == b'["two"]'

    await database.edit(ANN, thread, name, "three", metadata={"by": "ann"})
    page = await database.messages(ANN, thread, PageQuery(limit=1, after=0))
    assert page.messages[0].metadata == {"by": "ann"}


async def test_messages_are_removed_and_threads_deleted(database: ConversationDatabase) -> None:
    written = await database.create(ANN, messages=said("one", "two", "three"))
    thread = written.head.id
    await database.remove(ANN, thread, written.messages[1][0])
    assert await texts(database, ANN, thread) == ["one", "three"]
    with pytest.raises(NotFoundError):
        await database.remove(ANN, thread, written.messages[1][0])
    with pytest.raises(NotFoundError):
        await database.edit(ANN, thread, written.messages[1][0], "x")
    await database.delete(ANN, thread)

    with pytest.raises(NotFoundError):
        await database.read(ANN, thread)
    assert (await database.list(ANN)).threads == []


async def test_versions_guard_against_lost_updates(database: ConversationDatabase) -> None:
    head = (await database.create(ANN, messages=said("one"))).head
    message = (await database.messages(ANN, head.id)).messages[0].id
    await database.update(ANN, head.id, title="new", expected_version=head.version)
    changes: list[Awaitable[object]] = [
        database.update(ANN, head.id, title="late", expected_version=head.version),
        database.edit(ANN, head.id, message, "late", expected_version=head.version),
        database.remove(ANN, head.id, message, expected_version=head.version),
        database.delete(ANN, head.id, expected_version=head.version),
    ]
    for change in changes:
        with pytest.raises(ConflictError):
            await change

    assert (await database.read(ANN, head.id)).title == "new"


# ---- who sees what


async def test_sharing_opens_a_thread_to_its_tenant(database: ConversationDatabase) -> None:
    thread = (await database.create(ANN, title="plan", messages=said("a walrus"))).head.id
    for viewer in (BOB, STRANGER):
        with pytest.raises(NotFoundError):
            await database.messages(viewer, thread)
        assert (await database.list(viewer)).threads == []
        assert (await database.search(viewer, "walrus")).hits == []
        with pytest.raises(NotFoundError):
            await database.append(viewer, thread, said("x"))
    await database.share(ANN, thread, True)
    assert await texts(database, BOB, thread) == ["a walrus"]
    assert [head.id for head in (await database.list(BOB)).threads] == [thread]
    assert [hit.head.id for hit in (await database.search(BOB, "walrus")).hits] == [thread]
    with pytest.raises(ForbiddenError):
        await database.append(BOB, thread, said("x"))
    with pytest.raises(ForbiddenError):
        await database.share(BOB, thread, False)
    with pytest.raises(NotFoundError):
        await database.read(STRANGER, thread)
    await database.share(ANN, thread, False)

    with pytest.raises(NotFoundError):
        await database.messages(BOB, thread)
    assert (await database.read(OPERATOR, thread)).title == "plan"


# ---- pages


async def test_pages_of_messages_lead_to_each_other(database: ConversationDatabase) -> None:
    thread = (await database.create(ANN, messages=said(*map(str, range(25))))).head.id
    latest = await database.messages(ANN, thread, PageQuery(limit=10))
    assert (latest.previous, latest.next) == (16, None)
    middle = await database.messages(ANN, thread, PageQuery(limit=10, before=latest.previous))
    assert (middle.previous, middle.next) == (6, 15)
    first = await database.messages(ANN, thread, PageQuery(limit=10, before=middle.previous))
    assert (first.previous, first.next) == (None, 5)
    forward = await database.messages(ANN, thread, PageQuery(limit=10, after=first.next))
    assert (forward.previous, forward.next) == (6, 15)
    end = await database.messages(ANN, thread, PageQuery(limit=10, after=forward.next))

    assert (end.previous, end.next) == (16, None)
    assert len(first.messages) == 5


@pytest.mark.parametrize("order", ["last_activity", "created", "title"])
async def test_a_listing_is_followed_by_its_cursor(order: Any, tmp_path: Path) -> None:
    clock = ManualClock()
    store = open_thread_store("sqlite", tmp_path, clock=clock)
    async with ConversationDatabase(store, clock=clock) as database:
        for title in ("b", "C", "a", "Ä", "b", "b", "z"):
            await database.create(ANN, title=title)
            await clock.advance(1)
        everything = (await database.list(ANN, order=order, limit=100)).threads
        found, cursor = [], None
        while True:
            page = await database.list(ANN, order=order, limit=3, cursor=cursor)
            found += page.threads
            cursor = page.next
            if cursor is None:
                break

    assert found == everything
    assert len(found) == 7


async def test_a_search_is_followed_by_its_cursor(database: ConversationDatabase) -> None:
    for number in range(7):
        await database.create(ANN, messages=said(f"the walrus {number}"))
    found: list[str] = []
    cursor = None
    while True:
        page = await database.search(ANN, "walrus", limit=3, cursor=cursor)
        found += [hit.head.id for hit in page.hits]
        cursor = page.next
        if cursor is None:
            break

    assert len(found) == len(set(found)) == 7


# ---- what is refused


deep: Any = "x"
for _ in range(65):
    deep = [deep]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (MessageInput("", "x"), "role"),
        (MessageInput("x" * 41, "x"), "role"),
        (MessageInput("a\nb", "x"), "role"),
        (MessageInput("user", float("nan")), "content"),
        (MessageInput("user", [float("inf")]), "content"),
        (MessageInput("user", "\ud800"), "content"),
        (MessageInput("user", {"x": object()}), "content"),
        (MessageInput("user", b"x"), "content"),
        (MessageInput("user", deep), "content"),
        (MessageInput("user", "x" * (MAX_CONTENT - 1)), "content"),
        (MessageInput("user", "x", timestamp=-1), "timestamp"),
        (MessageInput("user", "x", timestamp=1 << 47), "timestamp"),
        (MessageInput("user", "x", metadata={"x": "y" * MAX_METADATA}), "metadata"),
        (MessageInput("user", "x", metadata={"x": "\udfff"}), "metadata"),
        (MessageInput("user", "x", metadata=[]), "metadata"),  # type: ignore[arg-type]
    ],
)
async def test_a_message_that_cannot_be_kept(
    light: ConversationDatabase, message: MessageInput, field: str
) -> None:
    good = MessageInput("user", "x")
    with pytest.raises(RequestError) as raised:
        await light.create(ANN, messages=[good, message])

    assert raised.value.param == f"messages[1].{field}"
    assert 400 <= raised.value.status < 500
    assert (await light.list(ANN)).threads == []


async def test_a_content_of_the_largest_size_is_kept(light: ConversationDatabase) -> None:
    written = await light.create(ANN, messages=said("x" * (MAX_CONTENT - 2)))

    assert len(written.messages) == 1


Call = Callable[[ConversationDatabase, str], Awaitable[object]]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda d, _: d.create(ANN, title="x" * 201), "title"),
        (lambda d, _: d.create(ANN, title="a\nb"), "title"),
        (lambda d, _: d.create(ANN, title="\ud800"), "title"),
        (lambda d, t: d.update(ANN, t, title="\x00"), "title"),
        (lambda d, _: d.create(ANN, messages=said("x") * 1001), "messages"),
        (lambda d, t: d.append(ANN, t, []), "messages"),
        (lambda d, t: d.edit(ANN, t, d.first, "\ud800"), "content"),
        (lambda d, t: d.messages(ANN, t, PageQuery(limit=0)), "limit"),
        (lambda d, t: d.messages(ANN, t, PageQuery(limit=1001)), "limit"),
        (lambda d, t: d.messages(ANN, t, PageQuery(after=1, before=2)), "before"),
        (lambda d, _: d.list(ANN, limit=-1), "limit"),
        (lambda d, _: d.list(ANN, cursor="x"), "cursor"),
        (lambda d, _: d.search(ANN, ""), "q"),
        (lambda d, _: d.search(ANN, " -- "), "q"),
        (lambda d, _: d.search(ANN, "x" * 501), "q"),
        (lambda d, _: d.search(ANN, "x", limit=5000), "limit"),
        (lambda d, _: d.search(ANN, "x", cursor="x"), "cursor"),
    ],
)
async def test_what_is_not_allowed_names_the_field(
    light: ConversationDatabase, call: Any, field: str
) -> None:
    written = await light.create(ANN, messages=said("one"))
    light.first = written.messages[0][0]  # type: ignore[attr-defined]
    with pytest.raises(RequestError) as raised:
        await call(light, written.head.id)

    assert raised.value.param == field


@pytest.mark.parametrize("name", ["", "x", "{0190a0b0-0000-7000-8000-000000000000}", "0" * 32])
async def test_what_can_be_no_id_is_not_there(light: ConversationDatabase, name: str) -> None:
    thread = (await light.create(ANN)).head.id
    calls = [
        light.read(ANN, name),
        light.messages(ANN, name),
        light.append(ANN, name, said("x")),
        light.update(ANN, name, title="x"),
        light.delete(ANN, name),
        light.edit(ANN, name, new_id(), "x"),
        light.edit(ANN, thread, name, "x"),
        light.remove(ANN, thread, name),
    ]
    for call in calls:
        with pytest.raises(NotFoundError):
            await call


async def test_an_id_may_be_in_capitals(database: ConversationDatabase) -> None:
    thread = (await database.create(ANN, title="x")).head.id

    assert (await database.read(ANN, thread.upper())).id == thread


async def test_what_the_caller_changes_later_changes_nothing(light: ConversationDatabase) -> None:
    metadata = {"x": [1]}
    thread = (await light.create(ANN, messages=[MessageInput("user", "x", metadata=metadata)])).head
    metadata["x"].append(2)

    assert (await light.messages(ANN, thread.id)).messages[0].metadata == {"x": [1]}


# ---- titles


@pytest.mark.parametrize(
    ("messages", "title"),
    [
        ([], ""),
        (said("hello there", role="assistant"), ""),
        ([*said("be brief", role="system"), *said("Rename it\nplease")], "Rename it"),
        ([MessageInput("user", [{"type": "text", "text": "from a block"}])], "from a block"),
    ],
)
async def test_a_title_is_made_of_the_first_question(
    light: ConversationDatabase, messages: list[MessageInput], title: str
) -> None:
    assert (await light.create(ANN, messages=messages)).head.title == title


# ---- opening and closing


async def test_it_opens_and_closes_what_was_not_open() -> None:
    store = MemoryThreadStore()
    database = ConversationDatabase(store)
    async with database:
        assert store.is_open
        assert database.writer.is_open
    assert not store.is_open
    assert not database.writer.is_open
    with pytest.raises(ClosedError):
        await database.read(ANN, new_id())
    with pytest.raises(ClosedError):
        await database.create(ANN)


async def test_it_leaves_open_what_was_open() -> None:
    async with MemoryThreadStore() as store, BatchedThreadWriter(store) as writer:
        async with ConversationDatabase(store, writer=writer) as database:
            assert database.writer is writer
            thread = (await database.create(ANN)).head.id
        assert store.is_open
        assert writer.is_open
        async with ConversationDatabase(store, writer=writer) as database:
            assert (await database.read(ANN, thread)).id == thread


async def test_nothing_that_was_accepted_is_lost_at_the_end(tmp_path: Path) -> None:
    async with ConversationDatabase(open_thread_store("sqlite", tmp_path)) as database:
        writes = [asyncio.create_task(database.create(ANN, title=str(n))) for n in range(30)]
        await asyncio.sleep(0)
    titles = [written.head.title for written in await asyncio.gather(*writes)]
    assert titles == list(map(str, range(30)))

    async with ConversationDatabase(open_thread_store("sqlite", tmp_path)) as database:
        assert len((await database.list(ANN)).threads) == 30


def test_a_url_names_its_store(tmp_path: Path) -> None:
    stores: list[ConversationStore] = [
        open_thread_store("sqlite", tmp_path),
        open_thread_store("memory", tmp_path),
    ]
    assert [type(store).__name__ for store in stores] == ["SqliteThreadStore", "MemoryThreadStore"]
    for scheme in ("postgres", "postgresql"):
        store = open_thread_store(f"{scheme}://u:secret@127.0.0.1:1/x", tmp_path)
        assert type(store).__name__ == "PostgresThreadStore"
    with pytest.raises(ConfigurationError) as raised:
        open_thread_store("mysql://u:secret@h/x", tmp_path)
    assert "secret" not in str(raised.value)
