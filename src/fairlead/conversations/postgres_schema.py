"""PostgreSQL's tables: made and brought forward where a store opens."""

from __future__ import annotations

from fairlead.conversations.postgres_pool import Connection, statements
from fairlead.errors import StorageError

MIN_SERVER = 15
"""Major version."""

_SQL = statements("schema")
VERSION = max(int(name) for name in _SQL if name.isdigit())
"""Of the schema that this program reads and writes; `schema.sql` has a block for each step."""


async def migrate(connection: Connection) -> None:
    """Bring the schema forward to `VERSION`, one node at a time.

    Raises `StorageError` for a server or a schema that this program cannot work with.
    """
    server = connection.info.server_version // 10_000
    if server < MIN_SERVER:
        raise StorageError(f"PostgreSQL {server} is too old: {MIN_SERVER} or later is needed")
    if await _current(connection) == VERSION:
        return
    async with connection.transaction():
        await connection.execute(_SQL["settle"])
        current = await _current(connection)
        for step in range(current + 1, VERSION + 1):
            await connection.execute(_SQL[str(step)])
            await connection.execute(_SQL["applied"], [step])
    if current > VERSION:
        raise StorageError(
            f"the database has schema version {current}, this program knows {VERSION}: "
            "use a newer fairlead"
        )


async def _current(connection: Connection) -> int:
    cursor = await connection.execute(_SQL["exists"])
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return 0
    cursor = await connection.execute(_SQL["current"])
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
