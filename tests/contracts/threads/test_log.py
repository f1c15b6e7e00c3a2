"""The log: read, carried elsewhere, projected anew; and what a store tells of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fairlead.conversations.memory import MemoryThreadStore
from fairlead.conversations.records import (
    Branched,
    DeadLetter,
    LogPosition,
    PageQuery,
)
from fairlead.errors import (
    ClosedError,
    StorageError,
)
from support.threads import (
    START,
    Desk,
    Opener,
    Store,
    answered,
    bare,
    begun,
    busy,
    found_titles,
    log_of,
    new_id,
    replayed,
    said,
    texts,
    turn,
    whole,
    wrote,
)


async def test_the_whole_log_is_read_in_steps(store: Store, ann: Desk) -> None:
    threads = await busy(store, ann)
    tenant = ann.viewer.tenant
    found = await log_of(store, tenant)
    keys = [(event.tenant, event.thread, event.origin, event.sequence) for event in found]
    assert keys == sorted(keys)
    single = [await store.thread_events(tenant, thread) for thread in sorted(threads)]
    assert found == [event for events in single for event in events]
    assert all(event.size > 0 for event in found)
    heads = [await store.head(tenant, thread) for thread in threads]
    assert sum(head.bytes for head in heads if head) == sum(event.size for event in found)
    after = LogPosition(tenant, "")
    everybody = await store.events(after, 1_000)
    assert [event for event in everybody if event.tenant == tenant] == found


async def test_a_log_can_be_taken_elsewhere(
    store: Store, open_store: Opener, ann: Desk, team: str
) -> None:
    threads = await busy(store, ann)
    log = await log_of(store, team)
    # A second engine stands for the empty node; the same one may share its backend with this test.
    async with MemoryThreadStore("other") as empty:
        assert await empty.add(log) == len(log)
        assert await empty.add(log) == 0
        assert bare(await log_of(empty, team)) == bare(log)
        for thread in threads:
            assert await empty.head(team, thread) == await store.head(team, thread)
            assert await whole(empty, team, thread) == await whole(store, team, thread)


async def test_events_from_elsewhere_are_taken_in_any_order(store: Store, ann: Desk) -> None:
    async with MemoryThreadStore("elsewhere") as source:
        threads = await busy(source, ann)
        log = await log_of(source, ann.viewer.tenant)
        reads = {thread: await whole(source, ann.viewer.tenant, thread) for thread in threads}
        heads = {thread: await source.head(ann.viewer.tenant, thread) for thread in threads}
    parts = [log[3::4], log[1::4], log[::4], log[2::4], log]
    assert [await store.add(part) for part in parts] == [*map(len, parts[:-1]), 0]
    for thread in threads:
        assert await whole(store, ann.viewer.tenant, thread) == reads[thread]
        assert await store.head(ann.viewer.tenant, thread) == heads[thread]
        await replayed(store, ann.viewer.tenant, thread)
    assert bare(await log_of(store, ann.viewer.tenant)) == bare(log)
    assert await found_titles(store, ann.viewer, "uno") == {"busy"}
    assert await found_titles(store, ann.viewer, "gone") == set()


async def test_a_thread_from_elsewhere_goes_on_here(store: Store, ann: Desk) -> None:
    async with MemoryThreadStore("elsewhere") as source:
        (thread, captured, _) = await busy(source, ann)
        log = await log_of(source, ann.viewer.tenant)
    await store.add(log)
    await wrote(store, ann.append(thread, "three"))
    prompt = [said("hello " * 60), answered("other"), said("on")]
    written = await wrote(store, ann.record(turn(prompt, answered("end"))))
    assert written.head.id == captured
    assert len(written.messages) == 2
    origins = {event.origin for event in await store.thread_events(ann.viewer.tenant, thread)}
    assert origins == {"elsewhere", "local"}
    for name in (thread, captured):
        await replayed(store, ann.viewer.tenant, name)


async def test_own_events_that_come_back_do_not_disturb_the_count(store: Store, ann: Desk) -> None:
    async with MemoryThreadStore("local") as source:
        (thread, *_) = await busy(source, ann)
        log = await log_of(source, ann.viewer.tenant)
    await store.add(log)
    await wrote(store, ann.append(thread, "three"))
    events = await store.thread_events(ann.viewer.tenant, thread)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


async def test_two_regions_that_began_a_thread_for_one_session(store: Store, ann: Desk) -> None:
    here = await wrote(store, ann.record(turn([said("hello")], answered("hi"))))
    async with MemoryThreadStore("elsewhere") as source:
        there = await wrote(source, ann.record(turn([said("hello")], answered("hi"))))
        log = await log_of(source, ann.viewer.tenant)
    assert await store.add(log) == len(log)
    assert len(await whole(store, ann.viewer.tenant, there.head.id)) == 2
    written = await wrote(
        store, ann.record(turn([said("hello"), answered("hi"), said("on")], answered("end")))
    )
    assert written.head.id in {here.head.id, there.head.id}
    assert len(written.messages) == 2


async def test_projections_are_made_anew(store: Store, ann: Desk) -> None:
    tenant = ann.viewer.tenant
    threads = await busy(store, ann)
    before = [(await store.head(tenant, one), await whole(store, tenant, one)) for one in threads]
    for thread in threads:
        await store.project(tenant, thread)
        await replayed(store, tenant, thread)
    after = [(await store.head(tenant, one), await whole(store, tenant, one)) for one in threads]
    assert after == before
    assert await found_titles(store, ann.viewer, "uno") == {"busy"}
    assert await found_titles(store, ann.viewer, "one") == set()
    assert await found_titles(store, ann.viewer, "gone") == set()
    await store.project(tenant, new_id())
    written = await wrote(store, ann.record(turn([said("hello " * 60)], answered("third"))))
    assert written.head.id == threads[1]


async def test_letters_are_kept_once(store: Store, team: str) -> None:
    letter = DeadLetter(new_id(), team, START, "it cannot be", b"{}")
    await store.bury([letter])
    await store.bury([letter, msgspec.structs.replace(letter, id=new_id())])
    await store.bury([])


async def test_statistics_tell_what_was_done(store: Store, ann: Desk, engine: str) -> None:
    before = store.statistics()
    assert before.backend.startswith(engine)
    assert (before.available, before.detail) == (True, "")
    await begun(store, ann)
    after = store.statistics()
    assert after.operations == before.operations + 1
    assert after.failures == before.failures


async def test_a_closed_store_answers_nothing(maker: Callable[[], Any], ann: Desk) -> None:
    store = maker()
    with pytest.raises(ClosedError):
        await store.head("team", new_id())
    async with store:
        assert await store.head("team", new_id()) is None
    with pytest.raises(ClosedError):
        await store.apply([ann.create("x")])
    await store.close()


async def test_an_id_that_another_event_has_is_refused(store: Store, ann: Desk) -> None:
    tenant = ann.viewer.tenant
    log = await store.thread_events(tenant, await begun(store, ann, "one"))
    other = new_id()
    moved = [msgspec.structs.replace(event, thread=other) for event in log]

    with pytest.raises(StorageError):
        await store.add([msgspec.structs.replace(moved[0], id=new_id()), *moved[1:]])
    assert await store.head(tenant, other) is None
    assert await store.add(log) == 0


async def test_branches_of_one_number_from_two_regions(store: Store, ann: Desk) -> None:
    tenant = ann.viewer.tenant
    thread = await begun(store, ann, "one", "two")
    log = await store.thread_events(tenant, thread)
    begin = [
        msgspec.structs.replace(
            log[-1],
            id=new_id(),
            origin=origin,
            sequence=1,
            hlc=log[-1].hlc + number,
            change=Branched(1, basis),
            content=None,
        )
        for number, (origin, basis) in enumerate([("eu", ((1, 1),)), ("us", ((2, 2),))], 1)
    ]
    for event in begin:
        assert await store.add([event]) == 1
    await replayed(store, tenant, thread)
    page = await store.messages(tenant, thread, PageQuery(branch=1))
    assert texts(page) == ["two"]


async def test_what_refers_to_an_event_that_is_not_here_waits_for_it(
    store: Store, ann: Desk
) -> None:
    tenant = ann.viewer.tenant
    thread = await begun(store, ann, "one", "two")
    log = await store.thread_events(tenant, thread)
    first = msgspec.structs.replace(
        log[1], id=new_id(), origin="eu", sequence=1, hlc=log[-1].hlc + 1
    )
    again = msgspec.structs.replace(
        first,
        id=new_id(),
        sequence=2,
        hlc=first.hlc + 1,
        change=msgspec.structs.replace(first.change, same_as=first.id, preview="one"),
        content=None,
    )
    await store.add([again])
    assert texts(await whole(store, tenant, thread)) == ["one", "two"]
    await store.add([first])
    assert texts(await whole(store, tenant, thread)) == ["one", "two", "one", "one"]
    await replayed(store, tenant, thread)
