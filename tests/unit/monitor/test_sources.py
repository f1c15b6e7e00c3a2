from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.histogram import Histogram
from fairlead.gateway.base import StoreStatistics
from fairlead.gateway.caching import CacheStatistics
from fairlead.gateway.legs.base import LegStatistics
from fairlead.monitor.base import ThreadCounts, WorkspaceCounts
from fairlead.monitor.families import FAMILIES
from fairlead.monitor.metrics import GatewayMetrics
from fairlead.monitor.sources import NodeMetrics, Sources
from fairlead.traffic.admission import ClassStatistics, QueueStatistics
from fairlead.traffic.base import BalancerStatistics, ServerStatistics

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
WAITS = Histogram.empty((1.0,))
WAITS.observe(0.5)
SERVER = ServerStatistics(
    name="up-1",
    state="active",
    health="ejected",
    load=60,
    in_flight=61,
    sessions=62,
    ejections=63,
    served=64,
    failed=65,
    unreachable=66,
    resting=67,
    rest=68.0,
    accounts_set_aside=69,
    report=None,
)
BALANCER = BalancerStatistics(
    servers=(SERVER,),
    sessions=62,
    requests=70,
    retries=71,
    retries_denied=72,
    spills=73,
    moved_sessions=74,
)
LOW = ClassStatistics(
    waiting=81,
    admitted=82,
    refused={"shed": 83},
    abandoned=84,
    overflowed=85,
    waits=WAITS,
    longest_wait=0.5,
    oldest_wait=0.0,
)
QUEUE = QueueStatistics(
    name="up-1",
    limit=91,
    min_limit=92,
    max_limit=93,
    running=94,
    drain_rate=95.0,
    first_byte=96.0,
    overloads=97,
    classes={"low": LOW},
)


@dataclass(frozen=True)
class Storage:
    available: bool = True
    bytes: int = 101


@dataclass(frozen=True)
class Writer:
    waiting: int = 102
    operations: int = 103
    batches: int = 104
    retries: int = 105
    dead_letters: int = 106
    left: int = 107


@dataclass(frozen=True)
class Capture:
    captured: int = 108
    dropped: Mapping[str, int] = field(default_factory=lambda: {"full": 109})


THREADS = ThreadCounts(storage=Storage(), writer=Writer(), capture=Capture(), pruned=110)
WORKSPACES = WorkspaceCounts(opened=111, bytes=112, done={"hit": 113, "map_made": 114})
LEG = LegStatistics(connections=5, idle=2, waiting=1, requests=40, connects=9, errors=3)


def node(store: StoreStatistics | None, threads: ThreadCounts = THREADS) -> NodeMetrics:
    sources = Sources(
        version="1.2.3",
        inflight=lambda: 4,
        legs=lambda: {"up-1": LEG},
        cache=lambda: CACHE,
        store=lambda: store,
        attempts=lambda: {"up-1": 51},
        balancer=lambda: BALANCER,
        queues=lambda: {"up-1": QUEUE},
        threads=lambda: threads,
        workspaces=lambda: WORKSPACES,
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


def test_traffic_is_read() -> None:
    collected = node(STORE).collect()
    numbers = collected.numbers
    assert numbers["fairlead_upstream_attempts_total"] == {("up-1",): 51}
    assert numbers["fairlead_upstream_up"] == {("up-1",): 0}
    assert numbers["fairlead_upstream_in_flight_requests"] == {("up-1",): 61}
    assert numbers["fairlead_upstream_sessions"] == {("up-1",): 62}
    assert numbers["fairlead_upstream_ejections_total"] == {("up-1",): 63}
    assert numbers["fairlead_upstream_failures_total"] == {("up-1",): 65}
    assert numbers["fairlead_retries_total"] == {(): 71}
    assert numbers["fairlead_retries_denied_total"] == {(): 72}
    assert numbers["fairlead_session_spills_total"] == {(): 73}
    assert numbers["fairlead_session_moves_total"] == {(): 74}
    assert numbers["fairlead_queue_limit"] == {("up-1",): 91}
    assert numbers["fairlead_queue_running"] == {("up-1",): 94}
    assert numbers["fairlead_queue_waiting"] == {("up-1", "low"): 81}
    assert numbers["fairlead_queue_admitted_total"] == {("up-1", "low"): 82}
    assert numbers["fairlead_queue_refused_total"] == {("up-1", "low", "shed"): 83}
    assert collected.histograms["fairlead_queue_wait_seconds"]["up-1", "low"].count == 1


def test_conversations_are_read() -> None:
    numbers = node(STORE).collect().numbers
    assert numbers["fairlead_threads_up"] == {(): 1}
    assert numbers["fairlead_threads_bytes"] == {(): 101}
    assert numbers["fairlead_threads_waiting_writes"] == {(): 102}
    assert numbers["fairlead_threads_writes_total"] == {(): 103}
    assert numbers["fairlead_threads_transactions_total"] == {(): 104}
    assert numbers["fairlead_threads_retries_total"] == {(): 105}
    assert numbers["fairlead_threads_dead_letters_total"] == {(): 106}
    assert numbers["fairlead_threads_lost_total"] == {(): 107}
    assert numbers["fairlead_captured_turns_total"] == {(): 108}
    assert numbers["fairlead_captures_dropped_total"] == {("full",): 109}
    assert numbers["fairlead_threads_pruned_total"] == {(): 110}
    assert numbers["fairlead_workspaces_open"] == {(): 111}
    assert numbers["fairlead_workspace_bytes"] == {(): 112}
    assert numbers["fairlead_workspace_events_total"] == {("hit",): 113, ("map_made",): 114}


def test_nothing_is_said_of_a_size_that_is_not_known_nor_of_a_capture_that_is_off() -> None:
    threads = ThreadCounts(storage=Storage(False, -1), writer=Writer(), capture=None, pruned=0)
    numbers = node(STORE, threads).collect().numbers
    assert numbers["fairlead_threads_up"] == {(): 0}
    assert "fairlead_threads_bytes" not in numbers
    assert not [name for name in numbers if "capture" in name]
