"""Looking at the SQLite file as a whole, and copying it while it is in use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from fairlead.conversations.sqlite_open import (
    SqliteFile,
    connect_reader,
    disconnect,
    translated,
)
from fairlead.core.statements import load_statements
from fairlead.errors import StorageError

Progress = Callable[[int, int], object]
"""Is told how many pages are done, and how many there are."""

_PAGES = 1_000
_SQL = load_statements("fairlead.conversations", "sql", "sqlite", "check.sql")
_FINDINGS = {
    "lost_events": "messages without an event in the log",
    "lost_messages": "messages without a thread",
    "lost_summaries": "threads without a summary, or summaries without a thread",
    "miscounted": "threads with another number of messages than their summary says",
}


def backup(file: SqliteFile, target: Path, progress: Progress) -> None:
    """Copy the live database to `target`, which must not be there (SQLite online backup API).

    The copy is what was committed when it began: writes go on meanwhile, and the write-ahead log
    keeps them until it ends.
    """
    source = connect_reader(file)
    try:
        with translated(target), _reserved(target) as partial:
            copy = apsw.Connection(os.fspath(partial))
            try:
                with translated(file.path, source):
                    _copy(source, copy, progress)
            finally:
                disconnect(copy)
    finally:
        disconnect(source)


def _copy(source: apsw.Connection, copy: apsw.Connection, progress: Progress) -> None:
    # Within a transaction the copy is not begun anew whenever something is written.
    source.execute("BEGIN")
    source.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    with copy.backup("main", source, "main") as steps:
        while not steps.done:
            steps.step(_PAGES)
            progress(steps.page_count - steps.remaining, steps.page_count)
    source.execute("ROLLBACK")


@contextmanager
def _reserved(target: Path) -> Iterator[Path]:
    """A file beside `target` that takes its place at the end of the block, if all went well."""
    partial = target.with_name(f"{target.name}.partial")
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        raise StorageError(f"{target} exists already: remove it, or name another file") from error
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield partial
        partial.replace(target)
        _sync(target.parent)
    except BaseException:
        for file in (partial, partial.with_name(f"{partial.name}-journal"), target):
            file.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check(connection: apsw.Connection) -> list[str]:
    """`Archive.check`: SQLite's integrity check, and rows that point to nothing."""
    found: list[str] = []
    try:
        found.extend(_findings(connection))
    except apsw.CorruptError as error:
        found.append(f"it cannot be read to its end: {error}")
    return found


def _findings(connection: apsw.Connection) -> Iterator[str]:
    for (text,) in connection.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield text
    for name, words in _FINDINGS.items():
        if count := connection.execute(_SQL[name]).get:
            yield f"{count} {words}"
