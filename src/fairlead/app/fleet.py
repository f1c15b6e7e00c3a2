"""The upstreams of a node: made from the settings, balanced over, probed, drained, replaced."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import msgspec

from fairlead.app.probing import Probing
from fairlead.app.states import SharedStates
from fairlead.core.clock import Clock
from fairlead.core.lifecycle import Resource
from fairlead.core.tasks import TaskOwner, log_failure
from fairlead.errors import RequestError
from fairlead.gateway.base import Upstream
from fairlead.gateway.gateway import Gateway
from fairlead.gateway.legs import make_leg
from fairlead.gateway.legs.base import LegOptions
from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer
from fairlead.settings import Settings, UpstreamSettings
from fairlead.settings.reload import changed_beyond_reload
from fairlead.traffic.admission import QueueOptions, QueueStatistics
from fairlead.traffic.balancer import SessionAwareLoadBalancer
from fairlead.traffic.base import Server, State
from fairlead.traffic.queue import AdaptiveQueueManager
from fairlead.web.base import UpstreamView

_log = logging.getLogger("fairlead")

_STATES_EVERY = 1.0
"""Seconds after which a worker knows of a state that was set through another one."""


class _Made(msgspec.Struct, frozen=True):
    """An upstream and what it was made from, to tell what a reload changes."""

    settings: UpstreamSettings
    leg_options: LegOptions
    queue_options: QueueOptions
    queue: AdaptiveQueueManager
    upstream: Upstream


class Fleet(Resource):
    """Makes what the gateway sends to, and keeps it in line with the settings and the operator.

    The gateway opens and closes the upstreams' legs and queues. `states` is shared by the workers
    of a node, or None where there is one process.
    """

    def __init__(self, settings: Settings, clock: Clock, states: SharedStates | None) -> None:
        self._started_with = settings
        self._settings = settings
        self.balancer = SessionAwareLoadBalancer(
            self._records(settings), options=settings.balancer_options(), clock=clock
        )
        self._clock = clock
        self._states = states
        self._made: dict[str, _Made] = {}
        self._own: dict[str, SimulatedServer] = {}
        self._probing = Probing(self.balancer, settings.balancer.probe_interval, clock)
        self._stack = AsyncExitStack()
        self._tasks = TaskOwner(log_failure)

    @property
    def upstreams(self) -> list[Upstream]:
        """What the gateway is to serve."""
        return [made.upstream for made in self._made.values()]

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._tasks)
            await stack.enter_async_context(self.balancer)
            await stack.enter_async_context(self._probing)
            self._stack = stack
            self._made = await self._make(self._settings)
            self._stack = stack.pop_all()
        await self._probing.update(self._settings.upstreams)
        if self._states is not None:
            # Before the first request: it may replace a worker that was told of a drain.
            self._take_over(self._states)
            self._tasks.spawn(self._follow(self._states), "upstream states")

    async def _close(self) -> None:
        await self._stack.aclose()

    async def reload(self, settings: Settings, gateway: Gateway) -> None:
        """Serve the upstreams of `settings` from now on; requests on their way are not touched."""
        ignored = changed_beyond_reload(self._started_with, settings)
        if ignored:
            _log.warning("these settings need a restart: %s", ", ".join(ignored))
        made = await self._make(settings)
        await gateway.replace([one.upstream for one in made.values()])
        # In the same step as the gateway, so that it is never sent to a server it does not know.
        self._made = made
        self.balancer.update(self._records(settings))
        before = {upstream.name: upstream.state for upstream in self._settings.upstreams}
        self._settings = settings
        if self._states is not None:
            self._states.forget(
                {u.name for u in settings.upstreams if before.get(u.name) != u.state}
            )
        await self._probing.update(settings.upstreams)

    def set_state(self, name: str, state: State) -> list[UpstreamView]:
        """Drain an upstream or bring it back: all servers of an entry by its name, or one server.

        Raises `RequestError` (404) where there is none of that name.
        """
        names = [u.name for u in self._settings.upstreams if name in (u.name, u.group)]
        if not names:
            known = ", ".join(dict.fromkeys(u.group for u in self._settings.upstreams))
            raise RequestError(404, f"no upstream is named {name!r}; there are: {known}")
        if self._states is not None:
            self._states.set(dict.fromkeys(names, state))
        for one in names:
            self.balancer.set_state(one, state)
        return [view for view in self.views() if view.name in names]

    def views(self) -> list[UpstreamView]:
        """Each server as it is now, in the order of the configuration."""
        servers = {one.name: one for one in self.balancer.statistics().servers}
        return [
            UpstreamView(
                name=name,
                group=made.settings.group,
                shape=made.settings.shape,
                base_url=made.settings.base_url or "",
                models=made.settings.models,
                server=servers[name],
                queue=made.queue.statistics(),
                probe_error=self._probing.error(name),
            )
            for name, made in self._made.items()
        ]

    def queues(self) -> Mapping[str, QueueStatistics]:
        """The queue before each server."""
        return {name: made.queue.statistics() for name, made in self._made.items()}

    async def _make(self, settings: Settings) -> dict[str, _Made]:
        made = {}
        for one in settings.upstreams:
            url = one.base_url or await self._own_url(one.name, settings)
            made[one.name] = self._one(one, url)
        return made

    def _one(self, settings: UpstreamSettings, base_url: str) -> _Made:
        before = self._made.get(settings.name)
        leg_options = settings.leg_options(base_url)
        queue_options = settings.admission_options(self._workers)
        if before is not None and before.queue_options == queue_options:
            queue = before.queue
        else:
            queue = AdaptiveQueueManager(queue_options, name=settings.name, clock=self._clock)
        kept = before is not None and before.leg_options == leg_options
        upstream = Upstream(
            name=settings.name,
            shape=settings.shape,
            base_path=settings.base_path,
            models=settings.models,
            keys=settings.reveal_keys(),
            credentials=settings.credentials,
            leg=before.upstream.leg if kept and before else make_leg(leg_options, self._clock),
            admission=queue,
        )
        if before is not None and before.upstream == upstream:
            upstream = before.upstream  # the same object: for the gateway nothing has changed
        return _Made(settings, leg_options, queue_options, queue, upstream)

    async def _own_url(self, name: str, settings: Settings) -> str:
        # One that a reload takes out goes on until the node ends: streams may be on their way.
        server = self._own.get(name)
        if server is None:
            options = SimulatedOptions(**settings.simulated.model_dump())
            server = await self._stack.enter_async_context(SimulatedServer(options))
            self._own[name] = server
        return server.url

    async def _follow(self, states: SharedStates) -> None:
        while True:
            await self._clock.sleep(_STATES_EVERY)
            self._take_over(states)

    def _take_over(self, states: SharedStates) -> None:
        known = {upstream.name for upstream in self._settings.upstreams}
        for name, state in states.changed().items():
            if name in known:
                self.balancer.set_state(name, state)

    def _records(self, settings: Settings) -> Sequence[Server]:
        return [one.server_record(self._workers) for one in settings.upstreams]

    @property
    def _workers(self) -> int:
        # The processes that run share the limits, whatever a reloaded file says of their number.
        return self._started_with.server.workers
