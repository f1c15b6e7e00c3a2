"""States of upstreams that an operator has set, shared by the workers of one node."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fairlead.traffic.base import State

_log = logging.getLogger("fairlead")
_decode = msgspec.json.Decoder(dict[str, State]).decode


class SharedStates:
    """A small file in the node's run directory that every worker reads again when it changes.

    It lasts as long as the node: a restart begins anew. A file that cannot be read counts as empty.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "upstreams.json"
        self._lock = directory / "upstreams.lock"
        self._seen: tuple[int, int] | None = None

    def set(self, states: Mapping[str, State]) -> None:
        """Add to what was set before; of two workers that set the same, the last one wins."""
        with self._alone():
            self._write(self._read() | dict(states))

    def clear(self) -> None:
        """Forget everything that was set."""
        self._path.unlink(missing_ok=True)
        self._seen = None

    def forget(self, names: Collection[str]) -> None:
        """These are no longer the operator's: the configuration says something else by now."""
        with self._alone():
            states = self._read()
            if not states.keys().isdisjoint(names):
                self._write({name: state for name, state in states.items() if name not in names})

    def changed(self) -> dict[str, State]:
        """What is set, if the file has changed since it was read last, else nothing."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return {}
        self._seen = stamp
        return self._read()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Held for a moment by one worker at a time: two that write must not lose each other's."""
        with self._lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _read(self) -> dict[str, State]:
        try:
            return _decode(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            _log.warning("the states of upstreams that were set are lost: %s", error)
            return {}

    def _write(self, states: Mapping[str, State]) -> None:
        # Written beside and renamed: a reader finds the old file or the new one, never a part.
        beside = self._path.with_suffix(f".{os.getpid()}")
        beside.write_bytes(msgspec.json.encode(states))
        beside.replace(self._path)
