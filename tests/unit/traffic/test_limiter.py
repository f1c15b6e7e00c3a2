"""The limiter before a small simulated model server, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.testing import ManualClock
from fairlead.traffic.limiter import MIN_SAMPLES, DrainRate, GradientLimiter


class SetClock(ManualClock):
    """A clock that is set rather than advanced: these tests need no event loop."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Server:
    """Reads `knee` prompts at a time, first come first served; then answers for a time."""

    def __init__(self, limiter: GradientLimiter, clock: SetClock) -> None:
        self.limiter = limiter
        self.clock = clock
        self.knee = 20
        self.prompt = 0.1
        self.answer = 0.0
        self.long_prompts = 0.0
        """Part of the prompts that take fifty times as long."""
        self.limits: list[int] = []
        self.finished = 0
        self._random = random.Random(1)  # noqa: S311 - a simulation, repeatable
        self._running = self._reading = 0
        self._line: deque[tuple[float, int]] = deque()
        self._events: list[tuple[float, int, str, tuple[float, int]]] = []
        self._order = itertools.count()

    def run(self, seconds: float, callers: int) -> None:
        """As many tasks as the limit lets in, of `callers` who always have one more."""
        until = self.clock.now + seconds
        self.limits.clear()
        self._fill(callers)
        while self._events and self._events[0][0] <= until:
            self.clock.now, _, kind, task = heapq.heappop(self._events)
            if kind == "read":
                self._reading -= 1
                self.limiter.sample(self.clock.now - task[0], task[1])
                self.limits.append(self.limiter.limit)
                self._later(self.answer, "end", task)
                self._read()
            else:
                self._running -= 1
                self.finished += 1
            self._fill(callers)
        self.clock.now = until

    def _fill(self, callers: int) -> None:
        while self._running < min(callers, self.limiter.limit):
            self._running += 1
            self._line.append((self.clock.now, self._running))
            self._read()

    def _read(self) -> None:
        if self._line and self._reading < self.knee:
            self._reading += 1
            factor = 50 if self._random.random() < self.long_prompts else 1
            wobble = self._random.uniform(0.8, 1.2)
            self._later(self.prompt * factor * wobble, "read", self._line.popleft())

    def _later(self, seconds: float, kind: str, task: tuple[float, int]) -> None:
        heapq.heappush(self._events, (self.clock.now + seconds, next(self._order), kind, task))


def make(limit: int = 100, minimum: int = 4, maximum: int = 400) -> Server:
    clock = SetClock()
    return Server(GradientLimiter(limit, minimum, maximum, clock), clock)


@pytest.mark.parametrize("limit", [10, 100, 200])
def test_under_endless_overload_it_stays_near_the_knee_and_loses_no_work(limit: int) -> None:
    server = make(limit)
    server.run(30, callers=1000)
    finished = server.finished
    server.run(300, callers=1000)

    assert server.knee <= min(server.limits)
    assert max(server.limits) <= 4 * server.knee
    assert server.finished - finished >= 0.98 * 300 * server.knee / server.prompt


def test_long_answers_need_more_slots_than_prompts_are_read_at_a_time() -> None:
    server = make()
    server.knee, server.answer = 5, 2.0
    server.run(60, callers=1000)
    server.run(120, callers=1000)

    assert min(server.limits) > 10 * server.knee


def test_a_server_without_a_knee_gets_the_highest_limit() -> None:
    server = make(limit=20)
    server.knee = 1000
    server.run(10, callers=1000)

    assert server.limiter.limit == 400


def test_a_server_that_loses_most_of_its_capacity_gets_less_and_then_more_again() -> None:
    server = make()
    server.run(10, callers=1000)
    server.knee = 4
    server.run(30, callers=1000)
    low = server.limiter.limit
    server.knee = 40
    server.run(2, callers=1000)

    assert low <= 4 * 4
    assert server.limiter.limit >= 40


