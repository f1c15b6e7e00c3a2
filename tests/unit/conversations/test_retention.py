"""Retention in small steps, on a clock of the test's own."""

from __future__ import annotations

import logging

import pytest

from fairlead.conversations.records import Pruned, RetentionRules
from fairlead.conversations.retention import INTERVAL, PAUSE, Retention
from fairlead.errors import StorageUnavailableError
from fairlead.testing import ManualClock

RULES = RetentionRules(max_age=1000)


class Store:
    """Answers with what it is given, in order; then there is nothing more."""

    def __init__(self, *answers: Pruned | StorageUnavailableError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[RetentionRules, int]] = []

    async def prune(self, rules: RetentionRules, now: int) -> Pruned:
        self.asked.append((rules, now))
        answer = self.answers.pop(0) if self.answers else Pruned()
        if isinstance(answer, StorageUnavailableError):
            raise answer
        return answer


async def test_it_goes_on_while_there_is_more_with_pauses_between() -> None:
    clock = ManualClock()
    store = Store(Pruned(2, 10, more=True), Pruned(1, 5, more=True), Pruned(1, 5))
    async with Retention(store, RULES, clock=clock) as retention:
        await clock.advance(0)
        assert len(store.asked) == 1
        await clock.advance(PAUSE)
        assert len(store.asked) == 2
        await clock.advance(10 * PAUSE)
        assert len(store.asked) == 3
        assert retention.threads == 4


async def test_it_looks_again_after_the_interval_with_the_time_of_then() -> None:
    clock = ManualClock()
    store = Store()
    async with Retention(store, RULES, clock=clock):
        await clock.advance(0)
        await clock.advance(INTERVAL)
    (first, second) = store.asked
    assert first[0] is second[0] is RULES
    assert second[1] - first[1] == INTERVAL * 1000


async def test_a_store_that_is_away_is_told_of_once_and_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    away = StorageUnavailableError()
    store = Store(away, away, Pruned(3, 1), away)
    with caplog.at_level(logging.WARNING, "fairlead"):
        async with Retention(store, RULES, clock=clock) as retention:
            await clock.advance(0)
            await clock.advance(INTERVAL)
            assert len(caplog.records) == 1
            await clock.advance(INTERVAL)
            assert retention.threads == 3
            await clock.advance(INTERVAL)
            assert len(caplog.records) == 2
