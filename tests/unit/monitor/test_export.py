from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as prometheus_families

from fairlead.core.histogram import Histogram
from fairlead.gateway.base import UsageRecord
from fairlead.monitor.base import Snapshot
from fairlead.monitor.export import MetricsExporter, _wants_openmetrics, add_process
from fairlead.monitor.families import FAMILIES
from fairlead.monitor.metrics import GatewayMetrics

Make = Callable[..., UsageRecord]
OPENMETRICS = "application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5"


def everything(usage: Make) -> Snapshot:
    """A snapshot in which every family has a value."""
    metrics = GatewayMetrics()
    metrics(usage(model='odd "name"\\\n'))
    snapshot = metrics.snapshot()
    for family in FAMILIES.values():
        if family.name not in snapshot.numbers | snapshot.histograms:
            labels = ["x" for _ in family.labels]
            if family.kind == "histogram":
                snapshot.add_histogram(family.name, Histogram.empty((1.0, 2.0)), *labels)
            else:
                snapshot.set(family.name, 2.0, *labels)
    return snapshot


async def render(snapshot: Snapshot, accept: str) -> tuple[str, str]:
    exposition = await MetricsExporter(lambda: snapshot).render(accept)
    return exposition.content_type, exposition.body.decode()


async def test_prometheus_text_holds_every_family_with_type_and_labels(usage: Make) -> None:
    content_type, text = await render(everything(usage), "*/*")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    parsed = {family.name: family for family in prometheus_families(text)}
    for family in FAMILIES.values():
        found = parsed[family.name.removesuffix("_total")]
        assert (found.type, found.documentation) == (family.kind, family.help)
        for sample in found.samples:
            assert set(sample.labels) - {"le"} == set(family.labels)


async def test_openmetrics_is_given_when_asked_for(usage: Make) -> None:
    content_type, text = await render(everything(usage), OPENMETRICS)
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith("# EOF\n")
    names = {family.name for family in openmetrics_families(text)}
    assert names == {name.removesuffix("_total") for name in FAMILIES}


async def test_label_values_that_clients_choose_are_escaped(usage: Make) -> None:
    _, text = await render(everything(usage), "")
    (tokens,) = (f for f in prometheus_families(text) if f.name == "fairlead_tokens")
    assert {sample.labels["model"] for sample in tokens.samples} == {'odd "name"\\\n'}


async def test_histograms_are_cumulative_with_sum_and_count(usage: Make) -> None:
    metrics = GatewayMetrics()
    for seconds in (0.2, 0.2, 700.0):
        metrics(usage(seconds=seconds))
    _, text = await render(metrics.snapshot(), "")
    (family,) = (
        f for f in prometheus_families(text) if f.name == "fairlead_request_duration_seconds"
    )
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert buckets["0.1"] == 0
    assert buckets["0.25"] == 2
    assert buckets["600.0"] == 2
    assert buckets["+Inf"] == 3
    others = {s.name: s.value for s in family.samples if not s.name.endswith("_bucket")}
    assert others["fairlead_request_duration_seconds_count"] == 3
    assert others["fairlead_request_duration_seconds_sum"] == pytest.approx(700.4)


def test_the_process_is_described() -> None:
    snapshot = Snapshot()
    add_process(snapshot)
    assert snapshot.numbers["process_resident_memory_bytes"][()] > 1_000_000
    assert snapshot.numbers["process_open_fds"][()] >= 3


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text;version=1.0.0; q=0.7, text/plain", True),
        ("application/openmetrics-text;version=abc", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text; q=0.00, text/plain", False),
        ("application/openmetrics-textual", False),
    ],
)
def test_negotiation(accept: str, expected: bool) -> None:
    assert _wants_openmetrics(accept) is expected


@given(st.text())
def test_no_accept_header_is_too_strange(accept: str) -> None:
    assert _wants_openmetrics(accept) in (True, False)
