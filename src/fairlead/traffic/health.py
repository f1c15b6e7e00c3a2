"""Whether a server is fit: ejected after failures in a row, back by a trial, then slowly to full.

The manner of Envoy's outlier detection: passive, by what real requests meet, helped by probes.
"""

from __future__ import annotations

import math

from fairlead.traffic.base import BalancerOptions, Fitness
from fairlead.traffic.suspension import Stake, Suspension

FAILURES = frozenset({500, 502, 503, 504})
"""Statuses of a sick server. 429 and 529 speak of load, 501 and 4xx of the request."""

_FIRST_SHARE = 0.1
"""Part of its capacity that a server has when it comes back."""


class EjectionLimit:
    """At most half of the servers are out: beyond that the fault is more likely elsewhere."""

    def __init__(self) -> None:
        self.servers = 0
        self.out = 0

    def take(self) -> bool:
        """Let one more out; False where half of them are."""
        if (self.out + 1) * 2 > self.servers:
            return False
        self.out += 1
        return True

    def give_back(self) -> None:
        """One is back, or gone for good."""
        self.out -= 1

    @property
    def exceeded(self) -> bool:
        """More than half are out, because others were removed."""
        return self.out * 2 > self.servers


class Health:
    """The fitness of one server. `now` is always seconds of one monotonic clock."""

    __slots__ = (
        "_back_since",
        "_failures",
        "_level",
        "_limit",
        "_options",
        "_probe_failures",
        "at_full",
        "suspension",
    )

    def __init__(self, options: BalancerOptions, limit: EjectionLimit) -> None:
        self.suspension = Suspension()
        self.at_full = True
        """Neither ejected nor starting slowly, as far as was seen: spares asking for `share`."""
        self._options = options
        self._limit = limit
        self._failures = 0
        self._probe_failures = 0
        self._level = 0
        """How often it was ejected of late: what the next ejection's time is multiplied by."""
        self._back_since = -math.inf

    @property
    def overdue(self) -> bool:
        """It has failed often enough to be ejected, but too many others are out."""
        return self._failures + self._probe_failures >= self._options.ejection_failures

    def fitness(self, now: float) -> Fitness:
        """How it is now."""
        until = self.suspension.until
        if until is not None:
            return "ejected" if now < until else "trial"
        return "slow-start" if now - self._back_since < self._options.slow_start else "healthy"

    def share(self, now: float) -> float:
        """Part of its capacity to use: rising from a tenth to all over the slow start."""
        if self.suspension.active:
            return _FIRST_SHARE
        elapsed = now - self._back_since
        if elapsed >= self._options.slow_start:
            self.at_full = True
            return 1.0
        return _FIRST_SHARE + (1.0 - _FIRST_SHARE) * elapsed / self._options.slow_start

    def succeeded(self, stake: Stake, now: float) -> int:
        """A request was answered properly; ends an ejection.

        Returns how many failures in a row that ended, for `failed` in case the answer breaks.
        """
        if not self.suspension.is_current(stake):
            return 0
        if self.suspension.active:
            self.readmit(now)
            return 0
        ended, self._failures, self._probe_failures = self._failures, 0, 0
        return ended

    def failed(self, stake: Stake, now: float, pardoned: int = 0) -> None:
        """A request met a failure. `pardoned`: what `succeeded` returned for its answer's head.

        Without it a server that begins every answer and breaks every one would never be ejected.
        """
        if not self.suspension.is_current(stake):
            return
        if not self.suspension.active:
            self._failures = max(self._failures, pardoned) + 1
            self._eject_if_due(now)
        elif stake.is_trial:
            self._eject(now)

    def probed(self, ok: bool, now: float) -> None:
        """An active probe succeeded or failed.

        A good one pardons only bad ones: a server may answer probes and fail every request.
        """
        if ok:
            self._probe_failures = 0
            self.suspension.shorten(now)
        elif not self.suspension.active:
            self._probe_failures += 1
            self._eject_if_due(now)
        elif self.suspension.admits(now):
            self._eject(now)

    def readmit(self, now: float) -> None:
        """End the ejection; slow start begins."""
        self.suspension.lift()
        self._limit.give_back()
        self.start_slowly(now)

    def start_slowly(self, now: float) -> None:
        """It comes new, or after a pause: its caches are cold."""
        self._failures = self._probe_failures = 0
        self._back_since = now
        self.at_full = False

    def leave(self) -> None:
        """The server is removed: it counts among the ejected no more."""
        if self.suspension.active:
            self.suspension.lift()
            self._limit.give_back()
        # What still runs may yet fail: a limit of no servers lets none out.
        self._limit = EjectionLimit()

    def _eject_if_due(self, now: float) -> None:
        if self.overdue and self._limit.take():
            self._eject(now)

    def _eject(self, now: float) -> None:
        options = self._options
        # One time less for each longest ejection that it was well.
        well = max(0.0, (now - self._back_since) / options.max_ejection_time)
        self._level = self._level - int(min(self._level, well)) + 1
        seconds = min(options.ejection_time * self._level, options.max_ejection_time)
        self._failures = self._probe_failures = 0
        self.suspension.suspend(now + seconds)
        self.at_full = False
        # What follows is no time of health.
        self._back_since = now + seconds

    def __repr__(self) -> str:
        state = "out" if self.suspension.active else "in"
        return f"<Health {state}, {self._failures} failures, {self.suspension.count} ejections>"
