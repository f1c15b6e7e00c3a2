"""`ResourcePool` under any sequence of events: always within bounds, nothing lost or lent twice."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fairlead.core.pool import ResourcePool
from fairlead.errors import CapacityError, ClosedError
from unit.core.poolfactory import (
    DeafGate,
    Factory,
    Gate,
    Step,
    Thing,
    Time,
    at_once,
    failing,
    settle,
)

MAX_IDLE = 300.0
LIMIT = 20.0
"""Each deadline of the pool, in seconds."""

picks = st.integers(0, 1000)
"""Chooses one of those there are."""


class Caller:
    """One that acquires, keeps what it gets until told, and gives it back."""

    def __init__(self, pool: ResourcePool[Thing], timeout: float, served: list[Caller]) -> None:
        self.thing: Thing | None = None
        self.end: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Set to True it leaves the block well, to False by an exception."""
        self.task = asyncio.create_task(self._run(pool, timeout, served))

    async def _run(self, pool: ResourcePool[Thing], timeout: float, served: list[Caller]) -> None:
        async with pool.using(timeout) as thing:
            self.thing = thing
            served.append(self)
            try:
                if not await self.end:
                    raise KeyError
            finally:
                self.thing = None


class PoolMachine(RuleBasedStateMachine):
    """Callers come, go, are cancelled; creation is slow, fails, is deaf; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Time()
        self.factory = Factory()
        self.gates: list[Gate] = []
        self.callers: list[Caller] = []
        self.served: list[Caller] = []
        self.closing: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Let the loop run until nothing moves any more."""
        self.loop.run_until_complete(settle())

    @initialize(
        least=st.integers(0, 2), room=st.integers(0, 2), validated=st.booleans(), line=picks
    )
    def open(self, least: int, room: int, validated: bool, line: int) -> None:
        self.least, self.max = least, max(1, least + room)
        self.pool = self.factory.pool(
            self.clock,
            validated=validated,
            min_size=least,
            max_size=self.max,
            max_idle=MAX_IDLE,
            max_lifetime=3 * MAX_IDLE,
            max_waiting=1 + line % 6,
            create_timeout=LIMIT,
            validate_timeout=LIMIT,
            dispose_timeout=LIMIT,
            close_timeout=LIMIT,
        )
        self.loop.run_until_complete(self.pool.open())
        self.run()

    # ---- callers

    @rule(timeout=st.sampled_from([0.0, 1.0, 30.0, 500.0]))
    def arrive(self, timeout: float) -> None:
        async def start() -> None:
            self.callers.append(Caller(self.pool, timeout, self.served))

        self.loop.run_until_complete(start())
        self.run()

    @rule(timeout=st.sampled_from([30.0, 500.0]), turns=st.integers(0, 6))
    def come_and_go(self, timeout: float, turns: int) -> None:
        """One that is cancelled after a few turns of the loop, wherever it is then."""

        async def start() -> None:
            caller = Caller(self.pool, timeout, self.served)
            self.callers.append(caller)
            for _ in range(turns):
                await asyncio.sleep(0)
            caller.task.cancel()

        self.loop.run_until_complete(start())
        self.run()

    def waiting(self) -> list[Caller]:
        """Those in line, in their order."""
        return [c for c in self.callers if c.thing is None and not c.task.done()]

    def holding(self) -> list[Caller]:
        """Those that have something."""
        return [c for c in self.callers if c.thing is not None]

    @precondition(lambda self: self.waiting())
    @rule(pick=picks)
    def lose_patience(self, pick: int) -> None:
        waiting = self.waiting()
        waiting[pick % len(waiting)].task.cancel()
        self.run()

    @precondition(lambda self: self.holding())
    @rule(pick=picks, well=st.booleans(), sound=st.booleans())
    def give_back(self, pick: int, well: bool, sound: bool) -> None:
        holding = self.holding()
        caller = holding[pick % len(holding)]
        assert caller.thing is not None
        caller.thing.sound = sound
        caller.end.set_result(well)
        self.run()

    @precondition(lambda self: self.holding())
    @rule(pick=picks)
    def break_off(self, pick: int) -> None:
        holding = self.holding()
        holding[pick % len(holding)].task.cancel()
        self.run()

    @precondition(lambda self: self.holding() and self.waiting())
    @rule(pick=picks, count=st.integers(1, 3), turns=st.integers(0, 4))
    def hand_over_to_those_who_leave(self, pick: int, count: int, turns: int) -> None:
        """The first in line are cancelled in the moment when they are served."""
        holding, waiting = self.holding(), self.waiting()

        async def race() -> None:
            holding[pick % len(holding)].end.set_result(True)
            for _ in range(turns):
                await asyncio.sleep(0)
            for caller in waiting[:count]:
                caller.task.cancel()

        self.loop.run_until_complete(race())
        self.run()

    # ---- the things

    def step(self, kind: str) -> Step:
        """What creating, validating or disposing does from now on."""
        if kind in {"slow", "deaf"}:
            self.gates.append(Gate() if kind == "slow" else DeafGate())
            return self.gates[-1]
        return failing(ConnectionError(kind)) if kind == "fails" else at_once

    @rule(
        what=st.sampled_from(["creating", "validating", "disposing"]),
        kind=st.sampled_from(["at once", "slow", "fails", "deaf"]),
    )
    def change(self, what: str, kind: str) -> None:
        setattr(self.factory, what, self.step(kind))

    @precondition(lambda self: self.gates)
    @rule(pick=picks, well=st.booleans())
    def open_gate(self, pick: int, well: bool) -> None:
        gate = self.gates.pop(pick % len(self.gates))
        self.loop.call_soon(gate.open, None if well else ConnectionError("gate"))
        self.run()

    # ---- time, renewing, closing

    @rule(seconds=st.sampled_from([0.1, 1.0, LIMIT, 100.0, MAX_IDLE]))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds))

    @precondition(lambda self: self.closing is None)
    @rule()
    def renew(self) -> None:
        self.loop.call_soon(self.pool.renew)
        self.run()

    @precondition(lambda self: self.closing is None and len(self.served) > 3)
    @rule()
    def close(self) -> None:
        self.closing = self.loop.create_task(self.pool.close())
        self.run()
        assert not self.waiting(), "nobody is kept waiting"

    # ---- what always holds

    @invariant()
    def never_above_the_maximum(self) -> None:
        if hasattr(self, "pool"):
            statistics = self.pool.statistics()
            assert self.factory.most <= self.max
            assert statistics.size <= self.max
            assert self.factory.occupied <= statistics.size

    @invariant()
    def nothing_is_lent_twice_or_forgotten(self) -> None:
        if hasattr(self, "pool"):
            things = [caller.thing for caller in self.holding()]
            assert len(set(things)) == len(things)
            assert set(things) <= self.factory.alive
            assert self.pool.statistics().in_use == len(things)
            assert self.pool.statistics().waiting == len(self.waiting())

    @invariant()
    def nobody_is_overtaken(self) -> None:
        order = [self.callers.index(caller) for caller in self.served]
        assert order == sorted(order)

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        if hasattr(self, "pool") and self.closing is None:
            statistics = self.pool.statistics()
            coming = statistics.creating + statistics.validating
            assert not statistics.waiting > coming or not statistics.idle

    def teardown(self) -> None:
        """In the end all is as at the beginning, and after closing nothing is left."""
        if hasattr(self, "pool"):
            self.loop.run_until_complete(self._end())
        self.loop.close()

    async def _end(self) -> None:
        factory = self.factory
        factory.creating = factory.validating = factory.disposing = at_once
        for gate in self.gates:
            gate.open()
        for _ in range(len(self.callers) + 1):
            await self.clock.advance(LIMIT)
            for caller in self.holding():
                caller.end.set_result(True)
        await settle()
        assert not self.holding()
        assert not self.waiting()
        if self.closing is None:
            await self.clock.advance(MAX_IDLE + LIMIT)
            assert self.pool.statistics().idle == self.pool.statistics().size == self.least
            assert len(factory.alive) == factory.occupied == self.least
        await self.pool.close()
        await settle()
        assert (self.pool.statistics().size, factory.occupied) == (0, 0)
        assert not factory.alive
        assert not self.pool._tasks.is_open
        assert len(self.pool._tasks) == 0
        for caller in self.callers:
            await self._check_end(caller)

    async def _check_end(self, caller: Caller) -> None:
        assert caller.task.done()
        if not caller.task.cancelled():
            error = caller.task.exception()
            assert error is None or isinstance(error, KeyError | CapacityError | ClosedError)


PoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPool = PoolMachine.TestCase
