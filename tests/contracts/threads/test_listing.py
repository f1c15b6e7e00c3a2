"""Who sees which threads, in which order, page by page."""

from __future__ import annotations

import pytest

from fairlead.conversations.records import (
    Head,
    ListQuery,
    Order,
    Scope,
    Viewer,
)
from fairlead.conversations.texts import title_key
from support.threads import (
    START,
    Desk,
    Store,
    begun,
    visible,
    wrote,
)


async def test_everybody_sees_their_own_threads_and_what_is_shared(
    store: Store, ann: Desk, bob: Desk
) -> None:
    other = Desk(f"other-{ann.viewer.tenant}", "ann")
    for desk, name in ((ann, "ann"), (bob, "bob"), (other, "other")):
        for shared in (False, True):
            written = await wrote(store, desk.create("x", title=f"{name} {shared}"))
            await wrote(store, desk.update(written.head.id, shared=shared))
    gone = await begun(store, ann, title="gone")
    await wrote(store, ann.delete(gone))
    shared = {"ann True", "bob True"}
    assert await visible(store, ann.viewer) == {"ann False", *shared}
    assert await visible(store, ann.viewer, "user") == {"ann False", "ann True"}
    assert await visible(store, ann.viewer, "shared") == shared
    operator = Viewer(ann.viewer.tenant)
    assert await visible(store, operator) == {"ann False", "bob False", *shared}
    assert await visible(store, operator, "user") == {"ann False", "bob False", *shared}
    assert await visible(store, operator, "shared") == shared
    assert await visible(store, Viewer("nobody", "ann")) == set()


@pytest.fixture
async def crowd(store: Store, ann: Desk, bob: Desk) -> list[Head]:
    """Threads with equal titles and times among them."""
    titles = ["beta", "Beta", "alpha", "Émile", "emil", "", "alpha", "Ω", "日本"]
    operations = []
    for number, title in enumerate(titles * 3):
        desk = (ann, bob)[number % 2]
        desk.time = START + number // 4 * 1_000
        operations.append(desk.create("x", title=title))
    ann.time = bob.time = START + 100_000
    shared = [
        (ann if operation.viewer.user == "ann" else bob).update(operation.thread, shared=True)
        for operation in operations[::3]
    ]
    await store.apply([*operations, *shared])
    return list(await store.listing(ListQuery(Viewer(ann.viewer.tenant), limit=100)))


def _key(order: Order, head: Head) -> tuple[int | str, str]:
    if order == "title":
        return title_key(head.title), head.id
    return (head.created if order == "created" else head.last_activity), head.id


@pytest.mark.parametrize("scope", ["user", "team", "shared"])
@pytest.mark.parametrize("order", ["last_activity", "created", "title"])
@pytest.mark.parametrize("user", ["ann", None])
async def test_pages_hold_every_thread_once_in_order(
    store: Store, crowd: list[Head], order: Order, scope: Scope, user: str | None
) -> None:
    viewer = Viewer(crowd[0].tenant, user)
    seen = [head for head in crowd if viewer.sees(head)]
    if scope != "team":
        seen = [head for head in seen if head.is_shared or scope == "user"]
    if scope == "user":
        seen = [head for head in seen if viewer.owns(head)]
    expected = sorted(seen, key=lambda head: _key(order, head), reverse=order != "title")
    found: list[Head] = []
    after = None
    while page := await store.listing(ListQuery(viewer, order, scope, 4, after)):
        assert len(page) <= 4
        found += page
        after = _key(order, page[-1])
    assert found == expected


async def test_pages_have_no_gaps_when_threads_come_and_go(
    store: Store, crowd: list[Head], ann: Desk
) -> None:
    viewer = Viewer(ann.viewer.tenant)
    first = await store.listing(ListQuery(viewer, "created", limit=5))
    last = first[-1]
    operator = Desk(ann.viewer.tenant, None)
    await wrote(store, ann.create("new", title="new"))
    await wrote(store, operator.delete(last.id))
    rest = await store.listing(ListQuery(viewer, "created", limit=100, after=_key("created", last)))
    expected = sorted(crowd, key=lambda head: _key("created", head), reverse=True)
    assert [head.id for head in rest] == [head.id for head in expected[5:]]


async def test_an_added_message_brings_its_thread_to_the_top(store: Store, ann: Desk) -> None:
    threads = [await begun(store, ann) for _ in range(3)]
    await wrote(store, ann.append(threads[1], "x"))
    found = await store.listing(ListQuery(ann.viewer))
    assert [head.id for head in found] == [threads[1], threads[2], threads[0]]
