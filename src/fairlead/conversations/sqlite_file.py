"""The writing connection to the SQLite file; every call here blocks, and runs in one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import apsw

from fairlead.conversations.sqlite_open import (
    SqliteFile,
    check_library,
    connect_writer,
    disconnect,
    make,
    translated,
)
from fairlead.conversations.sqlite_schema import migrate
from fairlead.errors import StorageError, StorageUnavailableError

T = TypeVar("T")


class WritingSide:
    """One connection that makes every commit and checkpoint, opened again after it has failed."""

    def __init__(self, file: SqliteFile) -> None:
        self.inode = 0
        """Which file was opened last: a path may come to mean another."""
        self.bytes = 0
        """Of the file and its log, as last seen."""
        self._file = file
        self._connection: apsw.Connection | None = None

    def open(self, now: int) -> None:
        """Make the file where it is missing, and bring its schema forward."""
        check_library(apsw.sqlite_lib_version())
        path = self._file.path
        with translated(path):
            make(path)
        connection = self._connected()
        try:
            with translated(path, connection), _immediate(connection):
                migrate(connection, now)
        except StorageError:
            self.close()
            raise
        self._measure()

    def close(self) -> None:
        """Close the connection; idempotent. The last one to close makes a checkpoint."""
        connection, self._connection = self._connection, None
        if connection is not None:
            disconnect(connection)

    def transact(self, job: Callable[[apsw.Connection], T]) -> T:
        """The result of `job(connection)` after COMMIT; where it raises, nothing was written."""
        connection = self._connected()
        try:
            with translated(self._file.path, connection), _immediate(connection):
                result = job(connection)
        except StorageUnavailableError:
            # Nobody knows what state the connection is in: the next call makes another.
            self.close()
            raise
        self._measure()
        return result

    def give_back(self, pages: Callable[[apsw.Connection], int]) -> None:
        """Return `pages(connection)` free pages to the file system."""
        connection = self._connected()
        with translated(self._file.path, connection):
            if count := pages(connection):
                connection.execute(f"PRAGMA incremental_vacuum({count})").fetchall()
        self._measure()

    def _connected(self) -> apsw.Connection:
        with translated(self._file.path):
            inode = self._file.path.stat().st_ino
        if self._connection is not None and inode == self.inode:
            return self._connection
        # Moved away, or replaced by a backup: what is written to the old file would be lost.
        self.close()
        self._connection, self.inode = connect_writer(self._file), inode
        return self._connection

    def _measure(self) -> None:
        path = self._file.path
        with translated(path):
            log = path.with_name(f"{path.name}-wal")
            self.bytes = sum(file.stat().st_size for file in (path, log) if file.exists())


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
