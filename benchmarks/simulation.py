"""Model servers in virtual time: a trace is replayed in seconds, and every run is the same.

The event core is `fairlead.testing.ManualClock`: requests are coroutines that sleep on it, and the
balancer under test takes the same clock, so no further simulation library is needed between them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from benchmarks.blocks import BlockCache
from benchmarks.load import LoadMeter
from benchmarks.policies import Policy, PolicyFactory
from benchmarks.traces import TraceRequest
from fairlead.core.clock import Clock
from fairlead.testing import ManualClock

_STEP = 10.0


@dataclass(frozen=True)
class ModelServers:
    """`servers` alike: blocks of prefix cache each, blocks prefilled and tokens decoded a second.

    A server prefills one prompt at a time, in order of arrival, and decodes any number side by
    side; blocks that its cache holds are not prefilled.
    """

    servers: int
    cache_blocks: int
    prefill: float = 30.0
    decode: float = 40.0


@dataclass
class Outcome:
    """What came of a replay under one policy. `first_tokens` are seconds from arrival.

    `work` is seconds of prefill, `served` requests, both by server; `load_ratio` is the busiest
    server's requests in flight over the mean of all, each averaged over time.
    """

    hit_rate: float
    first_tokens: list[float]
    served: list[float]
    work: list[float]
    load_ratio: float
    spills: int | None


def replay(
    trace: Sequence[TraceRequest],
    machines: ModelServers,
    make_policy: PolicyFactory,
    seed: int,
) -> Outcome:
    """All of `trace` under one policy, from empty caches; `seed` becomes part of sessions' names.

    So that what depends on the luck of a hash can be averaged over several namings.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Replay(machines, make_policy, seed).run(trace))


class _ModelServer:
    def __init__(self, machines: ModelServers, clock: Clock) -> None:
        self._machines = machines
        self._clock = clock
        self._cache = BlockCache(machines.cache_blocks)
        self._prefilling = asyncio.Lock()
        self.found = 0
        self.served = 0
        self.work = 0.0

    async def prefill(self, request: TraceRequest) -> None:
        """Until the first token is there."""
        async with self._prefilling:
            known = self._cache.look_up(request.blocks)
            seconds = (len(request.blocks) - known) / self._machines.prefill
            self.found += known
            self.served += 1
            self.work += seconds
            await self._clock.sleep(seconds)

    async def decode(self, request: TraceRequest) -> None:
        """Until the last token is there."""
        await self._clock.sleep(request.output_tokens / self._machines.decode)


class _Replay:
    def __init__(self, machines: ModelServers, make_policy: PolicyFactory, seed: int) -> None:
        self._seed = seed
        self._clock = ManualClock()
        self._servers = [_ModelServer(machines, self._clock) for _ in range(machines.servers)]
        self._policy: Policy = make_policy(machines.servers, self._clock)
        self._meter = LoadMeter(machines.servers)
        self._loads = [0] * machines.servers
        self._first_tokens: list[float] = []

    async def run(self, trace: Sequence[TraceRequest]) -> Outcome:
        async with asyncio.TaskGroup() as group:
            tasks = set()
            for request in trace:
                await self._clock.advance(request.at - self._clock.monotonic())
                task = group.create_task(self._request(request))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                # It must have arrived before time goes on.
                await self._clock.advance(0.0)
            while tasks:
                await self._clock.advance(_STEP)
        return Outcome(
            hit_rate=sum(one.found for one in self._servers)
            / sum(len(request.blocks) for request in trace),
            first_tokens=self._first_tokens,
            served=[float(one.served) for one in self._servers],
            work=[one.work for one in self._servers],
            load_ratio=self._meter.ratio,
            spills=self._policy.spills,
        )

    async def _request(self, request: TraceRequest) -> None:
        arrived = self._clock.monotonic()
        place = self._policy.choose(f"{self._seed}/{request.session}")
        server = self._servers[place.server]
        self._count(place.server, 1)
        await server.prefill(request)
        self._first_tokens.append(self._clock.monotonic() - arrived)
        place.answered()
        await server.decode(request)
        place.end()
        self._count(place.server, -1)

    def _count(self, server: int, change: int) -> None:
        self._meter.observe(self._loads, self._clock.monotonic())
        self._loads[server] += change
