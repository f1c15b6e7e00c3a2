"""What a `FileSystemCache` may keep and wait for, and what it tells of itself."""

from __future__ import annotations

import msgspec

MEBIBYTE = 1024 * 1024


class FileCacheOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a `FileSystemCache`; times in seconds."""

    max_bytes: int = 256 * MEBIBYTE
    """Of everything that is kept: contents, how paths were reached, results of globs."""
    max_entries: int = 65_536
    """Files whose content is kept; as many paths are known besides."""
    max_file_bytes: int = 16 * MEBIBYTE
    """A larger file is neither read nor written."""
    racy_age: float = 2.0
    """A file that was not so old when it was read is read again, to be sure."""
    glob_age: float = 5.0
    """So long a glob's result is used at most."""
    slow_stat: float = 0.005
    """Checks that take longer, as on network file systems, are made in threads."""
    slow_rest: float = 30.0
    """So long, and then it is tried again."""
    threads: int = 8
    """Blocking reads at a time."""
    max_waiting: int = 1000
    """Reads that may wait for a thread."""
    max_writes: int = 64
    """That may wait, with what they write."""
    deadline: float = 30.0
    """For a read or a write, waiting included."""
    watch: bool = True
    """Whether changes are watched for; nothing depends on it but when memory is given back."""
    max_watched: int = 8192
    """Directories; a workspace with more is not watched."""
    max_changes: int = 5000
    """So many changes at a time mean that nothing known is worth keeping."""


class FileCacheStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of a `FileSystemCache`; counts since it was made."""

    hits: int
    """Reads answered from memory."""
    misses: int
    """Reads that had to begin a read of the disk."""
    shared: int
    """Reads that waited for one that had begun already."""
    reads: int
    """Of the disk."""
    unchanged: int
    """Those of files too young to be believed, which had not changed."""
    writes: int
    bytes: int
    """Kept now."""
    entries: int
    """Contents kept now."""
    evictions: int
    """For want of room."""
    dropped: int
    """How often all was dropped: too many changes, a dead watcher, a root that went away."""
    glob_hits: int
    glob_misses: int
    watcher: str
    """`watching`, `off`, or why not."""
