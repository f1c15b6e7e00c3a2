"""Whatever happens to a thread, its projections equal the replay of its log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings

from support.threads import (
    Desk,
    Store,
    answered,
    new_id,
    replayed,
    said,
    said_as,
    steps,
    turn,
    whole,
    wrote,
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=steps)
def test_what_can_be_read_is_what_the_log_amounts_to(
    maker: Callable[[], Any], steps: list[tuple[str, int, Any]]
) -> None:
    async def scenario() -> None:
        async with maker() as store:
            await _lived(store, Desk(f"team-{uuid4().hex}"), steps)

    asyncio.run(scenario())


async def _lived(store: Store, desk: Desk, happened: list[tuple[str, int, Any]]) -> None:
    tenant = desk.viewer.tenant
    thread = (await wrote(store, desk.record(turn([said("begin")], answered("ok"))))).head.id
    batch: list[Any] = []
    for kind, number, content in happened:
        rows = await whole(store, tenant, thread)
        picked = rows[number % len(rows)].id if rows else new_id()
        conversation = [said_as(bytes(row.content), row.role) for row in rows[: number * 2]]
        match kind:
            case "append":
                batch.append(desk.append(thread, content))
            case "edit":
                batch.append(desk.edit(thread, picked, content))
            case "remove":
                batch.append(desk.remove(thread, picked))
            case "title":
                batch.append(desk.update(thread, title=f"t {number}"))
            case "share":
                batch.append(desk.update(thread, shared=bool(number % 2)))
            case "record":
                batch.append(desk.record(turn([*conversation, said(content)], answered("so"))))
            case "delete" if number == 7:
                batch.append(desk.delete(thread))
        if number % 3:
            await store.apply(batch)
            batch.clear()
    await store.apply(batch)
    for name in {event.thread for event in await store.events(None, 10_000, tenant)}:
        await replayed(store, tenant, name)
