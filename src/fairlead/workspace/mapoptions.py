"""What a `RepositoryAnalysisCache` may keep and wait for, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fairlead.workspace.base import SkipReason

MEBIBYTE = 1024 * 1024


class RepositoryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a `RepositoryAnalysisCache`; times in seconds."""

    max_files: int = 100_000
    """Of the tree; a larger one is refused (`RequestError` 413)."""
    max_maps: int = 64
    """Kept, each for its budget and focus, and as many graphs of dependencies; the least recently
    used goes first."""
    max_map_bytes: int = 16 * MEBIBYTE
    """Of the texts of all maps that are kept, and about so many of the graphs."""
    deadline: float = 600.0
    """For the analysis of what has changed; what is done by then is not lost."""
    step_deadline: float = 120.0
    """For each look at the tree, each ranking, and each read of a few files."""
    threads: int = 4
    """That read files."""
    lanes: int = 4
    """Batches that are read, looked up and analysed at a time."""
    batch_files: int = 64
    batch_bytes: int = MEBIBYTE
    """Of files that are read together: so much memory a lane takes, or its largest file."""
    racy_age: float = 2.0
    """A file that was not so old when it was read is read again, to be sure."""


class RepositoryStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of a `RepositoryAnalysisCache`; counts since it was opened."""

    head: str | None
    """The commit (or the branch that has none yet) as last seen; None without git."""
    files: int
    """Of the tree as last seen."""
    skipped: Mapping[SkipReason, int]
    broken: int
    looks: int
    """How often the tree was looked at."""
    unchanged: int
    """How many of those found everything as it was."""
    shared: int
    """Calls that waited for a look that another had asked for."""
    read: int
    """Files that were read."""
    found: int
    """Those whose analysis the store had."""
    analysed: int
    """Those that had to be analysed."""
    map_hits: int
    map_misses: int
    maps: int
    """Kept now."""
