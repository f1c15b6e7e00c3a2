"""The memory tier: synchronous, because it is asked on every cacheable request."""

from __future__ import annotations

import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lru import SizedLRU
from fairlead.gateway.base import CacheKey, PurgeSelector, StoredResponse


class MemoryEntry(msgspec.Struct):
    """A stored answer and what happened to it since it came into memory."""

    key: CacheKey
    response: StoredResponse
    hits: int = 0
    persisted: bool = False
    """It is in the persistent store already, or on its way there."""


class MemoryStatistics(msgspec.Struct, frozen=True):
    """What the tier holds now, and counts since it was made."""

    entries: int
    bytes: int
    evictions: int
    expired: int


class MemoryTier:
    """Least recently used answers, bounded by entries and by bytes.

    `ttl` (seconds) counts from `StoredResponse.created`, on the wall clock. Not thread-safe.
    """

    def __init__(
        self,
        max_entries: int = 1000,
        max_bytes: int = 256 * 1024 * 1024,
        ttl: float = 3600.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.ttl = ttl
        self._clock = clock
        self._expired = 0
        self._entries: SizedLRU[bytes, MemoryEntry] = SizedLRU(
            max_entries, max_bytes, lambda entry: entry.response.size
        )

    def get(self, key: CacheKey, max_age: float | None = None) -> MemoryEntry | None:
        """The entry, counted as a hit; None where there is none younger than the limits.

        One beyond `ttl` is dropped; one only beyond the caller's `max_age` is kept for others.
        """
        entry = self._entries.get(key.digest)
        if entry is None:
            return None
        age = self._clock.time() - entry.response.created
        if age > self.ttl:
            self._entries.pop(key.digest)
            self._expired += 1
            return None
        if max_age is not None and age > max_age:
            return None
        entry.hits += 1
        return entry

    def put(
        self, key: CacheKey, response: StoredResponse, *, persisted: bool = False
    ) -> MemoryEntry:
        """Keep `response`, if it is not larger than the whole tier; the entry either way."""
        entry = MemoryEntry(key, response, persisted=persisted)
        self._entries.put(key.digest, entry)
        return entry

    def purge(self, selector: PurgeSelector) -> int:
        """Remove what is selected; how many entries went."""
        selected = [
            digest for digest, entry in self._entries.items() if selector.matches(entry.key)
        ]
        for digest in selected:
            self._entries.pop(digest)
        return len(selected)

    def statistics(self) -> MemoryStatistics:
        """What it holds now."""
        entries = self._entries
        return MemoryStatistics(len(entries), entries.bytes, entries.evictions, self._expired)

    def __repr__(self) -> str:
        return f"<MemoryTier {self._entries!r}>"
