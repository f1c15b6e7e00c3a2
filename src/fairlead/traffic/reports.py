"""What a model server's metrics page says of its load (pure).

The names and meanings are those of
- vLLM: `vllm/v1/metrics/loggers.py` and "Production Metrics" of its manual. Usage is 0 to 1, the
  prefix cache counts tokens. Versions around 0.9 show a figure under its old and its new name.
- SGLang: `python/sglang/srt/observability/metrics_collector.py` and "Production Metrics" of its
  manual. With `--enable-metrics-for-all-schedulers` the ranks that work on the same requests
  show them once each; with priority scheduling a figure stands beside its parts by priority.
- Fairlead: `fairlead_inflight_requests`, which includes requests that wait.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from statistics import fmean

import msgspec

from fairlead.errors import FairleadError
from fairlead.traffic.base import LoadReport

RUNNING = (
    b"vllm:num_requests_running",
    b"sglang:num_running_reqs",
    b"fairlead_inflight_requests",
)
WAITING = (b"vllm:num_requests_waiting", b"sglang:num_queue_reqs")
USAGE = (b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc", b"sglang:token_usage")
QUERIES = (b"vllm:prefix_cache_queries_total", b"vllm:gpu_prefix_cache_queries_total")
HITS = (b"vllm:prefix_cache_hits_total", b"vllm:gpu_prefix_cache_hits_total")
HIT_RATE = (b"sglang:cache_hit_rate",)

MAX_LINES = 4096
"""Lines that are read for one name; far more than any server has engines and ranks."""

_MOST = 1e15
"""A higher count is garbage; floats count exactly so far."""

# Text format 0.0.4: labels, value, perhaps a time stamp. Possessive, so that no line, however
# strange, is read more than once.
_SAMPLE = re.compile(rb'(?:\{((?:[^"}\n]|"(?:[^"\\\n]|\\.)*+")*+)\})?[ \t]++([^ \t\r\n]++)')
_LABEL = re.compile(rb'([A-Za-z_][A-Za-z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"')
_SAME_REQUESTS = frozenset({b"tp_rank", b"pp_rank", b"moe_ep_rank"})
"""Labels of ranks that together work on one set of requests."""


class UnknownMetricsError(FairleadError):
    """The page holds no load figure of vLLM, SGLang or Fairlead that can be used."""


class _Series(msgspec.Struct, frozen=True):
    """One line: whose figure it is, and the figure."""

    group: frozenset[tuple[bytes, bytes]]
    """Its labels without those of ranks that share their requests."""
    value: float
    """At least 0; infinite where it is garbage."""


def read_report(text: bytes) -> LoadReport:
    """The load by a page in Prometheus' text format; one pass for each name that is looked for.

    Counts of several models, engines and data-parallel ranks are added up; of the key-value
    caches the fullest decides. The hit rate is that of the server's whole life, or where it gives
    only a rate of its own, the mean of the ranks. A part with a negative, infinite or absurd
    figure, or with none, is None; so is `cpu` always. The caller bounds the size of the page.
    Raises `UnknownMetricsError` where no part is left.
    """
    page = b"\n" + text
    usage = _worst(_figures(page, USAGE))
    report = LoadReport(
        running=_count(_figures(page, RUNNING)),
        waiting=_count(_figures(page, WAITING)),
        memory_free=None if usage is None else 1.0 - usage,
        prefix_hit_rate=_hit_rate(page),
    )
    if report == LoadReport():
        raise UnknownMetricsError
    return report


def _hit_rate(page: bytes) -> float | None:
    queries, hits = _count(_figures(page, QUERIES)), _count(_figures(page, HITS))
    if queries and hits is not None and hits <= queries:
        return hits / queries
    rates = _figures(page, HIT_RATE)
    return fmean(rates) if rates and _worst(rates) is not None else None


def _count(figures: Sequence[float]) -> int | None:
    total = sum(figures)
    return round(total) if figures and total <= _MOST else None


def _worst(figures: Sequence[float]) -> float | None:
    """The highest of what must be parts of one."""
    return max(figures) if figures and max(figures) <= 1 else None


def _figures(page: bytes, names: Sequence[bytes]) -> list[float]:
    """One figure for each group, under the first of `names` that the page has.

    Infinite where one of the group's is garbage; empty where the page has none of the names.
    """
    for name in names:
        groups: dict[frozenset[tuple[bytes, bytes]], float] = {}
        for series in _series(page, name):
            groups[series.group] = max(series.value, groups.get(series.group, 0.0))
        if groups:
            return list(groups.values())
    return []


def _series(page: bytes, name: bytes) -> Iterator[_Series]:
    start = b"\n" + name
    at = 0
    for _ in range(MAX_LINES):
        at = page.find(start, at)
        if at < 0:
            return
        at += len(start)
        # A longer name that begins the same matches nothing here.
        sample = _SAMPLE.match(page, at)
        if sample is not None:
            labels = dict(_LABEL.findall(sample[1] or b""))
            # A part by priority is in the figure without one already.
            if not labels.get(b"priority"):
                group = frozenset(pair for pair in labels.items() if pair[0] not in _SAME_REQUESTS)
                yield _Series(group, _number(sample[2]))


def _number(text: bytes) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.inf
    # Written so that NaN is garbage too. Infinity stays the highest, whatever it meets later.
    return number if number >= 0 else math.inf
