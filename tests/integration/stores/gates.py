"""Gates that hold up the threads of a SQLite store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable

from fairlead.gateway.stores.readers import MAX_READERS
from fairlead.gateway.stores.sqlite import SqliteResponseStore


class _Gate:
    """Where threads stand until it is opened."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._open = threading.Event()
        self._reached = threading.Semaphore(0)
        self._held: list[asyncio.Future[None]] = []

    def hold(self, *works: Awaitable[None]) -> None:
        """Works that end in `wait`."""
        self._held += [asyncio.ensure_future(work) for work in works]

    def wait(self, *_: object) -> None:
        """What the threads do."""
        self._reached.release()
        assert self._open.wait(10)

    async def reached(self) -> None:
        """All threads stand."""
        for _ in range(self._threads):
            assert await asyncio.to_thread(self._reached.acquire, timeout=10)

    async def open(self) -> None:
        """Let them go on."""
        self._open.set()
        await asyncio.gather(*self._held)


class WriterGate(_Gate):
    """Holds up a store's writing thread."""

    def __init__(self, store: SqliteResponseStore) -> None:
        super().__init__(1)
        self.hold(store._worker.run(self.wait, 10))


class ReadersGate(_Gate):
    """Holds up some of a store's reading threads, or all."""

    def __init__(self, store: SqliteResponseStore, threads: int = MAX_READERS) -> None:
        super().__init__(threads)
        assert store._readers is not None
        self.hold(*(store._readers.run(self.wait, 10) for _ in range(threads)))
