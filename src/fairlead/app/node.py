"""One process of a node: settings in, everything opened and wired on one exit stack."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fairlead.app.fleet import Fleet
from fairlead.app.places import prepare_data_dir, run_directory
from fairlead.app.states import SharedStates
from fairlead.app.threads import Threads
from fairlead.app.workspaces import Workspaces
from fairlead.conversations.database import ConversationDatabase
from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.identity import Principal
from fairlead.core.lifecycle import Resource
from fairlead.gateway.base import PurgeSelector, ResponseStore, StoreStatistics, UsageRecord
from fairlead.gateway.caching import CacheOptions, CacheStatistics
from fairlead.gateway.gateway import Gateway
from fairlead.gateway.legs.base import Headers, LegStatistics
from fairlead.gateway.responses import ModelResponseCache
from fairlead.gateway.stores import open_store
from fairlead.monitor.accesslog import AccessLog
from fairlead.monitor.export import Exposition, MetricsExporter, add_process
from fairlead.monitor.logs import LogRoot, configure_logging
from fairlead.monitor.metrics import GatewayMetrics
from fairlead.monitor.redaction import Redactor
from fairlead.monitor.sources import NodeMetrics, Sources
from fairlead.monitor.workers import WorkerSnapshots
from fairlead.monitor.writer import LineWriter
from fairlead.settings import Settings
from fairlead.traffic.base import State
from fairlead.web.api import create_api
from fairlead.web.base import Check, UpstreamView
from fairlead.web.gate import LateMcp
from fairlead.web.middleware import LOOPBACK_NAMES, Identity, LocalIdentity
from fairlead.web.protocol import Limits

_log = logging.getLogger("fairlead")


class Node(Resource):
    """Everything one process of a node runs, wired together; an ASGI application for the rest.

    `worker` is this process's place among its siblings, or None where it is alone.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        worker: int | None = None,
        identity: Identity | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.settings = settings
        self.identity: Identity = identity or LocalIdentity(_own_hosts(settings))
        self.clock = clock
        self.draining = False
        self.buffered = 0
        self.limits = _limits(settings)
        self.gateway: Gateway
        self._fleet: Fleet
        self._threads: Threads
        self._workspaces: Workspaces
        self._mcp: Any = None
        self.redactor = Redactor()
        self._worker = worker
        self._stack = AsyncExitStack()
        self._store: ResponseStore | None = None
        self._writer: LineWriter | None = None
        self._log_root: LogRoot | None = None
        self._api: Any = None
        self._exporter: MetricsExporter

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            await self._assemble(stack)
            self._stack = stack.pop_all()

    async def _assemble(self, stack: AsyncExitStack) -> None:
        settings = self.settings
        data_dir = prepare_data_dir(settings.server.data_dir)
        recorder = await self._open_recorder(stack)
        self._threads = await stack.enter_async_context(
            # One of the workers looks after what they all share.
            Threads(settings, data_dir, self.clock, upkeep=not self._worker)
        )
        await self._open_workspaces(stack, data_dir)
        cache = await stack.enter_async_context(self._make_cache(data_dir))
        states = None if self._worker is None else SharedStates(run_directory(data_dir))
        self._fleet = await stack.enter_async_context(Fleet(settings, self.clock, states))
        self.gateway = await stack.enter_async_context(
            Gateway(
                self._fleet.upstreams,
                cache,
                recorder,
                balancer=self._fleet.balancer,
                priority_header=settings.queue.priority_header,
                max_body_bytes=settings.server.max_body_bytes,
                capture=self._threads.capture,
                clock=self.clock,
            )
        )
        await self._open_exporter(stack, data_dir)
        self._api = create_api(self)

    async def reload(self, settings: Settings) -> None:
        """Serve the upstreams of `settings` from now on, without dropping a request."""
        self._register_secrets(settings)
        await self._fleet.reload(settings, self.gateway)

    def configure_logging(self) -> None:
        """Send this process's log through the node's redactor; before `open`, so all of it goes."""
        self._register_secrets(self.settings)
        self._log_root = configure_logging(
            self.settings.server.log_format, "info", redactor=self.redactor
        )
        # The banner has said it; what uvicorn warns of still shows.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

    async def _close(self) -> None:
        self.draining = True
        await self._stack.aclose()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI: everything but `/v1/`, which the protocol hands to the gateway itself."""
        await self._api(scope, receive, send)

    # ---- parts

    async def _open_workspaces(self, stack: AsyncExitStack, data_dir: Path) -> None:
        workspaces = Workspaces(self.settings, data_dir, self.clock)
        self._workspaces = await stack.enter_async_context(workspaces)
        writable = self.settings.workspaces.mcp_writable
        self._mcp = await stack.enter_async_context(LateMcp(workspaces, writable=writable))

    async def _open_recorder(self, stack: AsyncExitStack) -> Callable[[UsageRecord], None]:
        self._metrics = GatewayMetrics()
        if not self.settings.server.access_log:
            return self._metrics
        self._writer = LineWriter(sys.stdout.buffer, self.redactor)
        await stack.enter_async_context(self._writer)
        log = AccessLog(self._writer, self.settings.server.log_format, self.clock)

        def record(usage: UsageRecord) -> None:
            self._metrics(usage)
            log(usage)

        return record

    def _make_cache(self, data_dir: Path) -> ModelResponseCache:
        options = self.settings.cache
        if options.persists:
            self._store = open_store(
                options.url.get_secret_value(),
                data_dir,
                max_bytes=options.persist_max_bytes,
                ttl=options.ttl,
                clock=self.clock,
                on_warning=_log.warning,
            )
        return ModelResponseCache(
            CacheOptions(
                policy=options.policy,
                policies=dict(options.policies),
                scope=options.scope,
                persist=options.persist,
                ttl=options.ttl,
                max_entries=options.max_entries,
                max_bytes=options.max_bytes,
                max_entry_bytes=options.max_entry_bytes,
                max_inflight_bytes=options.max_inflight_bytes,
            ),
            store=self._store,
            clock=self.clock,
        )

    async def _open_exporter(self, stack: AsyncExitStack, data_dir: Path) -> None:
        sources = Sources(
            version=self.version,
            inflight=lambda: self.gateway.active,
            legs=self._leg_statistics,
            cache=self.cache_statistics,
            store=self.store_statistics,
            attempts=self.gateway.attempts,
            balancer=self._fleet.balancer.statistics,
            queues=self._fleet.queues,
            threads=self._threads.counts,
            workspaces=self._workspaces.counts,
            lines_dropped=self._lines_dropped,
        )
        collect = NodeMetrics(self._metrics, sources).collect
        others = None
        if self._worker is not None:
            others = WorkerSnapshots(
                run_directory(data_dir), str(self._worker), collect, complete=add_process
            )
            await stack.enter_async_context(others)
        self._exporter = MetricsExporter(collect, others)

    def _register_secrets(self, settings: Settings) -> None:
        for upstream in settings.upstreams:
            for key in upstream.reveal_keys():
                self.redactor.register(key)
        proxies = [upstream.proxy for upstream in settings.upstreams]
        urls = (settings.cache.url, settings.storage.url, settings.network.proxy, *proxies)
        for url in urls:
            if url is not None and (password := urlsplit(url.get_secret_value()).password):
                self.redactor.register(password)

    # ---- what the web side asks

    @property
    def version(self) -> str:
        """The program's version."""
        return version("fairlead")

    def identify(self, headers: Headers) -> Principal:
        """Who asks."""
        return self.identity.identify(headers)

    @property
    def threads(self) -> ConversationDatabase:
        """Where conversations are."""
        return self._threads.database

    @property
    def workspaces(self) -> Workspaces:
        """Directories that the node serves from cache."""
        return self._workspaces

    @property
    def mcp(self) -> Any:
        """`/mcp` as an ASGI application."""
        return self._mcp

    def checks(self) -> Sequence[Check]:
        """What readiness depends on, from what is known already."""
        checks = [
            Check(
                name="serving",
                ok=not self.draining,
                detail="shutting down" if self.draining else "",
                essential=True,
            )
        ]
        if (store := self.store_statistics()) is not None:
            detail = f"{store.backend}, {store.failures} failures"
            checks.append(Check(name="cache store", ok=store.available, detail=detail))
        return [*checks, self._threads.check()]

    async def render_metrics(self, accept: str) -> Exposition:
        """The metrics in the format asked for."""
        return await self._exporter.render(accept)

    def cache_statistics(self) -> CacheStatistics:
        """What the response cache of this process holds and has done."""
        return self.gateway.cache.statistics()

    def store_statistics(self) -> StoreStatistics | None:
        """The same of its persistent tier."""
        return self._store.statistics() if self._store else None

    def upstreams(self) -> Sequence[UpstreamView]:
        """Every server, in the order of the configuration."""
        return self._fleet.views()

    def set_upstream_state(self, name: str, state: State) -> Sequence[UpstreamView]:
        """Drain the servers of an entry, or one server, or bring them back."""
        return self._fleet.set_state(name, state)

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove cached answers; how many."""
        return await self.gateway.cache.purge(selector)

    def _lines_dropped(self) -> int:
        dropped = self._writer.dropped if self._writer else 0
        return dropped + (self._log_root.failures if self._log_root else 0)

    def _leg_statistics(self) -> Mapping[str, LegStatistics]:
        return {u.name: u.leg.statistics() for u in self.gateway.routes.upstreams}


def _own_hosts(settings: Settings) -> frozenset[str] | None:
    # With --insecure the network keeps strangers out, and any name may lead here.
    return None if settings.server.insecure else LOOPBACK_NAMES | {settings.server.host.lower()}


def _limits(settings: Settings) -> Limits:
    server = settings.server
    return Limits(
        max_body_bytes=server.max_body_bytes,
        max_buffered_bytes=server.max_buffered_bytes,
        header_timeout=server.header_timeout,
        body_timeout=server.body_timeout,
        write_timeout=server.write_timeout,
    )
