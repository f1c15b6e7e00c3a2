"""Paths by pattern: what was listed is used again only while the directories say that it is true.

Everything here blocks.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence

from fairlead.core.clock import Clock
from fairlead.core.lru import SizedLRU
from fairlead.errors import StorageUnavailableError
from fairlead.workspace.globs import Glob, GlobResult, compile_glob
from fairlead.workspace.paths import Root
from fairlead.workspace.tree import TreeSnapshot

_PATH_BYTES = 100
"""Of a path of a result, about; its text is the listing's own."""
_MAX_PATTERNS = 256


class Globs:
    """Lists the paths of a root that match a pattern; from any thread."""

    def __init__(self, root: Root, clock: Clock, *, max_age: float, max_bytes: int) -> None:
        """A listing is at most `max_age` seconds old; results take at most about `max_bytes`."""
        self._root = root
        self._clock = clock
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._listings: dict[tuple[bool, bool], _Listing] = {}
        self._making = threading.Lock()
        self.hits = 0
        """Results that were there."""
        self.misses = 0

    def find(
        self, pattern: str, *, hidden: bool, ignored: bool, limit: int, deadline: float
    ) -> GlobResult:
        """The first `limit` paths, sorted; those of `.gitignore` and with dots where asked for.

        Raises `RequestError` 422 for what is no pattern, `StorageUnavailableError` where others'
        listing of the same takes longer than `deadline` seconds.
        """
        glob = compile_glob(pattern)
        listing = self._listing(hidden, ignored)
        if not listing.lock.acquire(timeout=deadline):
            raise StorageUnavailableError("the workspace is being listed, and that takes too long")
        try:
            found, was_known = listing.matching(pattern, glob, self._root)
        finally:
            listing.lock.release()
        self.hits += was_known
        self.misses += not was_known
        return GlobResult(paths=tuple(found[:limit]), is_complete=len(found) <= limit)

    def drop(self) -> None:
        """Forget all results."""
        with self._making:
            self._listings = {}

    @property
    def bytes(self) -> int:
        """That results take, about."""
        return sum(listing.results.bytes for listing in list(self._listings.values()))

    def _listing(self, hidden: bool, ignored: bool) -> _Listing:
        now = self._clock.monotonic()
        with self._making:
            listing = self._listings.get((hidden, ignored))
            if listing is None or now - listing.made > self._max_age:
                snapshot = TreeSnapshot(hidden=hidden, ignored=ignored, clock=self._clock)
                # There are four kinds of listings.
                listing = _Listing(snapshot, now, self._max_bytes // 4)
                self._listings[hidden, ignored] = listing
            return listing


class _Listing:
    """The paths of one kind, and what matched of them."""

    def __init__(self, snapshot: TreeSnapshot, made: float, max_bytes: int) -> None:
        self.made = made
        """When, in seconds."""
        self.lock = threading.Lock()
        self.results: SizedLRU[str, Sequence[str]] = SizedLRU(
            _MAX_PATTERNS, max_bytes, lambda paths: _PATH_BYTES * (1 + len(paths))
        )
        self._snapshot = snapshot
        self._paths: list[str] = []

    def matching(self, pattern: str, glob: Glob, root: Root) -> tuple[Sequence[str], bool]:
        """The paths that match now, and whether that was known; under the lock."""
        paths = [file.path for file in self._snapshot.again(root).files]
        if paths != self._paths:
            self.results.clear()
            self._paths = paths
        known = self.results.get(pattern)
        if known is not None:
            return known, True
        found = [path for path in _below(paths, glob.base) if glob.matches(path)]
        self.results.put(pattern, found)
        return found, False


def _below(paths: Sequence[str], base: str) -> Sequence[str]:
    """Those of sorted paths that lie in a directory."""
    if not base:
        return paths
    # After "/" comes "0".
    return paths[bisect_left(paths, f"{base}/") : bisect_left(paths, f"{base}0")]
