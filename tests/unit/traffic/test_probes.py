"""Probing: everybody is asked in time, whoever hangs or fails; servers come and go."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fairlead.errors import UpstreamUnreachableError
from fairlead.testing import ManualClock
from fairlead.traffic.base import LoadReport
from fairlead.traffic.probes import MAX_AT_ONCE, MAX_ERROR, Prober, ProbeStatistics, Target

INTERVAL, TIMEOUT = 10.0, 5.0
LONGEST = INTERVAL * 1.1
REPORT = LoadReport(running=3)


class Fleet:
    """Servers that answer as they are told, and what the prober made of it."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.hanging: set[str] = set()
        self.sick: set[str] = set()
        self.broken: dict[str, Exception] = {}
        self.asked: list[tuple[float, str]] = []
        self.under_way = self.most = self.ended = 0
        self.probes: list[tuple[str, bool]] = []
        self.reports: list[tuple[str, LoadReport]] = []

    async def _ask(self, question: str) -> None:
        self.asked.append((self.clock.monotonic(), question))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if question in self.hanging:
                await asyncio.Event().wait()
            if question in self.broken:
                raise self.broken[question]
        finally:
            self.under_way -= 1
            self.ended += 1

    async def check(self, name: str) -> bool:
        await self._ask(f"{name} health")
        return name not in self.sick

    async def report(self, name: str) -> LoadReport:
        await self._ask(f"{name} metrics")
        return REPORT

    def times(self, question: str) -> list[float]:
        return [when for when, asked in self.asked if asked == question]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def fleet(clock: ManualClock) -> Fleet:
    return Fleet(clock)


@asynccontextmanager
async def probing(fleet: Fleet, *targets: Target) -> AsyncIterator[Prober]:
    prober = Prober(
        fleet.check,
        fleet.report,
        on_probe=lambda name, ok: fleet.probes.append((name, ok)),
        on_report=lambda name, report: fleet.reports.append((name, report)),
        interval=INTERVAL,
        clock=fleet.clock,
        timeout=TIMEOUT,
    )
    prober.update(targets)
    async with prober:
        await fleet.clock.advance(0)
        yield prober


def both(name: str) -> Target:
    return Target(name, health=True, metrics=True)


def health(name: str) -> Target:
    return Target(name, health=True, metrics=False)


async def test_each_server_is_asked_for_what_it_has(fleet: Fleet) -> None:
    idle = Target("c", health=False, metrics=False)
    async with probing(fleet, both("a"), health("b"), idle) as prober:
        assert sorted(fleet.probes) == [("a", True), ("b", True)]
        assert fleet.reports == [("a", REPORT)]
        assert prober.statistics() == ProbeStatistics(3, {}, {})


async def test_they_are_asked_again_about_every_interval_but_not_in_step(
    fleet: Fleet, clock: ManualClock
) -> None:
    names = [f"s{i}" for i in range(10)]
    async with probing(fleet, *map(health, names)):
        await clock.advance(10 * LONGEST)

    for name in names:
        times = fleet.times(f"{name} health")
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert len(gaps) >= 10
        assert all(0.9 * INTERVAL <= gap <= LONGEST + 1e-9 for gap in gaps)
    assert len({when for when, _ in fleet.asked}) > 80


async def test_one_that_hangs_is_given_up_and_delays_nobody(
    fleet: Fleet, clock: ManualClock
) -> None:
    fleet.hanging = {"a health"}
    async with probing(fleet, both("a"), both("b")) as prober:
        assert fleet.probes == [("b", True)]
        assert fleet.reports == [("a", REPORT), ("b", REPORT)]

        await clock.advance(TIMEOUT - 0.1)
        assert fleet.under_way == 1
        await clock.advance(0.1)
        assert fleet.under_way == 0
        assert fleet.probes == [("b", True), ("a", False)]
        assert prober.statistics().errors == {"a": "health: no answer in time"}

        await clock.advance(LONGEST)
        assert len(fleet.times("a health")) == 2
        assert len(fleet.times("a metrics")) == len(fleet.times("b health")) == 2


async def test_no_more_than_so_many_are_asked_at_a_time(fleet: Fleet, clock: ManualClock) -> None:
    names = [f"s{i}" for i in range(MAX_AT_ONCE + 4)]
    fleet.hanging = {f"{name} health" for name in names}
    async with probing(fleet, *map(health, names)):
        assert fleet.under_way == MAX_AT_ONCE
        await clock.advance(TIMEOUT)
        assert len(fleet.probes) == MAX_AT_ONCE
        assert fleet.under_way == 4
        await clock.advance(TIMEOUT)
        assert len(fleet.probes) == len(names)
    assert fleet.most == MAX_AT_ONCE


