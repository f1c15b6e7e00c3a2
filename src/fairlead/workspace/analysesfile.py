"""The SQLite file of analyses: every call here blocks, and runs in one thread.

What is in it can be had again from the files themselves, so a file that is damaged, of another form
or away costs time and nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec

from fairlead.core.statements import load_statements
from fairlead.errors import StorageError
from fairlead.workspace.base import FileAnalysis

OLDEST_LIBRARY = (3, 51, 3)
"""Older ones can lose commits in WAL mode with two connections."""

_APPLICATION_ID = 0x666C7261
_SCHEMA_VERSION = 1
_BUSY_MS = 2000
_LOG_BYTES = 64 * 1024 * 1024
_ROW_BYTES = 200
"""What a row takes besides its key and value: its places in two indexes, its share of the pages."""
_LEFT_AFTER_EVICTION = 0.9
_PAGES_GIVEN_BACK = 4096
_UNTOUCHED_HOURS = 24
"""A row's time of use is written when it is so old: reads are seldom writes."""

_STATEMENTS = load_statements(__package__, "sql", "analyses.sql")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FileAnalysis).decode


class DamagedError(StorageError):
    """The file of analyses is corrupt, or has another form."""


class Totals(msgspec.Struct, frozen=True):
    """What the file holds."""

    entries: int = 0
    bytes: int = 0


class AnalysesFile:
    """The connection to the file, opened when it is needed and again after it has failed.

    Raises `StorageError`; `DamagedError` after it has set the file aside.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.totals = Totals()
        self._max_bytes = max_bytes
        self._connection: apsw.Connection | None = None
        self._inode = 0

    def close(self) -> None:
        """Close the connection; idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # With force, what a damaged file says to that is not raised.
            connection.close(force=True)

    def get(self, keys: Iterable[str], hour: int) -> dict[str, FileAnalysis]:
        """Those of `keys` that are there; `hour` is the time, in hours since 1970."""
        with self._opened() as connection:
            rows = list(connection.execute(_STATEMENTS["get"], _listed(keys)))
            found, spoilt = _decoded(rows)
            old = [key for key, used, _ in rows if used < hour - _UNTOUCHED_HOURS]
            if old or spoilt:
                with _immediate(connection):
                    connection.execute(_STATEMENTS["touch"], {**_listed(old), "used": hour})
                    connection.execute(_STATEMENTS["remove"], _listed(spoilt))
        return found

    def put(self, analyses: Mapping[str, FileAnalysis], hour: int) -> int:
        """Keep them; how many others were dropped for want of room."""
        rows = [_row(key, analysis, hour) for key, analysis in analyses.items()]
        with self._opened() as connection:
            with _immediate(connection):
                connection.executemany(_STATEMENTS["put"], rows)
                before, excess = self._totals(connection), 0
                if before.bytes > self._max_bytes:
                    excess = before.bytes - int(self._max_bytes * _LEFT_AFTER_EVICTION)
                    connection.execute(_STATEMENTS["evict"], {"excess": excess})
                self.totals = self._totals(connection)
            if excess:
                connection.execute(f"PRAGMA incremental_vacuum({_PAGES_GIVEN_BACK})").fetchall()
        return before.entries - self.totals.entries

    def _totals(self, connection: apsw.Connection) -> Totals:
        return Totals(*next(iter(connection.execute(_STATEMENTS["totals"]))))

    # ---- opening, and what cannot be used

    @contextmanager
    def _opened(self) -> Iterator[apsw.Connection]:
        """A connection for one job; after an error it is closed, and damage is set aside."""
        try:
            yield self._connected()
        except (apsw.CorruptError, apsw.NotADBError, DamagedError) as error:
            self.close()
            raise DamagedError(self._set_aside(str(error))) from error
        except (apsw.Error, OSError) as error:
            self.close()
            raise StorageError(f"{self.path}: {error}") from error

    def _connected(self) -> apsw.Connection:
        if self._connection is not None and self._is_in_place():
            return self._connection
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            connection = apsw.Connection(os.fspath(_made(self.path)))
            self._connection, self._inode = connection, self.path.stat().st_ino
            _prepare(connection)
        self.totals = self._totals(connection)
        return connection

    def _is_in_place(self) -> bool:
        try:
            return self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _set_aside(self, reason: str) -> str:
        """Rename the file, unless another process has done so; what was done."""
        if not self._is_in_place():
            return f"the analyses in {self.path} were replaced: {reason}"
        aside = self.path.with_name(f"{self.path.name}.unusable")
        try:
            with self._alone():
                # The log goes with it: left behind, it would be taken for the next file's.
                for companion in ("-wal", "-shm"):
                    self.path.with_name(self.path.name + companion).unlink(missing_ok=True)
                self.path.replace(aside)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be used and not be moved: {error}") from error
        return f"the analyses in {self.path} are set aside as {aside.name}: {reason}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While the file is made or moved; raises `OSError` where another process does that."""
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(lock)


