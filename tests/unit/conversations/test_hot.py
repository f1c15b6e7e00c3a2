"""Hot threads: what is served from memory is what the store would answer, always."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.conversations.database import ConversationDatabase
from fairlead.conversations.hot import MAX_TAIL, Tail
from fairlead.conversations.inputs import MessageInput
from fairlead.conversations.memory import MemoryThreadStore
from fairlead.conversations.options import DatabaseOptions
from fairlead.conversations.records import Head, Message, PageQuery, Viewer
from fairlead.errors import ClosedError, NotFoundError, StorageError
from unit.conversations.flakystore import settle

ANN = Viewer("acme", "ann")


class CountingStore(MemoryThreadStore):
    """Counts reads of messages; they begin when the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[PageQuery] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.late = asyncio.Event()
        """What was read comes back when it is set."""
        self.late.set()
        self.error: Exception | None = None

    async def messages(self, tenant: str, thread: str, query: PageQuery) -> Sequence[Message]:
        self.reads.append(query)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        late, found = self.late, await super().messages(tenant, thread, query)
        await late.wait()
        return found


@asynccontextmanager
async def opened(
    count: int = 0, **options: int
) -> AsyncIterator[tuple[ConversationDatabase, CountingStore, str]]:
    store = CountingStore()
    settings = msgspec.convert(options, DatabaseOptions)
    async with ConversationDatabase(store, options=settings) as database:
        said = [MessageInput("user", f"message {number}") for number in range(count)]
        written = await database.create(ANN, title="a thread", messages=said)
        yield database, store, written.head.id


def sequences(messages: Sequence[Message]) -> list[int]:
    return [message.sequence for message in messages]


async def test_the_latest_page_comes_from_memory_the_second_time() -> None:
    async with opened(150) as (database, store, thread):
        first = await database.messages(ANN, thread)
        second = await database.messages(ANN, thread)
        smaller = await database.messages(ANN, thread, PageQuery(limit=10))

        assert len(store.reads) == 1
        assert first == second
        assert sequences(first.messages) == list(range(51, 151))
        assert sequences(smaller.messages) == list(range(141, 151))
        assert (first.previous, first.next, smaller.previous) == (51, None, 141)
        statistics = database.statistics()
        assert (statistics.threads, statistics.hits, statistics.misses) == (1, 2, 1)
        assert statistics.bytes > 101 * len("message 100")


async def test_paging_back_gathers_the_whole_thread() -> None:
    async with opened(95) as (database, store, thread):
        for _ in range(2):
            query, found = PageQuery(limit=10), []
            while True:
                page = await database.messages(ANN, thread, query)
                found[:0] = sequences(page.messages)
                if page.previous is None:
                    break
                query = PageQuery(limit=10, before=page.previous)
            assert found == list(range(1, 96))

        assert len(store.reads) == 10
        whole = await database.messages(ANN, thread, PageQuery(limit=1000))
        assert len(store.reads) == 10
        assert len(whole.messages) == 95


async def test_news_are_served_from_memory() -> None:
    async with opened(20) as (database, store, thread):
        await database.messages(ANN, thread, PageQuery(limit=10))
        page = await database.messages(ANN, thread, PageQuery(limit=3, after=12))
        assert sequences(page.messages) == [13, 14, 15]
        assert (page.next, page.previous) == (15, 13)
        page = await database.messages(ANN, thread, PageQuery(limit=3, after=18))
        assert (sequences(page.messages), page.next) == ([19, 20], None)
        page = await database.messages(ANN, thread, PageQuery(after=20))
        assert (page.messages, page.next) == ((), None)
        assert len(store.reads) == 1
        await database.messages(ANN, thread, PageQuery(limit=3, after=5))
        assert len(store.reads) == 2


@pytest.mark.parametrize("change", ["append", "edit", "remove", "delete", "title"])
async def test_every_change_is_seen(change: str) -> None:
    async with opened(5) as (database, store, thread):
        before = await database.messages(ANN, thread)
        message = before.messages[2].id
        if change == "append":
            await database.append(ANN, thread, [MessageInput("user", "more")])
        elif change == "edit":
            await database.edit(ANN, thread, message, "other")
        elif change == "remove":
            await database.remove(ANN, thread, message)
        elif change == "delete":
            await database.delete(ANN, thread)
            with pytest.raises(NotFoundError):
                await database.messages(ANN, thread)
            return
        else:
            await database.update(ANN, thread, title="another")
        after = await database.messages(ANN, thread)

        direct = await store.messages("acme", thread, PageQuery())
        assert list(after.messages) == list(direct)
        assert after.head == await store.head("acme", thread)
        assert after != before


async def test_concurrent_loads_share_one_read() -> None:
    async with opened(5) as (database, store, thread):
        pages = await asyncio.gather(*(database.messages(ANN, thread) for _ in range(20)))

        assert len(store.reads) == 1
        assert all(page == pages[0] for page in pages)


async def test_who_has_written_does_not_join_an_earlier_load() -> None:
    async with opened(5) as (database, store, thread):
        store.gate.clear()
        early = asyncio.create_task(database.messages(ANN, thread))
        await settle()
        await database.append(ANN, thread, [MessageInput("user", "more")])
        late = asyncio.create_task(database.messages(ANN, thread))
        await settle()
        store.gate.set()

        assert len((await late).messages) == 6
        await early
        assert len(store.reads) == 2
        assert len((await database.messages(ANN, thread)).messages) == 6