async def test_one_that_says_no_is_not_healthy(fleet: Fleet, clock: ManualClock) -> None:
    fleet.sick = {"a"}
    async with probing(fleet, health("a")) as prober:
        assert fleet.probes == [("a", False)]
        assert prober.statistics().errors == {"a": "health: it does not say that it is well"}

        fleet.sick.clear()
        await clock.advance(LONGEST)

        assert fleet.probes[-1] == ("a", True)
        assert prober.statistics() == ProbeStatistics(2, {"a": 1}, {})


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UpstreamUnreachableError("a"), "upstream 'a': no connection could be made."),
        (OSError("refused"), "refused"),
        (TimeoutError("too slow"), "too slow"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (ValueError("x" * 10_000), "x" * MAX_ERROR),
    ],
)
async def test_whatever_a_check_raises_is_a_failure_and_the_next_is_made(
    fleet: Fleet, clock: ManualClock, error: Exception, text: str
) -> None:
    fleet.broken = {"a health": error}
    async with probing(fleet, health("a")) as prober:
        await clock.advance(LONGEST)

        assert fleet.probes == [("a", False), ("a", False)]
        assert prober.statistics() == ProbeStatistics(2, {"a": 2}, {"a": f"health: {text}"})


async def test_failing_metrics_say_nothing_about_health(fleet: Fleet, clock: ManualClock) -> None:
    fleet.broken = {"a metrics": OSError("gone")}
    async with probing(fleet, both("a")) as prober:
        assert fleet.probes == [("a", True)]
        assert fleet.reports == []
        assert prober.statistics() == ProbeStatistics(2, {"a": 1}, {"a": "metrics: gone"})

        fleet.sick = {"a"}
        await clock.advance(LONGEST)
        shown = "health: it does not say that it is well; metrics: gone"
        assert prober.statistics() == ProbeStatistics(4, {"a": 3}, {"a": shown})

        fleet.broken.clear()
        fleet.hanging = {"a health"}
        await clock.advance(LONGEST)
        assert fleet.reports == [("a", REPORT)]
        assert prober.statistics().errors == {"a": "health: it does not say that it is well"}


async def test_new_servers_are_asked_at_once_and_old_ones_no_more(
    fleet: Fleet, clock: ManualClock
) -> None:
    fleet.broken = {"a health": OSError("gone"), "b metrics": OSError("gone")}
    async with probing(fleet, health("a"), both("b")) as prober:
        assert set(prober.statistics().errors) == {"a", "b"}

        prober.update([health("b"), health("c")])
        assert prober.statistics().failures == prober.statistics().errors == {}
        fleet.probes.clear()
        await clock.advance(0)
        assert sorted(fleet.probes) == [("b", True), ("c", True)]

        await clock.advance(LONGEST)
        assert len(fleet.times("a health")) == len(fleet.times("b metrics")) == 1
        assert len(fleet.times("b health")) == 3


async def test_a_question_under_way_to_a_server_that_is_replaced_is_dropped(
    fleet: Fleet, clock: ManualClock
) -> None:
    fleet.hanging = {"a health"}
    async with probing(fleet, health("a")) as prober:
        fleet.hanging.clear()
        prober.update([health("a")])
        await clock.advance(0)
        assert (fleet.under_way, fleet.probes) == (0, [("a", True)])

        await clock.advance(TIMEOUT)
        assert fleet.probes == [("a", True)]
        prober.update([])
        await clock.advance(LONGEST)
        assert fleet.probes == [("a", True)]


async def test_an_answer_that_comes_with_the_replacement_is_not_told(fleet: Fleet) -> None:
    gate: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def check(name: str) -> bool:
        return await gate

    fleet.check = check  # type: ignore[method-assign]  # one answer, at a chosen moment
    async with probing(fleet, health("a")) as prober:
        gate.set_result(True)
        prober.update([])
        await fleet.clock.advance(0)
    assert fleet.probes == []


async def test_closing_ends_everything_at_once(fleet: Fleet, clock: ManualClock) -> None:
    names = [f"s{i}" for i in range(MAX_AT_ONCE + 4)]
    fleet.hanging = {f"{name} health" for name in names}
    async with probing(fleet, *map(health, names), both("quick")):
        assert fleet.under_way == MAX_AT_ONCE
    assert fleet.under_way == 0
    assert fleet.ended == len(fleet.asked)

    await clock.advance(10 * LONGEST)
    assert fleet.ended == len(fleet.asked)
    assert len(asyncio.all_tasks()) == 1


async def test_it_can_be_opened_again(fleet: Fleet, clock: ManualClock) -> None:
    fleet.hanging = {"a health"}
    async with probing(fleet, health("a")) as prober:
        await prober.close()
        await prober.open()
        await clock.advance(0)
        await clock.advance(TIMEOUT)

        assert fleet.probes == [("a", False)]