def check_library(present: str) -> None:
    """Raise `StorageError` where SQLite is too old for several processes on one file."""
    if tuple(int(part) for part in present.split(".")) < OLDEST_LIBRARY:
        needed = ".".join(map(str, OLDEST_LIBRARY))
        raise StorageError(
            f"apsw brings SQLite {present}, the analyses need {needed}: "
            f"pip install --upgrade 'apsw>={needed}'"
        )


def _made(path: Path) -> Path:
    try:
        # Made with its mode at once: it holds signatures of anybody's code. An existing file is
        # not opened here, because closing it would drop SQLite's own locks on it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        path.chmod(0o600)
    return path


def _prepare(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(_BUSY_MS)
    connection.pragma("mmap_size", 0)
    fresh = _is_fresh(connection)
    if fresh:
        connection.pragma("auto_vacuum", "INCREMENTAL")
    connection.pragma("journal_mode", "WAL")
    # After a power cut the last analyses may be gone, after a kill none is.
    connection.pragma("synchronous", "NORMAL")
    connection.pragma("journal_size_limit", _LOG_BYTES)
    if fresh:
        with _immediate(connection):
            connection.execute(_STATEMENTS["schema"])
            connection.pragma("application_id", _APPLICATION_ID)
            connection.pragma("user_version", _SCHEMA_VERSION)


def _is_fresh(connection: apsw.Connection) -> bool:
    form = (connection.pragma("application_id"), connection.pragma("user_version"))
    tables = {name for (name,) in connection.execute(_STATEMENTS["tables"])}
    if form == (_APPLICATION_ID, _SCHEMA_VERSION) and tables >= {"analyses", "totals"}:
        return False
    if form != (0, 0) or tables:
        raise DamagedError(f"it has another form (id {form[0]:#x}, version {form[1]})")
    return True


@contextmanager
def _immediate(connection: apsw.Connection) -> Iterator[None]:
    """A write transaction: it waits for other processes here, where it can, not at a write."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # After some errors (a full disk) SQLite has rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _decoded(rows: Iterable[tuple[str, int, bytes]]) -> tuple[dict[str, FileAnalysis], list[str]]:
    """The analyses by key, and the keys of those that cannot be read."""
    found: dict[str, FileAnalysis] = {}
    spoilt: list[str] = []
    for key, _, value in rows:
        try:
            found[key] = _decode(value)
        except msgspec.DecodeError:
            spoilt.append(key)
    return found, spoilt


def _row(key: str, analysis: FileAnalysis, hour: int) -> dict[str, Any]:
    value = _encode(analysis)
    return {"key": key, "used": hour, "size": len(key) + len(value) + _ROW_BYTES, "value": value}


def _listed(keys: Iterable[str]) -> dict[str, Any]:
    return {"keys": json.dumps(list(keys))}
