"""Connections to one PostgreSQL database, which come back by themselves (extra `postgres`).

The only module that knows the driver's errors: above it there are Fairlead's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import msgspec

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.retry import full_jitter
from fairlead.core.statements import load_statements
from fairlead.core.tasks import TaskOwner, attempt, log_failure
from fairlead.errors import (
    ConfigurationError,
    DependencyMissingError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

try:
    import psycopg
    from psycopg import conninfo
    from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests
except ImportError as missing:
    raise DependencyMissingError("psycopg", "postgres") from missing

Connection = psycopg.AsyncConnection[Any]

PAUSE_BASE, PAUSE_CAP = 0.2, 5.0
"""Seconds between attempts to reach a server that is away: full jitter between 0 and these."""
MAX_WAITING = 512
"""Callers that may wait for a connection; one more fails at once."""

_RECONNECT_FOR = 2.0
_MAX_WORDS = 400
_KEEPALIVE = {
    # A peer that vanished without a word is noticed within about 10 s.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# Connection, transaction state (another server took over), rollback, resources, not ready,
# intervention of an operator or a deadline, error of the system: a later try may go well.
_AWAY = frozenset({"08", "25", "40", "53", "55", "57", "58"})
# Unique violation, serialization failure, deadlock.
_RACES = frozenset({"23505", "40001", "40P01"})
_GONE = frozenset({"57P01", "57P02", "57P03", "25P03", "25006"})

_log = logging.getLogger("fairlead")


class RaceError(StorageError):
    """Another transaction has written the same at the same time; done again, it goes well."""


class PostgresOptions(msgspec.Struct, frozen=True):
    """Bounds of the connections of one store; times in seconds."""

    max_connections: int = 16
    connect_timeout: float = 5.0
    wait_timeout: float = 5.0
    """For a free connection."""
    lock_timeout: float = 10.0
    statement_timeout: float = 30.0
    deadline: float = 45.0
    """For everything that is done with a connection at a time."""


def statements(name: str) -> dict[str, bytes]:
    """The blocks of `sql/postgres/NAME.sql`, as the driver takes them."""
    found = load_statements("fairlead.conversations", "sql", "postgres", f"{name}.sql")
    return {block: text.encode() for block, text in found.items()}


_SESSION = statements("session")


class Connections(Resource):
    """A pool of connections that exists while the database can be used.

    `prepare(connection)` is awaited each time the database has come (back), before anybody uses
    it. While it is away every use tries once, together with the others that do, and a task tries
    with jittered pauses. All errors are `StorageError`s; none holds the URL's password.
    """

    def __init__(
        self,
        url: str,
        prepare: Callable[[Connection], Awaitable[None]],
        *,
        options: PostgresOptions,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Raises `ConfigurationError` where `url` cannot be read."""
        self.options = options
        self.detail = "not connected yet"
        """What is wrong; empty while the database can be used."""
        self.failures = 0
        self._settings = _settings(url, options)
        self._prepare = prepare
        self._clock = clock
        self._tasks = TaskOwner(log_failure)
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._attempt: asyncio.Task[tuple[None, Exception | None]] | None = None
        self._lost = asyncio.Event()
        self._retired: set[asyncio.Task[None]] = set()
        """Closing pools that are of no use any more."""
        self._in_use = 0

    @property
    def available(self) -> bool:
        """Whether the database could be used when it was used last."""
        return self._pool is not None

    # ---- opening and closing

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._tasks)
            try:
                await self._attach()
            except StorageUnavailableError as error:
                # The node serves without it; each use and the task below try again.
                _log.warning("conversations cannot be stored for now: %s", error)
                self._lost.set()
            self._tasks.spawn(self._stay_connected(), "connection to PostgreSQL")
            stack.pop_all()

    async def _close(self) -> None:
        if self._retired:
            # A pool whose closing is cut short leaves its workers behind; it takes 5 s at most.
            await asyncio.wait(self._retired)
        await self._tasks.close()
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _attach(self) -> None:
        """Connect, unless somebody is at it: then wait for what becomes of that."""
        if self._attempt is None:
            self._attempt = self._tasks.spawn(attempt(self._attach_now()), "connecting")
            self._attempt.add_done_callback(self._attempted)
        _, error = await asyncio.shield(self._attempt)
        if error is not None:
            raise error

    def _attempted(self, _task: object) -> None:
        self._attempt = None

    async def _attach_now(self) -> None:
        try:
            with self._translated():
                # Not by the pool, which keeps the reason of a failure to itself.
                connection = await psycopg.AsyncConnection.connect(**self._settings)
                async with connection:
                    await self._prepare(connection)
                self._pool = await self._make_pool()
        except StorageError as error:
            self.detail = str(error)
            raise
        self._lost.clear()
        self.detail = ""

    async def _make_pool(self) -> AsyncConnectionPool[Connection]:
        pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            kwargs=self._settings,
            min_size=1,
            max_size=self.options.max_connections,
            open=False,
            configure=self._configure,
            check=AsyncConnectionPool.check_connection,
            timeout=self.options.wait_timeout,
            max_waiting=MAX_WAITING,
            reconnect_timeout=_RECONNECT_FOR,
        )
        await pool.open()
        return pool

    async def _configure(self, connection: Connection) -> None:
        options = self.options
        await connection.execute(
            _SESSION["configure"],
            {
                "statement": f"{int(options.statement_timeout * 1000)}ms",
                "lock": f"{int(options.lock_timeout * 1000)}ms",
                "idle": f"{int(options.deadline * 1000)}ms",
            },
        )

    async def _stay_connected(self) -> None:
        while True:
            await self._lost.wait()
            tries = 0
            while self._lost.is_set():
                await self._clock.sleep(full_jitter(tries, PAUSE_BASE, PAUSE_CAP))
                tries += 1
                _, error = await attempt(self._attach())
                if error is None:
                    _log.warning("the database of conversations is back")

    def _lose(self, error: StorageError) -> None:
        """Forget the pool: its connections are broken, and its own pauses grow too long."""
        pool, self._pool = self._pool, None
        self.detail = str(error)
        if pool is not None and self.is_open:
            _log.warning("the database of conversations is away: %s", error)
            self._lost.set()
            closing = self._tasks.spawn(pool.close(), "closing lost connections")
            self._retired.add(closing)
            closing.add_done_callback(self._retired.discard)

    # ---- use

    @asynccontextmanager
    async def connection(self, deadline: float | None = None) -> AsyncIterator[Connection]:
        """A connection in autocommit mode, for `deadline` seconds (else the options') at most."""
        self.check_open()
        if self._pool is None:
            await self._attach()
        pool = self._pool
        if pool is None:
            raise StorageUnavailableError
        with self._translated(pool):
            async with (
                asyncio.timeout(deadline or self.options.deadline),
                pool.connection() as connection,
            ):
                self._in_use += 1
                try:
                    yield connection
                finally:
                    self._in_use -= 1

    @asynccontextmanager
    async def transaction(self, deadline: float | None = None) -> AsyncIterator[Connection]:
        """A transaction in pipeline mode: nothing is waited for but the rows that are fetched."""
        async with (
            self.connection(deadline) as connection,
            connection.pipeline(),
            connection.transaction(),
        ):
            yield connection

    @contextmanager
    def _translated(self, pool: object = None) -> Iterator[None]:
        try:
            yield
        except (PoolTimeout, TooManyRequests) as error:
            self.failures += 1
            busy = self._in_use >= self.options.max_connections
            what = "all its connections are in use" if busy else "it does not answer"
            problem = StorageUnavailableError(f"PostgreSQL: {what}")
            if not busy and pool is self._pool:
                self._lose(problem)
            raise problem from error
        except TimeoutError as error:
            self.failures += 1
            raise StorageUnavailableError("PostgreSQL: not done before the deadline") from error
        except psycopg.Error as error:
            self.failures += 1
            translated = _translate(error)
            if _is_gone(error) and pool is self._pool:
                self._lose(translated)
            raise translated from error