async def test_a_write_during_a_load_leaves_nothing_stale() -> None:
    """The messages are read before the write, and come back after it."""
    async with opened(5) as (database, store, thread):
        store.late.clear()
        early = asyncio.create_task(database.messages(ANN, thread))
        await settle()
        await database.append(ANN, thread, [MessageInput("user", "more")])
        store.late.set()
        assert len((await early).messages) == 5

        assert len((await database.messages(ANN, thread)).messages) == 6


async def test_a_slow_old_load_does_not_replace_a_newer_one() -> None:
    async with opened(5) as (database, store, thread):
        store.late.clear()
        early = asyncio.create_task(database.messages(ANN, thread))
        await settle()
        await database.append(ANN, thread, [MessageInput("user", "more")])
        slow, store.late = store.late, asyncio.Event()
        store.late.set()
        await database.messages(ANN, thread)
        slow.set()
        await early
        await database.messages(ANN, thread)

        assert len(store.reads) == 2


async def test_a_cancelled_load_takes_nobody_along() -> None:
    async with opened(5) as (database, store, thread):
        store.gate.clear()
        first, second = (asyncio.create_task(database.messages(ANN, thread)) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        assert first.cancelled()
        store.gate.set()

        assert len((await second).messages) == 5
        assert len(store.reads) == 1


async def test_a_failed_load_is_told_to_all_and_kept_by_nobody() -> None:
    async with opened(5) as (database, store, thread):
        store.error = StorageError("no")
        loads = [database.messages(ANN, thread) for _ in range(3)]
        done = await asyncio.gather(*loads, return_exceptions=True)
        assert {type(one) for one in done} == {StorageError}
        store.error = None

        assert len((await database.messages(ANN, thread)).messages) == 5
        assert len(store.reads) == 2


async def test_closing_tells_those_who_load() -> None:
    async with opened(5) as (database, store, thread):
        store.gate.clear()
        load = asyncio.create_task(database.messages(ANN, thread))
        await settle()
        await database.close()

        with pytest.raises(ClosedError):
            await load


async def test_memory_is_bounded() -> None:
    async with opened(hot_bytes=50_000, hot_threads=5) as (database, _, _):
        threads = []
        for _ in range(12):
            said = [MessageInput("user", "x" * 100)] * 20
            threads.append((await database.create(ANN, messages=said)).head.id)
        for thread in threads:
            await database.messages(ANN, thread)
        tails = database._hot._tails
        assert 1 <= len(tails) <= 5
        assert tails.bytes <= 50_000

        huge = await database.create(ANN, messages=[MessageInput("user", "x" * 60_000)])
        for _ in range(2):
            page = await database.messages(ANN, huge.head.id)
            assert len(page.messages) == 1


async def test_what_a_caller_does_to_a_head_is_not_remembered() -> None:
    async with opened(3) as (database, _, thread):
        first = await database.messages(ANN, thread)
        first.head.title = "changed"

        assert (await database.messages(ANN, thread)).head.title == "a thread"


async def test_branches_are_not_mixed_up_with_the_whole() -> None:
    async with opened(5) as (database, store, thread):
        await database.messages(ANN, thread)
        page = await database.messages(ANN, thread, PageQuery(branch=0))

        assert len(store.reads) == 2
        assert len(page.messages) == 5


# ---- any paging, compared with the list that it is of


def message(sequence: int) -> Message:
    return Message(str(sequence), sequence, "user", 0, msgspec.Raw(b'""'), {})


def answer(there: Sequence[Message], query: PageQuery) -> list[Message]:
    """What a store says."""
    if query.after is not None:
        return [one for one in there if one.sequence > query.after][: query.limit]
    if query.before is not None:
        there = [one for one in there if one.sequence < query.before]
    return list(there[-query.limit :])


places = st.one_of(
    st.builds(lambda after: {"after": after}, st.integers(0, 45)),
    st.builds(lambda before: {"before": before}, st.integers(0, 45)),
    st.just({}),
)
queries = st.builds(
    lambda limit, place: PageQuery(limit=limit, **place), st.integers(1, 12), places
)


@given(removed=st.sets(st.integers(1, 40)), asked=st.lists(queries, min_size=1, max_size=25))
def test_a_tail_answers_as_the_store_or_not_at_all(
    removed: set[int], asked: list[PageQuery]
) -> None:
    there = [message(number) for number in range(1, 41) if number not in removed]
    tail = Tail(Head("thread", "acme"))
    for query in asked:
        expected = answer(there, msgspec.structs.replace(query, limit=query.limit + 1))
        page = tail.page(query)
        if page is not None:
            assert list(page) == expected
        else:
            tail = tail.joined(query, expected)
    kept = sequences(tail.messages)
    assert kept == sequences(there)[len(there) - len(kept) :]
    assert not tail.is_whole or len(kept) == len(there)


def test_a_tail_has_a_length() -> None:
    there = [message(number) for number in range(1, 3000)]
    tail = Tail(Head("thread", "acme")).joined(PageQuery(limit=900), there[-901:])
    before = tail.messages[0].sequence
    longer = tail.joined(PageQuery(limit=900, before=before), there[before - 902 : before - 1])

    assert len(tail.messages) == 901
    assert len(longer.messages) <= MAX_TAIL
