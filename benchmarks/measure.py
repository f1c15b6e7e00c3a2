"""How one round of a row is measured against one server: latency, throughput, memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from benchmarks.bodies import Traffic, body, http_request, with_nonce
from benchmarks.exchange import Answer, Exchange
from benchmarks.machine import BenchmarkError
from benchmarks.peers import Target
from benchmarks.unique import run_unique
from benchmarks.wrk import Throughput, Variation, Wrk

_PATH = "/v1/chat/completions"
_CONNECTIONS = 16
_WRK_UNIQUE_BYTES = 16_000
_LARGE_A_SECOND = 50_000
_WARMING = 5
MEGABYTE = 1e6
_MEMORY_SECONDS = 60.0
_CACHED_WITHIN = 5.0
"""Seconds within which a server must have stored an answer; some do so after they sent it."""


@dataclass(frozen=True)
class Effort:
    """How much is measured: requests one after another, seconds, streams, rounds."""

    rounds: int
    sequential: int
    seconds: float
    repeats: int
    live_seconds: float
    idle: int
    live: int
    memory_requests: int


FULL = Effort(3, 200, 2.0, 2, 8.0, 5000, 1000, 100_000)
QUICK = Effort(1, 60, 1.0, 1, 2.0, 1000, 200, 5_000)


@dataclass(frozen=True)
class Bench:
    """What every measurement needs."""

    wrk: Wrk
    effort: Effort
    seed: int
    server_core: int

    def body(self, traffic: Traffic) -> bytes:
        """The same for all servers and rounds of a row."""
        return body(traffic, self.seed)


class _Id(msgspec.Struct):
    id: str


def sequential(bench: Bench, target: Target, traffic: Traffic) -> dict[str, float]:
    """Milliseconds a single caller waits, request after request on one connection."""
    url = url_of(target, traffic)
    request = request_for(bench, url, traffic)
    prepare(bench, target, traffic)
    count = max(20, int(bench.effort.sequential * max(target.pace, 0.1)))
    times = []
    with Exchange(url) as exchange:
        for number in range(count + 5):
            sent = (
                with_nonce(request, bench.wrk.numbers()) if traffic.caching == "stored" else request
            )
            seconds = _checked(exchange.send(sent)).seconds
            if number >= 5:
                times.append(seconds * 1e3)
    return {"p50": statistics.median(times), "p99": quantile(times, 0.99)}


def throughput(bench: Bench, target: Target, traffic: Traffic) -> dict[str, float]:
    """Requests a second on 16 connections (4 for a slow server, a second longer), CPU of each."""
    prepare(bench, target, traffic)
    before = target.usage(traffic)
    slow = target.pace < 1
    connections = _CONNECTIONS // 4 if slow else _CONNECTIONS
    result = _load(bench, target, traffic, connections, bench.effort.seconds + slow)
    spent = target.usage(traffic).cpu_seconds - before.cpu_seconds
    if result.failed:
        raise BenchmarkError(f"{result.failed} of {result.requests} requests failed")
    return {
        "rate": result.rate,
        "cpu": spent / max(1, result.requests) * 1e6,
        "busy": spent / result.seconds,
    }


def _load(
    bench: Bench, target: Target, traffic: Traffic, connections: int, seconds: float
) -> Throughput:
    url = url_of(target, traffic)
    if traffic.caching == "stored" and traffic.size > _WRK_UNIQUE_BYTES:
        request = request_for(bench, url, traffic)
        first = bench.wrk.numbers(int(seconds * _LARGE_A_SECOND))
        return run_unique(url, request, first, connections, seconds)
    variation: Variation = "unique" if traffic.caching == "stored" else "same"
    return bench.wrk.run(url, bench.body(traffic), variation, connections, seconds)


def memory(bench: Bench, target: Target, traffic: Traffic) -> dict[str, float]:
    """Resident memory before, amid and after many requests, half hits and half stored misses."""
    warm(bench, target, traffic)
    wanted = int(bench.effort.memory_requests * target.pace)
    payload = bench.body(traffic)
    deadline = time.monotonic() + _MEMORY_SECONDS
    sent = 0
    samples = [(0, target.usage(traffic).rss_bytes)]
    while sent < wanted:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"only {sent} of {wanted} requests in {_MEMORY_SECONDS:.0f} s")
        result = bench.wrk.run(url_of(target, traffic), payload, "mixed", _CONNECTIONS, 1.0)
        if result.failed:
            raise BenchmarkError(f"{result.failed} of {result.requests} requests failed")
        sent += result.requests
        samples.append((sent, target.usage(traffic).rss_bytes))
    half = next(rss for count, rss in samples if count >= sent / 2)
    return {
        "requests": sent,
        "rss_start": samples[0][1] / MEGABYTE,
        "rss_half": half / MEGABYTE,
        "rss_end": samples[-1][1] / MEGABYTE,
        "growth": samples[-1][1] / half,
    }


def warm(bench: Bench, target: Target, traffic: Traffic) -> None:
    """Open the server's connections with requests that it never saw."""
    url = url_of(target, traffic)
    request = request_for(bench, url, traffic)
    with Exchange(url) as exchange:
        for _ in range(_WARMING):
            _checked(exchange.send(with_nonce(request, bench.wrk.numbers())))


def prepare(bench: Bench, target: Target, traffic: Traffic) -> None:
    """Warm it and fill its cache; raises `BenchmarkError` where it hits against the plan."""
    warm(bench, target, traffic)
    if traffic.caching == "stored":
        return
    url = url_of(target, traffic)
    request = request_for(bench, url, traffic)
    wanted = traffic.caching == "hit"
    deadline = time.monotonic() + _CACHED_WITHIN
    with Exchange(url) as exchange:
        while _answered_alike(exchange, request) != wanted:
            if time.monotonic() > deadline:
                raise BenchmarkError("not cached" if wanted else "answered from a cache")
            time.sleep(0.05)


def _answered_alike(exchange: Exchange, request: bytes) -> bool:
    """Two answers are one: the upstream gives every answer another id, so it came from a cache."""
    return _id_of(exchange.send(request)) == _id_of(exchange.send(request))


def _id_of(answer: Answer) -> str:
    return msgspec.json.decode(_checked(answer).body, type=_Id).id


def _checked(answer: Answer) -> Answer:
    if answer.status != 200:
        raise BenchmarkError(f"status {answer.status}: {answer.body[:200]!r}")
    return answer


def url_of(target: Target, traffic: Traffic) -> str:
    """Where the server takes this traffic; the row has asked that it does."""
    url = target.route(traffic)
    assert url is not None
    return url


def request_for(bench: Bench, url: str, traffic: Traffic) -> bytes:
    """The whole request, with a nonce that `with_nonce` can change."""
    return http_request(urlsplit(url).netloc, _PATH, bench.body(traffic))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
