from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.base import UsageRecord
from fairlead.monitor.families import FAMILIES
from fairlead.monitor.metrics import GatewayMetrics, LabelBound

Make = Callable[..., UsageRecord]


def test_one_request_is_counted_in_every_family(usage: Make) -> None:
    metrics = GatewayMetrics()
    metrics(usage())
    snapshot = metrics.snapshot()
    assert snapshot.numbers == {
        "fairlead_requests_total": {("anthropic", "/v1/messages", "200", "miss"): 1},
        "fairlead_cache_requests_total": {("miss",): 1},
        "fairlead_request_outcomes_total": {("ok",): 1},
        "fairlead_bytes_total": {("in",): 1000, ("out",): 200},
        "fairlead_tokens_total": {("claude-x", "in"): 30, ("claude-x", "out"): 12},
        "fairlead_client_disconnects_total": {(): 0},
    }
    labels = ("/v1/messages", "miss")
    duration = snapshot.histograms["fairlead_request_duration_seconds"][labels]
    first_byte = snapshot.histograms["fairlead_time_to_first_byte_seconds"][labels]
    assert (duration.count, duration.sum) == (1, 0.2)
    assert (first_byte.count, first_byte.sum) == (1, 0.05)


def test_series_that_differ_in_status_share_a_histogram(usage: Make) -> None:
    metrics = GatewayMetrics()
    metrics(usage(status=200))
    metrics(usage(status=500, shape="openai"))
    snapshot = metrics.snapshot()
    assert len(snapshot.numbers["fairlead_requests_total"]) == 2
    assert snapshot.numbers["fairlead_cache_requests_total"] == {("miss",): 2}
    (duration,) = snapshot.histograms["fairlead_request_duration_seconds"].values()
    assert duration.count == 2


def test_paths_that_are_no_known_route_are_one_series(usage: Make) -> None:
    metrics = GatewayMetrics()
    for number in range(200):
        metrics(usage(path=f"/v1/models/{number}"))
    assert metrics.snapshot().numbers["fairlead_requests_total"] == {
        ("anthropic", "other", "200", "miss"): 200
    }


def test_models_beyond_the_bound_are_counted_as_other(usage: Make) -> None:
    metrics = GatewayMetrics()
    for number in range(60):
        metrics(usage(model=f"m{number}"))
    metrics(usage(model="m0"))
    tokens = metrics.snapshot().numbers["fairlead_tokens_total"]
    assert len({model for model, _ in tokens}) == 51
    assert tokens["other", "in"] == 10 * 30
    assert tokens["m0", "in"] == 2 * 30


def test_models_of_requests_without_usage_take_no_place(usage: Make) -> None:
    metrics = GatewayMetrics(max_models=1)
    metrics(usage(model="made-up", input_tokens=None, output_tokens=None))
    metrics(usage(model="real"))
    assert ("real", "in") in metrics.snapshot().numbers["fairlead_tokens_total"]


def test_bypasses_are_counted_by_reason(usage: Make) -> None:
    metrics = GatewayMetrics(max_reasons=2)
    for reason in ("temperature", "temperature", "store", "strange", ""):
        metrics(usage(cache="bypass", cache_detail=reason))
    metrics(usage(cache="hit", cache_detail="memory"))
    assert metrics.snapshot().numbers["fairlead_cache_bypass_total"] == {
        ("temperature",): 2,
        ("store",): 1,
        ("other",): 2,
    }


def test_upstream_errors_are_counted_and_refusals_of_our_own_are_not(usage: Make) -> None:
    metrics = GatewayMetrics()
    metrics(usage(outcome="upstream_error", error_kind="timeout", status=504))
    metrics(usage(outcome="rejected", error_kind="unknown_model", status=404))
    metrics(usage(outcome="rejected", error_kind="unknown_model", upstream="", status=404))
    numbers = metrics.snapshot().numbers
    assert numbers["fairlead_upstream_errors_total"] == {("up-1", "timeout"): 1}
    assert numbers["fairlead_request_outcomes_total"] == {("upstream_error",): 1, ("rejected",): 2}


def test_disconnects_are_counted_and_no_first_byte_is_none_observed(usage: Make) -> None:
    metrics = GatewayMetrics()
    metrics(usage(outcome="client_closed", status=499, first_byte=None))
    snapshot = metrics.snapshot()
    assert snapshot.numbers["fairlead_client_disconnects_total"] == {(): 1}
    (first_byte,) = snapshot.histograms["fairlead_time_to_first_byte_seconds"].values()
    assert first_byte.count == 0


def test_a_snapshot_does_not_change_afterwards(usage: Make) -> None:
    metrics = GatewayMetrics()
    metrics(usage())
    snapshot = metrics.snapshot()
    metrics(usage())
    (count,) = snapshot.numbers["fairlead_requests_total"].values()
    (duration,) = snapshot.histograms["fairlead_request_duration_seconds"].values()
    assert (count, duration.count) == (1, 1)


def test_every_series_is_of_a_known_family_with_its_labels(usage: Make) -> None:
    metrics = GatewayMetrics()
    metrics(usage(cache="bypass", outcome="upstream_broken", error_kind="broken"))
    snapshot = metrics.snapshot()
    for name, series in (snapshot.numbers | snapshot.histograms).items():
        for labels in series:
            assert len(labels) == len(FAMILIES[name].labels)


@given(st.lists(st.text(max_size=3), max_size=40), st.integers(0, 5))
def test_a_bound_lets_the_first_values_through(values: list[str], limit: int) -> None:
    bound = LabelBound(limit)
    results = [bound(value) for value in values]
    allowed = list(dict.fromkeys(values))[:limit]
    assert results == [value if value in allowed else "other" for value in values]
