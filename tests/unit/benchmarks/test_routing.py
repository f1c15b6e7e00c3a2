"""The pure parts of the routing benchmark: what its figures rest on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from benchmarks.blocks import BlockCache
from benchmarks.load import LoadMeter, spread
from benchmarks.machine import BenchmarkError
from benchmarks.policies import BASELINES, POLICIES, LeastConnections, PolicyFactory
from benchmarks.routing_http import body_of
from benchmarks.simulation import ModelServers, Outcome, replay
from benchmarks.traces import TraceRequest, ceiling, load_trace

from fairlead.gateway.simulated.chat import Chat
from fairlead.gateway.simulated.prefix import PrefixCache
from fairlead.gateway.simulated.prompt import render
from fairlead.gateway.simulated.shape import decode

TRACE = [
    TraceRequest(0.0, (0, 1, 2), 40),
    TraceRequest(1.0, (0, 3), 40),
    TraceRequest(2.0, (0, 1, 2, 4), 40),
    TraceRequest(30.0, (0, 3, 5, 6), 40),
]


def test_a_block_is_found_only_behind_a_known_beginning() -> None:
    cache = BlockCache()

    assert cache.look_up((1, 2, 3)) == 0
    assert cache.look_up((1, 2, 4)) == 2
    assert cache.look_up((9, 2, 3)) == 0


def test_the_least_recently_used_block_leaves_first_and_ends_before_beginnings() -> None:
    cache = BlockCache(3)

    cache.look_up((1, 2, 3))
    cache.look_up((4,))

    assert cache.look_up((1, 2, 3)) == 2


def test_load_is_weighted_by_time() -> None:
    meter = LoadMeter(2)

    meter.observe([0, 0], 0.0)
    meter.observe([3, 1], 1.0)
    meter.observe([1, 1], 3.0)

    assert meter.ratio == pytest.approx((3 * 1 + 1 * 2) / (2 * 1 + 1 * 2))


def test_nothing_is_spread_evenly() -> None:
    assert spread([0, 0]) == LoadMeter(2).ratio == 1.0
    assert spread([3, 1]) == 1.5


def test_least_connections_takes_turns_among_equals() -> None:
    policy = LeastConnections(3)

    first = [policy.choose("s") for _ in range(3)]
    first[1].end()

    assert [place.server for place in first] == [0, 1, 2]
    assert policy.choose("s").server == 1


def test_the_ceiling_is_what_one_endless_cache_finds() -> None:
    assert ceiling(TRACE) == pytest.approx((0 + 1 + 3 + 2) / 13)


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
def test_one_server_with_an_endless_cache_finds_the_ceiling(make: PolicyFactory) -> None:
    outcome = _replay(make, ModelServers(1, 1000))

    assert outcome.hit_rate == pytest.approx(ceiling(TRACE))
    assert outcome.served == [4.0]


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
def test_prefill_is_serial_and_cached_blocks_cost_nothing(make: PolicyFactory) -> None:
    outcome = _replay(make, ModelServers(1, 1000, prefill=0.5, decode=40.0))

    # 3 blocks take 6 s; the next, a second later, waits 5 s for its 1 block of 2 s; and so on.
    assert outcome.first_tokens == pytest.approx([6.0, 7.0, 8.0, 4.0])
    assert outcome.work == pytest.approx([14.0])


@pytest.mark.parametrize("name", ["session hash", "Fairlead"])
def test_sessions_stay_where_their_blocks_are(name: str) -> None:
    outcome = _replay(POLICIES[name], ModelServers(4, 1000))

    assert outcome.hit_rate >= (3 + 2) / 13


def test_only_what_spills_says_so() -> None:
    assert {name: _replay(make, ModelServers(2, 9)).spills for name, make in POLICIES.items()} == {
        **dict.fromkeys(BASELINES),
        "Fairlead": 0,
    }


def test_the_simulated_upstream_finds_the_same_blocks_in_the_text_made_of_their_ids() -> None:
    chat, upstream, blocks = Chat(), PrefixCache(1000), BlockCache()

    for request in TRACE:
        prompt = chat.prompt(decode(body_of(request), chat.request_type))
        found = upstream.look_up("bench", render(prompt))
        assert found.cached == 512 * blocks.look_up(request.blocks)

    counts = upstream.statistics()
    assert counts.hits + counts.misses == sum(len(request.blocks) for request in TRACE)


def test_a_trace_is_read_in_order_of_time(tmp_path: Path) -> None:
    lines = [
        {"timestamp": 2000, "input_length": 700, "output_length": 5, "hash_ids": [0, 7]},
        {"timestamp": 500, "input_length": 100, "output_length": 3, "hash_ids": [0]},
    ]
    file = tmp_path / "trace.jsonl"
    file.write_bytes(b"\n".join(msgspec.json.encode(line) for line in lines))

    trace = load_trace(file)

    assert trace == [TraceRequest(0.5, (0,), 3), TraceRequest(2.0, (0, 7), 5)]
    assert [request.session for request in trace] == ["0", "7"]


def test_a_missing_or_foreign_trace_is_named(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text('{"a": 1}\n', encoding="utf-8")

    with pytest.raises(BenchmarkError, match=r"there is no trace at .*none\.jsonl: give --trace"):
        load_trace(tmp_path / "none.jsonl")
    with pytest.raises(BenchmarkError, match="no trace in Mooncake's format"):
        load_trace(foreign)


def _replay(make: PolicyFactory, machines: ModelServers) -> Outcome:
    return replay(TRACE, machines, make, seed=1)
