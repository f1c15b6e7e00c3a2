"""States of upstreams that an operator has set, shared by the workers of one node."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from fairlead.traffic.base import State

_decode = msgspec.json.Decoder(dict[str, State]).decode


class SharedStates:
    """A small file in the node's run directory that every worker reads again when it changes.

    It lasts as long as the node: a restart begins anew.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "upstreams.json"
        self._seen: tuple[int, int] | None = None

    def set(self, states: Mapping[str, State]) -> None:
        """Add to what was set before; the last to write wins."""
        self._write(self._read() | dict(states))

    def clear(self) -> None:
        """Forget everything that was set."""
        self._path.unlink(missing_ok=True)
        self._seen = None

    def forget(self, names: Collection[str]) -> None:
        """These are no longer the operator's: the configuration says something else by now."""
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

    def _write(self, states: Mapping[str, State]) -> None:
        # Written beside and renamed: a reader finds the old file or the new one, never a part.
        beside = self._path.with_suffix(f".{os.getpid()}")
        beside.write_bytes(msgspec.json.encode(states))
        beside.replace(self._path)
