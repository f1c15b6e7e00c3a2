"""Several stores on one backend, at once or one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from support.threads import (
    DURABLE,
    Desk,
    Opener,
    Store,
    again,
    answered,
    begun,
    busy,
    found_titles,
    replayed,
    said,
    texts,
    turn,
    whole,
    wrote,
)


@pytest.mark.parametrize("engine", DURABLE, indirect=True)
async def test_what_was_written_is_there_after_opening_again(
    maker: Callable[[], Any], ann: Desk
) -> None:
    async with maker() as first:
        threads = await busy(first, ann)
        before = [await first.head(ann.viewer.tenant, thread) for thread in threads]
    async with maker() as second:
        assert [await second.head(ann.viewer.tenant, thread) for thread in threads] == before
        for thread in threads:
            await replayed(second, ann.viewer.tenant, thread)


@pytest.mark.parametrize("engine", DURABLE, indirect=True)
async def test_two_stores_see_each_others_writes(open_store: Opener, ann: Desk) -> None:
    one, two = await open_store(), await open_store()
    thread = await begun(one, ann, "one")
    for number in range(5):
        await wrote((two, one)[number % 2], ann.append(thread, number))
        for store in (one, two):
            assert texts(await whole(store, ann.viewer.tenant, thread))[-1] == number
    assert await found_titles(two, ann.viewer, "one") == {"a title"}
    await replayed(two, ann.viewer.tenant, thread)


@pytest.mark.parametrize("engine", DURABLE, indirect=True)
async def test_two_stores_write_to_one_thread_at_once(open_store: Opener, ann: Desk) -> None:
    stores = [await open_store(), await open_store()]
    thread = await begun(stores[0], ann)

    async def write(store: Store, desk: Desk) -> None:
        for number in range(10):
            await wrote(store, desk.append(thread, number))

    desks = [Desk(ann.viewer.tenant, "ann") for _ in stores]
    await asyncio.gather(*(write(*pair) for pair in zip(stores, desks, strict=True)))
    head = await stores[0].head(ann.viewer.tenant, thread)
    assert head is not None
    assert head.message_count == 21
    await replayed(stores[1], ann.viewer.tenant, thread)


@pytest.mark.parametrize("engine", DURABLE, indirect=True)
async def test_a_session_that_begins_on_two_nodes_is_one_thread(
    open_store: Opener, ann: Desk
) -> None:
    stores = [await open_store(), await open_store()]
    exchange = turn([said("hello")], answered("hi"))
    records = [ann.record(turn(map(again, exchange.prompt), answered("hi"))) for _ in stores]
    written = await asyncio.gather(
        *(wrote(store, record) for store, record in zip(stores, records, strict=True))
    )
    assert len({one.head.id for one in written}) == 1
    assert len(await whole(stores[0], ann.viewer.tenant, written[0].head.id)) == 2