def _is_gone(error: psycopg.Error) -> bool:
    """Whether the connection is of no use any more, or there is none."""
    code = error.sqlstate
    if code is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return code in _GONE or code.startswith("08")


def _translate(error: psycopg.Error) -> StorageError:
    if isinstance(error, psycopg.errors.DiskFull):
        return StorageFullError()
    code = error.sqlstate
    # Words about a value (class 22) would quote it, and what was said does not go into logs.
    words = "" if code is not None and code.startswith("22") else error.diag.message_primary
    words = words or ("" if code else str(error))
    text = " ".join(f"PostgreSQL: {type(error).__name__} {words}".split())[:_MAX_WORDS]
    if code in _RACES:
        return RaceError(text)
    away = _is_gone(error) if code is None else code[:2] in _AWAY
    return StorageUnavailableError(text) if away else StorageError(text)


def _settings(url: str, options: PostgresOptions) -> dict[str, Any]:
    """What the driver takes; the URL's own parameters come before the defaults."""
    scheme = url.partition("://")[0]
    refused = ConfigurationError(
        "storage.url", f"{scheme}://…", "cannot be read: percent-encode user and password"
    )
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        # The library's own words could quote what stands where a password belongs.
        raise refused from None
    # So could its words about a host or a port that is a part of an unencoded password.
    misread = "@" in f"{given.get('host', '')}{given.get('dbname', '')}"
    if misread or not str(given.get("port", "1")).replace(",", "").isdigit():
        raise refused
    return {
        "application_name": "fairlead",
        "connect_timeout": max(1, round(options.connect_timeout)),
        "target_session_attrs": "read-write",
        **_KEEPALIVE,
        **given,
        "autocommit": True,
    }
