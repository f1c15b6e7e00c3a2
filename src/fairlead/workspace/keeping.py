"""What a `FileSystemCache` keeps, and how it decides whether to look on the event loop."""

from __future__ import annotations

from typing import NamedTuple

from fairlead.core.clock import Clock
from fairlead.core.lru import SizedLRU
from fairlead.workspace.base import Content
from fairlead.workspace.fileoptions import FileCacheOptions
from fairlead.workspace.walking import Trail

_OVERHEAD = 512
"""Bytes that an entry takes besides what it holds, about."""
_STEP_BYTES = 256
_STRIKES = 3
"""One slow check may be the machine's fault; so many one after the other are the disk's."""


class Entry(NamedTuple):
    """A content that is given again as long as its stamp is the file's."""

    content: Content
    trail: Trail
    is_young: bool
    """A later write might have left the same stamp: read it again."""


def small_part(options: FileCacheOptions) -> int:
    """Bytes for what is small beside contents: one part for trails, one for results of globs."""
    return options.max_bytes // 16


class Kept:
    """Contents and trails, bounded in bytes together with results of globs; no I/O."""

    def __init__(self, options: FileCacheOptions) -> None:
        part = small_part(options)
        self.contents: SizedLRU[str, Entry] = SizedLRU(
            options.max_entries, options.max_bytes - 2 * part, _entry_bytes
        )
        self.trails: SizedLRU[str, Trail] = SizedLRU(options.max_entries, part, _trail_bytes)

    def clear(self) -> None:
        """Drop everything."""
        self.contents.clear()
        self.trails.clear()

    @property
    def bytes(self) -> int:
        """Of all that is kept."""
        return self.contents.bytes + self.trails.bytes


class Pace:
    """Whether checks are quick enough to be made on the event loop."""

    def __init__(self, clock: Clock, limit: float, rest: float) -> None:
        """More than `limit` seconds is slow; after `rest` seconds it is tried again."""
        self._monotonic = clock.monotonic
        self._limit = limit
        self._rest = rest
        self._strikes = 0
        self._until = 0.0

    def is_quick(self) -> bool:
        """Whether to make the next check on the event loop."""
        return self._strikes < _STRIKES or self._monotonic() >= self._until

    def took(self, seconds: float) -> None:
        """A check on the event loop has taken so long."""
        if seconds <= self._limit:
            self._strikes = 0
            return
        self._strikes += 1
        self._until = self._monotonic() + self._rest


def _entry_bytes(entry: Entry) -> int:
    return len(entry.content.data) + _trail_bytes(entry.trail)


def _trail_bytes(trail: Trail) -> int:
    return _OVERHEAD + len(trail.path) + _STEP_BYTES * len(trail.steps)
