"""A gateway between recording clients and scripted upstreams."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from fairlead.core.lifecycle import Resource
from fairlead.gateway.base import ModelRequest, ResponseStore, Upstream, UsageRecord
from fairlead.gateway.caching import CacheOptions
from fairlead.gateway.gateway import Gateway
from fairlead.gateway.responses import ModelResponseCache
from fairlead.testing import ManualClock
from fairlead.traffic.balancer import SessionAwareLoadBalancer
from fairlead.traffic.base import BalancerOptions, Server
from support.gateway import RecordingSink, ScriptedLeg, make_upstream, turns


def several(*legs: ScriptedLeg) -> list[Upstream]:
    """An upstream behind each leg: up-1, up-2 and so on."""
    return [make_upstream(leg, name=f"up-{number}") for number, leg in enumerate(legs, 1)]


def servers_of(upstreams: Sequence[Upstream]) -> list[Server]:
    """What a balancer knows of them."""
    return [Server(name=u.name, accounts=max(1, len(u.keys))) for u in upstreams]


class Node(Resource):
    """What `serve` puts together, without sockets; asks requests and keeps the records."""

    def __init__(
        self,
        *upstreams: Upstream,
        options: CacheOptions | None = None,
        store: ResponseStore | None = None,
        max_body_bytes: int = 1 << 20,
        balancing: BalancerOptions | None = None,
        clock: ManualClock | None = None,
    ) -> None:
        self.clock = clock or ManualClock()
        self.balancer = SessionAwareLoadBalancer(
            servers_of(upstreams), options=balancing or BalancerOptions(), clock=self.clock
        )
        self.records: list[UsageRecord] = []
        self.faults: list[tuple[str, BaseException]] = []
        self.cache = ModelResponseCache(
            options,
            store=store,
            clock=self.clock,
            on_error=lambda name, error: self.faults.append((name, error)),
        )
        self.gateway = Gateway(
            upstreams,
            self.cache,
            self.records.append,
            balancer=self.balancer,
            max_body_bytes=max_body_bytes,
            clock=self.clock,
        )

    async def _open(self) -> None:
        await self.balancer.open()
        await self.cache.open()
        await self.gateway.open()

    async def _close(self) -> None:
        await self.gateway.close()
        await self.cache.close()
        await self.balancer.close()
        assert self.faults == []

    def begin(self, request: ModelRequest, sink: RecordingSink) -> Coroutine[Any, Any, None] | None:
        """Hand the request over."""
        return self.gateway.handle(request, sink)

    async def ask(self, request: ModelRequest) -> RecordingSink:
        """The whole answer."""
        sink = RecordingSink()
        rest = self.begin(request, sink)
        if rest is not None:
            await rest
        await turns(3)
        assert sink.closed, "the answer has no end"
        return sink

    def start(self, request: ModelRequest) -> tuple[RecordingSink, asyncio.Task[None]]:
        """The answer while it comes, and the task that makes it."""
        sink = RecordingSink()
        rest = self.begin(request, sink)
        assert rest is not None
        return sink, asyncio.get_running_loop().create_task(rest)

    @property
    def record(self) -> UsageRecord:
        """The record of the last request that ended."""
        return self.records[-1]

    def check_idle(self, legs: Sequence[Any]) -> None:
        """Nothing is under way any more, anywhere."""
        statistics = self.cache.statistics()
        assert self.gateway.active == 0
        assert (statistics.in_flight, statistics.in_flight_bytes) == (0, 0)
        assert len(self.cache._tasks) == 0
        assert all(leg.open_replies == 0 for leg in legs)
