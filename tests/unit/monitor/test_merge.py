from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.histogram import Histogram
from fairlead.monitor.base import Snapshot
from fairlead.monitor.merge import merge

REQUESTS = "fairlead_client_disconnects_total"
INFLIGHT = "fairlead_inflight_requests"
SHARED = "fairlead_cache_store_entries"
OLDEST = "process_start_time_seconds"
DURATION = "fairlead_request_duration_seconds"


def snapshot(value: float) -> Snapshot:
    part = Snapshot()
    for family in (REQUESTS, INFLIGHT, SHARED, OLDEST):
        part.set(family, value)
    histogram = Histogram.empty((1.0,))
    histogram.observe(value)
    part.add_histogram(DURATION, histogram, "other", "miss")
    return part


def test_each_family_is_merged_in_its_own_way() -> None:
    whole = merge([(snapshot(3), True), (snapshot(5), True)])
    assert whole.numbers == {REQUESTS: {(): 8}, INFLIGHT: {(): 8}, SHARED: {(): 5}, OLDEST: {(): 3}}
    assert whole.histograms[DURATION]["other", "miss"].sum == 8


def test_of_the_dead_only_counts_stay() -> None:
    whole = merge([(snapshot(3), False)])
    assert whole.numbers == {REQUESTS: {(): 3}}
    assert whole.histograms[DURATION]["other", "miss"].count == 1


def test_unknown_families_are_left_out() -> None:
    part = Snapshot()
    part.set("fairlead_of_another_version_total", 1)
    part.add_histogram("fairlead_of_another_version", Histogram.empty((1.0,)))
    assert merge([(part, True)]) == Snapshot()


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(0, 10))
def test_merging_in_steps_is_merging_at_once(values: list[int], cut: int) -> None:
    parts = [(snapshot(value), True) for value in values]
    stepwise = merge([(merge(parts[:cut]), True), (merge(parts[cut:]), True)])
    assert stepwise == merge(parts)


def test_the_parts_are_left_alone() -> None:
    first, second = snapshot(1), snapshot(2)
    merge([(first, True), (second, True)])
    assert (first, second) == (snapshot(1), snapshot(2))
