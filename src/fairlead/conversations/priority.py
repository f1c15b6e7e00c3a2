"""How pressing it is to write what was captured (pure): spec 4.5's points."""

from __future__ import annotations

from fairlead.conversations.records import Head, Operation, Record
from fairlead.core.lru import SizedLRU

URGENT = 15
"""From so many points a write does not wait for the timer."""
ACTIVE = 60_000
"""Milliseconds since its last activity in which a thread counts as active."""
REMEMBERED = 4096

_Key = tuple[str, str, str]
_Known = tuple[int, bool, int]
"""Last activity, whether shared, messages."""


def priority(*, active: bool, shared: bool, messages: int) -> int:
    """10 for an active thread, 5 for a shared one, and one for ten messages up to 5."""
    return 10 * active + 5 * shared + min(5, messages // 10)


class RecentThreads:
    """What the threads written last looked like then; bounded."""

    def __init__(self) -> None:
        self._known: SizedLRU[_Key, _Known] = SizedLRU(REMEMBERED, REMEMBERED, lambda _: 1)

    def note(self, head: Head) -> None:
        """Remember the thread as it is after a write."""
        known = head.last_activity, head.is_shared, head.message_count
        self._known.put((head.tenant, "thread", head.id), known)
        if head.session is not None:
            self._known.put((head.tenant, "session", head.session), known)

    def priority(self, operation: Operation) -> int:
        """The points of `operation`; 0 where its thread is not remembered."""
        tenant = operation.viewer.tenant
        if isinstance(operation, Record):
            known = self._known.get((tenant, "session", operation.turn.session))
        else:
            known = self._known.get((tenant, "thread", operation.thread))
        if known is None:
            return 0
        last_activity, shared, messages = known
        active = operation.time - last_activity < ACTIVE
        return priority(active=active, shared=shared, messages=messages)
