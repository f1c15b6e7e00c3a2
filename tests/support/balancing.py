"""What the tests of the balancer share: time that passes at once, and whole requests."""

from __future__ import annotations

import contextlib

from fairlead.testing import ManualClock
from fairlead.traffic.assignment import ServerAssignment
from fairlead.traffic.balancer import SessionAwareLoadBalancer
from fairlead.traffic.base import BalancerOptions, Server, ServerStatistics


def pass_time(clock: ManualClock, seconds: float) -> None:
    """Advance `clock` where nobody sleeps on it, without an event loop."""
    step = clock.advance(seconds)
    with contextlib.suppress(StopIteration):  # how a coroutine says that it is done
        while True:
            step.send(None)


class Bench:
    """A balancer over servers named `a`, `b`, …, with a clock by hand."""

    def __init__(self, count: int = 3, *, accounts: int = 1, **options: object) -> None:
        self.clock = ManualClock()
        self.names = [chr(ord("a") + number) for number in range(count)]
        self.balancer = SessionAwareLoadBalancer(
            [Server(name=name, accounts=accounts) for name in self.names],
            options=BalancerOptions(**options),
            clock=self.clock,
            uniform=lambda _low, high: high,
        )

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        pass_time(self.clock, seconds)

    def ask(
        self, session: str = "s", status: int = 200, *, only: str = "", model: str = "m"
    ) -> ServerAssignment:
        """A whole request, answered with `status`, perhaps to one named server alone."""
        assignment = self.balancer.choose(session, model, [only] if only else None)
        assignment.answered(status, None)
        assignment.end()
        return assignment

    def break_off(self, only: str, *, times: int = 1) -> None:
        """Requests to one server that meet no answer."""
        for _ in range(times):
            assignment = self.balancer.choose("", "m", [only])
            assignment.failed(sent=False)
            assignment.end()

    def of(self, name: str) -> ServerStatistics:
        """One server's statistics."""
        return next(s for s in self.balancer.statistics().servers if s.name == name)

    def others(self, name: str) -> list[str]:
        """The other servers."""
        return [other for other in self.names if other != name]
