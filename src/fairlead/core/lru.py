"""Bounded maps: least recently used by entries and bytes, and a simpler one for memos."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class SizedLRU(Generic[K, V]):
    """At most `max_entries` values whose `size(value)` add up to at most `max_bytes`.

    `get` makes an entry the most recently used. A value larger than `max_bytes` is not kept (and
    replaces nothing but its own older version). Not thread-safe; no I/O.
    """

    def __init__(self, max_entries: int, max_bytes: int, size: Callable[[V], int]) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.bytes = 0
        self.evictions = 0
        self._size = size
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, now the most recently used, or None."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V) -> bool:
        """Keep `value`; returns False where it is too large to keep at all."""
        self.pop(key)
        size = self._size(value)
        if size > self.max_bytes or self.max_entries < 1:
            return False
        self._entries[key] = (value, size)
        self.bytes += size
        while self.bytes > self.max_bytes or len(self._entries) > self.max_entries:
            _, (_, old) = self._entries.popitem(last=False)
            self.bytes -= old
            self.evictions += 1
        return True

    def pop(self, key: K) -> V | None:
        """Take the value out, or None."""
        found = self._entries.pop(key, None)
        if found is None:
            return None
        self.bytes -= found[1]
        return found[0]

    def clear(self) -> None:
        """Drop everything; evictions are not counted for it."""
        self._entries.clear()
        self.bytes = 0

    def items(self) -> Iterator[tuple[K, V]]:
        """Keys and values, least recently used first; a copy, so the map may change meanwhile."""
        return iter([(key, value) for key, (value, _) in self._entries.items()])

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __repr__(self) -> str:
        return f"<SizedLRU {len(self)}/{self.max_entries} entries, {self.bytes}/{self.max_bytes} B>"


class Memo(Generic[K, V]):
    """At most `max_entries` values, the oldest out first: for results that can be had again.

    Cheaper than an LRU map, because reading changes nothing.
    """

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self._values: dict[K, V] = {}
        self.get = self._values.get
        """The value under a key, or None."""

    def put(self, key: K, value: V) -> None:
        """Keep `value`."""
        values = self._values
        if len(values) >= self.max_entries and key not in values:
            del values[next(iter(values))]
        values[key] = value

    def __len__(self) -> int:
        return len(self._values)
