"""What doctor finds out about the shared cache."""

from __future__ import annotations

from typing import Any, cast

import pytest

from fairlead.cli.checks.store import Warn, shared_cache
from fairlead.errors import CacheStoreError, DependencyMissingError
from fairlead.gateway.base import ResponseStore, StoreStatistics
from fairlead.settings import Settings, load_settings


def redis() -> Settings:
    return load_settings(None, {"FAIRLEAD_CACHE__URL": "redis://:hidden@cache:6379/0"})


class Store:
    """As much of a `ResponseStore` as is asked here."""

    def __init__(self, available: bool, error: Exception | None = None) -> None:
        self.available, self.error, self.closed = available, error, False

    async def open(self) -> None:
        if self.error:
            raise self.error

    async def close(self) -> None:
        self.closed = True

    def statistics(self) -> StoreStatistics:
        names = StoreStatistics.__struct_fields__
        counts: dict[str, Any] = dict.fromkeys(names, 0)
        return StoreStatistics(**counts | {"backend": "redis", "available": self.available})


def opener(store: Store, warning: str = "") -> Any:
    def open_store(_: Settings, warn: Warn) -> ResponseStore:
        if warning:
            warn("%s", warning)
        return cast("ResponseStore", store)

    return open_store


async def test_nothing_to_say_about_sqlite() -> None:
    assert await shared_cache(load_settings(None, {}), opener(Store(available=True))) == []


async def test_a_cache_that_answers() -> None:
    store = Store(available=True)
    (check,) = await shared_cache(redis(), opener(store))
    assert (check.status, check.detail) == ("ok", "redis://***@cache:6379/0 answers")
    assert store.closed


async def test_a_cache_that_is_away_costs_time_only() -> None:
    (check,) = await shared_cache(redis(), opener(Store(available=False), "connection refused"))
    assert check.status == "warning"
    assert "connection refused" in check.detail
    assert "hidden" not in str(check)


@pytest.mark.parametrize("error", [CacheStoreError("no"), TimeoutError()])
async def test_errors_are_findings(error: Exception) -> None:
    (check,) = await shared_cache(redis(), opener(Store(available=True, error=error)))
    assert check.status == "warning"
    assert check.fix


async def test_a_library_that_is_not_installed() -> None:
    def open_store(_: Settings, __: Warn) -> ResponseStore:
        raise DependencyMissingError("redis", "redis")

    (check,) = await shared_cache(redis(), open_store)
    assert check.status == "failed"
    assert "pip install 'fairlead[redis]'" in check.detail
