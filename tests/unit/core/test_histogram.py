from __future__ import annotations

from itertools import accumulate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.histogram import Histogram

BOUNDS = (0.1, 1.0, 10.0)
values = st.lists(st.floats(0, 100, allow_nan=False), max_size=50)


def filled(observed: list[float]) -> Histogram:
    histogram = Histogram.empty(BOUNDS)
    for value in observed:
        histogram.observe(value)
    return histogram


@given(values)
def test_a_value_is_counted_at_every_bound_that_is_not_below_it(observed: list[float]) -> None:
    expected = [sum(value <= bound for value in observed) for bound in BOUNDS]
    histogram = filled(observed)
    assert histogram.cumulative() == [*expected, len(observed)]
    assert histogram.count == len(observed)
    assert list(accumulate(histogram.counts)) == histogram.cumulative()


def test_a_bound_belongs_to_its_own_bucket() -> None:
    assert filled([0.1]).counts == [1, 0, 0, 0]
    assert filled([10.0000001]).counts == [0, 0, 0, 1]


@given(values, values)
def test_merging_is_observing_both(left: list[float], right: list[float]) -> None:
    merged = filled(left)
    merged.merge(filled(right))
    both = filled(left + right)
    assert merged.counts == both.counts
    assert merged.sum == pytest.approx(both.sum)


def test_different_bounds_do_not_merge() -> None:
    with pytest.raises(ValueError, match="different bounds"):
        filled([]).merge(Histogram.empty((1.0,)))


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0)])
def test_bounds_must_ascend(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Histogram.empty(bounds)


def test_a_copy_is_independent() -> None:
    histogram = filled([0.5])
    histogram.copy().observe(0.5)
    assert histogram.count == 1


def test_it_survives_encoding() -> None:
    histogram = filled([0.05, 5.0])
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(histogram), type=Histogram)
    assert decoded == histogram
