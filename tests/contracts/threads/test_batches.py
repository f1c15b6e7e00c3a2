"""Several operations in one transaction, and operations that are tried again."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from fairlead.conversations.records import (
    Written,
)
from fairlead.errors import (
    ConflictError,
    NotFoundError,
    StorageError,
)
from support.threads import (
    Desk,
    Store,
    begun,
    replayed,
    texts,
    whole,
    wrote,
)


async def test_several_operations_on_one_thread_go_in_one_batch(store: Store, ann: Desk) -> None:
    create = ann.create("one")
    thread = create.thread
    append = ann.append(thread, "two", "three")
    batch = [
        create,
        append,
        ann.edit(thread, append.messages[0].id, "deux"),
        ann.update(thread, title="changed", version=5),
        ann.remove(thread, create.messages[0].id),
        ann.append(thread, "four"),
    ]
    outcomes = await store.apply(batch)
    assert [outcome.head.version for outcome in outcomes if isinstance(outcome, Written)] == [
        2, 4, 5, 6, 7, 8
    ]  # fmt: skip
    assert texts(await whole(store, ann.viewer.tenant, thread)) == ["deux", "three", "four"]
    await replayed(store, ann.viewer.tenant, thread)
    events = await store.thread_events(ann.viewer.tenant, thread)
    assert [event.sequence for event in events] == list(range(1, 9))
    assert all(one.hlc < other.hlc for one, other in pairwise(events))


async def test_a_refused_operation_does_not_hinder_the_others(store: Store, ann: Desk) -> None:
    create = ann.create("one")
    thread = create.thread
    stranger = Desk(ann.viewer.tenant, "bob")
    outcomes = await store.apply(
        [
            ann.append(thread, "before it is there"),
            create,
            stranger.append(thread, "not mine"),
            ann.update(thread, title="x", version=99),
            ann.append(thread, "two"),
        ]
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [NotFoundError, Written, NotFoundError, ConflictError, Written]
    assert texts(await whole(store, ann.viewer.tenant, thread)) == ["one", "two"]
    await replayed(store, ann.viewer.tenant, thread)


async def test_a_batch_with_a_poisonous_operation_leaves_nothing(store: Store, ann: Desk) -> None:
    first, second = ann.create("one"), ann.create("two")
    taken_id = msgspec.structs.replace(ann.create("three"), id=first.id)
    with pytest.raises(StorageError):
        await store.apply([first, second, taken_id])
    for operation in (first, second, taken_id):
        assert await store.head(ann.viewer.tenant, operation.thread) is None
    assert len(await store.apply([first, second])) == 2


async def test_an_empty_batch_is_nothing(store: Store) -> None:
    assert list(await store.apply([])) == []


async def test_an_operation_that_is_tried_again_counts_once(store: Store, ann: Desk) -> None:
    create = ann.create("one", "two")
    thread = create.thread
    message = create.messages[0].id
    append = ann.append(thread, "three")
    operations = [
        create,
        append,
        ann.edit(thread, message, "uno"),
        ann.remove(thread, create.messages[1].id),
        ann.update(thread, title="x"),
    ]
    await store.apply(operations)
    before = await store.head(ann.viewer.tenant, thread)
    outcomes = await store.apply([*operations, ann.append(thread, "four")], retry=True)
    assert all(isinstance(outcome, Written) for outcome in outcomes)
    assert [outcome.repeated for outcome in outcomes if isinstance(outcome, Written)] == [
        True, True, True, True, True, False
    ]  # fmt: skip
    again_appended = outcomes[1]
    assert isinstance(again_appended, Written)
    assert again_appended.messages == ((append.messages[0].id, 3),)
    assert again_appended.head.id == thread
    head = await store.head(ann.viewer.tenant, thread)
    assert before is not None
    assert head is not None
    assert head.version == before.version + 1
    assert texts(await whole(store, ann.viewer.tenant, thread)) == ["uno", "three", "four"]


async def test_a_deletion_that_is_tried_again_has_been_done(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann)
    operation = ann.delete(thread)
    await wrote(store, operation)
    written = await wrote(store, operation, retry=True)
    assert written.repeated
    assert written.head.deleted


async def test_a_clock_that_goes_back_does_not_change_the_order(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann)
    ann.time -= 100_000
    head = (await wrote(store, ann.append(thread, "two"))).head
    assert texts(await whole(store, ann.viewer.tenant, thread)) == ["one", "two"]
    assert head.last_activity >= head.created
    await replayed(store, ann.viewer.tenant, thread)


async def test_heads_that_were_given_out_stay_as_they_were(store: Store, ann: Desk) -> None:
    first = await wrote(store, ann.create("one"))
    await wrote(store, ann.append(first.head.id, "two"))
    assert first.head.version == 2
