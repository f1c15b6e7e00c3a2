"""How one round of a row of streams is measured against one server."""

from __future__ import annotations

import statistics
from dataclasses import replace

from benchmarks.bodies import Stream, Traffic, with_nonce
from benchmarks.machine import BenchmarkError
from benchmarks.measure import MEGABYTE, Bench, Effort, quantile, request_for, url_of, warm
from benchmarks.peers import Target
from benchmarks.processes import Usage
from benchmarks.streams import Load, Plan, Tally

_STREAMS = 200
_SLOWER = 8
"""A slow server gets this part of the streams; the report says so."""
_IDLE_BYTES = 1000
_NUMBERS = 10_000


def paced(bench: Bench, target: Target, traffic: Traffic) -> dict[str, float]:
    """Streams at a model's pace: CPU time of an event, wait for the first, delay of each."""
    warm(bench, target, replace(traffic, stream=None, caching="stored"))
    plan = _stream_plan(bench, target, traffic, bench.effort.repeats)
    before = target.usage(traffic)
    tally = Load(plan, lambda _: None).run()
    spent = target.usage(traffic).cpu_seconds - before.cpu_seconds
    return {"cpu": spent / max(1, tally.events) * 1e6, **_stream_figures(tally)}


def one_stream(bench: Bench, target: Target, traffic: Traffic) -> dict[str, float]:
    """One stream after another on one connection: what a single caller waits for."""
    warm(bench, target, replace(traffic, stream=None, caching="stored"))
    repeats = max(20, bench.effort.sequential // 6)
    plan = _stream_plan(bench, target, traffic, 1)
    plan = replace(plan, connections=1, ramp_seconds=0.0, repeats=repeats)
    return _stream_figures(Load(plan, lambda _: None).run())


def flood(bench: Bench, target: Target, traffic: Traffic) -> dict[str, float]:
    """All streams asked for at once, each as fast as the upstream can."""
    warm(bench, target, replace(traffic, stream=None, caching="stored"))
    plan = replace(_stream_plan(bench, target, traffic, 1), ramp_seconds=0.0)
    tally = Load(plan, lambda _: None).run()
    return {"seconds": tally.seconds, **_stream_figures(tally)}


def live(bench: Bench, target: Target, traffic: Traffic) -> dict[str, float]:
    """Many open connections and many slow streams: errors, memory, delay of each event."""
    effort = bench.effort
    warm(bench, target, replace(traffic, stream=None, caching="stored"))
    assert traffic.stream is not None
    gap = traffic.stream.gap_ms
    stream = Stream(int(effort.live_seconds * 1000 / gap), gap)
    url = url_of(target, traffic)
    plan = replace(
        _stream_plan(bench, target, replace(traffic, stream=stream), 1),
        connections=effort.live,
        ramp_seconds=1.0,
        idle=effort.idle,
        idle_request=request_for(bench, url, Traffic(traffic.origin, _IDLE_BYTES)),
        sample_after=1.0 + effort.live_seconds / 2,
        deadline=effort.live_seconds + 30,
    )
    samples = {"before": target.usage(traffic)}
    tally = Load(plan, lambda stage: samples.update({stage: target.usage(traffic)})).run()
    spent = target.usage(traffic).cpu_seconds - samples["idle"].cpu_seconds
    figures = _stream_figures(tally) | _memory_of_live(samples, effort)
    return figures | {
        "idle_closed": effort.idle - tally.idle_open,
        "cpu": spent / max(1, tally.events) * 1e6,
    }


def _memory_of_live(samples: dict[str, Usage], effort: Effort) -> dict[str, float]:
    before, idle, during = (samples[stage].rss_bytes for stage in ("before", "idle", "live"))
    return {
        "rss": during / MEGABYTE,
        "per_idle": (idle - before) / effort.idle / 1e3,
        "per_stream": (during - idle) / effort.live / 1e3,
    }


def _stream_plan(bench: Bench, target: Target, traffic: Traffic, repeats: int) -> Plan:
    assert traffic.stream is not None
    url = url_of(target, traffic)
    request = request_for(bench, url, traffic)
    # Numbered, because two streams of the same request could be made one by what is measured.
    first = bench.wrk.numbers(_NUMBERS)
    return Plan(
        url=url,
        request=lambda number: with_nonce(request, first + number),
        events=traffic.stream.events,
        connections=_STREAMS if target.pace == 1 else _STREAMS // _SLOWER,
        repeats=repeats if target.pace == 1 else 1,
        ramp_seconds=traffic.stream.events * traffic.stream.gap_ms / 1000,
    )


def _stream_figures(tally: Tally) -> dict[str, float]:
    if not tally.events:
        raise BenchmarkError(f"no events: {'; '.join(sorted(tally.problems))}")
    first = [waited / 1e6 for waited in tally.first_event]
    delays = [delay / 1e6 for delay in tally.delays]
    return {
        "first_p50": statistics.median(first),
        "first_p99": quantile(first, 0.99),
        "delay_p50": statistics.median(delays),
        "delay_p99": quantile(delays, 0.99),
        "broken": tally.broken,
    }
