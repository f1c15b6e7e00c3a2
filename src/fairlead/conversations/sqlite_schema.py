"""The tables of the SQLite file: made and brought forward where a store opens it."""

from __future__ import annotations

from collections.abc import Mapping

import apsw

from fairlead.conversations.sqlite_open import APPLICATION_ID
from fairlead.core.statements import load_statements
from fairlead.errors import StorageError

SQL = load_statements("fairlead.conversations", "sql", "sqlite", "schema.sql")
STEPS: Mapping[int, str] = {int(name): sql for name, sql in SQL.items() if name.isdigit()}
"""What brings the schema from the version before to each version."""


def migrate(connection: apsw.Connection, now: int, steps: Mapping[int, str] = STEPS) -> None:
    """Bring the schema to the last of `steps`, within the transaction that `connection` is in.

    Several processes may open a file at once: the others find it done. Raises `StorageError`
    where the schema is newer than this program.
    """
    current = version(connection)
    check_version(current, steps)
    for step in range(current + 1, max(steps) + 1):
        connection.execute(steps[step])
        connection.execute(SQL["applied"], {"version": step, "applied": now})
    if current == 0:
        connection.pragma("application_id", APPLICATION_ID)


def version(connection: apsw.Connection) -> int:
    """Of the schema; 0 for an empty file."""
    if connection.execute(SQL["tables"]).get is None:
        return 0
    return int(connection.execute(SQL["current"]).get)


def check_version(current: int, steps: Mapping[int, str] = STEPS) -> None:
    """Raise `StorageError` where the schema is one that this program does not know."""
    if current > max(steps):
        raise StorageError(
            f"the conversations have schema version {current}, this program knows {max(steps)}: "
            "use a newer fairlead"
        )
