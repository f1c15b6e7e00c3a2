"""A node as the web side sees it, whose state a test sets."""

from __future__ import annotations

from fairlead.conversations.database import ConversationDatabase
from fairlead.conversations.memory import MemoryThreadStore
from fairlead.core.identity import LOCAL_PRINCIPAL, Principal
from fairlead.errors import FairleadError, RequestError
from fairlead.gateway.base import PurgeSelector, StoreStatistics
from fairlead.gateway.caching import CacheStatistics
from fairlead.gateway.legs.base import Headers
from fairlead.monitor.base import Snapshot
from fairlead.monitor.export import Exposition, MetricsExporter
from fairlead.traffic.base import LoadReport, ServerStatistics, State
from fairlead.traffic.queue import AdaptiveQueueManager
from fairlead.web.base import Check, UpstreamView

RED = Principal(tenant="red", user="ann", team="red", verified=True)


class FakeNode:
    """Entries are (digest, model, tenant); `x-token: red` makes the caller Ann of team red."""

    version = "1.2.3"

    def __init__(self) -> None:
        self.entries = [
            (b"\1" * 32, "m1", "red"),
            (b"\2" * 32, "m2", "red"),
            (b"\3" * 32, "m1", "blue"),
        ]
        self.states: dict[str, State] = {"gpu": "active", "far": "draining"}
        self.health = [Check(name="accepting", ok=True, essential=True)]
        self.store: StoreStatistics | None = StoreStatistics("sqlite", True, 1, 2, 3, 4, 5, 6, 7, 8)
        self.failure: FairleadError | Exception | None = None
        self.threads = ConversationDatabase(MemoryThreadStore())

    def identify(self, headers: Headers) -> Principal:
        token = dict(headers).get(b"x-token")
        if token is None:
            return LOCAL_PRINCIPAL
        if token == b"red":
            return RED
        raise RequestError(401, "the token is not known", code="token")

    def checks(self) -> list[Check]:
        return self.health

    async def render_metrics(self, accept: str) -> Exposition:
        snapshot = Snapshot()
        snapshot.set("fairlead_inflight_requests", 3)
        return await MetricsExporter(lambda: snapshot).render(accept)

    def cache_statistics(self) -> CacheStatistics:
        return CacheStatistics(
            memory_hits=1,
            persistent_hits=2,
            misses=3,
            collapsed=4,
            bypassed={"temperature": 5},
            stored=6,
            not_stored={"status": 7},
            persisted=8,
            store_failures=9,
            tokens_saved=10,
            entries=len(self.entries),
            bytes=12,
            evictions=13,
            expired=14,
            in_flight=15,
            in_flight_bytes=16,
        )

    def store_statistics(self) -> StoreStatistics | None:
        return self.store

    def upstreams(self) -> list[UpstreamView]:
        return [upstream_view(name, state) for name, state in self.states.items()]

    def set_upstream_state(self, name: str, state: State) -> list[UpstreamView]:
        if name not in self.states:
            raise RequestError(404, f"no upstream is named {name!r}; there are: gpu, far")
        self.states[name] = state
        return [upstream_view(name, state)]

    async def purge(self, selector: PurgeSelector) -> int:
        if self.failure is not None:
            raise self.failure
        kept = [entry for entry in self.entries if not _selected(selector, *entry)]
        removed, self.entries = len(self.entries) - len(kept), kept
        return removed


def upstream_view(name: str, state: State) -> UpstreamView:
    """A server with distinct figures."""
    return UpstreamView(
        name=name,
        group=name,
        shape="openai",
        base_url=f"http://{name}:8000/v1",
        models=("*",),
        server=ServerStatistics(
            name=name,
            state=state,
            health="healthy",
            load=7,
            in_flight=5,
            sessions=3,
            ejections=2,
            served=40,
            failed=1,
            unreachable=1,
            resting=1,
            rest=2.5,
            accounts_set_aside=1,
            report=LoadReport(running=7, memory_free=0.25) if name == "gpu" else None,
        ),
        queue=AdaptiveQueueManager(name=name).statistics(),
        probe_error="",
    )


def _selected(selector: PurgeSelector, digest: bytes, model: str, tenant: str) -> bool:
    wanted = (selector.digest, selector.model, selector.tenant)
    return all(
        want in (None, is_) for want, is_ in zip(wanted, (digest, model, tenant), strict=True)
    )
