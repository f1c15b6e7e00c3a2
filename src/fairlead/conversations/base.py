"""What conversations ask of a store; `memory.py`, `sqlite.py` and `postgres.py` implement it.

One contract suite (`tests/contracts/threads`) runs over all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fairlead.conversations.records import (
    DeadLetter,
    Head,
    Hit,
    ListQuery,
    LogPosition,
    Message,
    Operation,
    PageQuery,
    Pruned,
    RetentionRules,
    SearchQuery,
    StorageStatistics,
    ThreadEvent,
    Written,
)
from fairlead.errors import RequestError

Outcome = Written | RequestError
"""What became of one operation; an error refuses that operation alone and wrote nothing of it."""


class ThreadStore(Protocol):
    """Threads, durably. Every method raises `StorageError` where the store fails.

    `StorageFullError`: no room, nothing of the call was written. `StorageUnavailableError`: away
    for now; whether an `apply` took effect may be unknown, so it is repeated with `retry`.
    """

    async def open(self) -> None:
        """Make it ready, bringing its schema forward.

        Raises `StorageError` where the schema is newer than this program.
        """
        ...

    async def close(self) -> None:
        """Finish what was accepted and release."""
        ...

    async def apply(
        self, operations: Sequence[Operation], *, retry: bool = False
    ) -> Sequence[Outcome]:
        """Write all of them in one transaction, in order; an outcome for each, after COMMIT.

        With `retry`, an operation whose event is there already is answered from what is stored.
        Where one cannot be written at all (a poisonous value) this raises and nothing is written.
        """
        ...

    async def head(self, tenant: str, thread: str) -> Head | None:
        """The thread, deleted or not; None where there is none. Visibility is the caller's."""
        ...

    async def messages(self, tenant: str, thread: str, query: PageQuery) -> Sequence[Message]:
        """A page of messages in ascending order; removed ones are left out."""
        ...

    async def listing(self, query: ListQuery) -> Sequence[Head]:
        """A page of the threads that the viewer sees; reads no message content."""
        ...

    async def search(self, query: SearchQuery) -> Sequence[Hit]:
        """Threads with messages or titles that hold all words of the text, best first."""
        ...


class ThreadLog(Protocol):
    """The same store as those see it who look after it."""

    async def events(
        self, after: LogPosition | None, limit: int, tenant: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Events of the whole log (or one tenant's) in the order of their keys."""
        ...

    async def thread_events(self, tenant: str, thread: str) -> Sequence[ThreadEvent]:
        """One thread's events, in `ThreadEvent.order`."""
        ...

    async def add(self, events: Sequence[ThreadEvent]) -> int:
        """Keep events that came from elsewhere and project their threads anew; how many were new.

        Idempotent. All of them in one transaction.
        """
        ...

    async def project(self, tenant: str, thread: str) -> None:
        """Make the thread's projections anew from its log; removes them where it has no event."""
        ...

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep operations that could not be written; the oldest beyond 10,000 are dropped."""
        ...

    async def prune(self, rules: RetentionRules, now: int) -> Pruned:
        """One small step of removing what may not be kept, and giving the space back."""
        ...

    def statistics(self) -> StorageStatistics:
        """Counts now."""
        ...


class Archive(Protocol):
    """A store that can be looked at and copied as a whole, where the engine has means for it."""

    async def backup(self, path: Path, progress: object = None) -> None:
        """Write a consistent copy of the live database to `path`."""
        ...

    async def check(self) -> Sequence[str]:
        """What the engine's own integrity check finds; empty where all is well."""
        ...
