"""Threads in PostgreSQL, shared by the nodes of a region (extra `postgres`)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from fairlead.conversations import postgres_log, postgres_read, postgres_search
from fairlead.conversations.base import Outcome
from fairlead.conversations.postgres_apply import apply
from fairlead.conversations.postgres_pool import (
    Connection,
    Connections,
    PostgresOptions,
    RaceError,
)
from fairlead.conversations.postgres_prune import prune
from fairlead.conversations.postgres_schema import migrate
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
)
from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.errors import StorageError

T = TypeVar("T")

RACES = 5
"""Attempts at a transaction that another node has got in the way of."""
_SLOTS = 16


class PostgresThreadStore(Resource):
    """A `ThreadStore`, `ThreadLog` and `Archive` in a PostgreSQL database of version 15 or later.

    Several nodes may write at once, also to one thread. Where the database is away, `open` returns
    all the same: it is connected, and its schema brought forward, as soon as it answers, and until
    then everything raises `StorageUnavailableError`. What retention removes is given back to the
    tables by the server's autovacuum.
    """

    def __init__(
        self,
        url: str,
        *,
        origin: str = "local",
        clock: Clock = SYSTEM_CLOCK,
        options: PostgresOptions | None = None,
    ) -> None:
        """`origin` is this node's region. Raises `ConfigurationError` for an unusable `url`."""
        self.origin = origin
        self._connections = Connections(
            url, migrate, options=options or PostgresOptions(), clock=clock
        )
        self._slot = random.randrange(_SLOTS)  # noqa: S311 - spreads load, guards nothing
        self._committed = 0

    async def _open(self) -> None:
        await self._connections.open()

    async def _close(self) -> None:
        await self._connections.close()

    # ---- threads

    async def apply(
        self, operations: Sequence[Operation], *, retry: bool = False
    ) -> Sequence[Outcome]:
        """Write all of them in one transaction (`ThreadStore.apply`)."""
        if not operations:
            return []

        async def work(connection: Connection) -> Sequence[Outcome]:
            return await apply(connection, operations, self.origin, self._slot, retry=retry)

        return await self._commit(work)

    async def head(self, tenant: str, thread: str) -> Head | None:
        """The thread, deleted or not; None where there is none."""
        return await postgres_read.head(self._connections, tenant, thread)

    async def messages(self, tenant: str, thread: str, query: PageQuery) -> Sequence[Message]:
        """A page of messages in ascending order."""
        return await postgres_read.messages(self._connections, tenant, thread, query)

    async def listing(self, query: ListQuery) -> Sequence[Head]:
        """A page of the threads that the viewer sees."""
        return await postgres_read.listing(self._connections, query)

    async def search(self, query: SearchQuery) -> Sequence[Hit]:
        """Threads that hold all words of the text, best first."""
        return await postgres_search.search(self._connections, query)

    # ---- the log

    async def events(
        self, after: LogPosition | None, limit: int, tenant: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Events of the whole log (or one tenant's) in the order of their keys."""
        return await postgres_log.events(self._connections, after, limit, tenant)

    async def thread_events(self, tenant: str, thread: str) -> Sequence[ThreadEvent]:
        """One thread's events, in `ThreadEvent.order`."""
        async with self._connections.connection() as connection:
            return await postgres_log.thread_events(connection, (tenant, thread))

    async def add(self, events: Sequence[ThreadEvent]) -> int:
        """Keep events from elsewhere and project their threads anew; how many were new."""
        if not events:
            return 0
        return await self._commit(
            lambda connection: postgres_log.add(connection, events, self._slot)
        )

    async def project(self, tenant: str, thread: str) -> None:
        """Make the thread's projections anew from its log."""
        await self._commit(lambda connection: postgres_log.project(connection, (tenant, thread)))

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep operations that could not be written."""
        if letters:
            await self._commit(lambda connection: postgres_log.bury(connection, letters))

    async def prune(self, rules: RetentionRules, now: int) -> Pruned:
        """One small step of removing what may not be kept."""
        return await self._commit(lambda connection: prune(connection, rules, now, self._slot))

    def statistics(self) -> StorageStatistics:
        """Counts now, of this node; the size on disk the server alone knows."""
        return StorageStatistics(
            backend="postgresql",
            available=self._connections.available,
            detail=self._connections.detail,
            bytes=-1,
            operations=self._committed,
            failures=self._connections.failures,
        )

    # ---- the whole

    async def backup(
        self,
        path: Path,
        progress: object = None,  # noqa: ARG002 - the contract's
    ) -> None:
        """Raises `StorageError`: PostgreSQL has its own tools."""
        raise StorageError(
            f"{path} was not written: a PostgreSQL database is backed up by its own means, "
            "pg_dump --schema=fairlead or pg_basebackup"
        )

    async def check(self) -> Sequence[str]:
        """Rows that do not fit together; empty where all is well."""
        return await postgres_log.check(self._connections)

    async def _commit(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` in one transaction, again where another node got in its way."""
        attempts = 0
        while True:
            attempts += 1
            try:
                async with self._connections.transaction() as connection:
                    done = await work(connection)
            except RaceError:
                if attempts == RACES:
                    raise
            else:
                self._committed += 1
                return done

    def __repr__(self) -> str:
        state = self._connections.detail or "available"
        return f"<PostgresThreadStore of {self.origin!r}: {state}>"
