from __future__ import annotations

from fairlead.gateway.base import StoreStatistics
from fairlead.gateway.caching import CacheStatistics
from fairlead.gateway.legs.base import LegStatistics
from fairlead.monitor.families import FAMILIES
from fairlead.monitor.metrics import GatewayMetrics
from fairlead.monitor.sources import NodeMetrics, Sources

CACHE = CacheStatistics(
    memory_hits=1,
    persistent_hits=2,
    misses=3,
    collapsed=4,
    bypassed={"store": 5},
    stored=6,
    not_stored={"status": 7},
    persisted=8,
    store_failures=9,
    tokens_saved=10,
    entries=11,
    bytes=12,
    evictions=13,
    expired=14,
    in_flight=15,
    in_flight_bytes=16,
)
STORE = StoreStatistics("sqlite", True, 21, 22, 23, 24, 25, 26, 27, 28)
LEG = LegStatistics(connections=5, idle=2, waiting=1, requests=40, connects=9, errors=3)


def node(store: StoreStatistics | None) -> NodeMetrics:
    sources = Sources(
        version="1.2.3",
        inflight=lambda: 4,
        legs=lambda: {"up-1": LEG},
        cache=lambda: CACHE,
        store=lambda: store,
        lines_dropped=lambda: 7,
    )
    return NodeMetrics(GatewayMetrics(), sources)


def test_every_source_is_read() -> None:
    numbers = node(STORE).collect().numbers
    assert numbers["fairlead_inflight_requests"] == {(): 4}
    assert numbers["fairlead_log_lines_dropped_total"] == {(): 7}
    assert numbers["fairlead_cache_entries"] == {(): 11}
    assert numbers["fairlead_cache_bytes"] == {(): 12}
    assert numbers["fairlead_cache_calls_in_flight"] == {(): 15}
    assert numbers["fairlead_cache_stored_total"] == {(): 6}
    assert numbers["fairlead_cache_not_stored_total"] == {("status",): 7}
    assert numbers["fairlead_cache_tokens_saved_total"] == {(): 10}
    assert numbers["fairlead_cache_store_failures_total"] == {(): 9}
    assert numbers["fairlead_cache_store_entries"] == {(): 21}
    assert numbers["fairlead_cache_store_bytes"] == {(): 22}
    assert numbers["fairlead_cache_store_up"] == {(): 1}
    assert numbers["fairlead_cache_evictions_total"] == {("memory",): 13, ("persistent",): 27}
    assert numbers["fairlead_upstream_connections"] == {("up-1", "active"): 3, ("up-1", "idle"): 2}
    assert numbers["fairlead_upstream_waiting_requests"] == {("up-1",): 1}
    assert numbers["fairlead_upstream_connects_total"] == {("up-1",): 9}
    (labels,) = numbers["fairlead_build_info"]
    assert labels[0] == "1.2.3"
    assert set(numbers) <= set(FAMILIES)


def test_without_a_persistent_tier_nothing_is_said_of_it() -> None:
    numbers = node(None).collect().numbers
    assert not [
        name
        for name in numbers
        if name.startswith("fairlead_cache_store_") and "failures" not in name
    ]
    assert numbers["fairlead_cache_evictions_total"] == {("memory",): 13}


def test_a_store_that_does_not_know_its_size_gives_none() -> None:
    store = StoreStatistics("redis", False, -1, -1, 0, 0, 0, 0, 0, 0)
    numbers = node(store).collect().numbers
    assert "fairlead_cache_store_entries" not in numbers
    assert "fairlead_cache_store_bytes" not in numbers
    assert numbers["fairlead_cache_store_up"] == {(): 0}
