"""The connections' settings, and what becomes of the driver's errors; no server is needed."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from fairlead.conversations.postgres import PostgresThreadStore
from fairlead.conversations.postgres_pool import PostgresOptions, RaceError, _settings, _translate
from fairlead.errors import (
    ClosedError,
    ConfigurationError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

OPTIONS = PostgresOptions(connect_timeout=7)


def test_what_the_url_says_comes_before_the_defaults() -> None:
    plain = _settings("postgresql://ann:secret@db/threads", OPTIONS)
    assert (plain["host"], plain["dbname"], plain["password"]) == ("db", "threads", "secret")
    assert (plain["connect_timeout"], plain["application_name"]) == (7, "fairlead")
    assert plain["target_session_attrs"] == "read-write"

    own = _settings("postgresql://db/threads?connect_timeout=1&application_name=mine", OPTIONS)
    assert (own["connect_timeout"], own["application_name"]) == ("1", "mine")
    assert _settings("postgresql://one:5433,two:5434/threads", OPTIONS)["host"] == "one,two"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:se@cret@db/threads",
        "postgresql://ann:se/cret@db/threads",
        "postgresql://ann:se%cret@db/threads",
        "postgresql://ann:secret@db/threads?nonsense=1",
    ],
)
def test_an_unreadable_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"storage\.url") as refused:
        PostgresThreadStore(url)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.OperationalError("the connection is lost"), StorageUnavailableError),
        (psycopg.InterfaceError("the connection is closed"), StorageUnavailableError),
        (errors.AdminShutdown(), StorageUnavailableError),
        (errors.CannotConnectNow(), StorageUnavailableError),
        (errors.ReadOnlySqlTransaction(), StorageUnavailableError),
        (errors.QueryCanceled(), StorageUnavailableError),
        (errors.TooManyConnections(), StorageUnavailableError),
        (errors.LockNotAvailable(), StorageUnavailableError),
        (errors.DiskFull(), StorageFullError),
        (errors.UniqueViolation(), RaceError),
        (errors.DeadlockDetected(), RaceError),
        (errors.ProgramLimitExceeded(), StorageError),
        (errors.InvalidTextRepresentation("what was said"), StorageError),
        (psycopg.DataError("NUL"), StorageError),
    ],
)
def test_errors_of_the_driver_become_ours(error: psycopg.Error, kind: type[StorageError]) -> None:
    translated = _translate(error)
    assert type(translated) is kind
    assert "what was said" not in str(translated)
    assert "\n" not in str(translated)


async def test_a_closed_store_refuses_and_closes_twice() -> None:
    store = PostgresThreadStore("postgresql://127.0.0.1:1/none")
    with pytest.raises(ClosedError):
        await store.events(None, 1)
    await store.open()
    assert "Connection refused" in store.statistics().detail
    await store.close()
    await store.close()
    with pytest.raises(ClosedError):
        await store.events(None, 1)


async def test_a_backup_names_the_tool_for_it(tmp_path: Path) -> None:
    store = PostgresThreadStore("postgresql://127.0.0.1:1/none")
    with pytest.raises(StorageError, match="pg_dump"):
        await store.backup(tmp_path / "copy")
