"""Which directories are workspaces, and whose: one file that all processes of a node share.

Everything is asked by tenant, so that of another tenant's workspace nothing can be learnt. Each
question goes to the file: what one process removes is gone for the others at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.ids import uuid7
from fairlead.core.lifecycle import Resource
from fairlead.core.statements import load_statements
from fairlead.core.worker import LateError, WorkerThread
from fairlead.errors import (
    CapacityError,
    NotFoundError,
    RequestError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

T = TypeVar("T")

MAX_PER_TENANT = 1_000
MAX_NAME = 100
"""Characters."""
MAX_PAGE = 1_000
DEADLINE = 10.0
"""Seconds for a question."""
MAX_JOBS = 1_000
"""Questions that wait; one more fails at once."""

_VERSION = 1
_BUSY_MS = 5_000
_SQL = load_statements("fairlead.workspace", "sql", "registry.sql")

logger = logging.getLogger("fairlead.workspace.registry")


class Workspace(msgspec.Struct, frozen=True):
    """A directory that a tenant's users may work in."""

    id: str
    tenant: str
    user_id: str
    """Who has registered it."""
    name: str
    path: str
    """Absolute, without symlinks."""
    created: int
    """Milliseconds since 1970."""


class WorkspaceRegistry(Resource):
    """Workspaces in a SQLite file; belongs to one event loop.

    Raises `StorageError` (`StorageUnavailableError`, `StorageFullError`) where the file cannot be
    read or written.
    """

    def __init__(self, path: Path, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.path = path
        self._clock = clock
        self._thread = WorkerThread("workspaces", MAX_JOBS)
        self._connection: apsw.Connection | None = None

    async def add(self, tenant: str, user: str, name: str, path: str) -> tuple[Workspace, bool]:
        """The tenant's workspace at `path`, and whether it is new.

        Raises `RequestError` 422 for a name that is none, 409 where the tenant has as many as it
        may have.
        """
        check_name(name)
        now = int(self._clock.time() * 1000)
        wanted = Workspace(str(uuid7(now)), tenant, user, name, path, now)
        return await self._run(partial(_add, wanted))

    async def get(self, tenant: str, name: str) -> Workspace:
        """The workspace of this id or, where there is but one, name; `NotFoundError` otherwise."""
        return await self._run(partial(_get, tenant, name))

    async def page(self, tenant: str, after: str, limit: int) -> Sequence[Workspace]:
        """Those with greater ids than `after` (empty: from the first), the oldest first."""
        values = tenant, after, max(1, min(limit, MAX_PAGE))
        return await self._run(partial(_page, values))

    async def remove(self, tenant: str, identity: str) -> None:
        """Forget a workspace; its files stay. `NotFoundError` where there is none."""
        values = identity, tenant
        if await self._run(lambda one: one.execute(_SQL["remove"], values).get) is None:
            raise NotFoundError("workspace", identity)

    async def _open(self) -> None:
        self._thread.start()
        try:
            await self._run(lambda connection: connection.execute(_SQL["version"]).get)
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        try:
            await self._thread.stop(self._disconnect, DEADLINE)
        except LateError:
            logger.warning("%s is still in use", self.path)

    async def _run(self, job: Callable[[apsw.Connection], T]) -> T:
        try:
            return await self._thread.run(partial(self._work, job), DEADLINE)
        except (LateError, CapacityError) as error:
            raise StorageUnavailableError(f"{self.path}: {error}") from error

    # ---- in the thread

    def _work(self, job: Callable[[apsw.Connection], T]) -> T:
        try:
            connection = self._connected()
            with connection:
                result = job(connection)
        except apsw.FullError as error:
            raise StorageFullError from error
        except (apsw.BusyError, apsw.IOError, apsw.CantOpenError, OSError) as error:
            raise StorageUnavailableError(f"{self.path}: {error}") from error
        except apsw.Error as error:
            raise StorageError(f"{self.path}: {error}") from error
        return result

    def _connected(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = _connect(self.path)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def check_name(name: str) -> None:
    """Raise `RequestError` 422 for what is no name of a workspace."""
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        message = f"use 1 to {MAX_NAME} printable characters"
        raise RequestError(422, f"name cannot be used: {message}", param="name", code="name")


def _connect(path: Path) -> apsw.Connection:
    path.touch(mode=0o600)
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(_BUSY_MS)
        connection.transaction_mode = "IMMEDIATE"
        connection.pragma("journal_mode", "WAL")
        connection.pragma("synchronous", "FULL")
        with connection:
            version = connection.execute(_SQL["version"]).get
            if version == 0:
                connection.execute(_SQL["create"])
            elif version != _VERSION:
                raise StorageError(
                    f"{path} was written by a newer program (version {version}): use that one"
                )
    except BaseException:
        connection.close()
        raise
    return connection


def _add(wanted: Workspace, connection: apsw.Connection) -> tuple[Workspace, bool]:
    row = connection.execute(_SQL["at"], (wanted.tenant, wanted.path)).get
    if row is not None:
        return Workspace(*row), False
    if connection.execute(_SQL["count"], (wanted.tenant,)).get >= MAX_PER_TENANT:
        message = f"there are {MAX_PER_TENANT:,} workspaces already: delete those that are not used"
        raise RequestError(409, message, code="too_many")
    connection.execute(_SQL["add"], msgspec.structs.astuple(wanted))
    return wanted, True


def _get(tenant: str, name: str, connection: apsw.Connection) -> Workspace:
    row = connection.execute(_SQL["get"], (name, tenant)).get
    rows: list[Any] = [row] if row else connection.execute(_SQL["named"], (tenant, name)).fetchall()
    if len(rows) > 1:
        message = f"several workspaces are named {name!r}: use the id"
        raise RequestError(409, message, param="workspace", code="ambiguous")
    if not rows:
        raise NotFoundError("workspace", name)
    return Workspace(*rows[0])


def _page(values: tuple[str, str, int], connection: apsw.Connection) -> list[Workspace]:
    rows: list[Any] = connection.execute(_SQL["page"], values).fetchall()
    return [Workspace(*row) for row in rows]
