"""A clock, the warnings, and SQLite stores in a temporary directory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fairlead.gateway.stores.sqlite import SqliteResponseStore
from fairlead.testing import ManualClock
from integration.stores.samples import Listener

SqliteOpener = Callable[..., Awaitable[SqliteResponseStore]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def listener(clock: ManualClock) -> Listener:
    return Listener(clock)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "responses.sqlite"


@pytest.fixture
async def open_sqlite(
    path: Path, clock: ManualClock, warnings: list[str]
) -> AsyncIterator[SqliteOpener]:
    """Opens stores on `path`; they are closed at the end of the test."""
    async with AsyncExitStack() as stack:

        async def opener(listener: Listener | None = None, **options: Any) -> SqliteResponseStore:
            place = options.pop("path", path)
            store = SqliteResponseStore(place, clock=clock, on_warning=warnings.append, **options)
            if listener is not None:
                store.listen(listener)
            return await stack.enter_async_context(store)

        yield opener
