"""The rows of the gateway benchmark: what is sent, how it is measured, what figures it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.bodies import Caching, Origin, Stream, Traffic
from benchmarks.machine import BenchmarkError
from benchmarks.measure import Bench, memory, sequential, throughput
from benchmarks.measure_streams import flood, live, one_stream, paced
from benchmarks.peers import Target

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Metric:
    """One line of the table: the figure's key, what it is called, and how it is shown.

    `added` subtracts the same figure without anything between. `server_only` is a figure that the
    upstream itself has not. `digits` are after the point.
    """

    key: str
    title: str
    digits: int = 0
    added: bool = False
    server_only: bool = False


@dataclass(frozen=True)
class Row:
    """`measure` gives the figures of one round; `skipped` says for whom it is not done, and why.

    `once` rows are measured in the first round only. `server_only` rows leave direct out.
    """

    id: str
    title: str
    traffic: Traffic
    measure: Callable[[Bench, Target, Traffic], Figures]
    metrics: tuple[Metric, ...]
    skipped: Mapping[str, str]
    once: bool = False
    server_only: bool = False

    def applies(self, target: Target) -> bool:
        """False where the server has no such thing: a cache, or requests that pass its cache by."""
        if self.server_only and not target.children:
            return False
        return target.route(self.traffic) is not None

    def run(self, bench: Bench, target: Target) -> Figures:
        """One round against `target`; raises `BenchmarkError` where it cannot be done."""
        if reason := self.skipped.get(target.name):
            raise BenchmarkError(reason)
        with target.alone():
            return self.measure(bench, target, self.traffic)


_SIZES = {"8k": 8_000, "80k": 80_000, "400k": 400_000, "1m": 1_000_000}
_CALLERS = {"sequential": "one caller", "throughput": "16 connections"}
_CACHING: dict[Caching, str] = {
    "stored": "miss, stored",
    "bypass": "miss, bypass",
    "hit": "hit",
}
_RATE = (
    Metric("rate", "requests/s"),
    Metric("cpu", "CPU µs a request", server_only=True),
)
_LATENCY = (
    Metric("p50", "added p50, ms", 3, added=True),
    Metric("p99", "added p99, ms", 3, added=True),
)
_WAIT = (
    Metric("p50", "answer p50, ms", 3),
    Metric("p99", "answer p99, ms", 3),
)
_ONE_STREAM = (
    Metric("first_p50", "added first event p50, ms", 3, added=True),
    Metric("first_p99", "added first event p99, ms", 3, added=True),
    Metric("delay_p99", "added delay an event p99, ms", 3, added=True),
    Metric("broken", "broken streams"),
)
_PACED = (
    Metric("cpu", "CPU µs an event", 1, server_only=True),
    Metric("first_p50", "added first event p50, ms", 2, added=True),
    Metric("first_p99", "added first event p99, ms", 2, added=True),
    Metric("delay_p99", "added delay an event p99, ms", 2, added=True),
    Metric("broken", "broken streams"),
)
_FLOOD = (
    Metric("first_p50", "first event p50, ms", 1),
    Metric("first_p99", "first event p99, ms", 1),
    Metric("seconds", "all streams, s", 2),
    Metric("broken", "broken streams"),
)
_LIVE = (
    Metric("broken", "broken streams"),
    Metric("idle_closed", "idle connections closed"),
    Metric("delay_p50", "added delay an event p50, ms", 2, added=True),
    Metric("delay_p99", "added delay an event p99, ms", 2, added=True),
    Metric("rss", "RSS with all, MB", server_only=True),
    Metric("per_stream", "memory a stream, KB", 1, server_only=True),
    Metric("per_idle", "memory an idle connection, KB", 1, server_only=True),
    Metric("cpu", "CPU µs an event", 1, server_only=True),
)
_MEMORY = (
    Metric("requests", "requests sent"),
    Metric("rss_start", "RSS before, MB"),
    Metric("rss_half", "RSS halfway, MB"),
    Metric("rss_end", "RSS after, MB"),
    Metric("growth", "RSS after ÷ halfway", 3),
)
_SLOW = "left out: 20,000 events a second at its CPU time an event (paced row) need many cores"


def all_rows() -> list[Row]:
    """Every row, in the order of the table."""
    return [*_plain_rows(), *_answer_rows(), *_stream_rows()]


def _plain_rows() -> list[Row]:
    return [
        *(
            _plain_row("sequential", size, caching)
            for size in ("8k", "80k", "1m")
            for caching in _CACHING
        ),
        *(_plain_row("throughput", size, caching) for size in _SIZES for caching in _CACHING),
    ]


def _plain_row(kind: str, size: str, caching: Caching) -> Row:
    if kind == "throughput":
        measure, metrics = throughput, _RATE
    else:
        # A hit does not reach the upstream, so there is nothing to subtract.
        measure, metrics = sequential, _WAIT if caching == "hit" else _LATENCY
    traffic = Traffic(_origin(size), _SIZES[size], caching)
    title = f"{_CALLERS[kind]}: {_CACHING[caching]}, {_shown(size)} request"
    return Row(f"{kind}-{caching}-{size}", title, traffic, measure, metrics, {})


def _answer_rows() -> list[Row]:
    rows = []
    choices: tuple[Caching, ...] = ("bypass", "hit")
    for caching in choices:
        traffic = Traffic("own", 8_000, caching, answer=1_000_000)
        title = f"{_CALLERS['throughput']}: {_CACHING[caching]}, 1 MB answer"
        rows.append(Row(f"throughput-{caching}-answer", title, traffic, throughput, _RATE, {}))
    return rows


def _stream_rows() -> list[Row]:
    two_hundred = Stream(200, 5)
    full_speed = Stream(200, 0)
    return [
        Row(
            "stream-one",
            "one caller: streams of 10 events 5 ms apart",
            Traffic("own", 8_000, stream=Stream(10, 5)),
            one_stream,
            _ONE_STREAM,
            {},
        ),
        Row(
            "stream-paced",
            "200 streams at once of 200 events 5 ms apart",
            Traffic("own", 8_000, stream=two_hundred),
            paced,
            _PACED,
            {},
        ),
        Row(
            "stream-flood",
            "200 streams at once of 200 events at full speed",
            Traffic("own", 8_000, stream=full_speed),
            flood,
            _FLOOD,
            {},
        ),
        Row(
            "live",
            "1,000 live streams of 20 events/s beside 5,000 idle connections",
            Traffic("own", 8_000, stream=Stream(1, 50)),
            live,
            _LIVE,
            {"litellm": _SLOW},
            once=True,
        ),
        Row(
            "memory",
            "100,000 requests of 8 KB, half hits, half stored",
            Traffic("plain", 8_000, "stored"),
            memory,
            _MEMORY,
            {},
            once=True,
            server_only=True,
        ),
    ]


def _origin(size: str) -> Origin:
    # nginx throws a body away in steps of 4 KB, which is slow for the large ones.
    return "plain" if size == "8k" else "own"


def _shown(size: str) -> str:
    return f"{size[:-1]} {size[-1].upper()}B"
