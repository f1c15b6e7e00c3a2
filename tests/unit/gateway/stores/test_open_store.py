"""Which store a URL names, and what is said of one that names none."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead.errors import ConfigurationError, DependencyMissingError
from fairlead.gateway.base import ResponseStore
from fairlead.gateway.stores import open_store
from fairlead.gateway.stores.redis import RedisResponseStore
from fairlead.gateway.stores.sqlite import SqliteResponseStore

DATA = Path("/data")


def made(url: str) -> ResponseStore:
    return open_store(url, DATA, max_bytes=5000, ttl=60.0, on_warning=pytest.fail)


def test_sqlite_is_a_file_in_the_data_directory() -> None:
    store = made("sqlite")
    assert isinstance(store, SqliteResponseStore)
    assert store.path == DATA / "responses.sqlite"
    assert (store.max_bytes, store.ttl) == (5000, 60.0)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
def test_redis_by_any_of_its_names(scheme: str) -> None:
    store = made(f"{scheme}://cache:6379/0")
    assert isinstance(store, RedisResponseStore)
    assert store.ttl == 60.0


@pytest.mark.parametrize(
    "url", ["", "redis", "postgresql://u:hidden@db/x", "hidden", "file:///hidden", "SQLITE"]
)
def test_anything_else_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^cache\.url = .*redis://") as refused:
        made(url)
    assert "hidden" not in str(refused.value)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without_redis(name: str, *args: Any, **options: Any) -> Any:
        if name == "redis" or name.startswith("redis."):
            raise ImportError(name)
        return load(name, *args, **options)

    monkeypatch.delitem(sys.modules, "fairlead.gateway.stores.redis")
    monkeypatch.setattr(builtins, "__import__", without_redis)
    with pytest.raises(DependencyMissingError, match=r"fairlead\[redis\]"):
        made("redis://cache:6379/0")
    assert isinstance(made("sqlite"), SqliteResponseStore)
