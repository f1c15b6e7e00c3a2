"""Opening the SQLite file of conversations: its mode, its safe settings, and what goes wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import apsw
import msgspec

from fairlead.errors import StorageError, StorageFullError, StorageUnavailableError

OLDEST_LIBRARY = (3, 51, 3)
"""Older ones can lose commits in WAL mode with two connections."""
APPLICATION_ID = 0x666C7274
BUSY_MS = 5_000
"""Milliseconds that a statement waits for another process."""

_LOG_BYTES = 64 * 1024 * 1024
_CHECKPOINT_PAGES = 4_000
_CACHE_KIB = 16 * 1024
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class DamagedError(StorageError):
    """The file is corrupt, or no database."""


class SqliteFile(msgspec.Struct, frozen=True):
    """Which file it is, and how it is written."""

    path: Path
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """With `NORMAL` a power cut may lose the latest commits."""
    vfs: str | None = None
    """A registered VFS of apsw; None: the system's."""


def check_library(present: str) -> None:
    """Raise `StorageError` where this version of SQLite is too old to be trusted with a file."""
    if tuple(int(part) for part in present.split(".")) < OLDEST_LIBRARY:
        needed = ".".join(map(str, OLDEST_LIBRARY))
        raise StorageError(
            f"apsw brings SQLite {present}, conversations need {needed}: "
            f"pip install --upgrade 'apsw>={needed}'"
        )


@contextmanager
def translated(path: Path, connection: apsw.Connection | None = None) -> Iterator[None]:
    """Errors of SQLite and of the system become those of stores.

    A plain `StorageError` is what one statement or value is to blame for.
    """
    try:
        yield
    except apsw.Error as error:
        raise _translate(path, error, connection) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFullError from error
        raise StorageUnavailableError(f"{path}: {error}") from error


def _translate(path: Path, error: apsw.Error, connection: apsw.Connection | None) -> StorageError:
    match error:
        case apsw.FullError():
            return StorageFullError()
        case apsw.IOError() | apsw.CantOpenError():
            if connection is not None and connection.system_errno in _NO_ROOM:
                return StorageFullError()
            return StorageUnavailableError(f"{path}: {error}")
        case apsw.BusyError() | apsw.LockedError() | apsw.ProtocolError():
            return StorageUnavailableError(f"{path} is used by another process: {error}")
        case apsw.InterruptError():
            return StorageUnavailableError(f"{path}: it took too long to read")
        case apsw.CorruptError() | apsw.NotADBError():
            return DamagedError(
                f"{path} is damaged ({error}): look at it with `fairlead threads verify`, "
                "and put a backup in its place"
            )
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            return StorageUnavailableError(f"{path} cannot be written: {error}")
    return StorageError(f"{path}: {error}")


def make(path: Path) -> None:
    """Make the file where it is missing, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Made with its mode at once. An existing file is not opened here, because closing it
        # would drop SQLite's own locks on it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        path.chmod(0o600)


def connect_writer(file: SqliteFile) -> apsw.Connection:
    """A connection that may write to the file, which has to be there."""
    connection = _connect(file)
    try:
        with translated(file.path, connection):
            _check_kind(file.path, connection)
            connection.pragma("auto_vacuum", "INCREMENTAL")
            connection.pragma("journal_mode", "WAL")
            connection.pragma("synchronous", file.synchronous)
            connection.pragma("journal_size_limit", _LOG_BYTES)
            connection.pragma("wal_autocheckpoint", _CHECKPOINT_PAGES)
            # Checkpoints are made by this connection alone, so this is where its reads pay.
            connection.pragma("cache_size", -_CACHE_KIB)
    except StorageError:
        disconnect(connection)
        raise
    return connection


def connect_reader(file: SqliteFile) -> apsw.Connection:
    """A connection to the file as it is, that only reads."""
    connection = _connect(file)
    try:
        with translated(file.path, connection):
            connection.pragma("query_only", 1)
            # Else the last connection to close makes a checkpoint: that is the writer's to do.
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.pragma("wal_autocheckpoint", 0)
    except StorageError:
        disconnect(connection)
        raise
    return connection


def disconnect(connection: apsw.Connection) -> None:
    """Close it; with force, what a damaged file says to that is not raised."""
    connection.close(force=True)


def _connect(file: SqliteFile) -> apsw.Connection:
    with translated(file.path):
        # Readers share the index of the write-ahead log, so they open it for writing as well; but
        # a file that has been moved away is never made anew behind its owner's back.
        connection = apsw.Connection(
            os.fspath(file.path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=file.vfs
        )
        connection.set_busy_timeout(BUSY_MS)
        connection.pragma("mmap_size", 0)
        return connection


def _check_kind(path: Path, connection: apsw.Connection) -> None:
    kind = connection.pragma("application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if kind != APPLICATION_ID and (kind or tables):
        raise StorageError(f"{path} is a database of another program (id {kind:#x})")
