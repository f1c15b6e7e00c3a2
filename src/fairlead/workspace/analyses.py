"""Analyses that outlast a run, or a repository's cache: in a SQLite file, or in memory.

Their keys are made of contents (see `gathering`), so nobody can ask for the analysis of a file
whose bytes he does not have already: one store serves all workspaces of all tenants.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.lru import SizedLRU
from fairlead.core.worker import LateError, WorkerThread
from fairlead.errors import CapacityError, StorageError
from fairlead.workspace.analysesfile import AnalysesFile, check_library
from fairlead.workspace.base import FileAnalysis

T = TypeVar("T")

ANALYSES_FILE = "analyses.sqlite"
"""In the data directory of a node."""
DEADLINE = 10.0
"""Seconds for a call, waiting included; later, what it asks for is analysed again."""
CLOSE_DEADLINE = 10.0
MAX_JOBS = 512
"""Calls that may wait for the thread."""

_MAX_ENTRIES = 200_000

logger = logging.getLogger("fairlead.workspace.analyses")


class StoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of a store of analyses; counts since it was made."""

    entries: int
    """In the file as last seen."""
    bytes: int
    max_bytes: int
    lookups: int
    """Keys that were asked for."""
    hits: int
    writes: int
    evictions: int
    failures: int
    """Calls that the file could not serve."""


class MemoryAnalysisStore:
    """An `AnalysisStore` in memory, bounded in bytes; the least recently used goes first.

    Analyses are kept as MessagePack, which takes a quarter of the room that their objects take.
    """

    def __init__(self, max_bytes: int = 128 * 1024 * 1024) -> None:
        self._values: SizedLRU[str, bytes] = SizedLRU(_MAX_ENTRIES, max_bytes, len)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(FileAnalysis).decode
        self._lookups = self._hits = self._writes = 0

    async def get(self, keys: Sequence[str]) -> dict[str, FileAnalysis]:
        """Those that are there."""
        found = {key: value for key in keys if (value := self._values.get(key)) is not None}
        self._lookups += len(keys)
        self._hits += len(found)
        return {key: self._decode(value) for key, value in found.items()}

    async def put(self, analyses: Mapping[str, FileAnalysis]) -> None:
        """Keep them."""
        for key, analysis in analyses.items():
            self._writes += self._values.put(key, self._encode(analysis))

    def statistics(self) -> StoreStatistics:
        """What it holds now."""
        return StoreStatistics(
            entries=len(self._values),
            bytes=self._values.bytes,
            max_bytes=self._values.max_bytes,
            lookups=self._lookups,
            hits=self._hits,
            writes=self._writes,
            evictions=self._values.evictions,
            failures=0,
        )


class SqliteAnalysisStore(Resource):
    """An `AnalysisStore` in a file that the processes of one machine share.

    Bounded in bytes: what was not used for longest goes first. It never fails: what the file cannot
    give is analysed again, which is counted and logged. A damaged file is set aside as
    `<name>.unusable` and begun anew. `open` raises `StorageError` where SQLite is too old.
    """

    def __init__(
        self, path: Path, *, max_bytes: int = 512 * 1024 * 1024, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self._clock = clock
        self._file = AnalysesFile(path, max_bytes)
        self._thread = WorkerThread("analyses", MAX_JOBS)
        self._lookups = self._hits = self._writes = self._evictions = self._failures = 0
        self._has_failed = False

    async def get(self, keys: Sequence[str]) -> dict[str, FileAnalysis]:
        """Those that are there."""
        self._lookups += len(keys)
        found = await self._ask(partial(self._file.get, keys, self._hour()))
        self._hits += len(found or ())
        return found or {}

    async def put(self, analyses: Mapping[str, FileAnalysis]) -> None:
        """Keep them."""
        evicted = await self._ask(partial(self._file.put, analyses, self._hour()))
        if evicted is not None:
            self._writes += len(analyses)
            self._evictions += evicted

    def statistics(self) -> StoreStatistics:
        """Counts of this process; entries and bytes of the whole file as last seen."""
        return StoreStatistics(
            entries=self._file.totals.entries,
            bytes=self._file.totals.bytes,
            max_bytes=self.max_bytes,
            lookups=self._lookups,
            hits=self._hits,
            writes=self._writes,
            evictions=self._evictions,
            failures=self._failures,
        )

    async def _open(self) -> None:
        check_library(apsw.sqlite_lib_version())
        self._thread.start()

    async def _close(self) -> None:
        try:
            await self._thread.stop(self._file.close, CLOSE_DEADLINE)
        except LateError as error:
            logger.warning("%s", error)

    async def _ask(self, job: Callable[[], T]) -> T | None:
        """The result of `job` in the file's thread; None where it has failed."""
        self.check_open()
        try:
            result = await self._thread.run(job, DEADLINE)
        except (StorageError, CapacityError, LateError) as error:
            self._failures += 1
            if not self._has_failed:  # else a full disk would say so for every batch
                logger.warning("analyses are not kept for now: %s", error)
            self._has_failed = True
            return None
        self._has_failed = False
        return result

    def _hour(self) -> int:
        return int(self._clock.time() // 3600)

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<SqliteAnalysisStore {self.path.name} {state}, {self._file.totals}>"
