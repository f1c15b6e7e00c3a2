"""Cache files that cannot be used: moved out of the way, for whoever wants to look at them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

KEPT = 2
"""So many files that were set aside stay; older ones are deleted."""

_COMPANIONS = ("-wal", "-shm")
_TRIES, _PAUSE = 100, 0.05


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file beside `path`: who makes or moves the file does it alone.

    Without it one process could delete the write-ahead log of the file that another has just made.
    Blocks the thread for up to 5 seconds; raises `OSError`.
    """
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(lock)
        yield
    finally:
        os.close(lock)


def _lock(descriptor: int) -> None:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        else:
            return
    raise TimeoutError("another process keeps the cache file's lock")


def set_aside(path: Path) -> Path:
    """Rename `path` and its log to `<name>.unusable-<UTC time>`; the new name. Raises `OSError`."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    aside = path.with_name(f"{path.name}.unusable-{stamp}")
    # The log goes first: left behind, it would be taken for the next file's.
    for companion in (*_COMPANIONS, ""):
        current = path.with_name(path.name + companion)
        if current.exists():
            current.rename(aside.with_name(aside.name + companion))
    _forget_old(path)
    return aside


def _forget_old(path: Path) -> None:
    files = path.parent.glob(f"{path.name}.unusable-*")
    kept = sorted(file for file in files if not file.name.endswith(_COMPANIONS))
    for old in kept[:-KEPT]:
        for companion in (*_COMPANIONS, ""):
            old.with_name(old.name + companion).unlink(missing_ok=True)
