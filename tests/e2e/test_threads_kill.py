"""kill -9 under write load: every acknowledged message is there once, and all agrees."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from fairlead.conversations.records import Said
from fairlead.conversations.sqlite import SqliteThreadStore
from support.doomed import doomed
from support.threadwork import flaws, logs

CHECKED_EVERY = 25
"""Kills between two looks at the whole database."""


async def look(path: Path) -> Counter[str]:
    """How often each message is in the log; everything else must be sound."""
    async with SqliteThreadStore(path) as store:
        assert list(await store.check()) == []
        assert await flaws(store) == []
        log = await logs(store)
    return Counter(
        event.id for events in log.values() for event in events if isinstance(event.change, Said)
    )


async def kill(path: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - when to kill is no secret
    told: set[str] = set()
    with doomed(path, seed) as victims:
        for number in range(1, times + 1):
            # None at all: it dies while it opens the database, or mends what the last one left.
            told.update(victims.round(chance.choice([0, 1, 5, 20, 60])))
            if number % CHECKED_EVERY == 0:
                found = await look(path)
                assert told <= found.keys()
                assert set(found.values()) == {1}
    assert len(told) > times


@pytest.mark.timeout(120)
async def test_a_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    await kill(tmp_path / "conversations.sqlite", 100, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_a_thousand_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    await kill(tmp_path / "conversations.sqlite", 1000, seed=2)
