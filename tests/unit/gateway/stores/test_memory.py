"""`MemoryTier`: bounds, order, time to live, hits, purges; and against a model."""

from __future__ import annotations

import math
from hashlib import sha256

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fairlead.gateway.base import CacheKey, PurgeSelector, StoredResponse
from fairlead.gateway.stores.memory import MemoryTier
from fairlead.testing import ManualClock

TTL = 3600.0


class SetClock(ManualClock):
    """A clock that is set, for tests without an event loop."""

    def set(self, seconds: float) -> None:
        """So many seconds have passed."""
        self._now = seconds


def key(number: int, tenant: str = "t", model: str = "m") -> CacheKey:
    return CacheKey(sha256(f"{number}/{tenant}/{model}".encode()).digest(), tenant, model)


def answer(clock: ManualClock, size: int = 10) -> StoredResponse:
    return StoredResponse(200, [(b"a", b"b")], b"x" * size, clock.time(), 1)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_each_hit_is_counted(clock: SetClock) -> None:
    tier = MemoryTier(clock=clock)
    tier.put(key(1), answer(clock))
    hits = [entry.hits for _ in range(3) if (entry := tier.get(key(1)))]
    assert hits == [1, 2, 3]
    assert tier.get(key(2)) is None


def test_a_new_answer_starts_anew(clock: SetClock) -> None:
    tier = MemoryTier(clock=clock)
    tier.put(key(1), answer(clock))
    tier.get(key(1))
    entry = tier.put(key(1), answer(clock, 20), persisted=True)
    assert (entry.hits, entry.persisted) == (0, True)
    assert tier.get(key(1)) is entry
    assert tier.statistics().entries == 1


def test_it_lives_for_its_time_from_creation(clock: SetClock) -> None:
    tier = MemoryTier(ttl=TTL, clock=clock)
    response = answer(clock)
    clock.set(TTL - 1)
    tier.put(key(1), response)
    clock.set(TTL)
    assert tier.get(key(1)) is not None
    clock.set(TTL + 0.001)
    assert tier.get(key(1)) is None
    statistics = tier.statistics()
    assert (statistics.entries, statistics.bytes, statistics.expired) == (0, 0, 1)
    assert statistics.evictions == 0


def test_a_callers_limit_hides_it_from_that_caller_alone(clock: SetClock) -> None:
    tier = MemoryTier(clock=clock)
    tier.put(key(1), answer(clock))
    clock.set(60)
    assert tier.get(key(1), max_age=59) is None
    assert (entry := tier.get(key(1), max_age=60)) is not None
    assert entry.hits == 1, "what was not handed out is no hit"
    assert tier.get(key(1), max_age=math.inf) is entry
    assert tier.statistics().expired == 0


def test_the_least_recently_used_goes_at_the_bound_of_entries(clock: SetClock) -> None:
    tier = MemoryTier(max_entries=2, clock=clock)
    tier.put(key(1), answer(clock))
    tier.put(key(2), answer(clock))
    tier.get(key(1))
    tier.put(key(3), answer(clock))
    assert [tier.get(key(n)) is not None for n in (1, 2, 3)] == [True, False, True]
    assert tier.statistics().evictions == 1


def test_real_sizes_count(clock: SetClock) -> None:
    size = answer(clock, 10_000).size
    assert size > 10_000
    tier = MemoryTier(max_bytes=2 * size, clock=clock)
    for number in range(3):
        tier.put(key(number), answer(clock, 10_000))
    assert tier.statistics().bytes == 2 * size
    tier.put(key(9), answer(clock, 3 * size))
    assert tier.get(key(9)) is None
    assert tier.statistics().entries == 2, "what is larger than the tier displaces nothing"


@pytest.mark.parametrize(
    ("selector", "left"),
    [
        (PurgeSelector(), set()),
        (PurgeSelector(tenant="a"), {("b", "x"), ("b", "y")}),
        (PurgeSelector(model="x"), {("a", "y"), ("b", "y")}),
        (PurgeSelector(model="x", tenant="b"), {("a", "x"), ("a", "y"), ("b", "y")}),
        (PurgeSelector(key(1, "a", "x").digest), {("a", "y"), ("b", "x"), ("b", "y")}),
        (PurgeSelector(tenant="c"), {("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")}),
    ],
)
def test_a_purge_takes_what_is_selected(
    clock: SetClock, selector: PurgeSelector, left: set[tuple[str, str]]
) -> None:
    tier = MemoryTier(clock=clock)
    scopes = [(tenant, model) for tenant in "ab" for model in "xy"]
    for scope in scopes:
        tier.put(key(1, *scope), answer(clock))
    assert tier.purge(selector) == 4 - len(left)
    assert {scope for scope in scopes if tier.get(key(1, *scope))} == left


class MemoryMachine(RuleBasedStateMachine):
    """The tier does what a list in order of use does."""

    MAX_ENTRIES, MAX_BYTES = 4, 6000

    def __init__(self) -> None:
        super().__init__()
        self.clock = SetClock()
        self.now = 0.0
        self.tier = MemoryTier(self.MAX_ENTRIES, self.MAX_BYTES, TTL, self.clock)
        self.model: list[tuple[CacheKey, StoredResponse]] = []

    numbers = st.integers(0, 6)

    @rule(number=numbers, size=st.integers(0, 7000), age=st.floats(0, TTL * 1.5))
    def put(self, number: int, size: int, age: float) -> None:
        response = StoredResponse(200, [], b"x" * size, self.clock.time() - age, 1)
        self.tier.put(key(number), response)
        self._forget(number)
        if response.size <= self.MAX_BYTES:
            self.model.append((key(number), response))
        while len(self.model) > self.MAX_ENTRIES or self._bytes() > self.MAX_BYTES:
            del self.model[0]

    @rule(number=numbers, max_age=st.none() | st.floats(0, TTL))
    def get(self, number: int, max_age: float | None) -> None:
        entry = self.tier.get(key(number), max_age)
        held = next((response for k, response in self.model if k == key(number)), None)
        if held is None:
            assert entry is None
            return
        age = self.clock.time() - held.created
        self._forget(number)
        if age <= TTL:
            self.model.append((key(number), held))
        if age > TTL or (max_age is not None and age > max_age):
            assert entry is None
        else:
            assert entry is not None
            assert entry.response is held

    @rule(number=numbers)
    def purge(self, number: int) -> None:
        before = len(self.model)
        self._forget(number)
        selector = PurgeSelector(key(number).digest)
        assert self.tier.purge(selector) == before - len(self.model)

    @rule(seconds=st.floats(0, TTL))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.clock.set(self.now)

    @invariant()
    def same(self) -> None:
        statistics = self.tier.statistics()
        assert (statistics.entries, statistics.bytes) == (len(self.model), self._bytes())

    def _forget(self, number: int) -> None:
        self.model = [item for item in self.model if item[0] != key(number)]

    def _bytes(self) -> int:
        return sum(response.size for _, response in self.model)


TestMemoryMachine = MemoryMachine.TestCase
