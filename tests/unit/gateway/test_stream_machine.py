"""Flights in any order of events: a model says what each follower must get and what may be held."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fairlead.core.tasks import TaskOwner
from fairlead.errors import ClosedError, UpstreamBrokenError
from fairlead.gateway.stream import Answer, Flight, FlightBudget, Follower
from support.gateway import ScriptedReply, turns

T = TypeVar("T")
MAX_BYTES, BUDGET = 60, 100


class Call:
    """One flight, what its upstream has said, and what each follower has read."""

    def __init__(self, budget: FlightBudget, tasks: TaskOwner) -> None:
        self.reply = ScriptedReply()
        self.head = asyncio.Event()
        self.sent = b""
        self.ending = ""
        self.read: dict[Follower, bytes] = {}
        self.sealed: list[bytes | None] = []
        self.flight = Flight(
            MAX_BYTES, budget, lambda flight: self.sealed.append(flight.whole_body())
        )
        self.join()
        self.flight.start(self._call, tasks)

    async def _call(self) -> Answer:
        await self.head.wait()
        if self.ending == "refused":
            raise UpstreamBrokenError("up-1")
        return Answer("up-1", self.reply)

    def join(self) -> None:
        self.read[self.flight.join()] = b""

    @property
    def given_up(self) -> bool:
        return not self.read


class Flights(RuleBasedStateMachine):
    """Two flights share one budget; the loop runs between the rules."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.failures: list[BaseException] = []
        self.tasks = TaskOwner(lambda _, error: self.failures.append(error))
        self.run(self.tasks.open())
        self.budget = FlightBudget(BUDGET)
        self.calls = [self.new_call() for _ in range(2)]

    def new_call(self) -> Call:
        async def make() -> Call:
            return Call(self.budget, self.tasks)

        return self.run(make())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(5):
                return await coroutine

        return self.loop.run_until_complete(bounded())

    def under_way(self) -> list[Call]:
        return [call for call in self.calls if not call.ending and not call.given_up]

    @rule(which=st.integers(0, 1), size=st.integers(1, 30), count=st.integers(0, 5))
    def chunk(self, which: int, size: int, count: int) -> None:
        call = self.calls[which]
        if call in self.under_way():
            data = bytes([len(call.sent) % 251]) * size
            call.sent += data
            call.head.set()
            call.reply.feed(data)
            self.run(turns(count))

    @rule(which=st.integers(0, 1), how=st.sampled_from(["ended", "broken", "refused"]))
    def end(self, which: int, how: str) -> None:
        call = self.calls[which]
        if call not in self.under_way():
            return
        if how == "refused" and call.head.is_set():
            how = "broken"
        call.ending = how
        call.head.set()
        if how == "ended":
            call.reply.end()
        else:
            call.reply.fail(UpstreamBrokenError("up-1"))

    @rule(which=st.integers(0, 1))
    def join(self, which: int) -> None:
        call = self.calls[which]
        if call.flight.sealed:
            with contextlib.suppress(ClosedError):  # the expected answer; anything else is not
                call.join()
                raise AssertionError("joined what is sealed")
        else:
            call.join()

    @rule(which=st.integers(0, 1), pick=st.integers(0, 9), whole=st.booleans())
    def read(self, which: int, pick: int, whole: bool) -> None:
        call = self.calls[which]
        if not call.read:
            return
        follower = list(call.read)[pick % len(call.read)]
        while data := follower.read_nowait():
            call.read[follower] += data
            if not whole:
                break

    @rule(which=st.integers(0, 1), pick=st.integers(0, 9))
    def leave(self, which: int, pick: int) -> None:
        call = self.calls[which]
        if call.read:
            follower = list(call.read)[pick % len(call.read)]
            del call.read[follower]
            follower.close()

    @rule(count=st.integers(1, 30))
    def let_run(self, count: int) -> None:
        self.run(turns(count))

    @precondition(lambda self: all(call.ending or call.given_up for call in self.calls))
    @rule()
    def begin_anew(self) -> None:
        self.settle()
        self.calls = [self.new_call() for _ in range(2)]

    @invariant()
    def nobody_gets_anything_else(self) -> None:
        for call in self.calls:
            for got in call.read.values():
                assert call.sent.startswith(got)
            assert len(call.sealed) <= 1
            assert set(call.sealed) <= {None, call.sent}

    @invariant()
    def the_budget_is_never_passed_nor_negative(self) -> None:
        assert 0 <= self.budget.used <= BUDGET
        assert self.budget.used >= sum(call.flight._reserved for call in self.calls)

    def settle(self) -> None:
        """End everything, and look at what is left."""
        for call in self.calls:
            if call in self.under_way():
                call.ending = "ended"
                call.head.set()
                call.reply.end()
        for call in self.calls:
            for follower in list(call.read):
                self.check_end(call, follower)
                follower.close()
            call.read.clear()
        self.run(turns(50))
        for call in self.calls:
            assert len(call.sealed) == 1
            assert call.flight.sealed
            if call.head.is_set() and call.flight.has_head:
                assert call.reply.closed
            if call.ending in {"broken", "refused"}:
                assert call.sealed == [None]
        assert self.budget.used == 0
        assert len(self.tasks) == 0
        assert self.failures == []

    def check_end(self, call: Call, follower: Follower) -> None:
        try:
            self.run(follower.head())
            rest = self.run(follower.read_all())
        except UpstreamBrokenError:
            assert call.ending in {"broken", "refused"}
            return
        assert call.ending == "ended"
        assert call.read[follower] + rest == call.sent
        assert follower.complete

    def teardown(self) -> None:
        self.settle()
        self.run(self.tasks.close())
        self.loop.close()


TestFlights = Flights.TestCase
TestFlights.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
