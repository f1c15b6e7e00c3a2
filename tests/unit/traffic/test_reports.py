"""Load by metrics pages: real names and labels, several engines and ranks, garbage."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from fairlead.traffic.base import LoadReport
from fairlead.traffic.reports import (
    HIT_RATE,
    HITS,
    MAX_LINES,
    QUERIES,
    RUNNING,
    USAGE,
    WAITING,
    UnknownMetricsError,
    read_report,
)

NAMES = [*RUNNING, *WAITING, *USAGE, *QUERIES, *HITS, *HIT_RATE]

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="qwen"} 3.0
vllm:num_requests_running{engine="1",model_name="qwen"} 4.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="qwen"} 0.0
vllm:num_requests_waiting{engine="1",model_name="qwen"} 7.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="qwen",reason="capacity"} 99.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="qwen"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="qwen"} 0.75
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="qwen"} 1.0e+06
vllm:prefix_cache_queries_total{engine="1",model_name="qwen"} 3.0e+06
vllm:prefix_cache_queries_created{engine="0",model_name="qwen"} 1.7e+09
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="qwen"} 500000.0
vllm:prefix_cache_hits_total{engine="1",model_name="qwen"} 500000.0
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{engine="0",le="0.3",model_name="qwen"} 0.0
"""

SGLANG = b"""\
# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{engine_type="unified",model_name="q",pp_rank="0",tp_rank="0"} 5.0
sglang:num_running_reqs_offline_batch{engine_type="unified",model_name="q"} 50.0
sglang:num_queue_reqs{engine_type="unified",model_name="q",pp_rank="0",tp_rank="0"} 2.0
sglang:num_grammar_queue_reqs{engine_type="unified",model_name="q"} 60.0
sglang:token_usage{engine_type="unified",model_name="q",pp_rank="0",tp_rank="0"} 0.28
sglang:cache_hit_rate{engine_type="unified",model_name="q",pp_rank="0",tp_rank="0"} 0.5
sglang:cached_tokens_total{model_name="q"} 70.0
"""


def test_vllm_adds_up_its_engines_and_the_fullest_cache_decides() -> None:
    assert read_report(VLLM) == LoadReport(
        running=7, waiting=7, memory_free=0.25, prefix_hit_rate=0.25
    )


def test_the_older_names_of_vllm() -> None:
    page = VLLM.replace(b"kv_cache", b"gpu_cache").replace(b"prefix", b"gpu_prefix")

    assert read_report(page) == read_report(VLLM)


def test_a_figure_under_its_old_and_new_name_counts_once() -> None:
    old = VLLM.replace(b"kv_cache", b"gpu_cache").replace(b"prefix", b"gpu_prefix")
    old = old.replace(b"0.75", b"1.0").replace(b"500000.0", b"1.0")
    old = b"".join(line for line in old.splitlines(keepends=True) if b"num_requests" not in line)

    assert read_report(old + VLLM) == read_report(VLLM)


def test_sglang() -> None:
    assert read_report(SGLANG) == LoadReport(
        running=5, waiting=2, memory_free=1 - 0.28, prefix_hit_rate=0.5
    )


def test_ranks_that_share_their_requests_are_counted_once() -> None:
    lines = [
        f'sglang:num_running_reqs{{dp_rank="{dp}",moe_ep_rank="{tp}",pp_rank="{pp}",'
        f'tp_rank="{tp}"}} {3 + dp}.0'
        for dp in range(2)
        for tp in range(4)
        for pp in range(2)
    ]

    assert read_report("\n".join(lines).encode()).running == 3 + 4


def test_parts_by_priority_are_in_the_whole_already() -> None:
    page = b"""
sglang:num_queue_reqs{model_name="q",priority="",tp_rank="0"} 6.0
sglang:num_queue_reqs{model_name="q",priority="1",tp_rank="0"} 4.0
sglang:num_queue_reqs{model_name="q",priority="None",tp_rank="0"} 2.0
"""

    assert read_report(page).waiting == 6


def test_the_hit_rate_of_several_caches_is_their_mean() -> None:
    page = b'sglang:cache_hit_rate{dp_rank="0"} 0.25\nsglang:cache_hit_rate{dp_rank="1"} 0.75\n'

    assert read_report(page) == LoadReport(prefix_hit_rate=0.5)


def test_a_fairlead_node() -> None:
    assert read_report(b"fairlead_inflight_requests 12.0\n") == LoadReport(running=12)


def test_a_page_as_prometheus_client_writes_it() -> None:
    registry = CollectorRegistry()
    labels = {"model_name": 'a"b}\\ c\nd é', "engine": "0"}
    running = Gauge("vllm:num_requests_running", "h", labels, registry=registry)
    running.labels(**labels).set(2)
    running.labels(**{**labels, "engine": "1"}).set(3)
    queries = Counter("vllm:prefix_cache_queries", "h", labels, registry=registry)
    queries.labels(**labels).inc(8)
    Counter("vllm:prefix_cache_hits", "h", labels, registry=registry).labels(**labels).inc(2)

    assert read_report(generate_latest(registry)) == LoadReport(running=5, prefix_hit_rate=0.25)


