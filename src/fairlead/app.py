"""The composition root: settings in, an opened node out, one exit stack."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fairlead.core.clock import SYSTEM_CLOCK, Clock
from fairlead.core.identity import Principal
from fairlead.core.lifecycle import Resource
from fairlead.errors import ConfigurationError
from fairlead.gateway.base import (
    PurgeSelector,
    ResponseStore,
    StoreStatistics,
    Upstream,
    UsageRecord,
)
from fairlead.gateway.caching import CacheOptions, CacheStatistics
from fairlead.gateway.gateway import Gateway
from fairlead.gateway.legs import make_leg
from fairlead.gateway.legs.base import Headers, LegStatistics
from fairlead.gateway.responses import ModelResponseCache
from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer
from fairlead.gateway.stores import open_store
from fairlead.monitor.accesslog import AccessLog
from fairlead.monitor.export import Exposition, MetricsExporter, add_process
from fairlead.monitor.logs import LogRoot, configure_logging
from fairlead.monitor.metrics import GatewayMetrics
from fairlead.monitor.redaction import Redactor
from fairlead.monitor.sources import NodeMetrics, Sources
from fairlead.monitor.workers import WorkerSnapshots, clear_run_directory
from fairlead.monitor.writer import LineWriter
from fairlead.settings import Settings, UpstreamSettings
from fairlead.web.api import create_api
from fairlead.web.base import Check
from fairlead.web.middleware import LOOPBACK_NAMES, Identity, LocalIdentity
from fairlead.web.protocol import Limits
from fairlead.web.server import (
    ServerOptions,
    Workers,
    address_of,
    bind,
    run_edge,
    run_loop,
    stop_with_parent,
)

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
        cache = await stack.enter_async_context(self._make_cache(data_dir))
        upstreams = [await self._make_upstream(stack, one) for one in settings.upstreams]
        self.gateway = await stack.enter_async_context(
            Gateway(
                upstreams,
                cache,
                recorder,
                max_body_bytes=settings.server.max_body_bytes,
                clock=self.clock,
            )
        )
        await self._open_exporter(stack, data_dir)
        self._api = create_api(self)

    def configure_logging(self) -> None:
        """Send this process's log through the node's redactor; before `open`, so all of it goes."""
        self._register_secrets()
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

    async def _make_upstream(self, stack: AsyncExitStack, settings: UpstreamSettings) -> Upstream:
        base_url = settings.base_url
        if settings.is_own:
            server = SimulatedServer(simulated_options(self.settings))
            base_url = (await stack.enter_async_context(server)).url
        return Upstream(
            name=settings.name,
            shape=settings.shape,
            base_path=settings.base_path,
            models=settings.models,
            keys=settings.reveal_keys(),
            credentials=settings.credentials,
            leg=make_leg(settings.leg_options(base_url), self.clock),
            region=settings.region,
            capabilities=settings.capabilities,
            max_connections=settings.max_connections,
        )

    async def _open_exporter(self, stack: AsyncExitStack, data_dir: Path) -> None:
        sources = Sources(
            version=self.version,
            inflight=lambda: self.gateway.active,
            legs=self._leg_statistics,
            cache=self.cache_statistics,
            store=self.store_statistics,
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

    def _register_secrets(self) -> None:
        for upstream in self.settings.upstreams:
            for key in upstream.reveal_keys():
                self.redactor.register(key)
        proxies = [upstream.proxy for upstream in self.settings.upstreams]
        for url in (self.settings.cache.url, self.settings.network.proxy, *proxies):
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
        return checks

    async def render_metrics(self, accept: str) -> Exposition:
        """The metrics in the format asked for."""
        return await self._exporter.render(accept)

    def cache_statistics(self) -> CacheStatistics:
        """What the response cache of this process holds and has done."""
        return self.gateway.cache.statistics()

    def store_statistics(self) -> StoreStatistics | None:
        """The same of its persistent tier."""
        return self._store.statistics() if self._store else None

    async def purge(self, selector: PurgeSelector) -> int:
        """Remove cached answers; how many."""
        return await self.gateway.cache.purge(selector)

    def _lines_dropped(self) -> int:
        dropped = self._writer.dropped if self._writer else 0
        return dropped + (self._log_root.failures if self._log_root else 0)

    def _leg_statistics(self) -> Mapping[str, LegStatistics]:
        return {u.name: u.leg.statistics() for u in self.gateway.routes.upstreams}


def serve(settings: Settings, announce: Callable[[list[str]], None]) -> int:
    """Run a node until it is told to stop; the exit status. `announce` is told the URLs."""
    options = ServerOptions(
        host=settings.server.host,
        port=settings.server.port,
        keep_alive_timeout=settings.server.keep_alive_timeout,
        shutdown_timeout=settings.server.shutdown_timeout,
    )
    sock = bind(options)
    urls = [address_of(sock)]
    clear_run_directory(run_directory(prepare_data_dir(settings.server.data_dir)))
    if settings.server.workers == 1:
        run_loop(lambda: _run(settings, None, sock, options, lambda: announce(urls)))
        return 0
    target = partial(_run_worker, settings, options)
    Workers(settings.server.workers, target, sock).run(
        lambda: announce(urls), options.shutdown_timeout
    )
    return 0


def _run_worker(
    settings: Settings, options: ServerOptions, index: int, sock: socket.socket, ready: Any
) -> None:
    run_loop(lambda: _run(settings, index, sock, options, ready.set))


async def _run(
    settings: Settings,
    worker: int | None,
    sock: socket.socket,
    options: ServerOptions,
    on_ready: Callable[[], None],
) -> None:
    node = Node(settings, worker=worker)
    node.configure_logging()
    stop_with_parent()
    async with node:
        await run_edge(node, sock, options, on_ready)


def simulated_options(settings: Settings) -> SimulatedOptions:
    """The options of the node's own simulated upstream."""
    return SimulatedOptions(**settings.simulated.model_dump())


def prepare_data_dir(path: Path) -> Path:
    """Make the data directory, for the owner only; raises `ConfigurationError`."""
    path = path.expanduser()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot be made ({error.strerror}): choose another with --data-dir"
        raise ConfigurationError("server.data_dir", str(path), reason) from error
    return path


def run_directory(data_dir: Path) -> Path:
    """Where the workers of one node share their metrics."""
    return data_dir / "run"


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
