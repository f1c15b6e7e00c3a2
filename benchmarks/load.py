"""How evenly requests are spread over servers, averaged over time."""

from __future__ import annotations

from collections.abc import Sequence


class LoadMeter:
    """Integrates the busiest server's requests in flight, and the mean of all servers, over time.

    Momentary, not summed up over the run: a policy that overloads each server in turn is not even.
    """

    def __init__(self, servers: int) -> None:
        self._servers = servers
        self._seen_at: float | None = None
        self._busiest = self._mean = 0.0

    def observe(self, loads: Sequence[int], now: float) -> None:
        """`loads` is what every server has had in flight since the last call; `now` in seconds."""
        if self._seen_at is not None:
            seconds = now - self._seen_at
            self._busiest += max(loads) * seconds
            self._mean += sum(loads) / self._servers * seconds
        self._seen_at = now

    @property
    def ratio(self) -> float:
        """Busiest over mean: 1 where all have the same all the time, or none has anything."""
        return self._busiest / self._mean if self._mean else 1.0


def spread(amounts: Sequence[float]) -> float:
    """The largest of `amounts` over their mean: 1 where all are the same, or all are nothing."""
    total = sum(amounts)
    return max(amounts) * len(amounts) / total if total else 1.0
