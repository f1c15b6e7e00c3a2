"""One answer to a scrape for all workers of a node: each writes its snapshot, any merges them.

Files are written aside and renamed, so a reader sees a whole snapshot or the one before. A worker
that dies leaves its last file: its counters stay, its gauges go once the file is stale.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import ErrorHandler, TaskOwner, log_failure
from fairlead.monitor.base import Snapshot
from fairlead.monitor.merge import merge

_log = logging.getLogger("fairlead.monitor")
SUFFIX = ".metrics"
FAILURES = "fairlead_metrics_snapshot_failures_total"


class SnapshotTimes(msgspec.Struct, frozen=True):
    """How often a worker writes, and after how long without a new file it is taken for dead."""

    interval: float = 1.0
    stale_after: float = 10.0


def clear_run_directory(directory: Path) -> None:
    """Make `directory` (mode 0700) and remove an earlier run's files; before any worker starts."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for pattern in (f"*{SUFFIX}", f"*{SUFFIX}.new"):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)


class WorkerSnapshots(Resource):
    """Writes this worker's snapshot about once a second and reads the others' at a scrape.

    `worker_id` names the worker's place among its siblings (letters, digits, `-`, `_`). A worker
    that takes the place of a dead one takes over its counters, so use places (0 to N - 1), not
    process ids: then there are never more files than places.
    """

    def __init__(
        self,
        directory: Path,
        worker_id: str,
        collect: Callable[[], Snapshot],
        *,
        complete: Callable[[Snapshot], None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        on_error: ErrorHandler = log_failure,
        times: SnapshotTimes = SnapshotTimes(),  # noqa: B008 - frozen
    ) -> None:
        """`collect` runs on the event loop; `complete` adds what needs reading, in a thread."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", worker_id):
            raise ValueError(f"not usable in a file name: {worker_id!r}")
        self._directory = directory
        self._path = directory / f"{worker_id}{SUFFIX}"
        self._collect = collect
        self._complete = complete
        self._clock = clock
        self._times = times
        self._tasks = TaskOwner(on_error)
        self._base = Snapshot()
        self._files = threading.Lock()
        self._ended = False
        self.failures = 0
        """Snapshots that could not be written or read."""

    async def _open(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._base = self._read(self._path) or Snapshot()
        await self._tasks.open()
        self._tasks.spawn(self._run(), "metrics snapshots")

    async def _close(self) -> None:
        await self._tasks.close()
        await self._write(live=False)

    async def _run(self) -> None:
        while True:
            await self._write(live=True)
            await self._clock.sleep(self._times.interval)

    async def _write(self, *, live: bool) -> None:
        own = self._collect()
        written = self._clock.time()
        await asyncio.to_thread(self._save, own, written, live)

    def _save(self, own: Snapshot, written: float, live: bool) -> None:
        if self._complete is not None:
            self._complete(own)
        snapshot = self._with_base(own)
        snapshot.written, snapshot.live = written, live
        # A cancelled write goes on in its thread: it must not overwrite the last word.
        with self._files:
            if self._ended:
                return
            self._ended = not live
            try:
                _replace(self._path, msgspec.msgpack.encode(snapshot))
            except OSError:
                self.failures += 1

    def merged(self, own: Snapshot) -> Snapshot:
        """`own`, complete, and what the other workers have written, in one; reads files."""
        now = self._clock.time()
        parts = [(self._with_base(own), True)]
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            if path != self._path and (other := self._read(path)) is not None:
                fresh = now - other.written <= self._times.stale_after
                parts.append((other, other.live and fresh))
        return merge(parts)

    def _with_base(self, own: Snapshot) -> Snapshot:
        snapshot = merge([(own, True), (self._base, False)])
        snapshot.add(FAILURES, self.failures)
        return snapshot

    def _read(self, path: Path) -> Snapshot | None:
        try:
            return msgspec.msgpack.decode(path.read_bytes(), type=Snapshot)
        except FileNotFoundError:
            return None  # a first start, or cleared between listing and reading
        except (OSError, msgspec.DecodeError) as error:
            if not self.failures:
                _log.warning("the metrics of %s are left out: %s", path.name, error)
            self.failures += 1
            return None


def _replace(path: Path, data: bytes) -> None:
    aside = path.with_name(path.name + ".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    descriptor = os.open(aside, flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    aside.replace(path)
