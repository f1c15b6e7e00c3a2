"""The response cache's SQLite file: every call here blocks, and runs in a thread of the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec

from fairlead.core.ids import request_id
from fairlead.errors import CacheStoreError
from fairlead.gateway.base import CacheKey, PurgeSelector
from fairlead.gateway.stores.aside import exclusive, set_aside
from fairlead.gateway.stores.sqlopen import (
    STATEMENTS,
    OtherFormError,
    UnusableFileError,
    connect,
    disconnect,
    immediate,
    translated,
)

MAX_ENTRIES = 100_000
"""So that the index of digests in each process stays small: about 10 MB."""

_PAGE = 4096
_FREE_PAGES_KEPT = 1024
_PAGES_GIVEN_BACK = 2048
_INDEX_SLACK = 1000


class Row(msgspec.Struct, frozen=True):
    """An entry on its way into the file."""

    key: CacheKey
    created: float
    value: bytes

    @property
    def size(self) -> int:
        """Bytes it takes in the file, about: long values have whole pages of their own."""
        plain = len(self.value) + 300
        return plain if plain < _PAGE // 2 else -(-plain // _PAGE) * _PAGE


class Totals(msgspec.Struct, frozen=True):
    """What the file holds."""

    entries: int = 0
    bytes: int = 0


class News(msgspec.Struct, frozen=True):
    """What other processes have done since the last look."""

    totals: Totals
    added: list[bytes]
    everything: set[bytes] | None
    """All digests, where some were removed; else None."""
    purges: list[PurgeSelector]


class Removed(msgspec.Struct):
    """What made room."""

    digests: list[bytes] = []
    evicted: int = 0
    """How many of them were not expired."""


def read_value(
    path: Path, digest: bytes, oldest: float, connection: apsw.Connection
) -> bytes | None:
    """The value of an entry created at `oldest` or later; raises as `CacheFile` does."""
    with translated(path):
        rows = list(connection.execute(STATEMENTS["get"], {"digest": digest, "oldest": oldest}))
    return bytes(rows[0][0]) if rows else None


class CacheFile:
    """The connection that writes and looks after the file.

    Raises `CacheStoreError`; `UnusableFileError` is one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sender = request_id()
        self._connection: apsw.Connection | None = None
        self.inode = 0
        """Which file was opened last: a path may come to mean another."""
        self._seen_version = 0
        self._last_entry = 0
        self._last_purge = 0

    # ---- opening, and what cannot be used

    def open(self, *, replace: bool) -> str | None:
        """Open or make it. Corrupt, it is set aside first: then the result tells so.

        `replace` does the same to a file of another form. Without it such a file is left alone:
        two versions that run at once must not take it from each other for ever.
        """
        self.close()
        with translated(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(self.path):
                told = None
                try:
                    self._connection = connect(self.path)
                except UnusableFileError as error:
                    if isinstance(error, OtherFormError) and not replace:
                        raise
                    told = self._set_aside(str(error))
                    self._connection = connect(self.path)
                self.inode = self.path.stat().st_ino
                return told

    def condemn(self, inode: int, reason: str) -> None:
        """Raise `UnusableFileError` if that file, in which a reader found damage, is still open."""
        if self.is_open and self.inode == inode:
            raise UnusableFileError(reason)

    def abandon(self, reason: str) -> str:
        """Close it and set it aside, unless another process has done that; what was done."""
        self.close()
        with translated(self.path), exclusive(self.path):
            if self._is_moved():
                return f"the response cache {self.path} was replaced: {reason}"
            return self._set_aside(reason)

    def _set_aside(self, reason: str) -> str:
        aside = set_aside(self.path)
        return f"the response cache {self.path} is set aside as {aside.name}: {reason}"

    def _is_moved(self) -> bool:
        try:
            return self.path.stat().st_ino != self.inode
        except FileNotFoundError:
            return True

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def close(self) -> None:
        """Close the connection; idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            disconnect(connection)

    # ---- entries

    def remove(self, digest: bytes) -> None:
        """Drop one entry."""
        with self._transaction():
            self._execute("remove", {"digest": digest})

    def put(self, rows: Iterable[Row], used: dict[bytes, float], now: float) -> None:
        """Write entries and times of use, in one transaction."""
        with self._transaction():
            for row in rows:
                self._execute("remove", {"digest": row.key.digest})
                self._execute("put", _parameters(row, now))
            for digest, when in used.items():
                self._execute("touch", {"digest": digest, "used": when})

    def shrink(self, max_bytes: int, oldest: float) -> Removed:
        """Drop some of what is expired and, least recently used first, all that is too much."""
        with self._transaction():
            removed = Removed([row[0] for row in self._execute("expire", {"oldest": oldest})])
        while evicted := self._evict(max_bytes):
            removed.digests += evicted
            removed.evicted += len(evicted)
        if removed.digests:
            self._give_back()
        return removed

    def _evict(self, max_bytes: int) -> list[bytes]:
        """One small step of making room."""
        totals = self.totals()
        excess = {"bytes": totals.bytes - max_bytes, "entries": totals.entries - MAX_ENTRIES}
        if max(excess.values()) <= 0:
            return []
        with self._transaction():
            return [row[0] for row in self._execute("evict", excess)]

    def _give_back(self) -> None:
        # Free pages that the next entries will need anyway stay in the file.
        free = self._run("PRAGMA freelist_count")[0][0] - _FREE_PAGES_KEPT
        if free > 0:
            self._run(f"PRAGMA incremental_vacuum({min(free, _PAGES_GIVEN_BACK)})")

    def totals(self) -> Totals:
        """What it holds."""
        return Totals(*self._execute("totals")[0])

    # ---- purging

    def select(self, selector: PurgeSelector) -> list[tuple[int, bytes]]:
        """Row numbers and digests of the entries that are selected."""
        return self._execute("selected", msgspec.structs.asdict(selector))

    def remove_rows(self, numbers: Iterable[int]) -> int:
        """Drop these rows, as far as they are there still; how many were."""
        with self._transaction():
            return sum(len(self._execute("remove_row", {"seq": number})) for number in numbers)

    def announce(self, selector: PurgeSelector) -> None:
        """Tell the other processes of a purge."""
        with self._transaction():
            parameters = {"sender": self._sender, **msgspec.structs.asdict(selector)}
            self._execute("announce", parameters)
            self._execute("forget_announcements")

    # ---- what other processes do

    def load(self) -> tuple[set[bytes], Totals]:
        """All digests; `news` goes on from here."""
        # In this order what comes meanwhile is told twice, never missed.
        self._seen_version = self._run("PRAGMA data_version")[0][0]
        self._last_purge = self._execute("last_announcement")[0][0]
        return self._all_digests(), self.totals()

    def _all_digests(self) -> set[bytes]:
        self._last_entry = self._execute("last_entry")[0][0]
        return {row[0] for row in self._execute("digests")}

    def news(self, known: int) -> News | None:
        """What other processes wrote since the last call; None where nothing was.

        `known` is how many digests the caller has: far more than there are, and they are told
        anew. Raises `UnusableFileError` where the file is no longer at its place.
        """
        if self.is_open and self._is_moved():
            raise UnusableFileError("it is no longer at its place")
        version = self._run("PRAGMA data_version")[0][0]
        if version == self._seen_version:
            return None
        self._seen_version = version
        purges, totals = self._purges_of_others(), self.totals()
        rows = self._execute("digests_after", {"seq": self._last_entry})
        if purges or known + len(rows) > 2 * totals.entries + _INDEX_SLACK:
            return News(totals, [], self._all_digests(), purges)
        if rows:
            self._last_entry = rows[-1][0]
        return News(totals, [row[1] for row in rows], None, purges)

    def _purges_of_others(self) -> list[PurgeSelector]:
        rows = self._execute("announcements_after", {"id": self._last_purge})
        if not rows:
            return []
        # Old announcements are forgotten: a gap means that some were missed.
        missed = rows[0][0] > self._last_purge + 1
        self._last_purge = rows[-1][0]
        if missed:
            return [PurgeSelector()]
        return [
            PurgeSelector(digest, model, tenant)
            for _, sender, digest, model, tenant in rows
            if sender != self._sender
        ]

    # ---- SQLite

    def _execute(self, name: str, parameters: dict[str, Any] | None = None) -> list[Any]:
        return self._run(STATEMENTS[name], parameters)

    def _run(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Any]:
        with translated(self.path):
            return list(self._connected().execute(sql, parameters or {}))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated(self.path), immediate(self._connected()):
            yield

    def _connected(self) -> apsw.Connection:
        if self._connection is None:
            raise CacheStoreError(f"{self.path} is not open")
        return self._connection


def _parameters(row: Row, now: float) -> dict[str, Any]:
    return {
        "digest": row.key.digest,
        "tenant": row.key.tenant,
        "model": row.key.model,
        "created": row.created,
        "used": now,
        "size": row.size,
        "value": row.value,
    }
