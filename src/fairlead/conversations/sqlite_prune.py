"""Retention in the SQLite file: a few threads at a time, and their room given back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from fairlead.conversations.records import Pruned, RetentionRules
from fairlead.conversations.sqlite_log import forget, project
from fairlead.conversations.sqlite_rows import id_text
from fairlead.conversations.sqlite_save import Saving, Tenants
from fairlead.core.statements import load_statements

STEP_THREADS = 50
STEP_EVENTS = 500
"""What one step removes, one thread at least: it holds up writes for some milliseconds."""
FREE_PAGES_KEPT = 256
"""Pages that the next writes will need anyway stay in the file."""
PAGES_GIVEN_BACK = 512
"""In one step."""

_MERGED_PAGES = 64
SQL = load_statements("fairlead.conversations", "sql", "sqlite", "prune.sql")


class _Victim(msgspec.Struct, frozen=True):
    number: int
    tenant: str
    thread: bytes
    bytes: int
    events: int
    deleted: int


def prune(rules: RetentionRules, now: int, tenants: Tenants, connection: apsw.Connection) -> Pruned:
    """`ThreadLog.prune`, within the transaction that `connection` is in.

    What its users have deleted goes first, before its time where its tenant has too much.
    """
    found = _find(rules, now, connection)
    victims = list(_bounded(found))
    size = sum(_remove(victim, tenants, connection) for victim in victims)
    if victims:
        # What was removed from the index of words leaves it when its parts are merged.
        connection.execute(SQL["merge_messages"], (_MERGED_PAGES,))
        connection.execute(SQL["merge_titles"], (_MERGED_PAGES,))
    free = connection.execute(SQL["free_pages"]).get
    return Pruned(len(victims), size, more=bool(victims) or free > FREE_PAGES_KEPT)


def pages_to_give_back(connection: apsw.Connection) -> int:
    """How many free pages may go to the file system now."""
    free = int(connection.execute(SQL["free_pages"]).get)
    return min(max(0, free - FREE_PAGES_KEPT), PAGES_GIVEN_BACK)


def _find(rules: RetentionRules, now: int, connection: apsw.Connection) -> list[_Victim]:
    """Victims of the first rule that has some."""
    victims = _select(connection, "expired", hlc=(now - rules.deleted_age) << 16)
    if not victims and rules.max_age is not None:
        victims = _select(connection, "quiet", time=now - rules.max_age)
    if not victims and rules.max_bytes is not None:
        victims = _find_over(rules.max_bytes, connection)
    return victims


def _find_over(max_bytes: int, connection: apsw.Connection) -> list[_Victim]:
    # What a tenant has too much may be tombstones, which stay.
    over: list[Any] = connection.execute(SQL["over"], {"bytes": max_bytes}).fetchall()
    for tenant, size in over:
        victims = _select(connection, "deleted", tenant=tenant)
        victims = victims or _select(connection, "quietest", tenant=tenant)
        if victims:
            return _needed(victims, size, max_bytes)
    return []


def _needed(victims: Sequence[_Victim], size: int, max_bytes: int) -> list[_Victim]:
    """As many as have to go."""
    needed = []
    for victim in victims:
        if size <= max_bytes:
            break
        needed.append(victim)
        size -= victim.bytes
    return needed


def _select(connection: apsw.Connection, name: str, **values: int | str) -> list[_Victim]:
    rows = connection.execute(SQL[name], {**values, "limit": STEP_THREADS})
    return [_Victim(*row) for row in rows]


def _bounded(victims: Sequence[_Victim]) -> Iterable[_Victim]:
    events = 0
    for victim in victims:
        events += victim.events
        if events > STEP_EVENTS and victim is not victims[0]:
            return
        yield victim


def _remove(victim: _Victim, tenants: Tenants, connection: apsw.Connection) -> int:
    """Remove a thread, or what is left of a deleted one but its tombstone; how many bytes."""
    place = victim.tenant, victim.thread
    size = victim.bytes
    if victim.deleted:
        values = {"tenant": victim.tenant, "thread": victim.thread}
        connection.execute(SQL["drop_all_but_tombstone"], values)
        project((victim.tenant, id_text(victim.thread)), tenants, connection)
        size -= connection.execute(SQL["bytes"], (victim.number,)).get
    else:
        connection.execute(SQL["drop_events"], place)
        connection.execute(SQL["drop_counters"], place)
        forget(victim.number, Saving(connection, tenants), connection)
    connection.execute(SQL["use"], (size, victim.tenant))
    return size
