"""Snapshots as Prometheus or OpenMetrics text: the only module that imports prometheus_client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.exposition import generate_latest as prometheus_text
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from fairlead.monitor.base import Snapshot
from fairlead.monitor.families import FAMILIES, Family

_PROCESS = ProcessCollector(registry=None)


class Exposition(msgspec.Struct, frozen=True):
    """What a scrape gets."""

    content_type: str
    body: bytes


class Others(Protocol):
    """The other workers of this node."""

    def merged(self, own: Snapshot) -> Snapshot:
        """`own` and what the others have written, in one; reads files."""
        ...


class SnapshotCollector(Collector):
    """Gives a snapshot to prometheus_client in its own terms."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """The families that have a value, in the order of the table of families."""
        for family in FAMILIES.values():
            if family.name in self._snapshot.histograms:
                yield self._histogram(family)
            elif family.name in self._snapshot.numbers:
                yield self._numbers(family)

    def _numbers(self, family: Family) -> Metric:
        kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
        metric = kind(family.name, family.help, labels=family.labels)
        for labels, value in sorted(self._snapshot.numbers[family.name].items()):
            metric.add_metric(labels, value)
        return metric

    def _histogram(self, family: Family) -> Metric:
        metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, histogram in sorted(self._snapshot.histograms[family.name].items()):
            bounds = [*map(str, histogram.bounds), "+Inf"]
            buckets = list(zip(bounds, histogram.cumulative(), strict=True))
            metric.add_metric(labels, buckets, histogram.sum)
        return metric


class MetricsExporter:
    """Answers scrapes of one process, or through `others` of all workers of the node."""

    def __init__(self, collect: Callable[[], Snapshot], others: Others | None = None) -> None:
        """`collect` is called on the event loop; everything after it happens in a thread."""
        self._collect = collect
        self._others = others

    async def render(self, accept: str) -> Exposition:
        """The text that the `Accept` header asks for: OpenMetrics 1.0, else Prometheus 0.0.4."""
        own = self._collect()
        return await asyncio.to_thread(self._render, own, accept)

    def _render(self, own: Snapshot, accept: str) -> Exposition:
        add_process(own)
        whole = own if self._others is None else self._others.merged(own)
        collector = SnapshotCollector(whole)
        if _wants_openmetrics(accept):
            body: bytes = openmetrics_text(collector)  # type: ignore[no-untyped-call] # as it is
            return Exposition(OPENMETRICS, body)
        return Exposition(CONTENT_TYPE_PLAIN_0_0_4, prometheus_text(collector))


def add_process(snapshot: Snapshot) -> None:
    """Add this process's CPU, memory and descriptors (reads /proc; adds nothing without it)."""
    for metric in _PROCESS.collect():
        for sample in metric.samples:
            if sample.name in FAMILIES:
                snapshot.set(sample.name, sample.value)


def _wants_openmetrics(accept: str) -> bool:
    # prometheus_client's own negotiation raises on a malformed version, so it is done here.
    for part in accept.split(","):
        media_type, *parameters = (word.strip().lower() for word in part.split(";"))
        if media_type == "application/openmetrics-text":
            return not any(_is_zero_quality(parameter) for parameter in parameters)
    return False


def _is_zero_quality(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0") in ("", ".", "0.")
