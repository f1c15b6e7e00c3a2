"""A fleet with the gateway before it, as the node puts them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fairlead.app.fleet import Fleet
from fairlead.app.states import SharedStates
from fairlead.gateway.gateway import Gateway
from fairlead.gateway.responses import ModelResponseCache
from fairlead.settings import Settings
from fairlead.testing import ManualClock


class Site:
    """A fleet and the gateway that serves its upstreams."""

    def __init__(self, settings: Settings, clock: ManualClock, states: SharedStates | None) -> None:
        self.fleet = Fleet(settings, clock, states)
        self.clock = clock
        self.gateway: Gateway

    async def reload(self, settings: Settings) -> None:
        """As SIGHUP does; returns when what is not used any more is closed."""
        await self.fleet.reload(settings, self.gateway)
        await self.clock.advance(0)

    @property
    def states(self) -> dict[str, str]:
        """State of each server."""
        return {view.name: view.server.state for view in self.fleet.views()}


@asynccontextmanager
async def opened(
    settings: Settings, clock: ManualClock, states: SharedStates | None = None
) -> AsyncIterator[Site]:
    """A site for the length of a block."""
    site = Site(settings, clock, states)
    async with site.fleet, ModelResponseCache(clock=clock) as cache:
        site.gateway = Gateway(
            site.fleet.upstreams, cache, lambda _: None, balancer=site.fleet.balancer, clock=clock
        )
        async with site.gateway:
            await asyncio.sleep(0)  # so that the tasks that wait for the clock do wait
            yield site
