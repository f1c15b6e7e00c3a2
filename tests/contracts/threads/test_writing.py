"""What an operation does to a thread, and when it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.conversations.records import (
    MAX_TITLE,
    ListQuery,
    PageQuery,
    SearchQuery,
)
from fairlead.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RequestError,
)
from support.threads import (
    START,
    Desk,
    Store,
    answered,
    begun,
    new_id,
    replayed,
    said,
    texts,
    whole,
    wrote,
)


async def test_a_new_thread_has_what_it_was_begun_with(store: Store, ann: Desk) -> None:
    operation = ann.create("Fix the login", "And the logout", title="Login")
    written = await wrote(store, operation)
    head = written.head
    assert (head.id, head.tenant, head.user_id) == (operation.thread, ann.viewer.tenant, "ann")
    assert (head.title, head.team_id, head.is_shared, head.deleted) == (
        "Login",
        "blue",
        False,
        False,
    )
    assert (head.version, head.message_count, head.last_sequence) == (3, 2, 2)
    assert (head.created, head.last_activity) == (operation.time, operation.time)
    assert head.last_message == "And the logout"
    assert head.bytes > len('"Fix the login""And the logout"')
    assert written.messages == tuple(
        (message.id, at) for at, message in enumerate(operation.messages, 1)
    )
    assert not written.repeated
    assert await store.head(ann.viewer.tenant, operation.thread) == head
    found = await whole(store, ann.viewer.tenant, operation.thread)
    assert texts(found) == ["Fix the login", "And the logout"]
    assert [message.timestamp for message in found] == [START, START]


async def test_a_thread_is_begun_once(store: Store, ann: Desk, bob: Desk) -> None:
    operation = await begun(store, ann)
    for desk in (ann, bob):
        with pytest.raises(RequestError) as caught:
            await wrote(store, desk.create("other", thread=operation))
        assert caught.value.status == 409
    await wrote(store, ann.delete(operation))
    with pytest.raises(RequestError, match="exists"):
        await wrote(store, ann.create("other", thread=operation))


async def test_messages_are_added_in_order(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann)
    message = said({"any": ["value", 1, None]}, "tool", time=7, metadata={"tool_call_id": "x"})
    written = await wrote(store, ann.add(thread, answered("two", "small"), message))
    assert [sequence for _, sequence in written.messages] == [2, 3]
    assert written.head.participants == ("ann", "small")
    found = await whole(store, ann.viewer.tenant, thread)
    assert texts(found) == ["one", "two", {"any": ["value", 1, None]}]
    assert (found[2].id, found[2].role, found[2].timestamp) == (message.id, "tool", 7)
    assert found[2].metadata == {"tool_call_id": "x"}
    await replayed(store, ann.viewer.tenant, thread)


async def test_a_message_gets_another_content(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann, "one", "two")
    first, second = await whole(store, ann.viewer.tenant, thread)
    await wrote(store, ann.edit(thread, first.id, "uno"))
    written = await wrote(store, ann.edit(thread, second.id, "due"))
    found = await whole(store, ann.viewer.tenant, thread)
    assert texts(found) == ["uno", "due"]
    assert [(one.id, one.sequence, one.timestamp) for one in found] == [
        (one.id, one.sequence, one.timestamp) for one in (first, second)
    ]
    assert (written.head.last_message, written.head.version) == ("due", 5)
    assert written.messages == ()
    await replayed(store, ann.viewer.tenant, thread)


async def test_a_removed_message_leaves_its_number_unused(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann, "one", "two")
    last = (await whole(store, ann.viewer.tenant, thread))[1]
    head = (await wrote(store, ann.remove(thread, last.id))).head
    assert (head.message_count, head.last_sequence, head.last_message) == (1, 2, "")
    await wrote(store, ann.append(thread, "three"))
    found = await whole(store, ann.viewer.tenant, thread)
    assert [(one.sequence, *texts([one])) for one in found] == [(1, "one"), (3, "three")]
    for operation in (ann.remove(thread, last.id), ann.edit(thread, last.id, "x")):
        with pytest.raises(NotFoundError):
            await wrote(store, operation)
    await replayed(store, ann.viewer.tenant, thread)


async def test_a_message_of_another_thread_is_not_touched(store: Store, ann: Desk) -> None:
    thread, other = await begun(store, ann, "mine"), await begun(store, ann, "other")
    (message,) = await whole(store, ann.viewer.tenant, other)
    for operation in (ann.edit(thread, message.id, "x"), ann.remove(thread, message.id)):
        with pytest.raises(NotFoundError):
            await wrote(store, operation)
    assert texts(await whole(store, ann.viewer.tenant, other)) == ["other"]


async def test_title_and_sharing_are_set(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann)
    head = (await wrote(store, ann.update(thread, title="New"))).head
    assert (head.title, head.is_shared) == ("New", False)
    head = (await wrote(store, ann.update(thread, shared=True))).head
    assert (head.title, head.is_shared, head.version) == ("New", True, 4)
    same = await wrote(store, ann.update(thread, title="New", shared=True))
    assert same.head.version == 4
    assert (await wrote(store, ann.update(thread, shared=False))).head.is_shared is False


@pytest.mark.parametrize("title", ["x" * (MAX_TITLE + 1), "nul\0", "half \ud83d"])
async def test_a_title_that_no_engine_could_keep_is_refused(
    store: Store, ann: Desk, title: str
) -> None:
    thread = await begun(store, ann)
    for operation in (ann.update(thread, title=title), ann.create(title=title)):
        with pytest.raises(RequestError) as caught:
            await wrote(store, operation)
        assert caught.value.status == 400


async def test_of_a_deleted_thread_only_a_tombstone_is_left(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann, "secret", title="secret plan")
    await wrote(store, ann.update(thread, shared=True))
    await wrote(store, ann.delete(thread))
    head = await store.head(ann.viewer.tenant, thread)
    assert head is not None
    assert head.deleted
    assert (head.title, head.last_message, head.message_count) == ("", "", 0)
    assert await store.messages(ann.viewer.tenant, thread, PageQuery()) == []
    assert await store.listing(ListQuery(ann.viewer)) == []
    assert await store.search(SearchQuery(ann.viewer, "secret")) == []
    for operation in (ann.append(thread, "x"), ann.update(thread, title="x"), ann.delete(thread)):
        with pytest.raises(NotFoundError):
            await wrote(store, operation)
    await replayed(store, ann.viewer.tenant, thread)


async def test_what_has_changed_meanwhile_is_not_overwritten(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann)
    (message,) = await whole(store, ann.viewer.tenant, thread)
    stale = [
        ann.edit(thread, message.id, "x", version=1),
        ann.remove(thread, message.id, version=3),
        ann.update(thread, title="x", version=1),
        ann.delete(thread, version=1),
    ]
    for operation in stale:
        with pytest.raises(ConflictError) as caught:
            await wrote(store, operation)
        assert caught.value.current == 2
    assert (await wrote(store, ann.update(thread, title="x", version=2))).head.version == 3


async def test_only_its_owner_changes_a_thread(store: Store, ann: Desk, bob: Desk) -> None:
    thread = await begun(store, ann)
    (message,) = await whole(store, ann.viewer.tenant, thread)
    stranger = Desk(f"other-{ann.viewer.tenant}", "ann")

    def attempts(desk: Desk) -> list[Any]:
        return [
            desk.append(thread, "x"),
            desk.edit(thread, message.id, "x"),
            desk.remove(thread, message.id),
            desk.update(thread, title="x"),
            desk.delete(thread),
        ]

    for operation in attempts(bob):
        with pytest.raises(NotFoundError):
            await wrote(store, operation)
    await wrote(store, ann.update(thread, shared=True))
    for operation in attempts(bob):
        with pytest.raises(ForbiddenError):
            await wrote(store, operation)
    for operation in attempts(stranger):
        with pytest.raises(NotFoundError):
            await wrote(store, operation)
    operator = Desk(ann.viewer.tenant, None)
    assert (
        await wrote(store, operator.update(thread, title="moderated"))
    ).head.title == "moderated"


async def test_what_is_not_there_is_not_found(store: Store, ann: Desk) -> None:
    missing = new_id()
    assert await store.head(ann.viewer.tenant, missing) is None
    assert await store.messages(ann.viewer.tenant, missing, PageQuery()) == []
    assert await store.messages(ann.viewer.tenant, missing, PageQuery(branch=1)) == []
    assert await store.thread_events(ann.viewer.tenant, missing) == []
    with pytest.raises(NotFoundError):
        await wrote(store, ann.append(missing, "x"))
