"""Conversations of one process of a node: store, writer, database, capture, retention."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from fairlead.app.capturing import TurnRecorder
from fairlead.conversations import open_thread_store
from fairlead.conversations.database import ConversationDatabase
from fairlead.conversations.options import WriterStatistics
from fairlead.conversations.records import Record, RetentionRules, StorageStatistics
from fairlead.conversations.retention import Retention
from fairlead.conversations.writer import BatchedThreadWriter
from fairlead.core.clock import Clock
from fairlead.core.lifecycle import Resource
from fairlead.gateway.capture.masks import Masks
from fairlead.gateway.capture.recorder import TurnCapture
from fairlead.monitor.base import ThreadCounts
from fairlead.settings import CaptureSettings, RetentionSettings, Settings
from fairlead.web.base import Check

_DAY_MS = 24 * 3600 * 1000
_HOUR_MS = 3600 * 1000


class Threads(Resource):
    """What a process needs to keep conversations.

    A database that is away is no reason not to open: it is connected when it answers.
    """

    database: ConversationDatabase
    writer: BatchedThreadWriter
    capture: TurnCapture[Record] | None = None
    """None where nothing is captured."""

    def __init__(self, settings: Settings, data_dir: Path, clock: Clock, *, upkeep: bool) -> None:
        """`upkeep`: this process removes what is beyond retention; one of the workers does."""
        url = settings.storage.url.get_secret_value()
        origin = settings.server.region or "local"
        self._store = open_thread_store(url, data_dir, origin=origin, clock=clock)
        self._retention = Retention(self._store, rules(settings.retention), clock=clock)
        self._capturing = settings.capture
        self._clock = clock
        self._upkeep = upkeep
        self._stack = AsyncExitStack()

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._store)
            self.writer = await stack.enter_async_context(
                BatchedThreadWriter(self._store, clock=self._clock)
            )
            self.database = await stack.enter_async_context(
                ConversationDatabase(self._store, writer=self.writer, clock=self._clock)
            )
            if (capture := self._make_capture(self._capturing)) is not None:
                self.capture = await stack.enter_async_context(capture)
            if self._upkeep:
                await stack.enter_async_context(self._retention)
            self._stack = stack.pop_all()

    async def _close(self) -> None:
        await self._stack.aclose()

    def _make_capture(self, settings: CaptureSettings) -> TurnCapture[Record] | None:
        if settings.mode == "off":
            return None
        masks = Masks(settings.mask)
        recorder = TurnRecorder(self.writer, mode=settings.mode, masks=masks, clock=self._clock)
        return TurnCapture(recorder, clock=self._clock)

    def storage(self) -> StorageStatistics:
        """How the store is."""
        return self._store.statistics()

    def writing(self) -> WriterStatistics:
        """How the writer is."""
        return self.writer.statistics()

    def counts(self) -> ThreadCounts:
        """Everything that is told of conversations."""
        return ThreadCounts(
            storage=self.storage(),
            writer=self.writing(),
            capture=None if self.capture is None else self.capture.statistics(),
            pruned=self._retention.threads,
        )

    def check(self) -> Check:
        """Whether conversations can be written now. Model requests go on without them."""
        storage, writing = self.storage(), self.writing()
        detail = storage.detail or writing.last_error
        if writing.full:
            return Check(name="conversations", ok=False, detail=f"the disk is full: {detail}")
        ok = storage.available and writing.available
        return Check(
            name="conversations", ok=ok, detail=storage.backend if ok else f"away: {detail}"
        )


def rules(settings: RetentionSettings) -> RetentionRules:
    """Retention as the store takes it."""
    days = settings.max_age
    return RetentionRules(
        max_age=None if days is None else int(days * _DAY_MS),
        max_bytes=settings.max_bytes_per_tenant,
        deleted_age=int(settings.deleted_age * _HOUR_MS),
    )
