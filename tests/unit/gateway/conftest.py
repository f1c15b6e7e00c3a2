"""Caches on a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fairlead.core.tasks import TaskOwner
from fairlead.gateway.caching import CacheOptions
from fairlead.gateway.responses import ModelResponseCache
from fairlead.testing import ManualClock
from support.cache import Make
from support.gateway import FakeStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def make(clock: ManualClock) -> AsyncIterator[Make]:
    """Makes caches that are closed at the end; a fault in their background work fails the test."""
    made: list[ModelResponseCache] = []
    faults: list[tuple[str, BaseException]] = []

    def build(store: FakeStore | None = None, **options: object) -> ModelResponseCache:
        cache = ModelResponseCache(
            CacheOptions(**options),  # type: ignore[arg-type]  # checked by msgspec's users' types
            store=store,
            clock=clock,
            on_error=lambda name, error: faults.append((name, error)),
        )
        made.append(cache)
        return cache

    yield build
    for cache in made:
        await cache.close()
    assert faults == []


@pytest.fixture
async def tasks() -> AsyncIterator[TaskOwner]:
    failures: list[BaseException] = []
    async with TaskOwner(lambda _, e: failures.append(e)) as owner:
        yield owner
    assert failures == []
