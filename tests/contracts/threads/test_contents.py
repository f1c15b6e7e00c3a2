"""Whatever can be said comes back as it was, whole or by pages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairlead.conversations.records import (
    PREVIEW_LENGTH,
    ListQuery,
    PageQuery,
)
from support.threads import (
    Desk,
    Store,
    begun,
    replayed,
    said,
    said_as,
    texts,
    whole,
    wrote,
)


@pytest.mark.parametrize(
    "content",
    [
        "",
        None,
        False,
        [],
        {},
        "nul \0 and \x01",
        "né 日本 🎉 \U0010ffff \u202e",
        "x" * 300_000,
        [{"type": "text", "text": "hello"}, {"type": "image", "source": {"data": "aGk="}}],
        12345678901234567890,
        1e-7,
    ],
)
async def test_any_json_value_comes_back(store: Store, ann: Desk, content: Any) -> None:
    thread = await begun(store, ann, content)
    (message,) = await whole(store, ann.viewer.tenant, thread)
    assert bytes(message.content) == msgspec.json.encode(content)
    head = await store.head(ann.viewer.tenant, thread)
    assert head is not None
    assert len(head.last_message) <= PREVIEW_LENGTH
    await replayed(store, ann.viewer.tenant, thread)


async def test_a_content_comes_back_byte_for_byte(store: Store, ann: Desk) -> None:
    content = b'{ "b" : 1.50 , "a" : "\\u00e9\\ud83d" }'
    written = await wrote(store, ann.create())
    await wrote(store, ann.add(written.head.id, said_as(content)))
    found = await whole(store, ann.viewer.tenant, written.head.id)
    assert [bytes(message.content) for message in found] == [content]


async def test_metadata_comes_back(store: Store, ann: Desk) -> None:
    metadata = {
        "usage": {"input": 3, "cost": 0.5},
        "nul": "a\0b",
        "calls": [{"id": "é"}],
        "no": None,
    }
    written = await wrote(store, ann.create())
    await wrote(store, ann.add(written.head.id, said("x", metadata=metadata)))
    (message,) = await whole(store, ann.viewer.tenant, written.head.id)
    assert message.metadata == metadata


async def test_a_thread_without_messages_can_be_read(store: Store, ann: Desk) -> None:
    head = (await wrote(store, ann.create(title=""))).head
    assert (head.message_count, head.last_message, head.title) == (0, "", "")
    assert await whole(store, ann.viewer.tenant, head.id) == []
    assert [one.id for one in await store.listing(ListQuery(ann.viewer))] == [head.id]


async def test_pages_go_through_a_thread_both_ways(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann, *range(1, 8))
    third = (await whole(store, ann.viewer.tenant, thread))[2]
    await wrote(store, ann.remove(thread, third.id))

    async def page(**query: Any) -> list[int]:
        return texts(await store.messages(ann.viewer.tenant, thread, PageQuery(**query)))

    assert await page(limit=3) == [5, 6, 7]
    assert await page(limit=3, before=5) == [1, 2, 4]
    assert await page(limit=3, before=1) == []
    assert await page(limit=3, after=0) == [1, 2, 4]
    assert await page(limit=3, after=3) == [4, 5, 6]
    assert await page(limit=3, after=7) == []
    assert await page(limit=100) == [1, 2, 4, 5, 6, 7]


async def test_another_tenants_thread_is_not_there(store: Store, ann: Desk) -> None:
    thread = await begun(store, ann)
    assert await store.head("somebody", thread) is None
    assert await store.messages("somebody", thread, PageQuery()) == []
    assert await store.thread_events("somebody", thread) == []
