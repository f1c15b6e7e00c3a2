"""Retention in PostgreSQL: a few threads at a time; of deleted ones the tombstones stay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgspec

from fairlead.conversations.postgres_pool import Connection, statements
from fairlead.conversations.postgres_rows import columns
from fairlead.conversations.postgres_save import put, remove
from fairlead.conversations.records import Pruned, RetentionRules

STEP_THREADS = 50
STEP_BYTES = 8 * 1024 * 1024
"""What one step removes, one thread at least."""

_SQL = statements("prune")


class _Victim(msgspec.Struct, frozen=True):
    tenant: str
    thread: str
    bytes: int
    deleted: bool


class _Found(msgspec.Struct, frozen=True):
    """What breaks a rule, and whether that may be all."""

    victims: Sequence[_Victim]
    more: bool = False


async def prune(connection: Connection, rules: RetentionRules, now: int, slot: int) -> Pruned:
    """`ThreadLog.prune`, within the transaction that `connection` is in."""
    found = await _find(connection, rules, now)
    sizes = accumulate(victim.bytes for victim in found.victims)
    within = sum(1 for size in sizes if size <= STEP_BYTES)
    victims = found.victims[: min(STEP_THREADS, max(1, within))]
    await _remove(connection, victims, slot)
    return Pruned(
        threads=len(victims),
        bytes=sum(victim.bytes for victim in victims),
        more=found.more or len(victims) < len(found.victims),
    )


async def _find(connection: Connection, rules: RetentionRules, now: int) -> _Found:
    """Victims of the first rule that has some."""
    hlc = (now - rules.deleted_age) << 16
    victims = await _select(connection, "expired", {"hlc": hlc})
    if victims:
        return _Found(victims, more=rules.max_age is not None or rules.max_bytes is not None)
    if rules.max_age is not None:
        victims = await _select(connection, "quiet", {"time": now - rules.max_age})
        if victims:
            return _Found(victims, more=rules.max_bytes is not None)
    if rules.max_bytes is not None:
        return await _find_over(connection, rules.max_bytes)
    return _Found(())


async def _find_over(connection: Connection, max_bytes: int) -> _Found:
    cursor = await connection.execute(_SQL["over"], {"bytes": max_bytes})
    tenants = await cursor.fetchall()
    for tenant, size in tenants:
        quietest = await _select(connection, "quietest", {"tenant": tenant})
        # The events of deleted threads count as well, and cannot be removed before their time.
        if quietest:
            before = accumulate((victim.bytes for victim in quietest), initial=0)
            needed = sum(1 for removed in before if size - removed > max_bytes)
            more = needed > len(quietest) or len(tenants) > 1
            return _Found(quietest[:needed], more=more)
    return _Found(())


async def _select(connection: Connection, name: str, values: dict[str, Any]) -> list[_Victim]:
    # One beyond the step tells whether there is more.
    cursor = await connection.execute(_SQL[name], {**values, "limit": STEP_THREADS + 1})
    return [_Victim(*row) for row in await cursor.fetchall()]


async def _remove(connection: Connection, victims: Sequence[_Victim], slot: int) -> None:
    keys = sorted((victim.tenant, victim.thread) for victim in victims)
    tombs = sorted((victim.tenant, victim.thread) for victim in victims if victim.deleted)
    if not keys:
        return
    await connection.execute(_SQL["drop_events"], columns(keys))
    if tombs:
        await connection.execute(_SQL["empty_threads"], columns(tombs))
    await remove(connection, [key for key in keys if key not in tombs])
    freed: dict[str, int] = {}
    for victim in victims:
        freed[victim.tenant] = freed.get(victim.tenant, 0) - victim.bytes
    await put(connection, "use", [(tenant, slot, size) for tenant, size in sorted(freed.items())])
