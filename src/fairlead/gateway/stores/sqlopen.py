"""Opening the response cache's SQLite file: its mode, its form, its safe settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from fairlead.core.statements import load_statements
from fairlead.errors import CacheStoreError

OLDEST_LIBRARY = (3, 51, 3)
"""Older ones can lose commits in WAL mode with two connections."""

_APPLICATION_ID = 0x666C7263
_SCHEMA_VERSION = 1
_TABLES = {"entries", "totals", "purges"}
_BUSY_MS = 2000
_LOG_BYTES = 64 * 1024 * 1024


class UnusableFileError(CacheStoreError):
    """The cache file is corrupt, or was moved away."""


class OtherFormError(UnusableFileError):
    """The cache file has another form: that of another program or version."""


def check_library() -> None:
    """Raise `CacheStoreError` where SQLite is too old for several processes on one file."""
    present = apsw.sqlite_lib_version()
    if tuple(int(part) for part in present.split(".")) < OLDEST_LIBRARY:
        needed = ".".join(map(str, OLDEST_LIBRARY))
        raise CacheStoreError(
            f"apsw brings SQLite {present}, the response cache needs {needed}: "
            f"pip install --upgrade 'apsw>={needed}'"
        )


STATEMENTS = load_statements(__package__, "sqlite.sql")
"""The blocks of `sqlite.sql` by name."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the system become `CacheStoreError` or `UnusableFileError`."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise UnusableFileError(f"it is corrupt ({error})") from error
    except (apsw.Error, OSError) as error:
        raise CacheStoreError(f"{path}: {error}") from error


@contextmanager
def immediate(connection: apsw.Connection) -> Iterator[None]:
    """A write transaction: it waits for other processes here, where it can, not at a write."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # After some errors (a full disk) SQLite has rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def connect(path: Path) -> apsw.Connection:
    """A connection to the file, made where it is missing.

    Raises `UnusableFileError` where it is corrupt, `OtherFormError` where it is another's.
    """
    with translated(path):
        _make(path)
        connection = apsw.Connection(os.fspath(path))
        try:
            _prepare(connection)
        except (apsw.Error, CacheStoreError):
            disconnect(connection)
            raise
        return connection


def connect_reader(path: Path) -> apsw.Connection:
    """A connection to the file as it is, that only reads; raises as `connect` does."""
    with translated(path):
        # Writable, because readers share the index of the write-ahead log; but it makes no file.
        connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            _set_limits(connection)
            connection.pragma("query_only", 1)
            # Else the last connection to close makes a checkpoint: that is the writer's to do.
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            if _is_fresh(connection):
                raise CacheStoreError(f"{path} is empty")
        except (apsw.Error, CacheStoreError):
            disconnect(connection)
            raise
        return connection


def disconnect(connection: apsw.Connection) -> None:
    """Close it; with force, what a damaged file says to that is not raised."""
    connection.close(force=True)


def _make(path: Path) -> None:
    try:
        # Made with its mode at once: it holds answers to prompts. An existing file is not
        # opened here, because closing it would drop SQLite's own locks on it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        path.chmod(0o600)


def _prepare(connection: apsw.Connection) -> None:
    _set_limits(connection)
    fresh = _is_fresh(connection)
    if fresh:
        connection.pragma("auto_vacuum", "INCREMENTAL")
    connection.pragma("journal_mode", "WAL")
    # A cache: after a power cut the last entries may be gone, after a kill none is.
    connection.pragma("synchronous", "NORMAL")
    connection.pragma("journal_size_limit", _LOG_BYTES)
    if fresh:
        with immediate(connection):
            connection.execute(STATEMENTS["schema"])
            connection.pragma("application_id", _APPLICATION_ID)
            connection.pragma("user_version", _SCHEMA_VERSION)


def _set_limits(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(_BUSY_MS)
    connection.pragma("mmap_size", 0)


def _is_fresh(connection: apsw.Connection) -> bool:
    form = (connection.pragma("application_id"), connection.pragma("user_version"))
    tables = {name for (name,) in connection.execute(STATEMENTS["tables"])}
    if form == (_APPLICATION_ID, _SCHEMA_VERSION) and tables >= _TABLES:
        return False
    if form != (0, 0) or tables:
        raise OtherFormError(f"it has another form (id {form[0]:#x}, version {form[1]})")
    return True
