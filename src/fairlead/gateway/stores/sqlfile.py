"""The response cache's SQLite file: every call here blocks, and runs in the store's one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from fairlead.errors import CacheStoreError
from fairlead.gateway.base import CacheKey, PurgeSelector

OLDEST_LIBRARY = (3, 51, 3)
"""Older ones can lose commits in WAL mode with two connections."""

MAX_ENTRIES = 100_000
"""So that the index of digests in each process stays small."""

T = TypeVar("T")

_APPLICATION_ID = 0x666C7263
_SCHEMA_VERSION = 1
_BUSY_MS = 2000
_KEPT_ASIDE = 2
_EVICTION_STEPS = 64
_UNUSABLE = (apsw.CorruptError, apsw.NotADBError)


class Row(msgspec.Struct, frozen=True):
    """An entry on its way into the file."""

    key: CacheKey
    created: float
    value: bytes


class Change(msgspec.Struct):
    """What other processes have done since the last look."""

    digests: list[bytes]
    purges: list[PurgeSelector]


class UnusableFileError(CacheStoreError):
    """The cache file is corrupt, or not one of this version."""


def _load_statements() -> dict[str, str]:
    text = files(__package__).joinpath("sqlite.sql").read_text(encoding="utf-8")
    blocks = (block.partition("\n") for block in text.split("-- name: ")[1:])
    return {name.strip(): sql.strip() for name, _, sql in blocks}


_SQL = _load_statements()


class CacheFile:
    """One connection to the file. Raises `CacheStoreError`; `UnusableFileError` is one."""

    def __init__(self, path: Path, sender: str) -> None:
        self.path = path
        self._sender = sender
        self._connection: apsw.Connection | None = None
        self._inode = 0
        self._seen_version = -1
        self._last_seq = 0
        self._last_purge = 0

    def open(self, on_warning: Callable[[str], None]) -> None:
        """Open or make it; one that cannot be used is set aside first."""
        _check_library()
        try:
            self._connect()
        except UnusableFileError as error:
            self.set_aside(str(error), on_warning)
            self._connect()

    def _connect(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Made with its mode at once: it holds answers to prompts.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self._inode = self.path.stat().st_ino
            self._connection = apsw.Connection(str(self.path))
            self._prepare(self._connection)
            self._last_purge = self._one("last_announcement")
        except _UNUSABLE as error:
            self.close()
            raise UnusableFileError(f"it is not a readable database ({error})") from error
        except UnusableFileError:
            self.close()
            raise
        except (apsw.Error, OSError) as error:
            self.close()
            raise CacheStoreError(f"{self.path}: {error}") from error

    def _prepare(self, connection: apsw.Connection) -> None:
        connection.set_busy_timeout(_BUSY_MS)
        connection.pragma("mmap_size", 0)
        connection.pragma("auto_vacuum", "INCREMENTAL")
        connection.pragma("journal_mode", "WAL")
        # A cache: after a power cut the last entries may be gone, after a kill none is.
        connection.pragma("synchronous", "NORMAL")
        with _Immediate(connection):
            application = connection.pragma("application_id")
            version = connection.pragma("user_version")
            if (application, version) == (_APPLICATION_ID, _SCHEMA_VERSION):
                return
            if list(connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1")):
                raise UnusableFileError(f"it has another form (version {version})")
            connection.execute(_SQL["schema"])
            connection.pragma("application_id", _APPLICATION_ID)
            connection.pragma("user_version", _SCHEMA_VERSION)

    def set_aside(self, reason: str, on_warning: Callable[[str], None]) -> None:
        """Rename the file, unless another process has replaced it meanwhile; keep two such."""
        self.close()
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        aside = self.path.with_name(f"{self.path.name}.unusable-{stamp}")
        try:
            if self.path.stat().st_ino == self._inode:
                self.path.rename(aside)
                for suffix in ("-wal", "-shm"):
                    self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
                on_warning(f"the response cache {self.path} is set aside as {aside.name}: {reason}")
            for old in sorted(self.path.parent.glob(f"{self.path.name}.unusable-*"))[:-_KEPT_ASIDE]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise CacheStoreError(f"{self.path} cannot be set aside: {error}") from error

    def close(self) -> None:
        """Close the connection; idempotent."""
        connection, self._connection = self._connection, None
        self._seen_version, self._last_seq = -1, 0
        if connection is not None:
            connection.close()

    def get(self, digest: bytes, oldest: float) -> bytes | None:
        """The value of an entry created after `oldest`."""
        for (value,) in self._execute("get", {"digest": digest, "oldest": oldest}):
            return bytes(value)
        return None

    def remove(self, digest: bytes) -> None:
        """Drop one entry whose value is damaged."""
        self._write(lambda: self._execute("remove", {"digest": digest}))

    def put(self, rows: Iterable[Row], used: dict[bytes, float], now: float) -> None:
        """Write entries and times of use, in one transaction."""

        def write() -> None:
            for row in rows:
                self._execute("remove", {"digest": row.key.digest})
                self._execute("put", _as_parameters(row, now))
            for digest, when in used.items():
                self._execute("touch", {"digest": digest, "used": when})

        self._write(write)

    def shrink(self, max_bytes: int, oldest: float) -> tuple[list[bytes], int]:
        """Drop expired entries and, least recently used first, what is too much.

        Returns the digests that went and how many of them were evicted for lack of room. In small
        steps: what is left over goes at the next call.
        """
        gone = self._write(lambda: [row[0] for row in self._execute("expire", {"oldest": oldest})])
        evicted: list[bytes] = []
        for _ in range(_EVICTION_STEPS):
            entries, size = self.totals()
            if size <= max_bytes and entries <= MAX_ENTRIES:
                break
            evicted += self._write(lambda: [row[0] for row in self._execute("evict")])
        if gone or evicted:
            self._run("PRAGMA incremental_vacuum(1000)")
        return gone + evicted, len(evicted)

    def purge(self, selector: PurgeSelector) -> list[bytes]:
        """Remove what is selected, and tell the other processes; the digests that went."""
        parameters = msgspec.structs.asdict(selector)

        def write() -> list[bytes]:
            gone = [row[0] for row in self._execute("purge", parameters)]
            self._execute("announce", {"sender": self._sender, **parameters})
            self._execute("forget_announcements")
            return gone

        return self._write(write)

    def totals(self) -> tuple[int, int]:
        """Entries and bytes in the file."""
        entries, size = self._execute("totals")[0]
        return entries, size

    def changes(self) -> Change | None:
        """What other processes wrote since the last call; None where nothing was."""
        version = self._run("PRAGMA data_version")[0][0]
        if version == self._seen_version:
            return None
        self._seen_version = version
        rows = self._execute("digests_after", {"seq": self._last_seq})
        if rows:
            self._last_seq = rows[-1][0]
        purges = self._execute("announcements_after", {"id": self._last_purge})
        if purges:
            self._last_purge = purges[-1][0]
        others = [PurgeSelector(*row[2:]) for row in purges if row[1] != self._sender]
        return Change([row[1] for row in rows], others)

    def _one(self, name: str) -> Any:
        return self._execute(name)[0][0]

    def _execute(self, name: str, parameters: dict[str, Any] | None = None) -> list[Any]:
        return self._run(_SQL[name], parameters)

    def _run(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Any]:
        if self._connection is None:
            raise CacheStoreError(f"{self.path} is not open")
        try:
            return list(self._connection.execute(sql, parameters or {}))
        except _UNUSABLE as error:
            raise UnusableFileError(f"it is corrupt ({error})") from error
        except apsw.Error as error:
            raise CacheStoreError(f"{self.path}: {error}") from error

    def _write(self, work: Callable[[], T]) -> T:
        if self._connection is None:
            raise CacheStoreError(f"{self.path} is not open")
        try:
            with _Immediate(self._connection):
                return work()
        except _UNUSABLE as error:
            raise UnusableFileError(f"it is corrupt ({error})") from error
        except apsw.Error as error:
            raise CacheStoreError(f"{self.path}: {error}") from error


class _Immediate:
    """`BEGIN IMMEDIATE`: a writer waits at the start, where it can, and not at its first write."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
                return
            except apsw.Error:
                self._roll_back()
                raise
        self._roll_back()

    def _roll_back(self) -> None:
        # Some errors (a full disk) have rolled back already.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _as_parameters(row: Row, now: float) -> dict[str, Any]:
    return {
        "digest": row.key.digest,
        "tenant": row.key.tenant,
        "model": row.key.model,
        "created": row.created,
        "used": now,
        "size": len(row.value) + 200,
        "value": row.value,
    }


def _check_library() -> None:
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_LIBRARY:
        needed = ".".join(map(str, OLDEST_LIBRARY))
        raise CacheStoreError(
            f"SQLite {apsw.sqlite_lib_version()} is too old: install apsw >= {needed}"
        )
