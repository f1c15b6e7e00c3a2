"""A PostgreSQL server that is away, refuses, is killed, or loses an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from fairlead.conversations.postgres import PostgresThreadStore
from fairlead.conversations.postgres_pool import PostgresOptions
from fairlead.conversations.records import LogPosition, PageQuery, Written
from fairlead.errors import (
    ConfigurationError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from fairlead.testing import ManualClock
from support.postgres import PASSWORD, PostgresServer
from support.threads import Desk, wrote

QUICK = PostgresOptions(connect_timeout=2, wait_timeout=2)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.new_database()


@asynccontextmanager
async def opened(url: str, options: PostgresOptions = QUICK) -> AsyncIterator[PostgresThreadStore]:
    # Its clock stands still: nothing connects but what a test does.
    async with PostgresThreadStore(url, options=options, clock=ManualClock()) as store:
        yield store


class Proxy:
    """A way to the server on which the answer to one COMMIT can get lost, or the COMMIT itself."""

    def __init__(self, port: int) -> None:
        self.cuts = 0
        self.forward_first = True
        self._target = port
        self._armed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def arm(self, *, forward_first: bool) -> None:
        """Cut the connection at the next COMMIT; `forward_first`: after the server has done it."""
        self._armed, self.forward_first = True, forward_first

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        answers = asyncio.create_task(self._copy(there, writer))
        try:
            while data := await reader.read(1 << 20):
                if self._armed and b"COMMIT" in data:
                    self._armed = False
                    self.cuts += 1
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    if self.forward_first:
                        back.write(data)
                        await there.read(1 << 20)
                    return
                back.write(data)
        finally:
            answers.cancel()
            for one in (writer, back):
                one.close()
            self._tasks.discard(task)

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 20):
            writer.write(data)


# ---- away at the start


async def test_it_opens_while_the_server_is_away_and_works_once_it_is_back(
    server: PostgresServer, url: str
) -> None:
    server.stop()
    try:
        async with opened(url) as store:
            assert not store.statistics().available
            assert "OperationalError" in store.statistics().detail
            with pytest.raises(StorageUnavailableError):
                await store.head("team", "01890000-0000-7000-8000-000000000000")
            server.start()

            written = await wrote(store, Desk().create("hello"))

            assert store.statistics().available
            assert store.statistics().detail == ""
            assert await store.head("team", written.head.id) == written.head
    finally:
        server.start_again()


async def test_it_comes_back_by_itself_without_being_used(server: PostgresServer, url: str) -> None:
    server.stop()
    try:
        clock = ManualClock()
        async with PostgresThreadStore(url, options=QUICK, clock=clock) as store:
            server.start()
            while not store.statistics().available:
                await clock.advance(5.0)
    finally:
        server.start_again()


@pytest.mark.parametrize("wrong", ["password", "database"])
async def test_what_the_server_refuses_is_told_without_the_secret(
    server: PostgresServer, wrong: str
) -> None:
    secret = "not-the-pass-word"
    url = server.url(password=secret) if wrong == "password" else server.url("nowhere")
    async with opened(url) as store:
        detail = store.statistics().detail
        with pytest.raises(StorageUnavailableError) as refused:
            await store.events(None, 1)
    told = {"password": "password authentication failed", "database": '"nowhere" does not exist'}
    assert told[wrong] in detail
    assert told[wrong] in str(refused.value)
    assert secret not in detail + str(refused.value)
    assert PASSWORD not in detail + str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:pass@word@127.0.0.1/db",
        "postgresql://ann:pass/word@127.0.0.1/db",
        "postgresql://ann:pass%word@127.0.0.1/db",
    ],
)
async def test_a_password_that_is_not_encoded_is_refused_unquoted(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encode") as refused:
        PostgresThreadStore(url)
    assert "word" not in str(refused.value).replace("password", "")


# ---- lost while it works


async def test_it_reconnects_after_the_server_was_killed(server: PostgresServer, url: str) -> None:
    desk = Desk()
    async with opened(url) as store:
        first = await wrote(store, desk.create("before"))
        server.restart()

        second = await wrote(store, desk.append(first.head.id, "after"), retry=True)

        assert second.head.version == 3
        assert len(await store.messages("team", first.head.id, PageQuery())) == 2


async def test_a_write_while_the_server_is_killed_is_there_once(
    server: PostgresServer, url: str
) -> None:
    desk = Desk()
    async with opened(url) as store:
        thread = (await wrote(store, desk.create())).head.id
        operations = [desk.append(thread, f"message {number}") for number in range(200)]
        writing = asyncio.create_task(store.apply(operations))
        await asyncio.sleep(0)
        await asyncio.to_thread(server.restart)
        # Whether it was in time is anybody's guess.
        await asyncio.gather(writing, return_exceptions=True)

        outcomes = await store.apply(operations, retry=True)

        assert all(isinstance(outcome, Written) for outcome in outcomes)
        head = await store.head("team", thread)
        assert head is not None
        assert head.message_count == 200
        assert await _sequences(store) == list(range(1, 202))


@pytest.mark.parametrize("committed", [True, False])
async def test_a_commit_without_an_answer_counts_once(
    server: PostgresServer, url: str, committed: bool
) -> None:
    desk, proxy = Desk(), Proxy(server.port)
    dbname = url.rpartition("/")[2]
    async with proxy.running() as port, opened(server.url(dbname, port=port)) as store:
        thread = (await wrote(store, desk.create("one"))).head.id
        operation = desk.append(thread, "two", "three")
        proxy.arm(forward_first=committed)
        with pytest.raises(StorageUnavailableError):
            await store.apply([operation])

        written = await wrote(store, operation, retry=True)

        assert proxy.cuts == 1
        assert written.repeated == committed
        assert [sequence for _, sequence in written.messages] == [2, 3]
        assert written.head.version == 4
        assert len(await store.thread_events("team", thread)) == 4


async def _sequences(store: PostgresThreadStore) -> list[int]:
    return [event.sequence for event in await store.events(LogPosition("team", ""), 1_000)]


# ---- bounds


async def test_a_pool_that_is_exhausted_is_told_and_recovers(
    server: PostgresServer, url: str
) -> None:
    options = msgspec.structs.replace(QUICK, max_connections=1, wait_timeout=0.2)
    async with opened(url, options) as store:
        await wrote(store, Desk().create())
        async with store._connections.connection():
            with pytest.raises(StorageUnavailableError, match="all its connections are in use"):
                await store.events(None, 1)
            assert store.statistics().available

        assert await store.events(None, 1)


async def test_a_statement_that_takes_too_long_ends(server: PostgresServer, url: str) -> None:
    options = msgspec.structs.replace(QUICK, statement_timeout=0.2)
    async with opened(url, options) as store:
        with pytest.raises(StorageUnavailableError, match="QueryCanceled"):
            async with store._connections.connection() as connection:
                await connection.execute("SELECT pg_sleep(30)")

        assert await store.events(None, 1) == []


async def test_what_takes_too_long_on_the_way_ends(server: PostgresServer, url: str) -> None:
    options = msgspec.structs.replace(QUICK, deadline=0.2)
    async with opened(url, options) as store:
        with pytest.raises(StorageUnavailableError, match="deadline"):
            async with store._connections.connection() as connection:
                await connection.execute("SELECT pg_sleep(30)")

        assert await store.events(None, 1) == []


async def test_a_poisonous_value_writes_nothing_and_is_not_quoted(
    server: PostgresServer, url: str
) -> None:
    desk = Desk()
    async with opened(url) as store:
        thread = (await wrote(store, desk.create("kept"))).head.id
        good = desk.append(thread, "good")
        bad = msgspec.structs.replace(desk.create("bad"), id="no-uuid-but-a-secret")
        with pytest.raises(StorageError) as refused:
            await store.apply([good, bad])
        assert not isinstance(refused.value, StorageUnavailableError)
        assert "a-secret" not in str(refused.value)
        assert store.statistics().available

        assert (await wrote(store, good)).head.version == 3
        assert len(await store.thread_events("team", thread)) == 3


async def test_a_full_disk_is_told_as_such_and_is_no_outage(
    server: PostgresServer, url: str
) -> None:
    dbname = url.rpartition("/")[2]
    desk = Desk()
    async with opened(url) as store:
        thread = (await wrote(store, desk.create())).head.id
        server.execute(
            "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
            dbname,
        )
        server.execute(
            "CREATE TRIGGER fill BEFORE INSERT ON fairlead.thread_words EXECUTE FUNCTION fill()",
            dbname,
        )
        operation = desk.append(thread, "words")
        with pytest.raises(StorageFullError):
            await store.apply([operation])
        assert store.statistics().available
        assert len(await store.thread_events("team", thread)) == 1

        server.execute("DROP TRIGGER fill ON fairlead.thread_words", dbname)
        assert (await wrote(store, operation)).head.version == 2


async def test_a_cancelled_write_leaves_the_store_usable(server: PostgresServer, url: str) -> None:
    desk = Desk()
    async with opened(url) as store:
        thread = (await wrote(store, desk.create())).head.id
        for turns in range(12):
            operation = desk.append(thread, f"message {turns}")
            writing = asyncio.create_task(store.apply([operation]))
            for _ in range(turns):
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await wrote(store, operation, retry=True)

        head = await store.head("team", thread)
        assert head is not None
        assert head.message_count == 12
        assert await _sequences(store) == list(range(1, 14))
