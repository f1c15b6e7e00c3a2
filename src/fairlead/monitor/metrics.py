"""Counting on the hot path: dictionaries and lists, no metrics library, no lock.

Called from the event loop only. One look-up finds the series of a request; the families are
made from the series when somebody scrapes.
"""

from __future__ import annotations

from collections import Counter

from fairlead.core.histogram import Histogram
from fairlead.monitor.base import Snapshot, Usage

# From a memory hit (under a millisecond) to a long stream of a reasoning model (minutes).
DURATION_BOUNDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
ROUTES = frozenset(
    (
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/models",
        "/v1/messages",
        "/v1/messages/count_tokens",
    )
)
OTHER = "other"
_Key = tuple[str, str, int, str]


class LabelBound:
    """Lets the first `limit` distinct values through and calls every further one `other`.

    Label values that clients choose would otherwise make a series each, for ever.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """`value`, or `other` where the bound is reached."""
        if value in self._known:
            return value
        if len(self._known) >= self._limit:
            return OTHER
        self._known.add(value)
        return value


class _Series:
    """What is counted for one (shape, route, status, cache)."""

    __slots__ = ("duration", "first_byte", "request_bytes", "requests", "response_bytes")

    def __init__(self) -> None:
        self.requests = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.duration = Histogram.empty(DURATION_BOUNDS)
        self.first_byte = Histogram.empty(DURATION_BOUNDS)


class GatewayMetrics:
    """Told of every ended model request (it is the gateway's recorder); never raises or blocks.

    At most `max_models` model names and `max_reasons` bypass reasons become label values; further
    ones are counted as `other`, as are paths that are no known route.
    """

    def __init__(self, max_models: int = 50, max_reasons: int = 50) -> None:
        self._series: dict[_Key, _Series] = {}
        self._outcomes: Counter[str] = Counter()
        self._bypasses: Counter[str] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._model = LabelBound(max_models)
        self._reason = LabelBound(max_reasons)

    def __call__(self, usage: Usage) -> None:
        """Count one ended request."""
        route = usage.path if usage.path in ROUTES else OTHER
        key = (usage.shape, route, usage.status, usage.cache)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        series.requests += 1
        series.request_bytes += usage.request_bytes
        series.response_bytes += usage.response_bytes
        series.duration.observe(usage.seconds)
        if usage.first_byte is not None:
            series.first_byte.observe(usage.first_byte)
        self._outcomes[usage.outcome] += 1
        if usage.cache == "bypass":
            self._bypasses[self._reason(usage.cache_detail or "unknown")] += 1
        if usage.error_kind and usage.upstream and usage.outcome != "rejected":
            self._errors[usage.upstream, usage.error_kind] += 1
        if usage.input_tokens is not None or usage.output_tokens is not None:
            self._count_tokens(usage)

    def _count_tokens(self, usage: Usage) -> None:
        model = self._model(usage.model)
        self._tokens[model, "in"] += usage.input_tokens or 0
        self._tokens[model, "out"] += usage.output_tokens or 0

    def snapshot(self) -> Snapshot:
        """A copy of everything counted so far."""
        snapshot = Snapshot()
        for key, series in self._series.items():
            _add_series(snapshot, key, series)
        for outcome, count in self._outcomes.items():
            snapshot.add("fairlead_request_outcomes_total", count, outcome)
        for reason, count in self._bypasses.items():
            snapshot.add("fairlead_cache_bypass_total", count, reason)
        for (upstream, kind), count in self._errors.items():
            snapshot.add("fairlead_upstream_errors_total", count, upstream, kind)
        for (model, direction), count in self._tokens.items():
            snapshot.add("fairlead_tokens_total", count, model, direction)
        snapshot.set("fairlead_client_disconnects_total", self._outcomes["client_closed"])
        return snapshot


def _add_series(snapshot: Snapshot, key: _Key, series: _Series) -> None:
    shape, route, status, cache = key
    labels = (shape or "none", route, str(status), cache)
    snapshot.add("fairlead_requests_total", series.requests, *labels)
    snapshot.add("fairlead_cache_requests_total", series.requests, cache)
    snapshot.add("fairlead_bytes_total", series.request_bytes, "in")
    snapshot.add("fairlead_bytes_total", series.response_bytes, "out")
    duration, first_byte = series.duration, series.first_byte
    snapshot.add_histogram("fairlead_request_duration_seconds", duration, route, cache)
    snapshot.add_histogram("fairlead_time_to_first_byte_seconds", first_byte, route, cache)
