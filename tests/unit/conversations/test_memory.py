from __future__ import annotations

import pytest

from fairlead.conversations.memory import MAX_LETTERS, STEP, MemoryThreadStore
from fairlead.conversations.records import (
    DeadLetter,
    RetentionRules,
    SearchQuery,
)
from fairlead.errors import StorageError
from support.threads import START, Desk, begun, wrote


@pytest.fixture
def desk() -> Desk:
    return Desk()


def letter(number: int) -> DeadLetter:
    return DeadLetter(f"{number}", "team", START + number, "it cannot be", b"{}")


async def test_the_latest_letters_are_kept() -> None:
    async with MemoryThreadStore() as store:
        await store.bury([letter(number) for number in range(MAX_LETTERS)])
        await store.bury([letter(MAX_LETTERS), letter(MAX_LETTERS + 1), letter(5)])
        assert len(store.letters) == MAX_LETTERS
        assert set(store.letters) == {f"{number}" for number in range(2, MAX_LETTERS + 2)}


async def test_retention_goes_in_steps(desk: Desk) -> None:
    async with MemoryThreadStore() as store:
        await store.apply([desk.create("x") for _ in range(STEP + 1)])
        rules = RetentionRules(max_age=0)
        first = await store.prune(rules, desk.time + 1)
        assert (first.threads, first.more) == (STEP, True)
        second = await store.prune(rules, desk.time + 1)
        assert (second.threads, second.more) == (1, False)
        assert second.bytes > 0


async def test_nothing_is_left_when_it_is_closed(desk: Desk) -> None:
    store = MemoryThreadStore()
    async with store:
        thread = await begun(store, desk)
    async with store:
        assert await store.head("team", thread) is None


async def test_a_denser_text_is_a_better_match(desk: Desk) -> None:
    async with MemoryThreadStore() as store:
        await begun(store, desk, "pin " + "hay " * 100, title="sparse")
        await begun(store, desk, "pin pin pin", title="dense")
        await begun(store, desk, "a pin in hay", title="between")
        hits = await store.search(SearchQuery(desk.viewer, "pin"))
        assert [hit.head.title for hit in hits] == ["dense", "between", "sparse"]


async def test_one_id_is_one_event_whatever_the_batch(desk: Desk) -> None:
    async with MemoryThreadStore() as store:
        operation = desk.create("x")
        twice = desk.create("x")
        with pytest.raises(StorageError):
            await store.apply([operation, desk.add(operation.thread, *twice.messages), twice])
        assert await store.head("team", operation.thread) is None
        await wrote(store, operation)
        with pytest.raises(StorageError):
            await store.apply([desk.add(operation.thread, *operation.messages)])
