"""A node as the web side sees it, whose state a test sets."""

from __future__ import annotations

from fairlead.core.identity import LOCAL_PRINCIPAL, Principal
from fairlead.errors import FairleadError, RequestError
from fairlead.gateway.base import PurgeSelector, StoreStatistics
from fairlead.gateway.caching import CacheStatistics
from fairlead.gateway.legs.base import Headers
from fairlead.monitor.base import Snapshot
from fairlead.monitor.export import Exposition, MetricsExporter
from fairlead.web.base import Check

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
        self.health = [Check(name="accepting", ok=True, essential=True)]
        self.store: StoreStatistics | None = StoreStatistics("sqlite", True, 1, 2, 3, 4, 5, 6, 7, 8)
        self.failure: FairleadError | Exception | None = None

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

    async def purge(self, selector: PurgeSelector) -> int:
        if self.failure is not None:
            raise self.failure
        kept = [entry for entry in self.entries if not _selected(selector, *entry)]
        removed, self.entries = len(self.entries) - len(kept), kept
        return removed


def _selected(selector: PurgeSelector, digest: bytes, model: str, tenant: str) -> bool:
    wanted = (selector.digest, selector.model, selector.tenant)
    return all(
        want in (None, is_) for want, is_ in zip(wanted, (digest, model, tenant), strict=True)
    )
