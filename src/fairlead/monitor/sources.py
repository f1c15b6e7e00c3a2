"""What is not counted per request but read when somebody asks: gauges and others' counts."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping

import msgspec

from fairlead.monitor.base import (
    BalancerCounts,
    CacheCounts,
    ConnectionCounts,
    QueueCounts,
    Snapshot,
    StoreCounts,
    ThreadCounts,
    WorkspaceCounts,
)
from fairlead.monitor.metrics import GatewayMetrics


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where the values come from; all are called on the event loop and must return at once."""

    version: str
    inflight: Callable[[], int]
    """Model requests being answered now."""
    legs: Callable[[], Mapping[str, ConnectionCounts]]
    """Connection counts by configured upstream name."""
    cache: Callable[[], CacheCounts]
    store: Callable[[], StoreCounts | None]
    """The persistent tier's counts, or None where there is no such tier."""
    attempts: Callable[[], Mapping[str, int]]
    """Requests sent, by configured upstream name."""
    balancer: Callable[[], BalancerCounts]
    queues: Callable[[], Mapping[str, QueueCounts]]
    """The queue before each server, by its name."""
    threads: Callable[[], ThreadCounts]
    workspaces: Callable[[], WorkspaceCounts]
    lines_dropped: Callable[[], int]
    """Log lines dropped so far."""


class NodeMetrics:
    """Everything this process knows of itself: what workers share and scrapes show."""

    def __init__(self, gateway: GatewayMetrics, sources: Sources) -> None:
        self._gateway = gateway
        self._sources = sources

    def collect(self) -> Snapshot:
        """A snapshot of this process; to be called on the event loop."""
        sources = self._sources
        snapshot = self._gateway.snapshot()
        snapshot.set("fairlead_build_info", 1, sources.version, platform.python_version())
        snapshot.set("fairlead_inflight_requests", sources.inflight())
        snapshot.set("fairlead_log_lines_dropped_total", sources.lines_dropped())
        _read_cache(snapshot, sources.cache())
        _read_store(snapshot, sources.store())
        for upstream, counts in sources.legs().items():
            _read_leg(snapshot, upstream, counts)
        for upstream, attempts in sources.attempts().items():
            snapshot.set("fairlead_upstream_attempts_total", attempts, upstream)
        _read_balancer(snapshot, sources.balancer())
        for upstream, queue in sources.queues().items():
            _read_queue(snapshot, upstream, queue)
        _read_threads(snapshot, sources.threads())
        _read_workspaces(snapshot, sources.workspaces())
        return snapshot


def _read_cache(snapshot: Snapshot, cache: CacheCounts) -> None:
    snapshot.set("fairlead_cache_entries", cache.entries)
    snapshot.set("fairlead_cache_bytes", cache.bytes)
    snapshot.set("fairlead_cache_evictions_total", cache.evictions, "memory")
    snapshot.set("fairlead_cache_calls_in_flight", cache.in_flight)
    snapshot.set("fairlead_cache_stored_total", cache.stored)
    snapshot.set("fairlead_cache_tokens_saved_total", cache.tokens_saved)
    snapshot.set("fairlead_cache_store_failures_total", cache.store_failures)
    for reason, count in cache.not_stored.items():
        snapshot.set("fairlead_cache_not_stored_total", count, reason)


def _read_store(snapshot: Snapshot, store: StoreCounts | None) -> None:
    if store is None:
        return
    if store.entries >= 0:
        snapshot.set("fairlead_cache_store_entries", store.entries)
    if store.bytes >= 0:
        snapshot.set("fairlead_cache_store_bytes", store.bytes)
    snapshot.set("fairlead_cache_store_up", store.available)
    snapshot.set("fairlead_cache_evictions_total", store.evictions, "persistent")


def _read_leg(snapshot: Snapshot, upstream: str, leg: ConnectionCounts) -> None:
    busy = leg.connections - leg.idle
    snapshot.set("fairlead_upstream_connections", busy, upstream, "active")
    snapshot.set("fairlead_upstream_connections", leg.idle, upstream, "idle")
    snapshot.set("fairlead_upstream_waiting_requests", leg.waiting, upstream)
    snapshot.set("fairlead_upstream_connects_total", leg.connects, upstream)


def _read_balancer(snapshot: Snapshot, balancer: BalancerCounts) -> None:
    snapshot.set("fairlead_retries_total", balancer.retries)
    snapshot.set("fairlead_retries_denied_total", balancer.retries_denied)
    snapshot.set("fairlead_session_spills_total", balancer.spills)
    snapshot.set("fairlead_session_moves_total", balancer.moved_sessions)
    for server in balancer.servers:
        usable = server.state == "active" and server.health != "ejected"
        snapshot.set("fairlead_upstream_up", usable, server.name)
        snapshot.set("fairlead_upstream_in_flight_requests", server.in_flight, server.name)
        snapshot.set("fairlead_upstream_sessions", server.sessions, server.name)
        snapshot.set("fairlead_upstream_ejections_total", server.ejections, server.name)
        snapshot.set("fairlead_upstream_failures_total", server.failed, server.name)


def _read_queue(snapshot: Snapshot, upstream: str, queue: QueueCounts) -> None:
    snapshot.set("fairlead_queue_limit", queue.limit, upstream)
    snapshot.set("fairlead_queue_running", queue.running, upstream)
    for name, one in queue.classes.items():
        snapshot.set("fairlead_queue_waiting", one.waiting, upstream, name)
        snapshot.set("fairlead_queue_admitted_total", one.admitted, upstream, name)
        snapshot.add_histogram("fairlead_queue_wait_seconds", one.waits, upstream, name)
        for reason, count in one.refused.items():
            snapshot.set("fairlead_queue_refused_total", count, upstream, name, reason)


def _read_workspaces(snapshot: Snapshot, workspaces: WorkspaceCounts) -> None:
    snapshot.set("fairlead_workspaces_open", workspaces.opened)
    snapshot.set("fairlead_workspace_bytes", workspaces.bytes)
    for event, count in workspaces.done.items():
        snapshot.set("fairlead_workspace_events_total", count, event)


def _read_threads(snapshot: Snapshot, threads: ThreadCounts) -> None:
    snapshot.set("fairlead_threads_up", threads.storage.available)
    if threads.storage.bytes >= 0:
        snapshot.set("fairlead_threads_bytes", threads.storage.bytes)
    writer = threads.writer
    snapshot.set("fairlead_threads_transactions_total", writer.batches)
    snapshot.set("fairlead_threads_writes_total", writer.operations)
    snapshot.set("fairlead_threads_waiting_writes", writer.waiting)
    snapshot.set("fairlead_threads_retries_total", writer.retries)
    snapshot.set("fairlead_threads_dead_letters_total", writer.dead_letters)
    snapshot.set("fairlead_threads_lost_total", writer.left)
    snapshot.set("fairlead_threads_pruned_total", threads.pruned)
    if threads.capture is not None:
        snapshot.set("fairlead_captured_turns_total", threads.capture.captured)
        for reason, count in threads.capture.dropped.items():
            snapshot.set("fairlead_captures_dropped_total", count, reason)
