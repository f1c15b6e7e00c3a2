"""Where a request goes: the policies that are compared, behind one contract."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

from fairlead.core.clock import Clock
from fairlead.traffic.assignment import ServerAssignment
from fairlead.traffic.balancer import SessionAwareLoadBalancer
from fairlead.traffic.base import Server


class Place(Protocol):
    """One request at one server."""

    server: int

    def answered(self) -> None:
        """Its answer has begun."""
        ...

    def end(self) -> None:
        """Its answer is complete."""
        ...


class Policy(Protocol):
    """Chooses a server for each request; made anew for each run."""

    def choose(self, session: str) -> Place:
        """The server for the next request of `session`."""
        ...

    @property
    def spills(self) -> int | None:
        """Requests that left their session's server for its load; None where it has no such."""
        ...


class _Counted:
    """A place that is taken off its server's count at the end."""

    def __init__(self, server: int, loads: list[int]) -> None:
        self.server = server
        self._loads = loads
        loads[server] += 1

    def answered(self) -> None:
        """Of no interest to policies that only count."""

    def end(self) -> None:
        self._loads[self.server] -= 1


class _Counting:
    """What the policies that know no sessions' places share: requests in flight by server."""

    spills = None

    def __init__(self, servers: int) -> None:
        self._loads = [0] * servers


class RoundRobin(_Counting):
    """Each server in turn."""

    def __init__(self, servers: int) -> None:
        super().__init__(servers)
        self._turns = itertools.cycle(range(servers))

    def choose(self, session: str) -> Place:  # noqa: ARG002 - the contract
        """The next server."""
        return _Counted(next(self._turns), self._loads)


class LeastConnections(_Counting):
    """The server with the fewest requests in flight; equal ones take turns."""

    def __init__(self, servers: int) -> None:
        super().__init__(servers)
        self._first = 0

    def choose(self, session: str) -> Place:  # noqa: ARG002 - the contract
        """The least busy, looked for from behind the last one."""
        count = len(self._loads)
        turn = [(self._first + step) % count for step in range(count)]
        server = min(turn, key=self._loads.__getitem__)
        self._first = server + 1
        return _Counted(server, self._loads)


class SessionHash(_Counting):
    """The session's hash decides, whatever the load."""

    def choose(self, session: str) -> Place:
        """Always the same server for a session."""
        digest = blake2b(session.encode(), digest_size=8).digest()
        return _Counted(int.from_bytes(digest) % len(self._loads), self._loads)


class _Assigned:
    def __init__(self, assignment: ServerAssignment) -> None:
        self.server = int(assignment.server)
        self._assignment = assignment

    def answered(self) -> None:
        self._assignment.answered(200, None)

    def end(self) -> None:
        self._assignment.end()


class SessionAware:
    """Fairlead's own balancer, with its default options."""

    def __init__(self, servers: int, clock: Clock) -> None:
        self._balancer = SessionAwareLoadBalancer(
            [Server(name=str(number)) for number in range(servers)], clock=clock
        )

    def choose(self, session: str) -> Place:
        """What the balancer says."""
        return _Assigned(self._balancer.choose(session, "bench"))

    @property
    def spills(self) -> int:
        """As the balancer counts them."""
        return self._balancer.statistics().spills


PolicyFactory = Callable[[int, Clock], Policy]
"""Makes a policy for so many servers."""

BASELINES: dict[str, PolicyFactory] = {
    "round robin": lambda servers, _: RoundRobin(servers),
    "least connections": lambda servers, _: LeastConnections(servers),
    "session hash": lambda servers, _: SessionHash(servers),
}
POLICIES: dict[str, PolicyFactory] = {**BASELINES, "Fairlead": SessionAware}
