"""Stores of every engine, each empty for the tenant of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fairlead.conversations.memory import MemoryThreadStore
from support.postgres import PostgresServer
from support.threads import Desk, Opener, Store

ENGINES = ["memory", "sqlite", "postgres"]


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server.new_database()


@pytest.fixture
def maker(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Makes stores on one backend."""
    if engine == "memory":
        return MemoryThreadStore
    if engine == "sqlite":
        from fairlead.conversations.sqlite import SqliteThreadStore

        return lambda: SqliteThreadStore(tmp_path / "threads.sqlite")
    from fairlead.conversations.postgres import PostgresThreadStore

    url = request.getfixturevalue("postgres_url")
    return lambda: PostgresThreadStore(url)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def open_store(maker: Callable[[], Any]) -> AsyncIterator[Opener]:
    """Opens stores that are closed at the end of the test."""
    async with AsyncExitStack() as stack:

        async def opener() -> Store:
            return await stack.enter_async_context(maker())

        yield opener


@pytest.fixture
async def store(open_store: Opener) -> Store:
    return await open_store()


@pytest.fixture
def team() -> str:
    """A tenant of this test alone, because tests share a server."""
    return f"team-{uuid4().hex}"


@pytest.fixture
def ann(team: str) -> Desk:
    return Desk(team, "ann")


@pytest.fixture
def bob(team: str) -> Desk:
    return Desk(team, "bob")
