"""How many retries are allowed: a token bucket filled by requests, not by time."""

from __future__ import annotations


class RetryBudget:
    """At most `burst` retries saved up, and `ratio` more for each request.

    A share of the traffic, not a number per request: when everything fails, retries must not
    multiply the load (Beyer et al., "Site Reliability Engineering", 2016, chapter 21).
    """

    def __init__(self, ratio: float, burst: int) -> None:
        self.made = 0
        self.denied = 0
        self._ratio = ratio
        self._burst = float(burst)
        self._tokens = float(burst)

    def deposit(self) -> None:
        """A request begins."""
        self._tokens = min(self._burst, self._tokens + self._ratio)

    def withdraw(self) -> bool:
        """Take one retry; False, and counted, where there is none."""
        if self._tokens < 1.0:
            self.denied += 1
            return False
        self._tokens -= 1.0
        self.made += 1
        return True

    def __repr__(self) -> str:
        return f"<RetryBudget {self._tokens:.1f}/{self._burst:g}, {self.made} made>"
