"""Contents and stats from memory, where a look at the disk says that they are what is there now."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from fairlead.core.clock import Clock
from fairlead.core.tasks import TaskOwner
from fairlead.errors import FairleadError
from fairlead.workspace.base import Content, FileInfo
from fairlead.workspace.fileoptions import FileCacheOptions
from fairlead.workspace.flights import Flight
from fairlead.workspace.keeping import Entry, Kept, Pace
from fairlead.workspace.paths import Root, info_of, split_path
from fairlead.workspace.reading import Reading, read_file
from fairlead.workspace.stamps import is_young, stamp_of
from fairlead.workspace.threads import Threads
from fairlead.workspace.walking import Trail

T = TypeVar("T")


class CachedReads:
    """What a `FileSystemCache` reads, from when it is opened to when it is closed."""

    def __init__(
        self,
        root: Root,
        kept: Kept,
        options: FileCacheOptions,
        clock: Clock,
        *,
        tasks: TaskOwner,
        threads: Threads,
    ) -> None:
        self.hits = 0
        """Contents from memory."""
        self.counts: Counter[str] = Counter()
        """misses, shared, reads, unchanged, dropped: as in `FileCacheStatistics`."""
        self._root = root
        self._kept = kept
        self._options = options
        self._clock = clock
        self._tasks = tasks
        self._threads = threads
        self._pace = Pace(clock, options.slow_stat, options.slow_rest)
        self._flights: dict[str, Flight[Content]] = {}
        self._mounts = 0

    async def read(self, path: str) -> Content:
        """The whole content of a file, as it is now."""
        entry = self._kept.contents.get(path)
        if entry is not None and not entry.is_young and self._pace.is_quick():
            status = self._look(entry.trail)
            if status is not None and stamp_of(status) == entry.content.stamp:
                self.hits += 1
                return entry.content
        return await self._read_anew(path)

    async def stat(self, path: str) -> FileInfo:
        """What a path leads to, as it is now."""
        trail = self._kept.trails.get(path)
        if trail is not None and self._pace.is_quick():
            status = self._look(trail)
            if status is not None:
                return info_of(path, status)
        parts = split_path(path)
        moment = self._clock.time()
        info, found = await self.on_disk(partial(self._root.find, parts))
        self._keep_trail(info.path, found, moment)
        return info

    async def on_disk(self, job: Callable[[], T]) -> T:
        """The result of `job()` from a thread, with the root that its path leads to now."""

        def mounted() -> T:
            self._root.mount()
            return job()

        try:
            return await self._threads.run(mounted)
        finally:
            self.notice_mount()

    def keep(self, reading: Reading, moment: float) -> Content:
        """The content to answer with, kept where it may be given again.

        `moment` is as in `is_young`.
        """
        content = reading.content
        if not reading.is_settled:
            self._kept.contents.pop(content.path)
            return content
        old = self._kept.contents.get(content.path)
        if old is not None and old.content == content:
            self.counts["unchanged"] += 1
            content = old.content  # and not its bytes twice in memory
        known = self._keep_trail(content.path, reading.trail, moment)
        young = not known or is_young(content.stamp, moment, self._options.racy_age)
        self._kept.contents.put(content.path, Entry(content, reading.trail, young))
        return content

    def _keep_trail(self, path: str, trail: Trail, moment: float) -> bool:
        """Whether the trail will show whatever changes on it; kept only then."""
        if trail.is_young(moment, self._options.racy_age):
            self._kept.trails.pop(path)
            return False
        self._kept.trails.put(path, trail)
        return True

    def drop(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.counts["dropped"] += 1

    def notice_mount(self) -> None:
        """Drop everything where the root's path has come to lead to another directory."""
        if self._mounts != self._root.mounts:
            self._mounts = self._root.mounts
            self.drop()

    # ---- one read

    async def _read_anew(self, path: str) -> Content:
        parts = split_path(path)
        key = "/".join(parts)
        if key != path:
            return await self.read(key)
        if not self._pace.is_quick() and (content := await self._unchanged(key)):
            self.hits += 1
            return content
        flight = self._flights.get(key)
        if flight is None:
            return await self._fly(key, parts).result()
        self.counts["shared"] += 1
        if not flight.has_begun:
            return await flight.result()
        # It may have opened the file before this caller asked: what it brings is true only if it
        # still is. Whatever begins after it began after this caller asked.
        await flight.ended()
        if content := await self._unchanged(key):
            return content
        return await (self._flights.get(key) or self._fly(key, parts)).result()

    async def _unchanged(self, key: str) -> Content | None:
        """What is kept, where a look at the disk says that it is what is there now."""
        entry = self._kept.contents.get(key)
        if entry is None or entry.is_young:
            return None
        if self._pace.is_quick():
            status = self._look(entry.trail)
        else:
            status = await self.on_disk(partial(self._root.status_along, entry.trail))
        if status is None or stamp_of(status) != entry.content.stamp:
            return None
        return entry.content

    def _fly(self, key: str, parts: Sequence[str]) -> Flight[Content]:
        """Begin to read a file."""
        self.counts["misses"] += 1
        flight: Flight[Content] = Flight()
        flight.start(partial(self._load, parts), self._tasks, f"read {key}")
        self._flights[key] = flight
        return flight

    async def _load(self, parts: Sequence[str], flight: Flight[Content]) -> Content:
        key = "/".join(parts)
        # Before the file is opened, so that whatever is written later is younger.
        moment = self._clock.time()

        def job() -> Reading:
            flight.has_begun = True
            return read_file(self._root, parts, self._options.max_file_bytes)

        try:
            reading = await self.on_disk(job)
        except FairleadError:
            self._kept.contents.pop(key)
            raise
        finally:
            del self._flights[key]
        self.counts["reads"] += 1
        return self.keep(reading, moment)

    def _look(self, trail: Trail) -> os.stat_result | None:
        """What is at the end of the trail now: on the event loop, and noting how long it takes."""
        began = self._clock.monotonic()
        is_there = self._root.is_mounted()
        status = self._root.status_along(trail) if is_there else None
        self._pace.took(self._clock.monotonic() - began)
        if not is_there:
            self.drop()
        return status
