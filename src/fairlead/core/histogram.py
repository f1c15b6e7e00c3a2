"""A histogram with fixed bucket bounds: cheap to fill, exact to merge."""

from __future__ import annotations

from bisect import bisect_left
from typing import Self

import msgspec


class Histogram(msgspec.Struct):
    """Counts per bucket and the sum of what was observed.

    `bounds` are inclusive upper bounds, ascending; `counts` has one place more, for what lies
    above the last bound. The same shape as a Prometheus histogram, but not yet cumulative.
    """

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> Self:
        """A histogram that has seen nothing; `ValueError` unless `bounds` ascend strictly."""
        if not bounds or list(bounds) != sorted(set(bounds)):
            raise ValueError(f"bounds must ascend strictly: {bounds}")
        return cls(bounds, [0] * (len(bounds) + 1))

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Count `value` (not NaN) in the first bucket whose bound is not below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def merge(self, other: Histogram) -> None:
        """Add what `other` has seen; `ValueError` where the bounds differ."""
        if self.bounds != other.bounds:
            raise ValueError("histograms with different bounds cannot be merged")
        self.counts = [
            mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]
        self.sum += other.sum

    def cumulative(self) -> list[int]:
        """Per bound (and for infinity, last) how many values were at most that large."""
        total = 0
        return [total := total + count for count in self.counts]

    def copy(self) -> Histogram:
        """An independent copy."""
        return Histogram(self.bounds, list(self.counts), self.sum)
