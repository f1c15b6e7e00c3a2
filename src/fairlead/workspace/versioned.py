"""Results that hold for one version of what they were made from, and are given again until then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from fairlead.core.lru import SizedLRU
from fairlead.workspace.threads import Threads

V = TypeVar("V")


class Versioned(Generic[V]):
    """Makes results in a thread and keeps the last used; belongs to one event loop."""

    def __init__(
        self, threads: Threads, max_entries: int, max_bytes: int, size: Callable[[V], int]
    ) -> None:
        self.hits = self.misses = 0
        self._threads = threads
        self._one_at_a_time = asyncio.Lock()
        self._kept: SizedLRU[Hashable, tuple[int, V]] = SizedLRU(
            max_entries, max_bytes, lambda kept: size(kept[1])
        )

    async def get(self, key: Hashable, version: int, make: Callable[[], tuple[int, V]]) -> V:
        """The result under `key` of `version` or a later one; else `make()`, which tells its own.

        Raises what `make` raises, and what `Threads.run` does.
        """
        if (kept := self._current(key, version)) is not None:
            return kept
        # One after the other, so that who asks for the same finds it made.
        async with self._one_at_a_time:
            if (kept := self._current(key, version)) is not None:
                return kept
            self.misses += 1
            made = await self._threads.run(make)
            self._kept.put(key, made)
            return made[1]

    def _current(self, key: Hashable, version: int) -> V | None:
        kept = self._kept.get(key)
        if kept is None or kept[0] < version:
            return None
        self.hits += 1
        return kept[1]

    def __len__(self) -> int:
        return len(self._kept)
