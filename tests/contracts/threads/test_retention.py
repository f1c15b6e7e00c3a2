"""What may not be kept goes."""

from __future__ import annotations

import os

import pytest

from fairlead.conversations.records import (
    Deleted,
    ListQuery,
    RetentionRules,
)
from fairlead.errors import (
    RequestError,
)
from support.threads import (
    Desk,
    Store,
    begun,
    found_titles,
    replayed,
    texts,
    visible,
    whole,
    wrote,
)


async def _pruned(store: Store, rules: RetentionRules, now: int) -> tuple[int, int]:
    threads = size = 0
    for _ in range(1_000):
        step = await store.prune(rules, now)
        threads += step.threads
        size += step.bytes
        if not step.more:
            return threads, size
    raise AssertionError("it does not end")


async def test_old_threads_go(store: Store, ann: Desk) -> None:
    old = await begun(store, ann, "old pin", title="old")
    ann.time += 1_000_000
    new = await begun(store, ann, "new pin", title="new")
    threads, size = await _pruned(store, RetentionRules(max_age=500_000), ann.time)
    assert threads >= 1
    assert size > 0
    assert await visible(store, ann.viewer) == {"new"}
    assert await found_titles(store, ann.viewer, "pin") == {"new"}
    assert await whole(store, ann.viewer.tenant, old) == []
    assert await store.thread_events(ann.viewer.tenant, old) == []
    await replayed(store, ann.viewer.tenant, new)
    assert await _pruned(store, RetentionRules(max_age=500_000), ann.time) == (0, 0)


async def test_a_tenant_that_has_too_much_loses_its_quietest(store: Store, ann: Desk) -> None:
    other = Desk(f"other-{ann.viewer.tenant}", "eve")
    await begun(store, other, "eve's", title="eve")
    threads = [await begun(store, ann, "x" * 100, title=f"t{number}") for number in range(10)]
    await wrote(store, ann.append(threads[0], "y"))
    heads = [await store.head(ann.viewer.tenant, thread) for thread in threads]
    size = sum(head.bytes for head in heads if head)
    await _pruned(store, RetentionRules(max_bytes=size // 2), ann.time)
    left = [head.title for head in await store.listing(ListQuery(ann.viewer))]
    assert left[0] == "t0"
    assert left[1:] == [f"t{number}" for number in range(9, 10 - len(left), -1)]
    assert 3 <= len(left) <= 5
    assert await visible(store, other.viewer) == {"eve"}


async def test_of_a_deleted_thread_the_events_go(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann, "secret")
    await wrote(store, ann.delete(thread))
    rules = RetentionRules(deleted_age=10_000)
    await _pruned(store, rules, ann.time + 5_000)
    assert len(await store.thread_events(ann.viewer.tenant, thread)) == 3
    await _pruned(store, rules, ann.time + 20_000)
    assert all(
        event.content is None for event in await store.thread_events(ann.viewer.tenant, thread)
    )
    head = await store.head(ann.viewer.tenant, thread)
    assert head is not None
    assert head.deleted
    assert await _pruned(store, rules, ann.time + 20_000) == (0, 0)
    with pytest.raises(RequestError):
        await wrote(store, ann.create("x", thread=thread))


async def test_without_rules_everything_stays(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann)
    await _pruned(store, RetentionRules(), ann.time + 10**12)
    assert texts(await whole(store, ann.viewer.tenant, thread)) == ["one"]


async def test_what_was_deleted_goes_before_anything_that_is_there(store: Store, ann: Desk) -> None:
    for number in range(3):
        await begun(store, ann, "x" * 3_000, title=f"t{number}")
    thread = await begun(store, ann, os.urandom(40_000).hex())
    await wrote(store, ann.delete(thread))
    await _pruned(store, RetentionRules(max_bytes=20_000), ann.time)
    assert await visible(store, ann.viewer) == {"t0", "t1", "t2"}


async def test_a_tenant_of_tombstones_keeps_no_other_from_being_bounded(
    store: Store, ann: Desk, bob: Desk
) -> None:
    bob = Desk(f"other-{bob.viewer.tenant}", "bob")
    for _ in range(20):
        thread = await begun(store, ann)
        await wrote(store, ann.delete(thread))
    for number in range(6):
        await begun(store, bob, "y" * 500, title=f"t{number}")
    heads = await store.listing(ListQuery(bob.viewer))
    await _pruned(store, RetentionRules(max_bytes=heads[0].bytes * 3), ann.time)
    assert len(await store.listing(ListQuery(bob.viewer))) == 3


async def test_a_thread_that_was_deleted_does_not_come_back(store: Store, ann: Desk) -> None:
    tenant = ann.viewer.tenant
    thread = await begun(store, ann, "secret")
    before = await store.thread_events(tenant, thread)
    await wrote(store, ann.delete(thread))
    await _pruned(store, RetentionRules(deleted_age=0), ann.time + 1)
    (tombstone,) = await store.thread_events(tenant, thread)
    assert isinstance(tombstone.change, Deleted)

    await store.add(before)
    await store.project(tenant, thread)
    head = await store.head(tenant, thread)
    assert head is not None
    assert head.deleted
    assert await whole(store, tenant, thread) == []
    with pytest.raises(RequestError):
        await wrote(store, ann.create("x", thread=thread))
