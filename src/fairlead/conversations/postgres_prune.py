"""Retention in PostgreSQL: a few threads at a time; of deleted ones the tombstones stay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgspec

from fairlead.conversations.postgres_log import project
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
    return Pruned(
        threads=len(victims),
        bytes=await _remove(connection, victims, slot),
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
    # What a tenant has too much may be tombstones, which stay.
    for tenant, size in tenants:
        deleted = await _select(connection, "deleted", {"tenant": tenant})
        victims = deleted or await _select(connection, "quietest", {"tenant": tenant})
        if victims:
            before = accumulate((victim.bytes for victim in victims), initial=0)
            needed = sum(1 for removed in before if size - removed > max_bytes)
            more = bool(deleted) or needed > len(victims) or len(tenants) > 1
            return _Found(victims[:needed], more=more)
    return _Found(())


async def _select(connection: Connection, name: str, values: dict[str, Any]) -> list[_Victim]:
    # One beyond the step tells whether there is more.
    cursor = await connection.execute(_SQL[name], {**values, "limit": STEP_THREADS + 1})
    return [_Victim(*row) for row in await cursor.fetchall()]


async def _remove(connection: Connection, victims: Sequence[_Victim], slot: int) -> int:
    """Remove threads, and what is left of deleted ones but their tombstones; how many bytes."""
    keys = sorted((victim.tenant, victim.thread) for victim in victims if not victim.deleted)
    if keys:
        await connection.execute(_SQL["drop_events"], columns(keys))
        await remove(connection, keys)
    freed: dict[str, int] = {}
    for victim in victims:
        size = victim.bytes
        if victim.deleted:
            size -= await _reduce(connection, victim)
        freed[victim.tenant] = freed.get(victim.tenant, 0) - size
    await put(connection, "use", [(tenant, slot, size) for tenant, size in sorted(freed.items())])
    return -sum(freed.values())


async def _reduce(connection: Connection, victim: _Victim) -> int:
    """Leave nothing of a deleted thread but its tombstone; that one's bytes."""
    values = {"tenant": victim.tenant, "thread": victim.thread}
    await connection.execute(_SQL["drop_all_but_tombstone"], values)
    await project(connection, (victim.tenant, victim.thread))
    cursor = await connection.execute(_SQL["bytes"], values)
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