def test_prompts_that_stay_longer_do_not_keep_the_limit_down() -> None:
    server = make(limit=20)
    server.run(10, callers=1000)
    server.prompt *= 10
    server.run(60, callers=1000)

    assert server.limiter.limit >= server.knee
    assert server.limiter.normal > 0.5


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_some_very_long_prompts_do_not_collapse_the_limit(share: float) -> None:
    server = make(limit=20)
    server.long_prompts = share
    server.run(100, callers=1000)

    assert min(server.limits) >= 15


def test_one_long_prompt_changes_nothing() -> None:
    with_it, without = make(limit=20), make(limit=20)
    with_it.limiter.sample(600.0, 20)
    without.limiter.sample(0.1, 20)
    for _ in range(MIN_SAMPLES):
        for server in (with_it, without):
            server.clock.now += 0.05
            server.limiter.sample(0.1, 20)

    assert with_it.limiter.limit == without.limiter.limit > 20


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    server = make(limit=50)
    server.run(60, callers=10)

    assert server.limits
    assert set(server.limits) == {50}


def test_refusals_bring_it_at_once_below_what_was_too_much() -> None:
    """A hundred begin at once; the server takes sixteen of them."""
    server = make(limit=100)
    for running in range(100, 16, -1):
        server.limiter.overloaded(running, running)

    assert server.limiter.limit == 16


def test_then_it_returns_by_steps_and_stops_where_it_is_refused_again() -> None:
    server = make(limit=100)
    server.limiter.overloaded(17, 17)
    seen = []
    for _ in range(4):
        server.clock.now += 2.0
        server.limiter.sample(0.1, 10)
        seen.append(server.limiter.limit)
    server.limiter.overloaded(23, 23)

    assert seen == [20, 25, 31, 39]
    assert server.limiter.limit == 22


def test_after_a_pause_it_is_back_where_it_was() -> None:
    server = make(limit=60)
    server.limiter.overloaded(9, 9)
    assert server.limiter.limit == 8
    server.clock.now += 60
    server.limiter.sample(0.1, 1)

    assert server.limiter.limit == 60


def test_a_refusal_while_next_to_nothing_runs_lowers_it_a_little_once_per_window() -> None:
    server = make(limit=100)
    for _ in range(50):
        server.limiter.overloaded(1, 1)

    assert server.limiter.limit == 75
    assert server.limiter.overloads == 1


def test_it_does_not_go_below_its_bound() -> None:
    server = make(limit=30, minimum=3)
    for _ in range(50):
        server.clock.now += 1.0
        server.limiter.overloaded(1, 1)

    assert server.limiter.limit == 3


def test_it_recovers_from_refusals() -> None:
    server = make(limit=40)
    server.run(10, callers=1000)
    server.limiter.overloaded(5, 5)
    assert server.limiter.limit == 4
    server.run(20, callers=1000)

    assert server.limiter.limit >= server.knee


@given(
    st.lists(
        st.tuples(
            st.one_of(st.just(-1.0), st.floats(0, 1e6)), st.integers(1, 2000), st.floats(0, 2)
        ),
        max_size=300,
    )
)
def test_it_never_leaves_its_bounds(steps: list[tuple[float, int, float]]) -> None:
    server = make(limit=20, minimum=3, maximum=30)
    for seconds, running, passing in steps:
        server.clock.now += passing
        if seconds < 0:
            server.limiter.overloaded(running, running)
        else:
            server.limiter.sample(seconds, running)
        assert 3 <= server.limiter.limit <= 30
        assert len(server.limiter._samples) <= 512


def test_the_drain_rate_is_that_of_the_last_seconds() -> None:
    clock = SetClock()
    drain = DrainRate(clock)
    assert drain.per_second() == 0
    for _ in range(1000):
        clock.now += 0.1
        drain.add(clock.now)
    assert drain.per_second() == pytest.approx(10, rel=0.02)
    for _ in range(120):
        clock.now += 0.5
        drain.add(clock.now)
    assert drain.per_second() == pytest.approx(2, rel=0.1)
    clock.now += 1000
    assert drain.per_second() == 0


def test_the_drain_rate_is_right_from_the_start() -> None:
    clock = SetClock()
    drain = DrainRate(clock)
    for _ in range(20):
        clock.now += 0.1
        drain.add(clock.now)

    assert drain.per_second() == pytest.approx(10, rel=0.1)