@pytest.mark.parametrize(
    "line",
    [
        b"vllm:num_requests_running 4",
        b"vllm:num_requests_running 4.0\r",
        b"vllm:num_requests_running\t 4.0 1700000000000",
        b"vllm:num_requests_running{} 4e0",
        b'vllm:num_requests_running{a="} 9 ",b="\\"} 9",} +4',
        b'vllm:num_requests_running{a="b"} 4 # {trace_id="} 9"} 5',
        b"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 4",
    ],
)
def test_forms_of_a_line(line: bytes) -> None:
    assert read_report(line).running == 4
    assert read_report(b"\n\n" + line + b"\nother 5\n").running == 4


GARBAGE = [b"NaN", b"-1", b"+Inf", b"-Inf", b"1e300", b"many", b"0x10", b"\xff"]


@pytest.mark.parametrize("names", [RUNNING, WAITING, USAGE, HIT_RATE], ids=lambda names: names[0])
@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("label", [b"engine", b"tp_rank"])
@pytest.mark.parametrize("first", [True, False])
def test_garbage_makes_its_part_none_and_no_other(
    names: tuple[bytes, ...], garbage: bytes, label: bytes, first: bool
) -> None:
    other = b"vllm:num_requests_waiting 1" if names is RUNNING else b"vllm:num_requests_running 1"
    lines = [names[0] + b"{" + label + b'="%d"} 0.5' % rank for rank in range(3)]
    fine = read_report(b"\n".join([*lines, other]))
    lines[0 if first else 2] = names[0] + b"{" + label + b'="9"} ' + garbage
    broken = read_report(b"\n".join([*lines, other]))

    assert broken == read_report(other)
    assert fine != broken


def test_parts_of_one_are_at_most_one() -> None:
    other = b"\nvllm:num_requests_running 1"

    for name in (*USAGE, *HIT_RATE):
        assert read_report(name + b" 1.01" + other) == LoadReport(running=1)
        assert read_report(name + b" 1" + other) != LoadReport(running=1)


@pytest.mark.parametrize(("hits", "queries"), [(0, 0), (5, 4), (-1, 4), (math.nan, 4), (1, -4)])
def test_no_hit_rate_of_counts_that_cannot_be(hits: float, queries: float) -> None:
    page = f"{HITS[0].decode()} {hits}\n{QUERIES[0].decode()} {queries}\n"

    assert read_report(f"{page}vllm:num_requests_running 1".encode()) == LoadReport(running=1)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html>not found</html>",
        b"# HELP vllm:num_requests_running Number of requests.",
        b"process_open_fds 5\nx_vllm:num_requests_running 5\n vllm:num_requests_running 5",
        b"vllm:num_requests_running",
        b"vllm:num_requests_running\n5",
        b'vllm:num_requests_running{a="b 5',
        b'vllm:num_requests_running{a="b"}5',
        b"vllm:num_requests_running NaN",
    ],
)
def test_a_page_without_a_figure_is_an_error(page: bytes) -> None:
    with pytest.raises(UnknownMetricsError, match="no load figure"):
        read_report(page)


def test_the_lines_that_are_read_for_a_name_are_bounded() -> None:
    lines = [b'vllm:num_requests_running{engine="%d"} 1' % i for i in range(MAX_LINES + 1)]

    assert read_report(b"\n".join(lines)).running == MAX_LINES


LINES = st.tuples(
    st.sampled_from(NAMES) | st.binary(max_size=5),
    st.sampled_from([b"", b"{", b'{a="b"}', b'{tp_rank="1"}', b'{priority="1"}', b'{a="\\']),
    st.sampled_from([b" ", b"", b"\t"]),
    st.floats().map(lambda value: str(value).encode()) | st.binary(max_size=6),
).map(b"".join)


@given(st.lists(LINES | st.binary(max_size=20), max_size=12).map(b"\n".join))
@example(b'vllm:num_requests_running{a="' + b'"' * 50_000)
@example(b"vllm:num_requests_running{" + b'a="\\"",' * 50_000)
@example(b"\n".join([b'vllm:num_requests_running{a="%d"} 1e15' % i for i in range(9)]))
def test_any_page_gives_figures_that_can_be_or_an_error(page: bytes) -> None:
    try:
        report = read_report(page)
    except UnknownMetricsError:
        return
    for count in (report.running, report.waiting):
        assert count is None or count >= 0
    for part in (report.memory_free, report.prefix_hit_rate):
        assert part is None or 0 <= part <= 1
    assert report.cpu is None
